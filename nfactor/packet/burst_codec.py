"""A burst as one byte string, for messages that carry packets: the columns, then the frames.

::

    count u32 | lengths u32[n] | wire_lengths u32[n] | times i64[n] | marks u64[n] | the frames, one behind the other

All numbers are little-endian. ``unpack_burst(pack_burst(burst))`` has the same frames and columns, in a buffer of its
own."""

import numpy as np

from nfactor.errors import ProtocolError
from nfactor.packet.burst import Burst

_COUNT_OCTETS = 4
_COLUMNS_OCTETS = 4 + 4 + 8 + 8
"""Octets of all columns for one packet."""
_EMPTY = bytes(_COUNT_OCTETS)
_NO_PACKETS = Burst.from_frames([])


def pack_burst(burst: Burst) -> bytes:
    """The burst's frames and columns; one copy of the columns, and one or two of the frames."""
    if not len(burst):
        return _EMPTY
    return b"".join(
        (
            len(burst).to_bytes(_COUNT_OCTETS, "little"),
            np.ascontiguousarray(burst.lengths, "<u4").data,
            np.ascontiguousarray(burst.wire_lengths, "<u4").data,
            np.ascontiguousarray(burst.times, "<i8").data,
            np.ascontiguousarray(burst.marks, "<u8").data,
            *burst.pieces(),
        )
    )


def unpack_burst(octets: bytes) -> Burst:
    """A burst that may be rewritten; raises ``ProtocolError`` for what ``pack_burst`` did not make."""
    if octets == _EMPTY:
        return _NO_PACKETS
    count = int.from_bytes(octets[:_COUNT_OCTETS], "little")
    start = _COUNT_OCTETS + count * _COLUMNS_OCTETS
    if len(octets) < max(start, _COUNT_OCTETS):
        raise ProtocolError(f"a packed burst of {len(octets)} octets that says it has {count} packets")
    at = _COUNT_OCTETS
    lengths = np.frombuffer(octets, "<u4", count, at).astype(np.uint32)
    wire_lengths = np.frombuffer(octets, "<u4", count, at + 4 * count).astype(np.uint32)
    times = np.frombuffer(octets, "<i8", count, at + 8 * count).astype(np.int64)
    marks = np.frombuffer(octets, "<u8", count, at + 16 * count).astype(np.uint64)
    if start + int(lengths.sum(dtype=np.uint64)) != len(octets):
        raise ProtocolError(f"a packed burst of {len(octets)} octets whose frames have other lengths")
    offsets = np.zeros(count, np.int64)
    np.cumsum(lengths[:-1], out=offsets[1:])
    frames = np.frombuffer(bytearray(memoryview(octets)[start:]), np.uint8)
    return Burst(frames, offsets, lengths, wire_lengths, times, marks)
