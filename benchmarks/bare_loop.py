"""A loop around the same parser, table and chain as the engine's, without what makes a flow an actor: no phase, no
time-out, no counts for the switch, no flows that packets touched. In the dialect of ``nfactor.compiled``."""

from nfactor.compiled.chain_stub import chain
from nfactor.compiled.layout import (
    BLOCK,
    DATA,
    GUESSES,
    INDEX,
    INDEX_MASK,
    PK_DIRECTION,
    PK_HASH,
    PK_KEY,
    PK_KEY_DIRECTION,
    PK_OCTETS,
    ROW_INITIATOR,
)
from nfactor.compiled.machine import (
    entry,
    inlined,
    ld_fixed,
    ld_i64,
    ld_u8,
    ld_u32,
    prefetch,
    st_8,
    st_64,
)
from nfactor.compiled.parse import read
from nfactor.compiled.table import begin, find, hash_of, insert, likely_row, row_at, same_key


@inlined
def bare_row(cx: int, pk: int, guess: int) -> int:
    """The address of the packet's row, which is made if there is none."""
    if guess >= 0 and same_key(row_at(cx, guess), pk + PK_KEY):
        return row_at(cx, guess)
    row = find(cx, pk + PK_KEY, ld_i64(pk + PK_HASH))
    if row < 0:
        row = insert(cx, pk + PK_KEY, ld_i64(pk + PK_HASH), 0, 1)
        begin(cx, row_at(cx, row), ld_u8(pk + PK_KEY_DIRECTION))
    return row_at(cx, row)


@entry
def process_bare(
    cx: int,
    data: int,
    offsets: int,
    lengths: int,
    wire_lengths: int,
    times: int,
    marks: int,
    codes: int,
    count: int,
) -> int:
    """Run plain packets; how many."""
    st_64(cx + DATA, data)
    block, guesses = ld_i64(cx + BLOCK), ld_i64(cx + GUESSES)
    index, mask = ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK)
    at = 0
    while at < count:
        packets, pk = min(64, count - at), block
        for place in range(at, at + packets):
            start = ld_i64(offsets + 8 * place)
            end, wire = start + ld_u32(lengths + 4 * place), ld_u32(wire_lengths + 4 * place)
            read(cx, pk, data, start, end, wire, ld_i64(times + 8 * place), ld_i64(marks + 8 * place))
            tag = hash_of(cx, pk + PK_KEY)
            st_64(pk + PK_HASH, tag)
            prefetch(index + (tag & mask) * 8)
            pk += PK_OCTETS
        pk = block
        for place in range(packets):
            guess = likely_row(cx, ld_i64(pk + PK_HASH))
            st_64(guesses + 8 * place, guess)
            if guess >= 0:
                prefetch(row_at(cx, guess))
                prefetch(row_at(cx, guess) + 64)
            pk += PK_OCTETS
        pk = block
        for place in range(packets):
            row = bare_row(cx, pk, ld_i64(guesses + 8 * place))
            st_8(pk + PK_DIRECTION, ld_u8(pk + PK_KEY_DIRECTION) ^ ld_u8(row + ROW_INITIATOR))
            st_8(codes + at + place, chain(cx, pk, row))
            pk += PK_OCTETS
        at += packets
    return at
