"""Operations on sets of flows: arrays of keys in, arrays of statuses, epochs, counts and records out.

A record, as it travels, is ``chain.FlowHeader`` and the states behind it. Every function takes the address of the
context, the addresses of arrays, and how many flows they are about.
"""

from typing import Final

from nfactor.compiled.chain_stub import deallocate, farewell
from nfactor.compiled.layout import (
    CLOCK,
    COLD_NEWER,
    COLD_OLDER,
    COMMON_CLOCK,
    EMIT_RESERVE,
    EMITTED_SIZE,
    EMITTED_USED,
    NEWEST,
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
    ROW_STATES,
    SCAN,
    SCAN_END,
    STATE_SIZE,
)
from nfactor.compiled.loop import time_out
from nfactor.compiled.machine import (
    copy_octets,
    entry,
    inlined,
    ld_fixed,
    ld_i64,
    ld_u8,
    ld_u32,
    prefetch,
    st_8,
    st_32,
    st_64,
)
from nfactor.compiled.table import (
    cold_at,
    count_active,
    hash_of,
    insert,
    link,
    move_entries,
    remove,
    row_at,
    row_of,
    unlink,
)

_ACTIVE, _LEAVING, _HELD, _GONE = 0, 1, 2, 3
_OK, _UNKNOWN, _EXISTS, _STALE, _FULL, _BUSY = 0, 1, 2, 3, 4, 5
_HEADER: Final = 24
_H_EPOCH: Final = 8
_H_PACKETS: Final = 12
_H_INITIATOR: Final = 16
_H_CLOSING: Final = 17


@inlined
def _write(cx: int, row: int, record: int) -> None:
    """The flow's record."""
    address, last = row_at(cx, row), ld_i64(row_at(cx, row) + ROW_LAST_NS)
    st_64(record, last if ld_fixed(cx + COMMON_CLOCK) else ld_i64(cx + CLOCK) - last)
    st_32(record + _H_EPOCH, ld_u32(row_at(cx, row) + ROW_EPOCH))
    st_32(record + _H_PACKETS, ld_u32(address + ROW_PACKETS))
    st_64(record + _H_INITIATOR, ld_u8(address + ROW_INITIATOR) | ld_u8(address + ROW_CLOSING) << 8)
    copy_octets(record + _HEADER, address + ROW_STATES, ld_fixed(cx + STATE_SIZE))


@inlined
def _read(cx: int, address: int, record: int) -> None:
    """The row's own part and states, from a record."""
    last = ld_i64(record)
    st_64(address + ROW_LAST_NS, last if ld_fixed(cx + COMMON_CLOCK) else ld_i64(cx + CLOCK) - last)
    st_32(address + ROW_PACKETS, ld_u32(record + _H_PACKETS))
    st_8(address + ROW_INITIATOR, ld_u8(record + _H_INITIATOR))
    st_8(address + ROW_CLOSING, ld_u8(record + _H_CLOSING))
    st_8(address + ROW_DIRTY, 0xFF)
    st_32(address + ROW_LAG, 0)
    copy_octets(address + ROW_STATES, record + _HEADER, ld_fixed(cx + STATE_SIZE))


@entry
def keys_of(rows: int, keys: int, count: int) -> None:
    """The keys at those addresses; zeros for 0."""
    for place in range(count):
        if ld_i64(rows + 8 * place) != 0:
            copy_octets(keys + 48 * place, ld_i64(rows + 8 * place), 48)


@entry
def pick(cx: int, keys: int, epochs: int, flows_max: int) -> int:
    """Pin ACTIVE flows, youngest first; how many."""
    count, row = 0, ld_i64(cx + NEWEST)
    while row != NO_ROW and count < flows_max:
        address, cold = row_at(cx, row), cold_at(cx, row)
        if ld_u8(address + ROW_PHASE) == _ACTIVE:
            st_8(address + ROW_PHASE, _LEAVING)
            copy_octets(keys + 48 * count, address, 48)
            st_32(epochs + 4 * count, ld_u32(address + ROW_EPOCH))
            count += 1
        row = ld_u32(cold + COLD_OLDER)
    return count


@entry
def pin(cx: int, keys: int, epochs: int, statuses: int, count: int) -> None:
    """Pin these."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row >= 0:
            st_32(epochs + 4 * place, ld_u32(row_at(cx, row) + ROW_EPOCH))
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) != _ACTIVE:
            st_8(statuses + place, _UNKNOWN)
            continue
        st_8(row_at(cx, row) + ROW_PHASE, _LEAVING)


@entry
def phases(cx: int, answers: int, flows_max: int) -> int:
    """The phases of the flows that process packets, oldest first; how many."""
    count, row = 0, ld_i64(cx + OLDEST)
    while row != NO_ROW and count < flows_max:
        phase = ld_u8(row_at(cx, row) + ROW_PHASE)
        if phase < _HELD:
            st_8(answers + count, phase)
            count += 1
        row = ld_u32(cold_at(cx, row) + COLD_NEWER)
    return count


@entry
def field(cx: int, offset: int, octets: int, values: int, flows_max: int) -> int:
    """A field of the states of the same flows, as words: so many octets, so far behind where the states begin."""
    count, row = 0, ld_i64(cx + OLDEST)
    while row != NO_ROW and count < flows_max:
        address = row_at(cx, row)
        if ld_u8(address + ROW_PHASE) < _HELD:
            copy_octets(values + 8 * count, address + ROW_STATES + offset, octets)
            count += 1
        row = ld_u32(cold_at(cx, row) + COLD_NEWER)
    return count


@entry
def unpin(cx: int, keys: int, epochs: int, statuses: int, count: int) -> None:
    """LEAVING flows stay, with these epochs if the address is not 0."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) != _LEAVING:
            st_8(statuses + place, _UNKNOWN)
            continue
        st_8(row_at(cx, row) + ROW_PHASE, _ACTIVE)
        if epochs:
            st_32(row_at(cx, row) + ROW_EPOCH, ld_u32(epochs + 4 * place))


@entry
def depart(cx: int, keys: int, records: int, statuses: int, count: int) -> None:
    """Take LEAVING flows out."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) != _LEAVING:
            st_8(statuses + place, _UNKNOWN)
            continue
        address = row_at(cx, row)
        _write(cx, row, records + place * (ld_fixed(cx + STATE_SIZE) + _HEADER))
        deallocate(cx, 0, address)
        st_8(address + ROW_PHASE, _GONE)
        unlink(cx, row)
        count_active(cx, -1)


@entry
def hold(cx: int, keys: int, epochs: int, statuses: int, count: int) -> None:
    """Expect flows."""
    for place in range(count):
        key = keys + 48 * place
        row = row_of(cx, keys, place, count)
        if row < 0:
            if insert(cx, key, hash_of(cx, key), _HELD, ld_u32(epochs + 4 * place)) < 0:
                st_8(statuses + place, _FULL)
        elif ld_u8(row_at(cx, row) + ROW_PHASE) != _GONE:
            st_8(statuses + place, _EXISTS)
        elif ld_u32(row_at(cx, row) + ROW_EPOCH) >= ld_u32(epochs + 4 * place):
            st_8(statuses + place, _STALE)
        else:
            st_8(row_at(cx, row) + ROW_PHASE, _HELD)
            st_32(row_at(cx, row) + ROW_LAG, 0)
            st_32(row_at(cx, row) + ROW_EPOCH, ld_u32(epochs + 4 * place))
            link(cx, row)


@entry
def install(cx: int, keys: int, epochs: int, records: int, statuses: int, count: int) -> None:
    """Put records of HELD flows in place."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) != _HELD:
            st_8(statuses + place, _UNKNOWN)
        elif ld_u32(epochs + 4 * place) < ld_u32(row_at(cx, row) + ROW_EPOCH):
            st_8(statuses + place, _STALE)
        else:
            _read(cx, row_at(cx, row), records + place * (ld_fixed(cx + STATE_SIZE) + _HEADER))
            st_8(row_at(cx, row) + ROW_PHASE, _ACTIVE)
            st_32(row_at(cx, row) + ROW_EPOCH, ld_u32(epochs + 4 * place))
            count_active(cx, 1)


@entry
def drop(cx: int, keys: int, phase: int, epochs: int, statuses: int, count: int) -> None:
    """Remove rows that are in that phase; and of lower ``epochs`` than these, if the address is not 0."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        there = row >= 0 and ld_u8(row_at(cx, row) + ROW_PHASE) == phase
        if there and (epochs == 0 or ld_u32(row_at(cx, row) + ROW_EPOCH) < ld_u32(epochs + 4 * place)):
            remove(cx, row)
        else:
            st_8(statuses + place, _UNKNOWN)


@entry
def idle(cx: int, scan_max: int, keys: int, counts: int) -> int:
    """Look at the next rows, oldest first; pin those whose time-out has passed. How many."""
    count, looked = 0, 0
    if ld_i64(cx + SCAN) == NO_ROW:
        st_64(cx + SCAN, ld_i64(cx + OLDEST))
        st_64(cx + SCAN_END, ld_i64(cx + NEWEST))
    row = ld_i64(cx + SCAN)
    while row != NO_ROW and looked < scan_max:
        address = row_at(cx, row)
        following = ld_u32(cold_at(cx, row) + COLD_NEWER)
        if row == ld_i64(cx + SCAN_END):
            following = NO_ROW
        prefetch(row_at(cx, following))
        silent = ld_i64(cx + CLOCK) - ld_i64(address + ROW_LAST_NS)
        if ld_u8(address + ROW_PHASE) == _ACTIVE and silent > time_out(cx, address):
            st_8(address + ROW_PHASE, _LEAVING)
            copy_octets(keys + 48 * count, address, 48)
            st_32(counts + 4 * count, ld_u32(address + ROW_PACKETS))
            count += 1
        looked += 1
        row = following
    st_64(cx + SCAN, row)
    return count


@entry
def expire(cx: int, keys: int, packets: int, statuses: int, start: int, count: int) -> int:
    """End flows from number ``start`` on; where it stopped for want of room for what NFs say."""
    for place in range(start, count):
        if ld_i64(cx + EMITTED_USED) > ld_fixed(cx + EMITTED_SIZE) - EMIT_RESERVE:
            return place
        row = row_of(cx, keys, place, count)
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) >= _HELD:
            st_8(statuses + place, _UNKNOWN)
            continue
        address = row_at(cx, row)
        seen = ld_u32(address + ROW_PACKETS)
        if packets and seen != ld_u32(packets + 4 * place):
            st_8(address + ROW_PHASE, _ACTIVE)
            st_32(address + ROW_PACKETS, seen - ld_u32(packets + 4 * place))
            st_8(statuses + place, _BUSY)
            continue
        farewell(cx, 0, address)
        remove(cx, row)
        count_active(cx, -1)
    return count


@entry
def farewells(cx: int, keys: int, records: int, scratch: int, start: int, count: int) -> int:
    """The same for flows that are in no row; ``scratch`` is room for one."""
    for place in range(start, count):
        if ld_i64(cx + EMITTED_USED) > ld_fixed(cx + EMITTED_SIZE) - EMIT_RESERVE:
            return place
        copy_octets(scratch, keys + 48 * place, 48)
        _read(cx, scratch, records + place * (ld_fixed(cx + STATE_SIZE) + _HEADER))
        farewell(cx, 0, scratch)
    return count


@entry
def copy(cx: int, keys: int, epochs: int, records: int, statuses: int, count: int) -> None:
    """Epochs and records of flows that process packets."""
    for place in range(count):
        row = row_of(cx, keys, place, count)
        if row < 0 or ld_u8(row_at(cx, row) + ROW_PHASE) >= _HELD:
            st_8(statuses + place, _UNKNOWN)
        else:
            st_32(epochs + 4 * place, ld_u32(row_at(cx, row) + ROW_EPOCH))
            _write(cx, row, records + place * (ld_fixed(cx + STATE_SIZE) + _HEADER))


@entry
def every(cx: int, keys: int, epochs: int, records: int, flows_max: int) -> int:
    """Keys, epochs and records of all rows, oldest first; how many."""
    count, row, octets = 0, ld_i64(cx + OLDEST), ld_fixed(cx + STATE_SIZE) + _HEADER
    while row != NO_ROW and count < flows_max:
        following = ld_u32(cold_at(cx, row) + COLD_NEWER)
        prefetch(row_at(cx, following))
        copy_octets(keys + 48 * count, row_at(cx, row), 48)
        st_32(epochs + 4 * count, ld_u32(row_at(cx, row) + ROW_EPOCH))
        _write(cx, row, records + octets * count)
        count += 1
        row = following
    return count


@entry
def living(cx: int, keys: int, flows_max: int) -> int:
    """Keys of the flows that process packets, oldest first; how many."""
    count, row = 0, ld_i64(cx + OLDEST)
    while row != NO_ROW and count < flows_max:
        address = row_at(cx, row)
        if ld_u8(address + ROW_PHASE) < _HELD:
            copy_octets(keys + 48 * count, address, 48)
            count += 1
        row = ld_u32(cold_at(cx, row) + COLD_NEWER)
    return count


@entry
def grow(cx: int, count: int) -> None:
    """Move entries of the index."""
    move_entries(cx, count)
