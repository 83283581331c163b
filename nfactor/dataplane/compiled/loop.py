"""The burst loop: blocks of packets are read, looked up and run through the chain.

A block goes through three passes, so that the memory that one packet waits for is fetched while others are worked on:
read the headers and have the index fetched; have the rows fetched; run the chain. ``chain`` and ``farewell`` stand for
the functions that ``text`` puts in front of this module.
"""

from typing import Any

import numpy as np

from nfactor.dataplane.compiled.chain_stub import chain, farewell
from nfactor.dataplane.compiled.layout import (
    BLOCK_PACKETS,
    CLOCK,
    DATA,
    DATA_SIZE,
    EMIT_RESERVE,
    EMITTED_SIZE,
    EMITTED_USED,
    INDEX,
    INDEX_MASK,
    OLD_INDEX,
    PACKET_INDEX,
    PACKETS,
    PK_CODE,
    PK_DIRECTION,
    PK_HASH,
    PK_KEY,
    PK_KEY_DIRECTION,
    PK_OCTETS,
    PK_READ,
    PK_TCP_FLAGS,
    PK_TIME,
    REFUSED,
    ROW_CLOSING,
    ROW_INITIATOR,
    ROW_LAST_NS,
    ROW_PACKETS,
    ROW_PHASE,
    TIME_OUTS,
)
from nfactor.dataplane.compiled.machine import (
    entry,
    inlined,
    ld_i64,
    ld_u8,
    ld_u32,
    ld_u64,
    outlined,
    prefetch,
    st_8,
    st_32,
    st_64,
)
from nfactor.dataplane.compiled.parse import read
from nfactor.dataplane.compiled.table import (
    MOVES_PER_PACKET,
    begin,
    count_active,
    find,
    hash_of,
    insert,
    likely_row,
    move_entries,
    row_at,
    same_key,
)

_ACTIVE, _HELD_PHASE = 0, 2
_HELD, _LATE, _TABLE_FULL = 2, 3, 4
_FIN, _RST = 0x01, 0x04
_TCP, _UDP = 6, 17
_CLOSED_BOTH, _CLOSED_RESET = 3, 4


@inlined
def time_out(cx: int, row: int) -> int:
    """After how many nanoseconds without a packet this flow has ended."""
    protocol = ld_u8(row + 36)
    which = 2 if protocol == _UDP else 3
    if protocol == _TCP:
        which = 1 if ld_u8(row + ROW_CLOSING) >= _CLOSED_BOTH else 0
    return ld_i64(cx + TIME_OUTS + 8 * which)


@outlined
def _first_packet(cx: int, pk: int) -> int:
    """The row of a packet whose flow has none; 0 if there is no room."""
    row = insert(cx, pk + PK_KEY, ld_i64(pk + PK_HASH), _ACTIVE, 1)
    if row < 0:
        st_64(cx + REFUSED, ld_i64(cx + REFUSED) + 1)
        return 0
    address = row_at(cx, row)
    begin(cx, address, ld_u8(pk + PK_KEY_DIRECTION))
    count_active(cx, 1)
    return address


@outlined
def _begin_again(cx: int, pk: int, row: int) -> None:
    """The flow had ended by the clock of the packets, and its key comes back."""
    farewell(cx, 0, row)
    begin(cx, row, ld_u8(pk + PK_KEY_DIRECTION))


@inlined
def _tcp_closes(pk: int, row: int) -> None:
    closing = _CLOSED_RESET if ld_u8(pk + PK_TCP_FLAGS) & _RST else 1 << ld_u8(pk + PK_DIRECTION)
    st_8(row + ROW_CLOSING, ld_u8(row + ROW_CLOSING) | closing)


@inlined
def _run(cx: int, pk: int, guess: int) -> tuple[int, int]:
    """Run one packet; its code and the address of its row."""
    row, time = 0, ld_i64(pk + PK_TIME)
    if guess >= 0:
        row = row_at(cx, guess)
        if not same_key(row, pk + PK_KEY):
            row = 0
    if row == 0:
        found = find(cx, pk + PK_KEY, ld_i64(pk + PK_HASH))
        row = row_at(cx, found) if found >= 0 else 0
    if row == 0:
        row = _first_packet(cx, pk)
        if row == 0:
            return _TABLE_FULL, 0
    elif ld_u8(row + ROW_PHASE) >= _HELD_PHASE:
        return (_HELD if ld_u8(row + ROW_PHASE) == _HELD_PHASE else _LATE), row
    elif time - ld_i64(row + ROW_LAST_NS) > time_out(cx, row):
        _begin_again(cx, pk, row)
    st_8(pk + PK_DIRECTION, ld_u8(pk + PK_KEY_DIRECTION) ^ ld_u8(row + ROW_INITIATOR))
    st_64(row + ROW_LAST_NS, time)
    st_32(row + ROW_PACKETS, ld_u32(row + ROW_PACKETS) + 1)
    if ld_u8(pk + PK_TCP_FLAGS) & (_FIN | _RST):
        _tcp_closes(pk, row)
    return chain(cx, pk, row), row


@entry
def process(
    cx: int,
    block: int,
    guesses: int,
    data: Any,
    offsets: Any,
    lengths: Any,
    wire_lengths: Any,
    times: Any,
    marks: Any,
    codes: Any,
    touched: Any,
    at: int,
    is_read: int,
) -> int:
    """Run packets from number ``at`` on; where it stopped. ``is_read``: the first block's headers are read already.

    It stops in front of a block some of whose packets are not plain, for their headers to be read elsewhere, and where
    there is little room left for emitted records.
    """
    base, count = data.ctypes.data, len(offsets)
    st_64(cx + DATA, base)
    st_64(cx + DATA_SIZE, len(data))
    index, mask = ld_i64(cx + INDEX), ld_i64(cx + INDEX_MASK)
    while at < count:
        if ld_i64(cx + EMITTED_USED) > ld_i64(cx + EMITTED_SIZE) - EMIT_RESERVE:
            return at
        packets = min(BLOCK_PACKETS, count - at)
        unread, pk = 0, block
        if is_read == 0:
            for place in range(at, at + packets):
                start, end = offsets[place], offsets[place] + np.int64(lengths[place])
                wire_length, mark = np.int64(wire_lengths[place]), np.int64(marks[place])
                if 0 <= start <= end <= len(data) and read(cx, pk, base, start, end, wire_length, times[place], mark):
                    tag = hash_of(cx, pk + PK_KEY)
                    st_64(pk + PK_HASH, tag)
                    prefetch(index + (tag & mask) * 8)
                else:
                    unread += 1
                pk += PK_OCTETS
            if unread:
                return at
        is_read = 0
        pk = block
        for place in range(packets):
            guess = likely_row(cx, ld_i64(pk + PK_HASH))
            st_32(guesses + 4 * place, guess)
            if guess >= 0:
                row = row_at(cx, guess)
                prefetch(row)
                prefetch(row + 64)
            pk += PK_OCTETS
        pk = block
        for place in range(packets):
            code, row = ld_u8(pk + PK_CODE), 0
            st_64(cx + PACKET_INDEX, at + place)
            if code == 0:
                guess = ld_u32(guesses + 4 * place)
                code, row = _run(cx, pk, -1 if guess == 0xFFFF_FFFF else guess)
            codes[at + place] = code
            touched[at + place] = row
            if ld_i64(pk + PK_TIME) > ld_i64(cx + CLOCK):
                st_64(cx + CLOCK, ld_i64(pk + PK_TIME))
            pk += PK_OCTETS
        at += packets
        st_64(cx + PACKETS, ld_i64(cx + PACKETS) + packets)
        if ld_i64(cx + OLD_INDEX) != 0:
            move_entries(cx, MOVES_PER_PACKET * packets)
    return at


@entry
def finish_block(cx: int, block: int, packets: int) -> None:
    """Hashes of the packets of a block whose headers were read elsewhere."""
    for place in range(packets):
        pk = block + place * PK_OCTETS
        if ld_u8(pk + PK_READ) == 2:
            st_64(pk + PK_HASH, hash_of(cx, pk + PK_KEY))
        st_8(pk + PK_READ, 1)
