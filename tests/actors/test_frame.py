"""Frames: what a datagram of a link looks like, and that nothing else passes for one."""

import struct
import zlib

import attrs
import pytest
from hypothesis import given, strategies as st

from nfactor.actors.frame import (
    NOBODY,
    TAG_OCTETS,
    Frame,
    FrameError,
    Identity,
    build,
    build_lone,
    expand,
    head_of,
    parse,
    parse_lone,
    tag_of,
)
from nfactor.actors.link import Link
from nfactor.actors.session import State


@given(st.binary(max_size=80))
def test_octets_that_are_no_frame_are_counted_and_dropped(octets: bytes) -> None:
    """A link never raises for what it receives."""
    link = Link(1, 200)
    link.receive(octets, 0.0)
    counts = link.statistics()
    assert 1 == counts.malformed + counts.corrupt + counts.other_version


def sealed(body: bytes) -> bytes:
    """With the right checksum."""
    return body + struct.pack("<I", zlib.crc32(body))


HEADER = build(Frame(0, False, Identity(1, 0), Identity(1, 0), 0, 0, 0, []))[:-4]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HEADER[:-1], id="short header"),
        pytest.param(bytes([HEADER[0] | 8]) + HEADER[1:] + bytes(7), id="half a sack"),
        pytest.param(HEADER + b"\x00", id="half a length"),
        pytest.param(HEADER + b"\x00\x05four", id="half a segment"),
        pytest.param(HEADER[:1] + bytes(8) + HEADER[9:], id="no sender"),
        pytest.param(bytes([HEADER[0] | 1]) + HEADER[1:], id="another lane"),
    ],
)
def test_a_frame_of_a_wrong_form_is_malformed_whatever_its_checksum(body: bytes) -> None:
    """It is dropped and counted."""
    link = Link(1, 200)
    link.receive(sealed(body), 0.0)
    assert 1 == link.statistics().malformed
    assert State.CLOSED is link.state


@given(st.integers(0, 400), st.integers(0, 7))
def test_one_flipped_bit_is_found(position: int, bit: int) -> None:
    """The checksum covers the whole datagram."""
    frame = build(Frame(1, True, Identity(3, 1), Identity(4, 2), 7, 9, 5, [(False, b"payload"), (True, b"part")]))
    damaged = bytearray(frame)
    damaged[position % len(frame)] ^= 1 << bit
    with pytest.raises(FrameError, match="corrupt"):
        parse(bytes(damaged))


frames = st.builds(
    Frame,
    st.integers(0, 3),
    st.booleans(),
    st.builds(Identity, st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.builds(Identity, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.lists(st.tuples(st.booleans(), st.binary(max_size=50)), max_size=5),
)
tagged_frames = st.builds(
    lambda frame, tag: attrs.evolve(frame, source=NOBODY, target=NOBODY, tag=tag),
    frames,
    st.binary(min_size=6, max_size=6),
)


@given(frames | tagged_frames)
def test_a_frame_is_read_as_it_was_written(frame: Frame) -> None:
    """All fields, with and without a sack."""
    assert frame == parse(build(frame))


def test_a_lone_message_of_a_session_costs_21_octets() -> None:
    """Two more for each further one in the datagram, and ten before the peer is known to be in the session."""
    frame = Frame(0, False, NOBODY, NOBODY, 0, 0, 0, [(False, b"")], tag_of(Identity(1, 0), Identity(2, 0)))
    assert 21 == len(build(frame))
    assert 23 == len(build(attrs.evolve(frame, segments=[(False, b"")] * 2)))
    assert 31 == len(build(attrs.evolve(frame, tag=b"", source=Identity(1, 0))))


def test_a_session_has_another_tag_in_each_direction_and_no_two_sessions_share_one() -> None:
    identities = [Identity(incarnation, epoch) for incarnation in range(1, 20) for epoch in range(3)]
    tags = {tag_of(source, target) for source in identities for target in identities}
    assert len(identities) ** 2 == len(tags)


def test_a_peer_of_another_version_is_counted_as_such() -> None:
    link = Link(1, 200)
    link.receive(sealed(b"\x20" + HEADER[1:]), 0.0)
    counts = link.statistics()
    assert (1, 0, 0) == (counts.other_version, counts.malformed, counts.corrupt)
    body = b"\x60" + HEADER[1:]  # until version 3 the checksum came the other way round
    link.receive(body + struct.pack("!I", zlib.crc32(body)), 0.0)
    counts = link.statistics()
    assert (2, 0, 0) == (counts.other_version, counts.malformed, counts.corrupt)


@given(st.integers(0, 2**40), st.integers(-(2**30), 2**30))
def test_sequence_numbers_go_on_past_32_bits(near: int, offset: int) -> None:
    """The low half is enough to know the whole."""
    assert near + offset == expand((near + offset) & 0xFFFFFFFF, near)


numbers = st.integers(0, 2**32 - 1)


@given(st.integers(0, 3), st.binary(min_size=TAG_OCTETS, max_size=TAG_OCTETS), numbers, numbers, st.binary(max_size=60))
def test_the_frame_that_most_are_is_the_same_octets_in_one_step(
    lane: int, tag: bytes, seq: int, ack: int, octets: bytes
) -> None:
    frame = Frame(lane, False, NOBODY, NOBODY, seq, ack, 0, [(False, octets)], tag)
    head = head_of(lane, tag)
    assert build(frame) == build_lone(head, seq, ack, octets)
    assert (seq, ack, octets) == parse_lone(head, build(frame))
    assert frame == parse(build_lone(head, seq, ack, octets))


@given(
    st.binary(min_size=TAG_OCTETS, max_size=TAG_OCTETS),
    st.lists(st.tuples(st.booleans(), st.binary(max_size=20)), max_size=3),
    st.integers(0, 3),
    st.integers(0, 100),
)
def test_every_other_frame_is_left_to_the_longer_way(
    tag: bytes, segments: list[tuple[bool, bytes]], sack: int, cut: int
) -> None:
    """Several segments or none, half a message, a gap, a damaged or shortened one, another session."""
    whole = build(Frame(1, False, NOBODY, NOBODY, 7, 9, sack, segments, tag))
    is_lone = len(segments) == 1 and not segments[0][0] and not sack
    assert is_lone == (parse_lone(head_of(1, tag), whole) is not None)
    assert parse_lone(head_of(2, tag), whole) is None
    assert (
        parse_lone(
            head_of(1, bytes(TAG_OCTETS - 1) + b"\x01"), build(Frame(1, False, NOBODY, NOBODY, 7, 9, 0, [], tag))
        )
        is None
    )
    assert parse_lone(head_of(1, tag), whole[: min(cut, len(whole) - 1)]) is None
    damaged = bytearray(whole)
    damaged[cut % len(whole)] ^= 1
    assert parse_lone(head_of(1, tag), bytes(damaged)) is None


def test_the_top_bit_of_a_length_is_no_length() -> None:
    """A segment that goes on, and behind it just as many octets as the whole word says."""
    head, tag = head_of(0, b"sixocs"), b"sixocs"
    body = head + struct.pack("!IIH", 1, 2, 1 << 15 | 5) + bytes((1 << 15) + 5)
    assert parse_lone(head, sealed(body)) is None
    assert tag == parse(build_lone(head, 1, 2, b"x")).tag
