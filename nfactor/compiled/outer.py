"""The outer headers of a burst's frames (``packet.cluster_frame``) in one pass each.

Functions are called as C functions of Python (see ``loop.process``) with the burst's data and offsets, and answer -1
where the arrays are not as those of a burst are, or a header does not lie within the data: ``outer_headers`` leaves
these to numpy, which says what is wrong.
"""

from nfactor.compiled.layout import (
    ARRAY_DATA,
    ARRAY_DIMENSIONS,
    ARRAY_FLAGS,
    ARRAY_STRIDES,
    ARRAY_WRITEABLE,
    MAKE_INTEGER,
)
from nfactor.compiled.machine import call_address, entry, inlined, ld_i64, ld_u16, ld_u32, st_16, st_32, st_64
from nfactor.packet.cluster_frame import ETHERTYPE_MARKER

_MARKER = (ETHERTYPE_MARKER & 0xFF) << 8 | ETHERTYPE_MARKER >> 8
"""As it lies in memory."""
_HEADER = 14
_REFUSED = -1


@inlined
def _integer(context: int, value: int) -> int:
    """What Python gets."""
    return call_address(ld_i64(ld_i64(context + ARRAY_DATA) + MAKE_INTEGER), value, 0, 0)


@inlined
def _frames(data: int, offsets: int) -> int:
    """How many frames there are, or why not."""
    count = ld_i64(ld_i64(offsets + ARRAY_DIMENSIONS))
    if count > 0 and (ld_i64(ld_i64(offsets + ARRAY_STRIDES)) != 8 or ld_i64(ld_i64(data + ARRAY_STRIDES)) != 1):
        return _REFUSED
    return count


@inlined
def _writable(data: int, offsets: int) -> int:
    """The same of frames that may be written."""
    return _frames(data, offsets) if ld_u32(data + ARRAY_FLAGS) & ARRAY_WRITEABLE else _REFUSED


@inlined
def _header_at(data: int, offsets: int, place: int) -> int:
    """The address of a frame's header; 0 if that does not lie within the data."""
    start, size = ld_i64(ld_i64(offsets + ARRAY_DATA) + 8 * place), ld_i64(ld_i64(data + ARRAY_DIMENSIONS))
    if start < 0 or start > size - _HEADER:
        return 0
    return ld_i64(data + ARRAY_DATA) + start


@entry
def find_markers(context: int, arguments: int, _count: int) -> int:
    """``find_markers(data, offsets, found)``: write down where markers stand; how many there are."""
    data, offsets = ld_i64(arguments), ld_i64(arguments + 8)
    found, count = ld_i64(ld_i64(arguments + 16) + ARRAY_DATA), _frames(data, offsets)
    markers = min(0, count)
    for place in range(count):
        at = _header_at(data, offsets, place)
        if at == 0:
            markers = _REFUSED
            break
        if ld_u16(at + 12) == _MARKER:
            st_64(found + 8 * markers, place)
            markers += 1
    return _integer(context, markers)


@entry
def same_source(context: int, arguments: int, _count: int) -> int:
    """``same_source(data, offsets)``: whether all frames come from one address; 1 too if there are none."""
    data, offsets = ld_i64(arguments), ld_i64(arguments + 8)
    count, same, first = _frames(data, offsets), 1, 0
    if count < 0:
        same = count
    for place in range(count):
        at = _header_at(data, offsets, place)
        if at == 0:
            same = _REFUSED
            break
        source = ld_u32(at + 6) << 16 | ld_u16(at + 10)
        if place == 0:
            first = source
        elif source != first:
            same = 0
            break
    return _integer(context, same)


@inlined
def _in_place(data: int, offsets: int) -> int:
    """How many frames may be written, or that some may not: nothing is, then."""
    count = _writable(data, offsets)
    for place in range(count):
        if _header_at(data, offsets, place) == 0:
            return _REFUSED
    return count


@entry
def turn_back(context: int, arguments: int, _count: int) -> int:
    """``turn_back(data, offsets, source)``: each frame's source becomes its target, and ``source`` its source."""
    data, offsets = ld_i64(arguments), ld_i64(arguments + 8)
    own, count = ld_i64(ld_i64(arguments + 16) + ARRAY_DATA), _in_place(data, offsets)
    low, high = ld_u32(own), ld_u16(own + 4)
    for place in range(count):
        at = _header_at(data, offsets, place)
        st_32(at, ld_u32(at + 6))
        st_16(at + 4, ld_u16(at + 10))
        st_32(at + 6, low)
        st_16(at + 10, high)
    return _integer(context, count)


@entry
def readdress(context: int, arguments: int, _count: int) -> int:
    """``readdress(data, offsets, addresses)``: write target and source into every frame."""
    data, offsets = ld_i64(arguments), ld_i64(arguments + 8)
    both, count = ld_i64(ld_i64(arguments + 16) + ARRAY_DATA), _in_place(data, offsets)
    low, high = ld_i64(both), ld_u32(both + 8)
    for place in range(count):
        at = _header_at(data, offsets, place)
        st_64(at, low)
        st_32(at + 8, high)
    return _integer(context, count)
