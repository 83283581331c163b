"""Writing capture files: what went in comes out, or nothing does."""

import os
import struct
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nfactor.errors import CaptureError
from nfactor.packet.burst import Burst
from nfactor.packet.capture import CaptureWriter, open_capture
from nfactor.packet.cluster_frame import header
from tests.captures import ABSENT, capture_path, captures_root, manifest
from tests.packet.capture_files import opened, pcap, read_all

MICROSECOND = 1000


def one(frame: bytes = b"a frame", linktype: int = 1, time: int = 5 * MICROSECOND) -> Burst:
    """A burst of one frame behind our header."""
    return Burst.from_frames([header(linktype) + frame], times=[time], marks=[1], wire_lengths=[99])


times = st.integers(0, (1 << 32) * 10**9 - 1)
packets = st.lists(st.tuples(times, st.binary(max_size=50), st.integers(0, 0xFFFF_FFFF)), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=packets, form=st.sampled_from(["pcap", "pcapng"]), linktypes=st.lists(st.sampled_from([1, 101, 113])))
def test_what_is_written_is_read_again(
    tmp_path: Path, rows: list[tuple[int, bytes, int]], form: Literal["pcap", "pcapng"], linktypes: list[int]
) -> None:
    """Frames, link types, original lengths and times to the nanosecond."""
    kinds = (linktypes if form == "pcapng" else []) + [113] * len(rows)
    burst = Burst.from_frames(
        [header(kind) + row[1] for kind, row in zip(kinds, rows, strict=False)],
        times=[row[0] for row in rows],
        wire_lengths=[row[2] for row in rows],
    )
    with CaptureWriter(tmp_path / "out", format=form, linktype=113) as writer:
        writer.write(burst)
        writer.write(burst)
    read = read_all(open_capture(tmp_path / "out"))
    assert burst.frames() * 2 == read.frames()
    assert burst.times.tolist() * 2 == read.times.tolist()
    assert burst.wire_lengths.tolist() * 2 == read.wire_lengths.tolist()
    assert len(read) == writer.packets


def test_frames_without_our_header_are_ethernet(tmp_path: Path) -> None:
    """They are written whole, stumps too."""
    frames = [b"0123456789abcd and more", b"stump"]
    with CaptureWriter(tmp_path / "out") as writer:
        writer.write(Burst.from_frames(frames))
    assert [header(1) + frame for frame in frames] == read_all(open_capture(tmp_path / "out")).frames()


@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
def test_a_pcap_file_is_copied_octet_for_octet(tmp_path: Path, magic: int) -> None:
    """In the resolution that it had."""
    ticks = 10**6 if magic == 0xA1B2C3D4 else 10**9
    original = pcap([(ticks * 9 + 7, b"frame", 60)], magic=magic, linktype=101, ticks=ticks)
    with opened(tmp_path, original) as reader, CaptureWriter.like(reader, tmp_path / "out") as writer:
        while burst := reader.read_burst(1):
            writer.write(burst)
    written = (tmp_path / "out").read_bytes()
    assert original[:16] + struct.pack("<I", 256 << 10) + original[20:] == written


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize("capture", manifest()[:: max(1, len(manifest()) // 12)], ids=lambda capture: capture["name"])
def test_real_captures_survive_a_copy(tmp_path: Path, capture: dict[str, str]) -> None:
    """Every column but the format's own details."""
    source = capture_path(capture["name"])
    with open_capture(source) as reader, CaptureWriter.like(reader, tmp_path / "out") as writer:
        while burst := reader.read_burst(100):
            writer.write(burst)
    before, after = read_all(open_capture(source)), read_all(open_capture(tmp_path / "out"))
    assert before.frames() == after.frames()
    assert before.times.tolist() == after.times.tolist()
    assert before.wire_lengths.tolist() == after.wire_lengths.tolist()


def test_nothing_is_there_until_it_is_whole(tmp_path: Path) -> None:
    """The old file stands until ``close``; both endings may be said twice."""
    path = tmp_path / "out"
    path.write_bytes(b"old")
    writer = CaptureWriter(path)
    writer.write(one())
    assert b"old" == path.read_bytes()
    writer.close()
    writer.close()
    writer.abort()
    assert [path] == list(tmp_path.iterdir())
    assert [header(1) + b"a frame"] == read_all(open_capture(path)).frames()


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the file nor what it was growing under."""
    with pytest.raises(ZeroDivisionError), CaptureWriter(tmp_path / "out") as writer:  # noqa: PT012
        writer.write(one())
        raise ZeroDivisionError
    writer.close()
    assert [] == list(tmp_path.iterdir())


def test_pcap_holds_one_link_type(tmp_path: Path) -> None:
    """Another one is refused, with what to do instead."""
    with pytest.raises(CaptureError, match="link type 101 in a pcap file of link type 1; write pcapng"):  # noqa: SIM117
        with CaptureWriter(tmp_path / "out") as writer:
            writer.write(one(linktype=101))
    assert [] == list(tmp_path.iterdir())


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The file that it points to is replaced, not the link."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    with CaptureWriter(tmp_path / "link") as writer:
        writer.write(one())
    assert (tmp_path / "link").is_symlink()
    assert 1 == len(read_all(open_capture(tmp_path / "folder" / "real")))


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """``--out /dev/stdout`` must work, and must not rename a file over it."""
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with CaptureWriter(tmp_path / "pipe") as writer:
        writer.write(one())
    octets = os.read(reading, 1000)
    os.close(reading)
    assert [header(1) + b"a frame"] == read_all(opened(tmp_path, octets)).frames()
    with pytest.raises(ZeroDivisionError), CaptureWriter(os.devnull):
        raise ZeroDivisionError
    assert Path(os.devnull).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_an_error_in_one_line() -> None:
    """Whether it is found out while writing or while closing."""
    with pytest.raises(CaptureError, match="/dev/full: cannot be written: No space left"):  # noqa: SIM117
        with CaptureWriter("/dev/full") as writer:
            writer.write(one())
    with pytest.raises(CaptureError, match="/dev/full: cannot be written: No space left"):  # noqa: SIM117
        with CaptureWriter("/dev/full") as writer:
            writer.write(one(bytes(1 << 20)))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Said when the writer is made, before any work."""
    with pytest.raises(CaptureError, match="out: cannot be written: No such file"):
        CaptureWriter(tmp_path / "nowhere" / "out")
