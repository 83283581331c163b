"""Changes of flows, and copies that are kept up to date by them (``dataplane.changes`` says what they look like).

Copies lie in a table as flows do, in a context of their own, with the states where a chain's rows have them.
"""

from typing import Final

from nfactor.compiled.bucket import bucket_of
from nfactor.compiled.chain_stub import every_part, read_parts, write_parts
from nfactor.compiled.flow_memory import SLICE
from nfactor.compiled.layout import (
    ARRAY_DATA,
    ARRAY_DIMENSIONS,
    CLOCK,
    COLD_NEWER,
    COMMON_CLOCK,
    MAKE_INTEGER,
    NO_ROW,
    OLDEST,
    ROW_CLOSING,
    ROW_DIRTY,
    ROW_EPOCH,
    ROW_INITIATOR,
    ROW_LAG,
    ROW_LAST_NS,
    ROW_PACKETS,
    ROW_PHASE,
)
from nfactor.compiled.machine import (
    call_address,
    copy_octets,
    entry,
    inlined,
    ld_fixed,
    ld_i64,
    ld_u8,
    ld_u32,
    outlined,
    prefetch,
    st_8,
    st_16,
    st_32,
    st_64,
)
from nfactor.compiled.table import cold_at, find, hash_of, insert, remove, row_at, row_of
from nfactor.dataplane.buckets import (
    NO_BUCKET,
)
from nfactor.dataplane.changes import CHANGE_OCTETS, PARTS_AT, WHOLE

_ACTIVE, _HELD = 0, 2
_KEY: Final = 48
_AHEAD: Final = 8
_H_EPOCH: Final = 8
_H_PACKETS: Final = 12
_H_INITIATOR: Final = 16
WHOLE_SHIFT: Final = 40
"""``changes_of`` and ``changes_whole`` say how many octets they wrote, and from this bit on, how many keys."""
CUT_SHORT, NOT_HERE, FULL = -1, -2, -3
"""What ``apply`` says in place of where it stopped."""


@entry
def buckets(context: int, arguments: int, _count: int) -> int:
    """``buckets(rows, found)``, as a C function of Python (see ``loop.process``)."""
    cx, rows, found = ld_i64(context + ARRAY_DATA), ld_i64(arguments), ld_i64(ld_i64(arguments + 8) + ARRAY_DATA)
    count, rows = ld_i64(ld_i64(rows + ARRAY_DIMENSIONS)), ld_i64(rows + ARRAY_DATA)
    for place in range(count):
        bucket, row = NO_BUCKET, ld_i64(rows + 8 * place)
        if row != 0:
            bucket = bucket_of(row)
        st_16(found + 2 * place, bucket)
    return call_address(ld_i64(cx + MAKE_INTEGER), count, 0, 0)


@inlined
def _write_change(cx: int, row: int, at: int) -> int:
    """The change of the flow in that row; where the next one goes."""
    parts, last = ld_u8(row + ROW_DIRTY) & (every_part() | WHOLE), ld_i64(row + ROW_LAST_NS)
    header = at + _KEY
    copy_octets(at, row, _KEY)
    st_64(header, last if ld_fixed(cx + COMMON_CLOCK) else ld_i64(cx + CLOCK) - last)
    st_32(header + _H_EPOCH, ld_u32(row + ROW_EPOCH))
    st_32(header + _H_PACKETS, ld_u32(row + ROW_PACKETS))
    st_64(header + _H_INITIATOR, ld_u8(row + ROW_INITIATOR) | ld_u8(row + ROW_CLOSING) << 8 | parts << 16)
    st_8(row + ROW_DIRTY, 0)
    st_32(row + ROW_LAG, 0)
    return write_parts(row, at + CHANGE_OCTETS, parts)


@entry
def changes_of(context: int, arguments: int, _count: int) -> int:
    """``changes_of(rows, changes, whole)``, as a C function of Python: write the changes of what has changed in those
    rows, and the keys of those that are whole."""
    cx, rows = ld_i64(context + ARRAY_DATA), ld_i64(arguments)
    count, rows = ld_i64(ld_i64(rows + ARRAY_DIMENSIONS)), ld_i64(rows + ARRAY_DATA)
    start, whole = ld_i64(ld_i64(arguments + 8) + ARRAY_DATA), ld_i64(ld_i64(arguments + 16) + ARRAY_DATA)
    at, wholes = start, 0
    for place in range(count):
        row = ld_i64(rows + 8 * place)
        if place + _AHEAD < count:  # nobody may have looked at it for a long time
            ahead = ld_i64(rows + 8 * (place + _AHEAD))
            prefetch(ahead)
            prefetch(ahead + 64)
        if row != 0:
            dirty = ld_u8(row + ROW_DIRTY)
            if dirty != 0 and ld_u8(row + ROW_PHASE) < _HELD:
                at = _write_change(cx, row, at)
                if dirty & WHOLE:
                    copy_octets(whole + _KEY * wholes, row, _KEY)
                    wholes += 1
    return call_address(ld_i64(cx + MAKE_INTEGER), (at - start) | wholes << WHOLE_SHIFT, 0, 0)


@entry
def changes_whole(cx: int, keys: int, changes: int, whole: int, count: int) -> int:
    """The same for flows by their keys, whole whatever has changed."""
    at, wholes = changes, 0
    for place in range(count):
        number = row_of(cx, keys, place, count)
        if number >= 0 and ld_u8(row_at(cx, number) + ROW_PHASE) < _HELD:
            row = row_at(cx, number)
            st_8(row + ROW_DIRTY, 0xFF)
            at = _write_change(cx, row, at)
            copy_octets(whole + _KEY * wholes, row, _KEY)
            wholes += 1
    return (at - changes) | wholes << WHOLE_SHIFT


@entry
def lose(cx: int, keys: int, count: int) -> None:
    """Flows that nobody has asked about, from now on."""
    for place in range(count):
        number = row_of(cx, keys, place, count)
        if number >= 0 and ld_u8(row_at(cx, number) + ROW_PHASE) < _HELD:
            st_8(row_at(cx, number) + ROW_DIRTY, 0xFF)


@entry
def unasked(cx: int, keys: int, flows_max: int) -> int:
    """Keys of flows that process packets and that nobody has asked about; how many."""
    count, row = 0, ld_i64(cx + OLDEST)
    while row != NO_ROW and count < flows_max:
        address = row_at(cx, row)
        if ld_u8(address + ROW_PHASE) < _HELD and ld_u8(address + ROW_DIRTY) & WHOLE:
            copy_octets(keys + _KEY * count, address, _KEY)
            count += 1
        row = ld_u32(cold_at(cx, row) + COLD_NEWER)
    return count


@entry
def here(cx: int, keys: int, answers: int, count: int) -> None:
    """Which flows process packets."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row >= 0 and ld_u8(row_at(cx, row) + ROW_PHASE) < _HELD:
            st_8(answers + place, 1)


# ---------------------------------------------------------------- copies


@outlined
def _copy_for(cx: int, key: int, tag: int, parts: int) -> int:
    """The new row of a flow of which there is no copy, or why there is none."""
    if parts & WHOLE == 0:
        return NOT_HERE
    row = insert(cx, key, tag, _ACTIVE, 0)
    return row if row >= 0 else FULL


@inlined
def _read_change(cx: int, at: int, end: int) -> int:
    """Take one change; where the next one is, or what is wrong."""
    if end - at < CHANGE_OCTETS:
        return CUT_SHORT
    header, parts = at + _KEY, ld_u8(at + _KEY + PARTS_AT)
    every = every_part() | WHOLE
    if parts & ~every != 0 or (parts & WHOLE != 0 and parts != every):
        return CUT_SHORT
    tag = hash_of(cx, at)
    number = find(cx, at, tag)
    if number < 0:
        number = _copy_for(cx, at, tag, parts)
        if number < 0:
            return number
    row = row_at(cx, number)
    st_64(row + ROW_LAST_NS, ld_i64(header))
    st_32(row_at(cx, number) + ROW_EPOCH, ld_u32(header + _H_EPOCH))
    st_32(row + ROW_PACKETS, ld_u32(header + _H_PACKETS))
    st_8(row + ROW_INITIATOR, ld_u8(header + _H_INITIATOR))
    st_8(row + ROW_CLOSING, ld_u8(header + _H_INITIATOR + 1))
    return read_parts(row, at + CHANGE_OCTETS, end, parts)


@inlined
def _apply(cx: int, at: int, end: int, changes_max: int) -> int:
    taken = 0
    while at < end and at >= 0 and taken < changes_max:
        at = _read_change(cx, at, end)
        taken += 1
    return at


@entry
def apply(context: int, arguments: int, _count: int) -> int:
    """``apply(changes)``, as a C function of Python: take the first ``SLICE``; how many octets they had, or what is
    wrong. The copies are those of the context's table."""
    cx, changes = ld_i64(context + ARRAY_DATA), ld_i64(arguments)
    octets, changes = ld_i64(ld_i64(changes + ARRAY_DIMENSIONS)), ld_i64(changes + ARRAY_DATA)
    at = _apply(cx, changes, changes + octets, SLICE)
    return call_address(ld_i64(cx + MAKE_INTEGER), at - changes if at >= 0 else at, 0, 0)


@entry
def go_on_applying(cx: int, at: int, end: int, changes_max: int) -> int:
    """The same from an address on; the address where it stopped."""
    return _apply(cx, at, end, changes_max)


@entry
def let_go(cx: int, keys: int, epochs: int, count: int) -> None:
    """Remove copies; if the address of epochs is not 0, those alone whose epoch is none higher."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row >= 0 and (epochs == 0 or ld_u32(row_at(cx, row) + ROW_EPOCH) <= ld_u32(epochs + 4 * place)):
            remove(cx, row)
