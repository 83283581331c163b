"""Reading capture files: every format's variants, and every way in which a file can be bad."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from nfactor.errors import CaptureError
from nfactor.packet.capture import open_capture
from nfactor.packet.capture_reader import READ_OCTETS
from nfactor.packet.cluster_frame import header
from nfactor.packet.pcap import PcapReader
from tests.captures import ABSENT, capture_path, captures_root
from tests.packet.capture_files import block, enhanced, interface, opened, option, pcap, read_all, section

FRAMES = [b"first frame", b"", b"third"]
SECOND = 1_000_000_000


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "ticks", "nanoseconds"),
    [(0xA1B2C3D4, 10**6, False), (0xA1B23C4D, 10**9, True), (0xA1B2CD34, 10**6, False)],
)
def test_pcap_of_every_kind(tmp_path: Path, order: str, magic: int, ticks: int, nanoseconds: bool) -> None:
    """Both byte orders; microseconds, nanoseconds, and Kuznetzov's longer records."""
    records = [(ticks * 1_700_000_000 + n, frame, len(frame) + n) for n, frame in enumerate(FRAMES)]
    reader = opened(tmp_path, pcap(records, order=order, magic=magic, linktype=113, ticks=ticks))
    assert (113, nanoseconds, "pcap") == (reader.linktype, reader.nanoseconds, reader.format)
    burst = read_all(reader)
    assert [header(113) + frame for frame in FRAMES] == burst.frames()
    assert [1_700_000_000 * SECOND + n * (SECOND // ticks) for n in range(3)] == burst.times.tolist()
    assert ([11, 1, 7], [1, 2, 3]) == (burst.wire_lengths.tolist(), burst.marks.tolist())
    assert (False, "") == (reader.truncated, reader.problem)


@pytest.mark.parametrize("packets_max", [1, 3, 100, 5000])
def test_bursts_join_to_the_whole_file(tmp_path: Path, packets_max: int) -> None:
    """Of any size, across the edges of the read buffer, with marks that count on."""
    frames = [bytes([n % 256]) * (n * 379 % 12000) for n in range(400)]
    reader = opened(tmp_path, pcap([(n, frame, len(frame)) for n, frame in enumerate(frames)]))
    burst = read_all(reader, packets_max)
    assert sum(map(len, frames)) > 2 * READ_OCTETS, "this would prove less if the buffer grew"
    assert [header(1) + frame for frame in frames] == burst.frames()
    assert list(range(1, len(frames) + 1)) == burst.marks.tolist()


def test_the_upper_half_of_the_link_type_is_not_the_link_type(tmp_path: Path) -> None:
    """It says whether frames end with a checksum."""
    with opened(tmp_path, pcap([], linktype=0x5400_0001)) as reader:
        assert 1 == reader.linktype


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_several_interfaces_and_clocks(tmp_path: Path, order: str) -> None:
    """Each packet has its interface's link type and clock; other blocks are passed over."""
    offset = option(14, struct.pack(order + "q", 100), order)
    file = section(order) + block(0xBAD, b"whatever", order)
    file += interface(1, option(2, b"eth0", order) + option(9, b"\x09", order) + option(0, b"", order), order)
    file += interface(113, option(9, b"\x8a", order) + offset, order) + interface(101, b"", order)
    file += block(5, bytes(20), order)
    for number in range(3):
        file += enhanced(b"frame %d" % number, number, 5 << 32 | 1024, order)
    reader = opened(tmp_path, file)
    assert (1, True, "pcapng") == (reader.linktype, reader.nanoseconds, reader.format)
    burst = read_all(reader)
    assert [header((1, 113, 101)[n]) + b"frame %d" % n for n in range(3)] == burst.frames()
    ticks = 5 << 32 | 1024
    assert [ticks, ticks * SECOND // 1024 + 100 * SECOND, ticks * 1000] == burst.times.tolist()
    assert ([12, 12, 12], [1, 2, 3]) == (burst.wire_lengths.tolist(), burst.marks.tolist())


def test_pcapng_sections_have_their_own_interfaces_and_byte_orders(tmp_path: Path) -> None:
    """A file may be several, one behind the other."""
    file = section("<") + interface(1) + enhanced(b"little") + section(">")
    file += interface(101, order=">") + enhanced(b"big", order=">")
    reader = opened(tmp_path, file)
    assert [header(1) + b"little", header(101) + b"big"] == read_all(reader).frames()
    assert not reader.truncated


def test_simple_and_old_packet_blocks(tmp_path: Path) -> None:
    """A simple one is cut by the interface's limit and has no time; an old one has a drop count."""
    simple = block(3, (90).to_bytes(4, "little") + b"12345678")
    old = block(2, bytes.fromhex("0000 ffff 00000000 07000000 03000000 03000000") + b"old")
    burst = read_all(opened(tmp_path, section() + interface(snap=6) + simple + old))
    assert [header(1) + b"123456", header(1) + b"old"] == burst.frames()
    assert ([90, 3], [0, 7000]) == (burst.wire_lengths.tolist(), burst.times.tolist())


@pytest.mark.parametrize("ending", [b"", interface() + block(0xBAD, b"")])
def test_a_pcapng_without_packets_is_empty(tmp_path: Path, ending: bytes) -> None:
    """With or without an interface."""
    reader = opened(tmp_path, section() + ending)
    assert (0, 1, False) == (len(read_all(reader)), reader.linktype, reader.truncated)


def test_absurd_clocks_stay_within_64_bits(tmp_path: Path) -> None:
    """Seconds as ticks, an offset of ages, options that run over the end of their block."""
    options = option(9, b"\x00") + option(14, b"\xff" * 7 + b"\x7f") + b"\x02\x00\xff\x00"
    burst = read_all(opened(tmp_path, section() + interface(options=options) + enhanced(b"x", time=(1 << 64) - 1)))
    assert [(1 << 63) - 1] == burst.times.tolist()


GOOD = section() + interface() + enhanced(b"good one")


@pytest.mark.parametrize(
    ("file", "frames", "problem"),
    [
        (pcap([(0, b"x", 1)]) + bytes(15), 1, "cut short in the header of frame 2"),
        (pcap([(0, b"x", 1), (0, b"12345", 5)])[:-1], 1, "cut short in frame 2"),
        (pcap([(0, b"x", 1)]) + b"\xff" * 40, 1, "frame 2 claims to have 4294967295 octets"),
        (GOOD + bytes(11), 1, "cut short in the head of a block"),
        (GOOD + enhanced(b"next")[:-1], 1, "cut short in a block"),
        (GOOD + bytes(12), 1, "a block claims to have 0 octets"),
        (GOOD + enhanced(b"next")[:-1] + b"\x01", 1, "two lengths differ"),
        (GOOD + enhanced(b"next", 1), 1, "interface 1, which is not described"),
        (GOOD + enhanced(b"next", captured=9), 1, "claims to have 9 octets"),
        (GOOD + block(6, bytes(16)), 1, "packet block is too short"),
        (GOOD + block(3, b""), 1, "packet block is too short"),
        (GOOD + block(1, bytes(4)), 1, "interface block is too short"),
        (GOOD + section()[:8] + bytes(20), 1, "no known byte order"),
        (section() + enhanced(b"too early"), 0, "interface 0, which is not described"),
        (section() + block(3, bytes(8)), 0, "interface 0, which is not described"),
    ],
)
def test_a_file_that_goes_bad_is_read_up_to_there(tmp_path: Path, file: bytes, frames: int, problem: str) -> None:
    """The reader says what is wrong, and raises nothing."""
    reader = opened(tmp_path, file)
    assert frames == len(read_all(reader))
    assert reader.truncated
    assert problem in reader.problem


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "is empty, not a capture"),
        (b"#!/bin/sh", "is neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\x00", "is compressed (gzip)"),
        (pcap([])[:23], "the file header is cut short"),
        (pcap([])[:4] + b"\x09" + pcap([])[5:], "pcap version 9 is unknown"),
        (section()[:9], "the section header is broken: the file is cut short in the head of a block"),
        (section()[:8] + bytes(20), "the section header is broken: a section has no known byte order"),
        (section()[:4] + bytes(4) + section()[8:], "the section header is broken: a block claims to have 0 octets"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_an_error(tmp_path: Path, file: bytes, problem: str) -> None:
    """One line that names the file and says what is wrong."""
    with pytest.raises(CaptureError) as caught:
        opened(tmp_path, file)
    assert f"{tmp_path / 'a.capture'}: {problem}" == str(caught.value).split(";")[0]


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """Missing, or a folder."""
    with pytest.raises(CaptureError, match="nowhere: cannot be opened: No such file"):
        open_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureError, match="directory"):
        open_capture(tmp_path)


class FailingFile(io.BytesIO):
    """A disk that breaks after the first read."""

    def read(self, octets: int | None = -1) -> bytes:
        if self.tell() == 0:
            return super().read(100)
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_half_way_is_a_cut() -> None:
    """What was read is kept."""
    file = FailingFile(pcap([(0, b"x" * 40, 40)] * 2))
    reader = PcapReader("disk", file, b"")
    assert 1 == len(read_all(reader))
    assert (True, "cannot be read further: Input/output error") == (reader.truncated, reader.problem)


def test_a_disk_that_fails_at_once_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was read."""
    failing = FailingFile(bytes(4))
    failing.seek(1)
    monkeypatch.setattr(Path, "open", lambda *_: failing)
    with pytest.raises(CaptureError, match="disk: cannot be read: Input/output error"):
        open_capture(tmp_path / "disk")
    assert failing.closed


SAMPLES = (
    pcap([(n, bytes([n]) * n, n) for n in range(30)]),
    section() + interface() + b"".join(enhanced(bytes([n]) * n) for n in range(30)) + section(">"),
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(folder: Path, octets: bytes) -> None:
    """Read a file to its end, or be told that it is none."""
    try:
        reader = opened(folder, octets)
    except CaptureError:
        return
    burst = read_all(reader)
    assert bool(reader.problem) == reader.truncated
    assert list(range(1, len(burst) + 1)) == burst.marks.tolist()


@in_one_folder
@given(start=st.sampled_from([b"", *(sample[:24] for sample in SAMPLES)]), octets=st.binary(max_size=200))
def test_arbitrary_files_raise_nothing_but_capture_error(tmp_path: Path, start: bytes, octets: bytes) -> None:
    """Any octets, also behind a right beginning."""
    read_or_refuse(tmp_path, start + octets)


@in_one_folder
@given(sample=st.sampled_from(SAMPLES), at=st.integers(0, 2000), value=st.binary(min_size=1, max_size=4))
def test_damaged_files_raise_nothing_but_capture_error(tmp_path: Path, sample: bytes, at: int, value: bytes) -> None:
    """A right file with a few octets changed."""
    at %= len(sample)
    read_or_refuse(tmp_path, sample[:at] + value + sample[at + len(value) :])


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_may_be_cut_anywhere(tmp_path: Path, sample: bytes) -> None:
    """All frames before the cut are there; the reader says that it was cut, unless it fell between two records."""
    whole = read_all(opened(tmp_path, sample)).frames()
    for octets in range(40, len(sample), 7):
        reader = opened(tmp_path, sample[:octets])
        frames = read_all(reader).frames()
        assert whole[: len(frames)] == frames


@pytest.mark.skipif(captures_root() is None, reason=ABSENT)
@pytest.mark.parametrize("name", ["dpkt__http.pcap", "gopkt__test100.pcapng", "dpimp__longer.pcapng"])
def test_a_real_file_may_be_cut_anywhere(tmp_path: Path, name: str) -> None:
    """At every 97th octet."""
    real = capture_path(name).read_bytes()
    for octets in range(0, len(real), 97):
        read_or_refuse(tmp_path, real[:octets])
