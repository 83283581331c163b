"""The Ethernet header of ours behind which packets travel inside a cluster.

Every packet of a capture, Ethernet or not, travels as::

    0        6        12     14     16
    +--------+--------+------+------+----------------------------
    | target | source | type | link |  the frame as it came ...
    +--------+--------+------+------+----------------------------

``type`` is an EtherType of ours (the range that IEEE 802 leaves for local experiments), ``link`` the pcap link type of
the frame behind it, big-endian. The switch and the runtimes address each other in the outer header, as the paper does
by rewriting MAC addresses, and the packet inside keeps its own addresses, so that it leaves as it came. A frame with
any other EtherType is a plain Ethernet frame and is read as one: on a wire without room for two more octets, the outer
header is the packet's own.

What a frame does not say itself, where a later fragment belongs, the switch says: it sends such a packet *labelled*,
with the flow key that it found between header and frame, so that a runtime never has to find it again from what it has
or has not seen. The highest bit of ``link`` marks a label. A packet whose own header has another key than its flow's,
because a network function rewrites addresses, is labelled too: that key is one that the flow *also answers to*. The
switch knows it from the packets themselves, which the runtime labels on the way out (``TEACH``).

Markers (DESIGN section 6) travel the same way with a second EtherType, so that they stay in line with the packets. So
do the receipts by which a switch sees how much a replica has released.
"""

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nfactor.packet.burst import Burst

ETHERTYPE_PACKET = 0x88B5
"""A packet behind our header (IEEE 802 local experimental EtherType 1)."""
ETHERTYPE_MARKER = 0x88B6
"""A marker of the migration or the replication protocol (IEEE 802 local experimental EtherType 2)."""
KEY_OCTETS = 48
"""The length of a flow key (``flow_key`` says what is in it)."""
HEADER_OCTETS = 16
"""Our header: two addresses, the EtherType and the link type."""
LINKTYPE_MAX = 0x7FFF
"""The highest pcap link type that travels (those in use are below 0x200)."""
LABELLED = 0x8000
"""The bit of ``link`` that says that a label stands between our header and the frame."""
LABEL_OCTETS = 50
"""A label: the flow key (48 octets), an octet of bits, and one spare octet."""
DIRECTION, ALIAS, TEACH = 1, 2, 4
"""The bits of a label: the packet's direction; the packet's own header is one that the flow also answers to (else it is
a fragment, or carries the flow inside); the switch is to know that from now on."""
LINKTYPE_ETHERNET = 1

RECEIPT_PRIMARIES_MAX = 64
"""Primaries of which one receipt speaks, at most: those that were heard of last."""

NO_ADDRESS = bytes(6)
_HEADER = struct.Struct(">6s6sHH")
_TYPES = struct.Struct(">12xHH")
_MARKER = struct.Struct(">6s6sHHQ")
_RELEASED = struct.Struct(">Q6s")
_MIGRATION, _STORED = 0, 1
"""What stands in place of a link type says which marker it is."""


def header(linktype: int, *, target: bytes = NO_ADDRESS, source: bytes = NO_ADDRESS) -> bytes:
    """Our 16 octets for a packet of that pcap link type."""
    assert linktype <= LINKTYPE_MAX, "readers refuse such a link type"
    return _HEADER.pack(target, source, ETHERTYPE_PACKET, linktype)


def unwrap(data: memoryview, start: int, end: int) -> tuple[int, int, tuple[bytes, int] | None]:
    """Where the frame within ``data[start:end]`` begins, its link type, and its label: flow key and bits.

    A frame that does not stand behind our header begins where it is, and is Ethernet.
    """
    if end - start >= HEADER_OCTETS:
        ethertype, linktype = _TYPES.unpack_from(data, start)
        if ethertype == ETHERTYPE_PACKET:
            start += HEADER_OCTETS
            if not linktype & LABELLED:
                return start, linktype, None
            if end - start >= LABEL_OCTETS:
                label = data[start : start + KEY_OCTETS].tobytes(), data[start + KEY_OCTETS]
                return start + LABEL_OCTETS, linktype & ~LABELLED, label
    return start, LINKTYPE_ETHERNET, None


def with_labels(burst: Burst, labels: Mapping[int, tuple[bytes, int]]) -> Burst:
    """A copy of the burst in which the packets at those indices, all behind our header, carry these labels (flow key
    and bits), in place of any that they had."""
    frames = burst.frames()
    for index, (key, bits) in labels.items():
        frame = frames[index]
        linktype = int.from_bytes(frame[14:16], "big")
        inner = HEADER_OCTETS + (LABEL_OCTETS if linktype & LABELLED else 0)
        label = (linktype | LABELLED).to_bytes(2, "big") + key + bytes((bits, 0))
        frames[index] = frame[:14] + label + frame[inner:]
    return Burst.from_frames(
        frames, times=burst.times.tolist(), marks=burst.marks.tolist(), wire_lengths=burst.wire_lengths.tolist()
    )


def labelled(burst: Burst) -> npt.NDArray[np.bool_]:
    """Which packets have a label."""
    found: npt.NDArray[np.bool_] = burst.lengths >= HEADER_OCTETS
    if found.any():
        places = np.minimum(burst.offsets, len(burst.data) - HEADER_OCTETS)  # a short last frame reads its neighbour
        types = _overlapping(burst, ">u4")[places + _ETHERTYPE]
        found = found & (types >= ETHERTYPE_PACKET << 16 | LABELLED) & (types < ETHERTYPE_MARKER << 16)
    return found


def label_bits(burst: Burst) -> npt.NDArray[np.uint8]:
    """The bits of each packet's label; 0 where there is none."""
    bits = np.zeros(len(burst), np.uint8)
    places = np.flatnonzero(labelled(burst) & (burst.lengths >= HEADER_OCTETS + LABEL_OCTETS))
    bits[places] = burst.data[burst.offsets[places] + HEADER_OCTETS + KEY_OCTETS]
    return bits


def marker(*, target: bytes, source: bytes, migration: int) -> Burst:
    """A burst of one marker frame: the answer of a switch to a redirect, on the data path."""
    return _alone(_MARKER.pack(target, source, ETHERTYPE_MARKER, _MIGRATION, migration))


def read_marker(frame: bytes) -> int | None:
    """The migration that a marker frame belongs to, or None if it is none."""
    if len(frame) < _MARKER.size:
        return None
    *_, what, migration = _MARKER.unpack_from(frame)
    return int(migration) if what == _MIGRATION else None


def receipt(*, target: bytes, source: bytes, sequences: Mapping[bytes, int]) -> Burst:
    """A burst of one frame by which a replica says, behind the packets, how far it has come with the commits of which
    primaries (by address). It stands for all earlier ones."""
    assert len(sequences) <= RECEIPT_PRIMARIES_MAX
    frame = _HEADER.pack(target, source, ETHERTYPE_MARKER, _STORED)
    frame += b"".join(_RELEASED.pack(sequence, primary) for primary, sequence in sequences.items())
    return _alone(frame)


def _alone(frame: bytes) -> Burst:
    """A burst of one frame of ours, sooner than ``Burst.from_frames`` makes it: there is a receipt for every commit."""
    lengths = np.array((len(frame),), np.uint32)
    return Burst(np.frombuffer(bytearray(frame), np.uint8), _FIRST, lengths, lengths, _FIRST, _UNMARKED)


def read_receipt(frame: bytes) -> dict[bytes, int] | None:
    """The numbers of commits by primary, or None if it is no receipt."""
    if len(frame) < _HEADER.size or _HEADER.unpack_from(frame)[3] != _STORED:
        return None
    if (len(frame) - _HEADER.size) % _RELEASED.size:
        return None
    return {primary: sequence for sequence, primary in _RELEASED.iter_unpack(frame[_HEADER.size :])}


def sources(burst: Burst) -> list[bytes]:
    """The source address of each frame."""
    return [bytes(row) for row in _addresses(burst)[burst.offsets + _SOURCE]]


def readdress(burst: Burst, *, target: bytes, source: bytes) -> None:
    """Write both addresses into every frame of the burst, in place."""
    _overlapping(burst, "V12")[burst.offsets] = np.frombuffer(target + source, "V12")


def turn_back(burst: Burst, *, source: bytes) -> None:
    """Send every frame to where it came from, in place: its source becomes its target, and ``source`` its source."""
    addresses, sources_at = _addresses(burst), burst.offsets + _SOURCE
    addresses[burst.offsets] = addresses[sources_at]
    addresses[sources_at] = np.frombuffer(source, "V6")


def marker_indices(burst: Burst) -> npt.NDArray[np.intp]:
    """Where in the burst the markers stand; empty nearly always."""
    if not len(burst):
        return _NOWHERE
    marks: npt.NDArray[np.bool_] = _overlapping(burst, "<u2")[burst.offsets + _ETHERTYPE] == _MARKER_AS_IT_LIES
    return np.flatnonzero(marks) if marks.any() else _NOWHERE


def common_source(burst: Burst) -> bytes | None:
    """The source address of all frames, or None if there are several, or no frames."""
    if not len(burst):
        return None
    taken = _addresses(burst)[burst.offsets + _SOURCE]
    return bytes(taken[0]) if (taken == taken[0]).all() else None


def _addresses(burst: Burst) -> npt.NDArray[np.void]:
    return _overlapping(burst, "V6")


def _overlapping(burst: Burst, dtype: str) -> npt.NDArray[Any]:
    """Elements of some octets, one at each place of the data: numpy gathers and scatters elements whole, at a tenth of
    what single octets cost."""
    octets = np.dtype(dtype).itemsize
    return np.ndarray((max(0, len(burst.data) - octets + 1),), dtype, burst.data.data, 0, (1,))


_SOURCE, _ETHERTYPE = 6, 12
_MARKER_AS_IT_LIES = int.from_bytes(ETHERTYPE_MARKER.to_bytes(2, "big"), "little")
_NOWHERE = np.zeros(0, np.intp)
_FIRST = np.zeros(1, np.int64)
_UNMARKED = np.zeros(1, np.uint64)
