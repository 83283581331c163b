"""A burst as one byte string, for messages that carry packets: the columns, then the frames.

::

    count u64 | times i64[n] | marks u64[n] | lengths u32[n] | wire_lengths u32[n] | the frames, one behind the other

All numbers are little-endian, and lie where a machine reads them best. ``unpack_burst(pack_burst(burst))`` has the same
frames and columns, in a buffer of its own. That is one copy of the octets, of which the columns are parts: each copy
that is made of a burst costs what its engine takes for some packets, and many times that where source and target lie
badly to each other."""

import numpy as np

from nfactor.errors import ProtocolError
from nfactor.packet.burst import Burst

_COUNT_OCTETS = 8
_COLUMNS_OCTETS = 8 + 8 + 4 + 4
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
            np.ascontiguousarray(burst.times, "<i8").data,
            np.ascontiguousarray(burst.marks, "<u8").data,
            np.ascontiguousarray(burst.lengths, "<u4").data,
            np.ascontiguousarray(burst.wire_lengths, "<u4").data,
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
    data = np.frombuffer(bytearray(octets), np.uint8)
    times, marks = (
        np.ndarray(count, kind, data, _COUNT_OCTETS + 8 * count * at) for at, kind in enumerate(("<i8", "<u8"))
    )
    lengths, wire_lengths = (np.ndarray(count, "<u4", data, start - 4 * count * at) for at in (2, 1))
    ends = np.cumsum(lengths, dtype=np.int64)
    if start + (int(ends[-1]) if count else 0) != len(octets):
        raise ProtocolError(f"a packed burst of {len(octets)} octets whose frames have other lengths")
    return Burst(data, ends - lengths + start, lengths, wire_lengths, times, marks)
