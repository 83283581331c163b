"""The octets of one link datagram: header, segments, checksum.

::

    flags  source     target     seq  ack  [sack]  {length, octets}*  crc
    1      4 + 4      4 + 4      4    4    [8]     2 + n              4

``source`` and ``target`` are the *identities* of the two ends: the incarnation of the node, and an epoch that the
link raises when it gives a session up. All segments of a datagram are consecutive, so one sequence number does for
all of them; it and the acknowledgement travel as their low 32 bits. ``sack`` is there only while there is a gap. The
top bit of a length says that the message goes on in the next segment; a segment of length nought is a probe.

The CRC is there because the wire below may be a raw Ethernet port: what does not match is dropped and counted, and the
resend repairs it. It is no protection against an adversary.
"""

import struct
import zlib
from typing import NamedTuple

import attrs

from nfactor.errors import ProtocolError

_HEADER = struct.Struct("!BIIIIII")
_SACK = struct.Struct("!Q")
_LENGTH = struct.Struct("!H")
_CHECKSUM = struct.Struct("!I")

_VERSION = 1 << 4
_VERSION_MASK = 0xF0
_HAS_SACK = 1 << 3
_OPENING = 1 << 2
_LANE_MASK = 0x03
_MORE = 1 << 15

LANES_MAX = 4
"""Lanes that the header can tell apart."""
SACK_SEGMENTS = 64
"""How many segments after the first missing one the ``sack`` bitmap covers."""
SEGMENT_OCTETS_MAX = _MORE - 1
"""The longest segment that a length field can say."""
FRAME_OCTETS = _HEADER.size + _SACK.size + _CHECKSUM.size
"""What a datagram costs at most, besides its segments."""
SEGMENT_OCTETS = _LENGTH.size
"""What a segment costs, besides its own octets."""


class Identity(NamedTuple):
    """One end of a link for as long as it keeps a session; a later one of the same node compares greater."""

    incarnation: int
    epoch: int


NOBODY = Identity(0, 0)
"""The identity of a peer that was never heard."""

Segment = tuple[bool, bytes]
"""``(more, octets)``: whether the message goes on in the next segment."""


class FrameError(ProtocolError):
    """A datagram that is no frame; ``reason`` is the name of the counter: ``corrupt`` or ``malformed``."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} frame")
        self.reason = reason


@attrs.frozen(slots=True)
class Frame:
    """One datagram, taken apart."""

    lane: int
    opening: bool
    """The sender is not in a session and wants to hear from us."""
    source: Identity
    target: Identity
    """Whom the sender takes us for; ``NOBODY`` if it never heard us."""
    seq: int
    """Number of the first segment, low 32 bits."""
    ack: int
    """Number of the next segment that the sender waits for, low 32 bits."""
    sack: int
    """Bit *i*: segment ``ack + 1 + i`` has arrived."""
    segments: list[Segment]


def lane_of(datagram: bytes) -> int:
    """The lane of a datagram that was not checked yet (0 when there is nothing to read it from)."""
    return datagram[0] & _LANE_MASK if datagram else 0


def build(frame: Frame) -> bytes:
    """The octets of a frame."""
    assert 0 <= frame.lane < LANES_MAX, frame.lane
    flags = _VERSION | frame.lane | (_OPENING if frame.opening else 0) | (_HAS_SACK if frame.sack else 0)
    parts = [_HEADER.pack(flags, *frame.source, *frame.target, frame.seq & 0xFFFFFFFF, frame.ack & 0xFFFFFFFF)]
    if frame.sack:
        parts.append(_SACK.pack(frame.sack))
    for more, octets in frame.segments:
        parts.append(_LENGTH.pack(len(octets) | _MORE if more else len(octets)))
        parts.append(octets)
    body = b"".join(parts)
    return body + _CHECKSUM.pack(zlib.crc32(body))


def parse(datagram: bytes) -> Frame:
    """Take a datagram apart; raises FrameError, and nothing else, for octets that are no frame."""
    end = len(datagram) - _CHECKSUM.size
    if end < _HEADER.size:
        raise FrameError("malformed")
    if zlib.crc32(memoryview(datagram)[:end]) != _CHECKSUM.unpack_from(datagram, end)[0]:
        raise FrameError("corrupt")
    flags, source, source_epoch, target, target_epoch, seq, ack = _HEADER.unpack_from(datagram)
    if flags & _VERSION_MASK != _VERSION or source == 0:
        raise FrameError("malformed")
    at = _HEADER.size
    sack = 0
    if flags & _HAS_SACK:
        if at + _SACK.size > end:
            raise FrameError("malformed")
        (sack,) = _SACK.unpack_from(datagram, at)
        at += _SACK.size
    return Frame(
        flags & _LANE_MASK,
        bool(flags & _OPENING),
        Identity(source, source_epoch),
        Identity(target, target_epoch),
        seq,
        ack,
        sack,
        _segments(datagram, at, end),
    )


def _segments(datagram: bytes, at: int, end: int) -> list[Segment]:
    segments: list[Segment] = []
    while at < end:
        if at + _LENGTH.size > end:
            raise FrameError("malformed")
        (word,) = _LENGTH.unpack_from(datagram, at)
        at += _LENGTH.size
        length = word & ~_MORE
        if at + length > end:
            raise FrameError("malformed")
        segments.append((bool(word & _MORE), datagram[at : at + length]))
        at += length
    return segments


def expand(low: int, near: int) -> int:
    """The number whose low 32 bits are ``low`` and that is closest to ``near``."""
    return near + ((low - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000
