"""Our header in front of packets, and markers."""

from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst, concatenate

HERE, THERE = b"\x02here!"[:6], b"\x02there"


def test_the_header_is_an_ethernet_header_with_the_link_type_behind() -> None:
    """Target, source, our EtherType, link type."""
    assert THERE + HERE + bytes.fromhex("88b5 0071") == cluster_frame.header(113, target=THERE, source=HERE)


def test_frames_are_readdressed_in_place() -> None:
    """All frames of the burst, whatever their length; nothing behind the addresses changes."""
    burst = Burst.from_frames([cluster_frame.header(1) + b"a", cluster_frame.header(1) + b"longer"])
    cluster_frame.readdress(burst, target=THERE, source=HERE)
    fronts = cluster_frame.header(1, target=THERE, source=HERE)
    assert [fronts + b"a", fronts + b"longer"] == burst.frames()


def test_frames_are_turned_back_in_place() -> None:
    """Each goes where it came from, and comes from here."""
    burst = Burst.from_frames([cluster_frame.header(1, source=bytes([n]) * 6) + b"a" for n in (1, 2)])
    cluster_frame.turn_back(burst, source=HERE)
    assert [cluster_frame.header(1, target=bytes([n]) * 6, source=HERE) + b"a" for n in (1, 2)] == burst.frames()


def test_markers_are_found_and_read() -> None:
    """Among packets, with what they say."""
    marker = cluster_frame.marker(target=THERE, source=HERE, migration=7)
    packets = Burst.from_frames([cluster_frame.header(1) + b"packet"])
    assert [1] == cluster_frame.marker_indices(concatenate([packets, marker, packets])).tolist()
    assert 7 == cluster_frame.read_marker(marker.frame(0))
    assert cluster_frame.read_marker(marker.frame(0)[:-1]) is None


def test_a_receipt_says_whose_commit_came_through_whom_and_is_no_marker() -> None:
    sequences = {b"p" * 6: 1 << 40, b"q" * 6: 7}
    frame = cluster_frame.receipt(target=b"t" * 6, source=b"r" * 6, sequences=sequences).frame(0)
    assert cluster_frame.read_receipt(frame) == sequences
    assert cluster_frame.read_marker(frame) is None
    marker = cluster_frame.marker(target=b"t" * 6, source=b"s" * 6, migration=7).frame(0)
    assert cluster_frame.read_receipt(marker) is None
    assert cluster_frame.read_receipt(marker + bytes(6)) is None
    assert cluster_frame.read_receipt(frame[:20]) is None


def test_the_common_source_of_frames_is_known_if_there_is_one() -> None:
    def frame(source: bytes) -> bytes:
        return b"t" * 6 + source + bytes(8)

    alike = Burst.from_frames([frame(b"a" * 6)] * 3)
    mixed = Burst.from_frames([frame(b"a" * 6), frame(b"b" * 6)])
    assert cluster_frame.common_source(alike) == b"a" * 6
    assert cluster_frame.common_source(mixed) is None
    assert cluster_frame.common_source(Burst.from_frames([])) is None
    assert cluster_frame.sources(mixed) == [b"a" * 6, b"b" * 6]
