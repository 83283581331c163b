"""Blocks of packets: where a burst's columns lie, the headers of some packets, and where their rows are.

The first two of the passes that a block goes through: read the headers and have the index fetched; have the rows
fetched. While one packet waits for memory, others are worked on.
"""

from nfactor.compiled.layout import (
    ARRAY_DATA,
    ARRAY_DIMENSIONS,
    ARRAY_FLAGS,
    ARRAY_STRIDES,
    ARRAY_WRITEABLE,
    BURST_LENGTHS,
    BURST_MARKS,
    BURST_OFFSETS,
    BURST_SLOTS,
    BURST_TIMES,
    BURST_WIRE_LENGTHS,
    COLUMNS,
    DATA,
    DATA_SIZE,
    INDEX,
    INDEX_MASK,
    OLD_INDEX,
    OLD_MASK,
    PK_HASH,
    PK_KEY,
    PK_OCTETS,
    PK_READ,
)
from nfactor.compiled.machine import entry, inlined, ld_fixed, ld_i64, ld_u8, ld_u32, prefetch, st_8, st_64
from nfactor.compiled.parse import read
from nfactor.compiled.table import hash_of, likely_row, row_at


@inlined
def read_block(cx: int, block: int, burst: int, at: int, packets: int) -> int:
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
def look_up_block(cx: int, block: int, guesses: int, packets: int) -> None:
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
def take_burst(cx: int, burst: int) -> int:
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
def finish_block(cx: int, block: int, packets: int) -> None:
    """Hashes of the packets of a block whose headers were read elsewhere."""
    for place in range(packets):
        pk = block + place * PK_OCTETS
        if ld_u8(pk + PK_READ) == 2:
            st_64(pk + PK_HASH, hash_of(cx, pk + PK_KEY))
        st_8(pk + PK_READ, 1)
