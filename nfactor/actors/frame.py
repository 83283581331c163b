"""The octets of one link datagram: header, segments, checksum.

::

    flags  who  seq  ack  [sack]  {length, octets}*  crc
    1      n    4    4    [8]     2 + m              4

``who`` is, until the session is known to both ends, ``source target``: their *identities* (4 + 4 octets each), the
incarnation of the node and an epoch that the link raises when it gives a session up. From then on it is the *tag* of
the session in this direction, 6 octets that are made of both identities, so that a lone message costs 21 octets. Two
sessions of the same nodes have the same tag once in 2^48; exact identities in every frame would cost ten octets more.

All segments of a datagram are consecutive, so one sequence number does for all of them; it and the acknowledgement
travel as their low 32 bits. ``sack`` is there only while there is a gap. The top bit of a length says that the message
goes on in the next segment; a segment of length nought is a probe.

The CRC is there because the wire below may be a raw Ethernet port: what does not match is dropped and counted, and the
resend repairs it. It is no protection against an adversary. It travels as Ethernet's does, least significant octet
first (all other numbers are big-endian), so that the CRC of a whole frame is always the same number.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

import attrs

from nfactor.errors import CallerError, ProtocolError

_FLAGS = struct.Struct("!B")
_WHO = struct.Struct("!IIII")
_NUMBERS = struct.Struct("!II")
_SACK = struct.Struct("!Q")
_LENGTH = struct.Struct("!H")
_LONE = struct.Struct("!IIH")
_CHECKSUM = struct.Struct("<I")
_CHECKSUM_OF_ALL = 0x2144DF1C
"""The CRC of octets that have their own CRC behind them, least significant octet first."""
TAG_OCTETS = 6
"""The tag of a session."""
_LONE_AT = _FLAGS.size + TAG_OCTETS
_LONE_END = _LONE_AT + _LONE.size
_LONE_OCTETS = _LONE_END + _CHECKSUM.size

_VERSION = 4 << 5
_VERSION_MASK = 0xE0
_TAGGED = 1 << 4
_HAS_SACK = 1 << 3
_OPENING = 1 << 2
LANE_MASK = 0x03
"""The bits of a first octet that say which lane it is."""
_MORE = 1 << 15

LANES_MAX = 4
"""Lanes that the header can tell apart."""
SACK_SEGMENTS = 64
"""How many segments after the first missing one the ``sack`` bitmap covers."""
SEGMENT_OCTETS_MAX = _MORE - 1
"""The longest segment that a length field can say."""
FRAME_OCTETS = _FLAGS.size + _WHO.size + _NUMBERS.size + _SACK.size + _CHECKSUM.size
"""What a datagram costs at most, besides its segments."""
SEGMENT_OCTETS = _LENGTH.size
"""What a segment costs, besides its own octets."""


_SEGMENT_OCTETS_MIN = 16


def check_mtu(mtu: int) -> None:
    """Raises CallerError for datagrams that are too short to be of use."""
    if mtu < FRAME_OCTETS + SEGMENT_OCTETS + _SEGMENT_OCTETS_MIN:
        raise CallerError(f"an MTU of {mtu} octets has no room for a frame")


class Identity(NamedTuple):
    """One end of a link for as long as it keeps a session; a later one of the same node compares greater."""

    incarnation: int
    epoch: int


NOBODY = Identity(0, 0)
"""The identity of a peer that was never heard."""

Segment = tuple[bool, bytes]
"""``(more, octets)``: whether the message goes on in the next segment."""


class FrameError(ProtocolError):
    """A datagram that is no frame; ``reason`` is the name of the counter: ``corrupt``, ``malformed`` or
    ``other_version``."""

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
    tag: bytes = b""
    """The session; then ``source`` and ``target`` are NOBODY and do not travel. Empty: they do."""


def tag_of(source: Identity, target: Identity) -> bytes:
    """The tag of frames from one end of a session to the other."""
    return hashlib.blake2b(_WHO.pack(*source, *target), digest_size=TAG_OCTETS).digest()


def is_frame(datagram: bytes) -> bool:
    """Somebody has made it for a node of ours, of this version or another."""
    return len(datagram) > _CHECKSUM.size and zlib.crc32(datagram) == _CHECKSUM_OF_ALL


def build(frame: Frame) -> bytes:
    """The octets of a frame."""
    assert 0 <= frame.lane < LANES_MAX, frame.lane
    flags = _VERSION | frame.lane | (_OPENING if frame.opening else 0) | (_HAS_SACK if frame.sack else 0)
    if frame.tag:
        parts = [_FLAGS.pack(flags | _TAGGED), frame.tag]
    else:
        parts = [_FLAGS.pack(flags), _WHO.pack(*frame.source, *frame.target)]
    parts.append(_NUMBERS.pack(frame.seq & 0xFFFFFFFF, frame.ack & 0xFFFFFFFF))
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
    if end < _FLAGS.size:
        raise FrameError("malformed")
    if zlib.crc32(datagram) != _CHECKSUM_OF_ALL:
        # Until version 3 it travelled the other way round.
        is_older = zlib.crc32(datagram[:end]) == int.from_bytes(datagram[end:], "big")
        raise FrameError("other_version" if is_older else "corrupt")
    flags = datagram[0]
    if flags & _VERSION_MASK != _VERSION:
        raise FrameError("other_version")
    at = _FLAGS.size
    source, target, tag = NOBODY, NOBODY, b""
    who_octets = TAG_OCTETS if flags & _TAGGED else _WHO.size
    has_sack = bool(flags & _HAS_SACK)
    if at + who_octets + _NUMBERS.size + (_SACK.size if has_sack else 0) > end:
        raise FrameError("malformed")
    if flags & _TAGGED:
        tag = datagram[at : at + TAG_OCTETS]
    else:
        who = _WHO.unpack_from(datagram, at)
        source, target = Identity(*who[:2]), Identity(*who[2:])
        if source.incarnation == 0:
            raise FrameError("malformed")
    at += who_octets
    seq, ack = _NUMBERS.unpack_from(datagram, at)
    at += _NUMBERS.size
    sack = 0
    if has_sack:
        (sack,) = _SACK.unpack_from(datagram, at)
        at += _SACK.size
    return Frame(
        flags & LANE_MASK,
        bool(flags & _OPENING),
        source,
        target,
        seq,
        ack,
        sack,
        _segments(datagram, at, end),
        tag,
    )


def head_of(lane: int, tag: bytes) -> bytes:
    """How the frames of a session begin while there is no gap."""
    return _FLAGS.pack(_VERSION | _TAGGED | lane) + tag


def build_lone(head: bytes, seq: int, ack: int, octets: bytes) -> bytes:
    """The octets of the frame that most are: of a session, without a gap, and with one segment, which is a message."""
    body = head + _LONE.pack(seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, len(octets)) + octets
    return body + _CHECKSUM.pack(zlib.crc32(body))


def parse_lone(head: bytes, datagram: bytes) -> tuple[int, int, bytes] | None:
    """``seq, ack, octets`` of such a frame; None: it is another one, or no frame, and ``parse`` will say which."""
    if len(datagram) < _LONE_OCTETS or not datagram.startswith(head):
        return None
    seq, ack, length = _LONE.unpack_from(datagram, _LONE_AT)
    if length >= _MORE or length + _LONE_OCTETS != len(datagram) or zlib.crc32(datagram) != _CHECKSUM_OF_ALL:
        return None
    return seq, ack, datagram[_LONE_END : -_CHECKSUM.size]


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
