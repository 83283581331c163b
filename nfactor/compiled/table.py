"""The table of flows: rows in one piece of memory, and an index that finds them.

The index is an open-addressed table of words, each the hash of a key and the number of its row. It is at most half
full, so that a look-up ends soon. It grows by a second, larger one, into which a bounded number of entries move with
every packet; until all have moved, both are looked at. Rows never move. The hash depends on secrets of the process:
whoever crafts flows cannot know which fall into one place (Black et al., "UMAC", CRYPTO 1999: NH, here with folded
products; then mixed, for keys that differ in one word alone are multiples of one secret number, and an unlucky one
makes them neighbours).

Rows are chained by age, but for tombstones, which nobody looks for in order; free ones by ``COLD_NEWER``.
"""

from typing import Final

from nfactor.compiled.layout import (
    ACTIVE,
    COLD,
    COLD_NEWER,
    COLD_OCTETS,
    COLD_OLDER,
    CREATED,
    FLOWS_MAX,
    FREE,
    INDEX,
    INDEX_MASK,
    NEWEST,
    NO_ROW,
    OLD_CURSOR,
    OLD_INDEX,
    OLD_MASK,
    OLDEST,
    ROW_CLOSING,
    ROW_DIRTY,
    ROW_EPOCH,
    ROW_INITIATOR,
    ROW_LAG,
    ROW_PACKETS,
    ROW_PHASE,
    ROW_STATES,
    ROWS,
    ROWS_TOUCHED,
    ROWS_USED,
    SCAN,
    SCAN_END,
    SECRETS,
    STATE_SIZE,
    STRIDE,
    TEMPLATE,
)
from nfactor.compiled.machine import (
    below,
    copy_octets,
    fold_product,
    inlined,
    ld_fixed,
    ld_i64,
    ld_u8,
    ld_u32,
    ld_u64,
    lshr,
    outlined,
    prefetch,
    st_8,
    st_32,
    st_64,
)

MOVED: Final = 0xFFFF_FFFF
"""An entry of the old index that is in the new one now."""
_ODD: Final = 0xD6E8_FEB8_6659_FD93 - (1 << 64)
"""Any odd multiplier of many bits."""
_LOW: Final = 0xFFFF_FFFF
_WORDS: Final = 6
_GONE: Final = 3
MOVES_PER_PACKET: Final = 4
_INDEX_AHEAD: Final = 16
_ROW_AHEAD: Final = 8


@inlined
def hash_of(cx: int, key: int) -> int:
    """32 bits."""
    h = fold_product(ld_i64(key) ^ ld_fixed(cx + SECRETS), ld_i64(key + 8) ^ ld_fixed(cx + SECRETS + 8))
    h ^= fold_product(ld_i64(key + 16) ^ ld_fixed(cx + SECRETS + 16), ld_i64(key + 24) ^ ld_fixed(cx + SECRETS + 24))
    h ^= fold_product(ld_i64(key + 32) ^ ld_fixed(cx + SECRETS + 32), ld_i64(key + 40) ^ ld_fixed(cx + SECRETS + 40))
    h = (h ^ lshr(h, 32)) * _ODD
    return (h ^ lshr(h, 32)) & _LOW


@inlined
def row_at(cx: int, row: int) -> int:
    """The address of a row."""
    return ld_fixed(cx + ROWS) + row * ld_fixed(cx + STRIDE)


@inlined
def cold_at(cx: int, row: int) -> int:
    """The address of what set operations know of a row."""
    return ld_fixed(cx + COLD) + row * COLD_OCTETS


@inlined
def same_key(a: int, b: int) -> bool:
    """Whether 48 octets are equal."""
    difference = (ld_i64(a) ^ ld_i64(b)) | (ld_i64(a + 8) ^ ld_i64(b + 8))
    difference |= (ld_i64(a + 16) ^ ld_i64(b + 16)) | (ld_i64(a + 24) ^ ld_i64(b + 24))
    return (difference | (ld_i64(a + 32) ^ ld_i64(b + 32)) | (ld_i64(a + 40) ^ ld_i64(b + 40))) == 0


@inlined
def _find_in(cx: int, index: int, mask: int, key: int, tag: int) -> int:
    place = tag & mask
    while True:
        entry = ld_u64(index + place * 8)
        if entry == 0:
            return -1
        if lshr(entry, 32) == tag and (entry & _LOW) != MOVED:
            row = (entry & _LOW) - 1
            if same_key(row_at(cx, row), key):
                return row
        place = (place + 1) & mask


@outlined
def _find_old(cx: int, key: int, tag: int) -> int:
    return _find_in(cx, ld_i64(cx + OLD_INDEX), ld_i64(cx + OLD_MASK), key, tag)


@inlined
def find(cx: int, key: int, tag: int) -> int:
    """The number of the row of that key and hash, or -1."""
    row = _find_in(cx, ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK), key, tag)
    if row < 0 and ld_i64(cx + OLD_INDEX) != 0:
        row = _find_old(cx, key, tag)
    return row


@inlined
def _likely_in(index: int, mask: int, tag: int) -> int:
    place = tag & mask
    for _ in range(4):
        entry = ld_u64(index + place * 8)
        if lshr(entry, 32) == tag and below((entry & _LOW) - 1, MOVED - 1):
            return (entry & _LOW) - 1
        place = (place + 1) & mask
    return -1


@outlined
def _likely_in_old(cx: int, tag: int) -> int:
    return _likely_in(ld_i64(cx + OLD_INDEX), ld_i64(cx + OLD_MASK), tag)


@inlined
def likely_row(cx: int, tag: int) -> int:
    """The row that the first entries say, without looking at it; -1 if they say none."""
    row = _likely_in(ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK), tag)
    if row < 0 and ld_i64(cx + OLD_INDEX) != 0:
        row = _likely_in_old(cx, tag)
    return row


@inlined
def row_of(cx: int, keys: int, place: int, count: int) -> int:
    """The row of the key at that place, while what later ones need is being fetched."""
    if place + _INDEX_AHEAD < count:
        tag = hash_of(cx, keys + 48 * (place + _INDEX_AHEAD))
        prefetch(ld_fixed(cx + INDEX) + (tag & ld_fixed(cx + INDEX_MASK)) * 8)
    if place + _ROW_AHEAD < count:
        row = likely_row(cx, hash_of(cx, keys + 48 * (place + _ROW_AHEAD)))
        if row >= 0:
            prefetch(row_at(cx, row))
            prefetch(row_at(cx, row) + 64)
            prefetch(cold_at(cx, row))
    key = keys + 48 * place
    return find(cx, key, hash_of(cx, key))


@inlined
def _enter(cx: int, tag: int, row: int) -> None:
    index, mask = ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK)
    place = tag & mask
    while ld_u64(index + place * 8) != 0:
        place = (place + 1) & mask
    st_64(index + place * 8, tag << 32 | (row + 1))


@outlined
def insert(cx: int, key: int, tag: int, phase: int, epoch: int) -> int:
    """A new row for a key that has none, the newest of all; -1 if the table is full. Its states are not set."""
    if ld_i64(cx + ROWS_USED) >= ld_fixed(cx + FLOWS_MAX):
        return -1
    row = ld_i64(cx + FREE)
    if row != NO_ROW:
        st_64(cx + FREE, ld_u32(cold_at(cx, row) + COLD_NEWER))
    else:
        row = ld_i64(cx + ROWS_TOUCHED)
        st_64(cx + ROWS_TOUCHED, row + 1)
    st_64(cx + ROWS_USED, ld_i64(cx + ROWS_USED) + 1)
    address = row_at(cx, row)
    copy_octets(address, key, 48)
    st_64(address + 48, 0)
    st_64(address + ROW_PACKETS, 0)
    st_32(address + ROW_LAG, 0)
    st_8(address + ROW_PHASE, phase)
    st_32(row_at(cx, row) + ROW_EPOCH, epoch)
    link(cx, row)
    _enter(cx, tag, row)
    return row


@inlined
def link(cx: int, row: int) -> None:
    """The row is the newest of all."""
    cold, newest = cold_at(cx, row), ld_i64(cx + NEWEST)
    st_32(cold + COLD_OLDER, newest)
    st_32(cold + COLD_NEWER, NO_ROW)
    if newest == NO_ROW:
        st_64(cx + OLDEST, row)
    else:
        st_32(cold_at(cx, newest) + COLD_NEWER, row)
    st_64(cx + NEWEST, row)


@inlined
def begin(cx: int, address: int, initiator: int) -> None:
    """Fresh states for the row."""
    st_8(address + ROW_INITIATOR, initiator)
    st_8(address + ROW_CLOSING, 0)
    st_8(address + ROW_DIRTY, 0xFF)
    st_32(address + ROW_LAG, 0)
    copy_octets(address + ROW_STATES, ld_fixed(cx + TEMPLATE), ld_fixed(cx + STATE_SIZE))
    st_64(cx + CREATED, ld_i64(cx + CREATED) + 1)


@inlined
def count_active(cx: int, change: int) -> None:
    """So many more rows process packets."""
    st_64(cx + ACTIVE, ld_i64(cx + ACTIVE) + change)


@inlined
def unlink(cx: int, row: int) -> None:
    """The row has no age any more."""
    cold = cold_at(cx, row)
    older, newer = ld_u32(cold + COLD_OLDER), ld_u32(cold + COLD_NEWER)
    if ld_i64(cx + SCAN) == row:
        st_64(cx + SCAN, NO_ROW if ld_i64(cx + SCAN_END) == row else newer)
    elif ld_i64(cx + SCAN_END) == row:
        st_64(cx + SCAN_END, older)
    if older == NO_ROW:
        st_64(cx + OLDEST, newer)
    else:
        st_32(cold_at(cx, older) + COLD_NEWER, newer)
    if newer == NO_ROW:
        st_64(cx + NEWEST, older)
    else:
        st_32(cold_at(cx, newer) + COLD_OLDER, older)


@outlined
def remove(cx: int, row: int) -> None:
    """Take a row out of the table."""
    cold = cold_at(cx, row)
    if ld_u8(row_at(cx, row) + ROW_PHASE) != _GONE:
        unlink(cx, row)
    tag = hash_of(cx, row_at(cx, row))
    if not _leave(ld_fixed(cx + INDEX), ld_fixed(cx + INDEX_MASK), tag, row):
        _leave_old(ld_i64(cx + OLD_INDEX), ld_i64(cx + OLD_MASK), tag, row)
    st_8(row_at(cx, row) + ROW_PHASE, _GONE)  # whoever kept the row's address sees that it is nobody's
    st_32(cold + COLD_NEWER, ld_i64(cx + FREE))
    st_64(cx + FREE, row)
    st_64(cx + ROWS_USED, ld_i64(cx + ROWS_USED) - 1)


@inlined
def _leave(index: int, mask: int, tag: int, row: int) -> bool:
    """Take an entry out, and move those behind it up, so that every look-up still finds its way."""
    place, wanted = tag & mask, tag << 32 | (row + 1)
    while True:
        entry = ld_i64(index + place * 8)
        if entry == 0:
            return False
        if entry == wanted:
            break
        place = (place + 1) & mask
    other = place
    while True:
        other = (other + 1) & mask
        entry = ld_u64(index + other * 8)
        if entry == 0:
            break
        home = lshr(entry, 32) & mask
        if ((other - home) & mask) >= ((other - place) & mask):
            st_64(index + place * 8, entry)
            place = other
    st_64(index + place * 8, 0)
    return True


@inlined
def _leave_old(index: int, mask: int, tag: int, row: int) -> None:
    place, wanted = tag & mask, tag << 32 | (row + 1)
    while ld_i64(index + place * 8) != wanted:
        place = (place + 1) & mask
    st_64(index + place * 8, MOVED)


@outlined
def move_entries(cx: int, count: int) -> None:
    """Move up to so many places' entries from the old index into the new one; the old one is forgotten when empty."""
    old, mask, place = ld_i64(cx + OLD_INDEX), ld_i64(cx + OLD_MASK), ld_i64(cx + OLD_CURSOR)
    stop = min(place + count, mask + 1)
    while place < stop:
        entry = ld_u64(old + place * 8)
        if entry != 0 and entry & _LOW != MOVED:
            st_64(old + place * 8, MOVED)
            _enter(cx, lshr(entry, 32), (entry & _LOW) - 1)
        place += 1
    st_64(cx + OLD_CURSOR, place)
    if place > mask:
        st_64(cx + OLD_INDEX, 0)
