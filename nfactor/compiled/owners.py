"""The flow table of a virtual switch, in the compiled table's rows: who owns the flow of each packet of a burst, and
what changes owners, for arrays of keys.

``dataplane.dispatch`` is the definition of right. What is rare is left to it: a packet that is not plain, that comes
labelled, or whose key is an alias stops the loop, and Python finds the key. Times are doubles, as there, so that both
say the same to the last bit.
"""

from typing import Final

from nfactor.compiled.blocks import look_up_block, read_block, take_burst
from nfactor.compiled.bucket import bucket_of
from nfactor.compiled.layout import (
    ARRAY_DATA,
    BLOCK,
    BLOCK_PACKETS,
    BURST_OFFSETS,
    COLD_NEWER,
    COLUMNS,
    CREATED,
    GROW_AT,
    GUESSES,
    MAKE_INTEGER,
    NO_ROW,
    OLD_INDEX,
    OLDEST,
    PK_HASH,
    PK_KEY,
    PK_OCTETS,
    PK_READ,
    PK_START,
    REFUSED,
    ROW_EPOCH,
    ROW_PACKETS,
    ROW_STATES,
    ROWS_USED,
    SLOTS,
    WORD,
)
from nfactor.compiled.machine import (
    call_address,
    copy_octets,
    entry,
    inlined,
    ld_f64,
    ld_fixed,
    ld_i32,
    ld_i64,
    ld_u8,
    ld_u32,
    outlined,
    prefetch,
    st_8,
    st_32,
    st_64,
    st_f64,
)
from nfactor.compiled.table import (
    MOVES_PER_PACKET,
    cold_at,
    find,
    hash_of,
    insert,
    move_entries,
    remove,
    row_at,
    row_of,
    same_key,
)
from nfactor.dataplane.engine import FIRST_EPOCH
from nfactor.dataplane.owners import FOREIGN, NO_RUNTIME, TABLE_FULL
from nfactor.packet.cluster_frame import HEADER_OCTETS

# Words of the context of a switch, where that of an engine has its NFs' tables.
(
    RUNTIMES,
    RUNTIMES_COUNT,
    NEXT,
    SWITCHES,
    OWN,
    NEW_FLOWS_MAX,
    REDIRECTED,
    ENDS,
    FRESH,
    FRESH_COUNT,
    ALIASES,
    NOW,
    TAKING,
    SETTLE,
    MOVED_BEFORE,
    LONG_AGO,
    NEVER,
) = (SLOTS + WORD * index for index in range(17))
FRESH_OCTETS: Final = 56
"""A note of a flow that has begun: its key, and who owns it."""

# A row: the owner, where an engine has the time of the last packet; then what only set operations read.
ROW_OWNER: Final = 48
_MOVED: Final = ROW_STATES
_DOUBT: Final = ROW_STATES + 8
_DOUBTED: Final = ROW_STATES + 16
STATE_OCTETS: Final = 24
_NO_DOUBT: Final = -1

_OK, _UNKNOWN, _EXISTS, _STALE, _BUSY = 0, 1, 2, 3, 5
NOBODY: Final = -1000
"""In place of the owner of a flow that is not there."""


# ---------------------------------------------------------------- packets


@outlined
def _first_packet(cx: int, key: int, tag: int) -> int:
    """The owner of a flow that is not there: the next runtime in turn, or why there is none."""
    switches = ld_i64(cx + SWITCHES)
    if switches > 1:
        owner = bucket_of(key) % switches
        if owner != ld_i64(cx + OWN):
            return FOREIGN - owner
    if ld_i64(cx + ROWS_USED) >= ld_i64(cx + NEW_FLOWS_MAX):
        st_64(cx + REFUSED, ld_i64(cx + REFUSED) + 1)
        return TABLE_FULL
    runtimes, following = ld_i64(cx + RUNTIMES_COUNT), ld_i64(cx + NEXT)
    if runtimes == 0:
        return NO_RUNTIME
    owner = ld_i64(ld_i64(cx + RUNTIMES) + WORD * following)
    st_64(cx + NEXT, (following + 1) % runtimes)
    row = row_at(cx, _begin(cx, key, tag, owner, FIRST_EPOCH))
    st_32(row + ROW_PACKETS, 1)
    st_64(cx + CREATED, ld_i64(cx + CREATED) + 1)
    if ld_i64(cx + ENDS) != 0:
        note = ld_i64(cx + FRESH) + FRESH_OCTETS * ld_i64(cx + FRESH_COUNT)
        copy_octets(note, key, 48)
        st_64(note + 48, owner)
        st_64(cx + FRESH_COUNT, ld_i64(cx + FRESH_COUNT) + 1)
    return owner


@inlined
def _begin(cx: int, key: int, tag: int, owner: int, epoch: int) -> int:
    """A row for that flow, which has none; -1 if there is no room at all."""
    number = insert(cx, key, tag, 0, epoch)
    if number >= 0:
        row = row_at(cx, number)
        st_32(row + ROW_OWNER, owner)
        st_f64(row + _MOVED, ld_f64(cx + LONG_AGO))
        st_64(row + _DOUBT, _NO_DOUBT)
    return number


@inlined
def _take(cx: int, key: int, tag: int, guess: int) -> int:
    """Count a packet of that flow; its owner."""
    number = guess
    if guess < 0 or not same_key(row_at(cx, guess), key):
        number = find(cx, key, tag)
    if number < 0:
        return _first_packet(cx, key, tag)
    row = row_at(cx, number)
    st_32(row + ROW_PACKETS, ld_u32(row + ROW_PACKETS) + 1)
    return ld_i32(row + ROW_OWNER)


@outlined
def _is_alias(aliases: int, key: int, tag: int) -> bool:
    return find(aliases, key, tag) >= 0


@outlined
def _assign(cx: int, owners: int, at: int, count: int) -> int:
    """Owners of packets from number ``at`` on. Where it stopped: at a packet whose key is not for it to find, or where
    the index has to grow and is not growing already."""
    block, guesses, burst = ld_fixed(cx + BLOCK), ld_fixed(cx + GUESSES), ld_fixed(cx + COLUMNS)
    offsets, aliases = ld_i64(burst + BURST_OFFSETS), ld_i64(cx + ALIASES)
    while at < count:
        if ld_i64(cx + ROWS_USED) > ld_i64(cx + GROW_AT) and ld_i64(cx + OLD_INDEX) == 0:
            return at
        packets = min(BLOCK_PACKETS, count - at)
        read_block(cx, block, burst, at, packets)
        look_up_block(cx, block, guesses, packets)
        pk = block
        for place in range(packets):
            if ld_u8(pk + PK_READ) == 0 or ld_i32(pk + PK_START) - ld_i64(offsets + 8 * (at + place)) > HEADER_OCTETS:
                return at + place
            if aliases != 0 and _is_alias(aliases, pk + PK_KEY, ld_i64(pk + PK_HASH)):
                return at + place
            owner = _take(cx, pk + PK_KEY, ld_i64(pk + PK_HASH), ld_i64(guesses + 8 * place))
            st_32(owners + 4 * (at + place), owner)
            pk += PK_OCTETS
        at += packets
        if ld_i64(cx + OLD_INDEX) != 0:
            move_entries(cx, MOVES_PER_PACKET * packets)
    return at


@entry
def assign(context: int, arguments: int, _count: int) -> int:
    """``assign(burst, owners)``, as a C function of Python (see ``loop.process``): how many packets have an owner now,
    or -1 if the burst is none."""
    cx = ld_i64(context + ARRAY_DATA)
    count, owners = take_burst(cx, ld_i64(arguments)), ld_i64(arguments + 8)
    if count > 0:
        count = _assign(cx, ld_i64(owners + ARRAY_DATA), 0, count)
    return call_address(ld_i64(cx + MAKE_INTEGER), count, 0, 0)


@entry
def go_on_assigning(cx: int, owners: int, at: int, count: int) -> int:
    """Go on with the same burst at packet number ``at``."""
    return _assign(cx, owners, at, count)


@entry
def take_one(cx: int, key: int) -> int:
    """Count a packet of that flow; its owner."""
    return _take(cx, key, hash_of(cx, key), -1)


# ---------------------------------------------------------------- sets of flows


@entry
def owners_of(cx: int, keys: int, owners: int, count: int) -> None:
    """Who owns these; ``NOBODY`` for what is not there."""
    for place in range(count):
        number = row_of(cx, keys, place, count)
        st_32(owners + 4 * place, ld_i32(row_at(cx, number) + ROW_OWNER) if number >= 0 else NOBODY)


@inlined
def _give(cx: int, number: int, owner: int, epoch: int) -> None:
    row = row_at(cx, number)
    st_32(row + ROW_OWNER, owner)
    st_32(row + ROW_EPOCH, epoch)
    st_f64(row + _MOVED, ld_f64(cx + NOW))
    st_64(row + _DOUBT, _NO_DOUBT)
    st_64(cx + REDIRECTED, ld_i64(cx + REDIRECTED) + 1)


@entry
def redirect(cx: int, keys: int, epochs: int, source: int, target: int, statuses: int, given: int, count: int) -> None:
    """Give flows of ``source`` to ``target``; ``given`` says which were."""
    for place in range(count):
        number, epoch = row_of(cx, keys, place, count), ld_u32(epochs + 4 * place)
        if number < 0:
            st_8(statuses + place, _UNKNOWN)
            continue
        owner, known = ld_i32(row_at(cx, number) + ROW_OWNER), ld_u32(row_at(cx, number) + ROW_EPOCH)
        if owner == target and known == epoch:
            continue
        if owner != source:
            st_8(statuses + place, _UNKNOWN)
        elif epoch <= known:
            st_8(statuses + place, _STALE)
        else:
            _give(cx, number, target, epoch)
            st_8(given + place, 1)


@entry
def turned(cx: int, keys: int, epochs: int, target: int, statuses: int, count: int) -> None:
    """Which are ``target``'s, and in that epoch or in another."""
    for place in range(count):
        number, epoch = row_of(cx, keys, place, count), ld_u32(epochs + 4 * place)
        if number < 0 or ld_i32(row_at(cx, number) + ROW_OWNER) != target:
            st_8(statuses + place, _UNKNOWN)
        else:
            st_8(statuses + place, _OK if ld_u32(row_at(cx, number) + ROW_EPOCH) == epoch else _EXISTS)


@entry
def claim(
    cx: int, keys: int, epochs: int, packets: int, dead: int, claimer: int, statuses: int, owners: int, count: int
) -> None:
    """Give flows of ``dead`` to ``claimer``, with those counts if the address is not 0. ``owners`` says who had each,
    or ``NOBODY``."""
    for place in range(count):
        number, epoch = row_of(cx, keys, place, count), ld_u32(epochs + 4 * place)
        if number < 0:
            st_32(owners + 4 * place, NOBODY)
            st_8(statuses + place, _STALE)
            continue
        row = row_at(cx, number)
        owner = ld_i32(row + ROW_OWNER)
        st_32(owners + 4 * place, owner)
        if owner != dead:
            st_8(statuses + place, _EXISTS)
        elif epoch <= ld_u32(row_at(cx, number) + ROW_EPOCH):
            st_8(statuses + place, _STALE)
        else:
            _give(cx, number, claimer, epoch)
            if packets != 0:
                st_32(row + ROW_PACKETS, ld_u32(packets + 4 * place))


@inlined
def _has_seen_all(cx: int, row: int, count: int) -> bool:
    """As ``dispatch._seen_all``."""
    sent = ld_u32(row + ROW_PACKETS)
    if sent == count:
        return True
    if ld_i64(row + _DOUBT) != sent:
        st_64(row + _DOUBT, sent)
        st_f64(row + _DOUBTED, ld_f64(cx + NEVER))
    elif ld_f64(row + _DOUBTED) > ld_f64(cx + TAKING):
        st_f64(row + _DOUBTED, ld_f64(cx + TAKING))
    return ld_f64(cx + TAKING) - ld_f64(row + _DOUBTED) >= ld_f64(cx + SETTLE)


@entry
def forget(cx: int, keys: int, packets: int, owner: int, statuses: int, count: int) -> None:
    """Forget flows that have ended."""
    for place in range(count):
        number = row_of(cx, keys, place, count)
        if number < 0 or ld_i32(row_at(cx, number) + ROW_OWNER) != owner:
            st_8(statuses + place, _UNKNOWN)
            continue
        row = row_at(cx, number)
        if ld_f64(row + _MOVED) >= ld_f64(cx + MOVED_BEFORE):
            st_8(statuses + place, _BUSY)
        elif _has_seen_all(cx, row, ld_u32(packets + 4 * place)):
            remove(cx, number)
        else:
            st_8(statuses + place, _BUSY)


@entry
def restore(cx: int, keys: int, epochs: int, packets: int, owner: int, count: int) -> None:
    """What a runtime says that it has; the highest epoch wins. What there is no room for at all is left out."""
    for place in range(count):
        key, epoch = keys + 48 * place, ld_u32(epochs + 4 * place)
        number = row_of(cx, keys, place, count)
        if number < 0:
            number = _begin(cx, key, hash_of(cx, key), owner, epoch)
        elif epoch <= ld_u32(row_at(cx, number) + ROW_EPOCH):
            row, count_there = row_at(cx, number), ld_u32(packets + 4 * place)
            same = epoch == ld_u32(row + ROW_EPOCH) and ld_i32(row + ROW_OWNER) == owner
            if same and count_there > ld_u32(row + ROW_PACKETS):
                st_32(row + ROW_PACKETS, count_there)
            continue
        if number >= 0:
            row = row_at(cx, number)
            st_32(row + ROW_OWNER, owner)
            st_32(row + ROW_EPOCH, epoch)
            st_32(row + ROW_PACKETS, ld_u32(packets + 4 * place))
            st_f64(row + _MOVED, ld_f64(cx + NOW))


@entry
def abandon(cx: int, owner: int, keys: int) -> int:
    """Forget all flows of that owner, and note their keys; how many."""
    count, number = 0, ld_i64(cx + OLDEST)
    while number != NO_ROW:
        following, row = ld_u32(cold_at(cx, number) + COLD_NEWER), row_at(cx, number)
        prefetch(row_at(cx, following))
        if ld_i32(row + ROW_OWNER) == owner:
            copy_octets(keys + 48 * count, row, 48)
            remove(cx, number)
            count += 1
        number = following
    return count


@entry
def grow(cx: int, count: int) -> None:
    """Move entries of the index."""
    move_entries(cx, count)


# ---------------------------------------------------------------- sets of keys


@entry
def add_key(cx: int, key: int) -> None:
    """A key that is in a set from now on."""
    tag = hash_of(cx, key)
    if find(cx, key, tag) < 0:
        insert(cx, key, tag, 0, 0)


@entry
def drop_key(cx: int, key: int) -> None:
    """One that is not."""
    number = find(cx, key, hash_of(cx, key))
    if number >= 0:
        remove(cx, number)
