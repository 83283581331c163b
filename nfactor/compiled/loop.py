"""The burst loop: blocks of packets are read, looked up and run through the chain.

A block goes through three passes, so that the memory that one packet waits for is fetched while others are worked on:
read the headers and have the index fetched; have the rows fetched; run the chain. ``chain`` and ``farewell`` stand for
the functions that a chain's text defines.
"""

from nfactor.compiled.chain_stub import chain, farewell
from nfactor.compiled.layout import (
    ARRAY_DATA,
    ARRAY_DIMENSIONS,
    ARRAY_FLAGS,
    ARRAY_STRIDES,
    ARRAY_WRITEABLE,
    BLOCK,
    BLOCK_PACKETS,
    BURST_LENGTHS,
    BURST_MARKS,
    BURST_OFFSETS,
    BURST_SLOTS,
    BURST_TIMES,
    BURST_WIRE_LENGTHS,
    CLOCK,
    COLUMNS,
    DATA,
    DATA_SIZE,
    EMIT_RESERVE,
    EMITTED_SIZE,
    EMITTED_USED,
    FAIL_NF,
    FOLLOWS,
    GIL_PACKETS,
    GROW_AT,
    GUESSES,
    INDEX,
    INDEX_MASK,
    MAKE_INTEGER,
    OLD_INDEX,
    OLD_MASK,
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
    prefetch,
    st_8,
    st_32,
    st_64,
)
from nfactor.compiled.parse import read
from nfactor.compiled.table import (
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
    st_8(pk + PK_DIRECTION, ld_u8(pk + PK_KEY_DIRECTION) ^ ld_u8(row + ROW_INITIATOR))
    st_64(row + ROW_LAST_NS, time)
    st_32(row + ROW_PACKETS, ld_u32(row + ROW_PACKETS) + 1)
    if ld_u8(pk + PK_TCP_FLAGS) & (_FIN | _RST):
        _tcp_closes(pk, row)
    return chain(cx, pk, row), row


@inlined
def _read_block(cx: int, block: int, burst: int, at: int, packets: int) -> int:
    """The first pass; how many packets are not plain."""
    data, size = ld_i64(cx + DATA), ld_i64(cx + DATA_SIZE)
    offsets, lengths = ld_i64(burst + BURST_OFFSETS), ld_i64(burst + BURST_LENGTHS)
    wire_lengths, times = ld_i64(burst + BURST_WIRE_LENGTHS), ld_i64(burst + BURST_TIMES)
    marks = ld_i64(burst + BURST_MARKS)
    index, mask = ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK)
    old, old_mask = ld_i64(cx + OLD_INDEX), ld_i64(cx + OLD_MASK)
    unread, pk = 0, block
    for place in range(at, at + packets):
        start = ld_i64(offsets + 8 * place)
        end = start + ld_u32(lengths + 4 * place)
        wire_length, time = ld_u32(wire_lengths + 4 * place), ld_i64(times + 8 * place)
        plain = 0
        if start >= 0 and end <= size:
            plain = read(cx, pk, data, start, end, wire_length, time, ld_i64(marks + 8 * place))
        if plain:
            tag = hash_of(cx, pk + PK_KEY)
            st_64(pk + PK_HASH, tag)
            prefetch(index + (tag & mask) * 8)
            if old:
                prefetch(old + (tag & old_mask) * 8)
        else:
            st_8(pk + PK_READ, 0)
            unread += 1
        pk += PK_OCTETS
    return unread


@inlined
def _look_up_block(cx: int, block: int, guesses: int, packets: int) -> None:
    """The second pass."""
    pk = block
    for place in range(packets):
        guess = likely_row(cx, ld_i64(pk + PK_HASH))
        st_64(guesses + 8 * place, guess)
        if guess >= 0:
            row = row_at(cx, guess)
            prefetch(row)
            prefetch(row + 64)
        pk += PK_OCTETS


@inlined
def _column(cx: int, burst: int, place: int, octets: int) -> int:
    """The array of a column of a ``Burst`` object; 0 if its elements do not lie one behind the other."""
    array = ld_i64(burst + ld_i64(cx + BURST_SLOTS + 8 * place))
    return array if ld_i64(ld_i64(array + ARRAY_STRIDES)) == octets else 0


@inlined
def _take_burst(cx: int, burst: int) -> int:
    """Note where the columns of a ``Burst`` object lie; how many packets it has, or -1 if it is no proper burst."""
    if ld_i64(ld_i64(ld_i64(burst + ld_fixed(cx + BURST_SLOTS + 8)) + ARRAY_DIMENSIONS)) == 0:
        return 0  # numpy says nothing that has to be right of empty arrays
    data, offsets = _column(cx, burst, 0, 1), _column(cx, burst, 1, 8)
    lengths, wire_lengths = _column(cx, burst, 2, 4), _column(cx, burst, 3, 4)
    times, marks = _column(cx, burst, 4, 8), _column(cx, burst, 5, 8)
    if data == 0 or offsets == 0 or lengths == 0 or wire_lengths == 0 or times == 0 or marks == 0:
        return -1
    if ld_u32(data + ARRAY_FLAGS) & ARRAY_WRITEABLE == 0:
        return -1
    st_64(cx + DATA, ld_i64(data + ARRAY_DATA))
    st_64(cx + DATA_SIZE, ld_i64(ld_i64(data + ARRAY_DIMENSIONS)))
    columns = ld_fixed(cx + COLUMNS)
    st_64(columns + BURST_OFFSETS, ld_i64(offsets + ARRAY_DATA))
    st_64(columns + BURST_LENGTHS, ld_i64(lengths + ARRAY_DATA))
    st_64(columns + BURST_WIRE_LENGTHS, ld_i64(wire_lengths + ARRAY_DATA))
    st_64(columns + BURST_TIMES, ld_i64(times + ARRAY_DATA))
    st_64(columns + BURST_MARKS, ld_i64(marks + ARRAY_DATA))
    return ld_i64(ld_i64(offsets + ARRAY_DIMENSIONS))


@entry
def process(context: int, arguments: int, _count: int) -> int:
    """``process(burst, codes, touched)``, as a C function of Python: the context is that of the array that it is bound
    to, and its arguments are objects, of which nothing has to be converted.

    How many packets were processed: all; or fewer, and ``go_on`` has to be called when what stopped it is dealt with;
    or -1 if the burst is none. If an NF has failed, which is left in the context, -2 less that number."""
    cx = ld_i64(context + ARRAY_DATA)
    count = _take_burst(cx, ld_i64(arguments))
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
        if is_read == 0 and _read_block(cx, block, burst, at, packets) > 0:
            return at
        was_read, is_read = is_read, 0  # only what was read elsewhere can be malformed
        _look_up_block(cx, block, guesses, packets)
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


@entry
def finish_block(cx: int, block: int, packets: int) -> None:
    """Hashes of the packets of a block whose headers were read elsewhere."""
    for place in range(packets):
        pk = block + place * PK_OCTETS
        if ld_u8(pk + PK_READ) == 2:
            st_64(pk + PK_HASH, hash_of(cx, pk + PK_KEY))
        st_8(pk + PK_READ, 1)
