"""The burst loop: blocks of packets are read, looked up and run through the chain.

A block goes through three passes, so that the memory that one packet waits for is fetched while others are worked on:
read the headers and have the index fetched; have the rows fetched; run the chain. ``chain`` and ``farewell`` stand for
the functions that a chain's text defines.
"""

from nfactor.compiled.chain_stub import chain, farewell
from nfactor.compiled.layout import (
    ARRAY_DATA,
    BLOCK_PACKETS,
    BURST_LENGTHS,
    BURST_MARKS,
    BURST_OFFSETS,
    BURST_TIMES,
    BURST_WIRE_LENGTHS,
    CLOCK,
    DATA,
    DATA_SIZE,
    EMIT_RESERVE,
    EMITTED_SIZE,
    EMITTED_USED,
    INDEX,
    INDEX_MASK,
    OLD_INDEX,
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
from nfactor.compiled.machine import (
    entry,
    inlined,
    ld_i64,
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


@inlined
def _data_of(array: int) -> int:
    """The address of the first octet of a numpy array, of which we have the address of the object."""
    return ld_i64(array + ARRAY_DATA)


@inlined
def _read_block(cx: int, block: int, burst: int, at: int, packets: int) -> int:
    """The first pass; how many packets are not plain."""
    data, size = ld_i64(cx + DATA), ld_i64(cx + DATA_SIZE)
    offsets, lengths = ld_i64(burst + BURST_OFFSETS), ld_i64(burst + BURST_LENGTHS)
    wire_lengths, times = ld_i64(burst + BURST_WIRE_LENGTHS), ld_i64(burst + BURST_TIMES)
    marks = ld_i64(burst + BURST_MARKS)
    index, mask = ld_i64(cx + INDEX), ld_i64(cx + INDEX_MASK)
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


@entry
def process(
    cx: int,
    block: int,
    guesses: int,
    burst: int,
    data: int,
    offsets: int,
    lengths: int,
    wire_lengths: int,
    times: int,
    marks: int,
    codes: int,
    touched: int,
    at: int,
    count: int,
    is_read: int,
) -> int:
    """Run packets from number ``at`` on, up to ``count``; where it stopped. ``data`` … ``touched`` are numpy arrays.
    ``is_read``: the first block's headers are read already.

    It stops in front of a block some of whose packets are not plain, for their headers to be read elsewhere, and where
    there is little room left for emitted records.
    """
    st_64(cx + DATA, _data_of(data))
    st_64(burst + BURST_OFFSETS, _data_of(offsets))
    st_64(burst + BURST_LENGTHS, _data_of(lengths))
    st_64(burst + BURST_WIRE_LENGTHS, _data_of(wire_lengths))
    st_64(burst + BURST_TIMES, _data_of(times))
    st_64(burst + BURST_MARKS, _data_of(marks))
    codes, touched = _data_of(codes), _data_of(touched)
    clock = ld_i64(cx + CLOCK)
    while at < count:
        if ld_i64(cx + EMITTED_USED) > ld_i64(cx + EMITTED_SIZE) - EMIT_RESERVE:
            return at
        packets = min(BLOCK_PACKETS, count - at)
        if is_read == 0 and _read_block(cx, block, burst, at, packets) > 0:
            return at
        is_read = 0
        _look_up_block(cx, block, guesses, packets)
        pk = block
        for place in range(packets):
            code, row = ld_u8(pk + PK_CODE), 0
            if code == 0:
                code, row = _run(cx, pk, ld_i64(guesses + 8 * place))
            st_8(codes + at + place, code)
            st_64(touched + 8 * (at + place), row)
            clock = max(clock, ld_i64(pk + PK_TIME))
            pk += PK_OCTETS
        st_64(cx + CLOCK, clock)
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
