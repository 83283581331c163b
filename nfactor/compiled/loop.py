"""The burst loop: blocks of packets are read, looked up and run through the chain.

A block goes through three passes, so that the memory that one packet waits for is fetched while others are worked on:
read the headers and have the index fetched; have the rows fetched (``blocks``); run the chain. ``chain`` and
``farewell`` stand for the functions that a chain's text defines.
"""

from nfactor.compiled.blocks import look_up_block, read_block, take_burst
from nfactor.compiled.chain_stub import chain, farewell
from nfactor.compiled.layout import (
    ARRAY_DATA,
    BLOCK,
    BLOCK_PACKETS,
    CLOCK,
    COLUMNS,
    EMIT_RESERVE,
    EMITTED_SIZE,
    EMITTED_USED,
    FAIL_NF,
    FOLLOWS,
    GIL_PACKETS,
    GROW_AT,
    GUESSES,
    MAKE_INTEGER,
    OLD_INDEX,
    PACKETS,
    PK_CODE,
    PK_DIRECTION,
    PK_HASH,
    PK_KEY,
    PK_KEY_DIRECTION,
    PK_OCTETS,
    PK_TCP_FLAGS,
    PK_TIME,
    REFUSED,
    RESTORE_THREAD,
    ROW_CLOSING,
    ROW_DIRTY,
    ROW_INITIATOR,
    ROW_LAST_NS,
    ROW_PACKETS,
    ROW_PHASE,
    ROWS_USED,
    SAVE_THREAD,
    STOPPING,
    TIME_OUT_LEAST,
    TIME_OUTS,
)
from nfactor.compiled.machine import (
    call_address,
    entry,
    inlined,
    ld_fixed,
    ld_i64,
    ld_shared,
    ld_u8,
    ld_u32,
    outlined,
    st_8,
    st_32,
    st_64,
)
from nfactor.compiled.table import MOVES_PER_PACKET, begin, count_active, find, insert, move_entries, row_at, same_key
from nfactor.dataplane.chain import NOBODY
from nfactor.dataplane.changes import TOUCHED

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
    return ld_fixed(cx + TIME_OUTS + 8 * which)


@outlined
def _first_packet(cx: int, pk: int) -> int:
    """The row of a packet whose flow has none; 0 if there is no room."""
    row = insert(cx, pk + PK_KEY, ld_i64(pk + PK_HASH), _ACTIVE, 1)
    if row < 0:
        st_64(cx + REFUSED, ld_i64(cx + REFUSED) + 1)
        return 0
    address = row_at(cx, row)
    st_64(address + ROW_LAST_NS, 0)
    begin(cx, address, ld_u8(pk + PK_KEY_DIRECTION))
    count_active(cx, 1)
    return address


@outlined
def _look_whether_it_ended(cx: int, pk: int, row: int) -> None:
    """If the flow has ended by the clock of the packets, its key comes back and it begins again."""
    if ld_i64(pk + PK_TIME) - ld_i64(row + ROW_LAST_NS) > time_out(cx, row):
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
    elif time - ld_i64(row + ROW_LAST_NS) > ld_fixed(cx + TIME_OUT_LEAST):
        _look_whether_it_ended(cx, pk, row)
    direction = ld_u8(pk + PK_KEY_DIRECTION) ^ ld_u8(row + ROW_INITIATOR)
    if direction >= NOBODY:
        st_8(row + ROW_INITIATOR, ld_u8(pk + PK_KEY_DIRECTION))
        direction = 0
    st_8(pk + PK_DIRECTION, direction)
    if time > ld_i64(row + ROW_LAST_NS):
        st_64(row + ROW_LAST_NS, time)
    st_32(row + ROW_PACKETS, ld_u32(row + ROW_PACKETS) + 1)
    if ld_u8(pk + PK_TCP_FLAGS) & (_FIN | _RST):
        _tcp_closes(pk, row)
    return chain(cx, pk, row), row


@entry
def process(context: int, arguments: int, _count: int) -> int:
    """``process(burst, codes, touched)``, as a C function of Python: the context is that of the array that it is bound
    to, and its arguments are objects, of which nothing has to be converted.

    How many packets were processed: all; or fewer, and ``go_on`` has to be called when what stopped it is dealt with;
    or -1 if the burst is none. If an NF has failed, which is left in the context, -2 less that number."""
    cx = ld_i64(context + ARRAY_DATA)
    count = take_burst(cx, ld_i64(arguments))
    done = count
    if count > 0:
        codes, touched = ld_i64(arguments + 8), ld_i64(arguments + 16)
        codes, touched = ld_i64(codes + ARRAY_DATA), ld_i64(touched + ARRAY_DATA)
        if count >= GIL_PACKETS:
            thread = call_address(ld_i64(cx + SAVE_THREAD), 0, 0, 0)
            done = _process(cx, codes, touched, 0, count, 0)
            call_address(ld_i64(cx + RESTORE_THREAD), thread, 0, 0)
        else:
            done = _process(cx, codes, touched, 0, count, 0)
        if ld_i64(cx + FAIL_NF) >= 0:
            done = -2 - done
    return call_address(ld_i64(cx + MAKE_INTEGER), done, 0, 0)


@entry
def go_on(cx: int, codes: int, touched: int, at: int, count: int, is_read: int) -> int:
    """Go on with the same burst at packet number ``at``; ``is_read``: the headers of its block are read already."""
    return _process(cx, codes, touched, at, count, is_read)


@outlined
def _process(cx: int, codes: int, touched: int, at: int, count: int, is_read: int) -> int:
    """Run packets from number ``at`` on, up to ``count``; where it stopped.

    It stops in front of a block some of whose packets are not plain, for their headers to be read elsewhere; where
    there is little room left for emitted records; where the index has to grow and is not growing already; and behind
    any block when it is told to.
    """
    block, guesses, burst = ld_fixed(cx + BLOCK), ld_fixed(cx + GUESSES), ld_fixed(cx + COLUMNS)
    clock, follows = ld_i64(cx + CLOCK), ld_i64(cx + FOLLOWS)
    while at < count:
        if ld_i64(cx + EMITTED_USED) > ld_fixed(cx + EMITTED_SIZE) - EMIT_RESERVE:
            return at
        if ld_i64(cx + ROWS_USED) > ld_i64(cx + GROW_AT) and ld_i64(cx + OLD_INDEX) == 0:
            return at
        packets = min(BLOCK_PACKETS, count - at)
        if is_read == 0 and read_block(cx, block, burst, at, packets) > 0:
            return at
        was_read, is_read = is_read, 0  # only what was read elsewhere can be malformed
        look_up_block(cx, block, guesses, packets)
        pk = block
        for place in range(packets):
            code, row = (ld_u8(pk + PK_CODE) if was_read else 0), 0
            if code == 0:
                code, row = _run(cx, pk, ld_i64(guesses + 8 * place))
            st_8(codes + at + place, code)
            if follows:
                st_64(touched + 8 * (at + place), row)
                if row != 0:
                    st_8(row + ROW_DIRTY, ld_u8(row + ROW_DIRTY) | TOUCHED)
            clock = max(clock, ld_i64(pk + PK_TIME))
            pk += PK_OCTETS
        st_64(cx + CLOCK, clock)
        at += packets
        st_64(cx + PACKETS, ld_i64(cx + PACKETS) + packets)
        if ld_i64(cx + OLD_INDEX) != 0:
            move_entries(cx, MOVES_PER_PACKET * packets)
        if ld_shared(cx + STOPPING):
            return at
    return at
