"""What translated NFs call beside arithmetic: fields of a packet that take more than a load, byte strings, records."""

from typing import Final

from nfactor.compiled.arithmetic import fail, reach
from nfactor.compiled.layout import (
    DATA,
    DATA_SIZE,
    EMITTED,
    EMITTED_SIZE,
    EMITTED_USED,
    ERRORS,
    EV_CLASS,
    EV_OCTETS,
    EV_RECORD,
    FAIL_FIRST_SITE,
    FAIL_NF,
    FAIL_PACKET,
    FAIL_RECORD,
    FAIL_ROW,
    FAIL_SITE,
    PK_END,
    PK_L3,
    PK_LENGTH,
    PK_OCTETS,
    PK_START,
    PK_VERSION,
    PLAIN_END,
    PLAIN_PACKET,
    ROW_DIRTY,
    STRIDE,
)
from nfactor.compiled.machine import (
    below,
    call_address,
    clear_octets,
    copy_octets,
    inlined,
    ld_i32,
    ld_i64,
    ld_u8,
    ld_u16,
    ld_u32,
    ld_u64,
    outlined,
    st_8,
    st_16,
    st_32,
    st_64,
    swap16,
    swap32,
    swap64,
    word_of,
)
from nfactor.dataplane.changes import PARTS_MAX
from nfactor.packet.cluster_frame import KEY_OCTETS

_SOURCE_4: Final = 12
_TARGET_4: Final = 16
_SOURCE_6: Final = 8
_TARGET_6: Final = 24
_NF_ERROR: Final = 5


@inlined
def frames(cx: int) -> int:
    """Where the octets of the burst begin."""
    return ld_i64(cx + DATA)


@inlined
def packet_u16(cx: int, site: int, at: int) -> int:
    return swap16(ld_u16(frames(cx) + reach(cx, site, at, 2, ld_i64(cx + DATA_SIZE))))


@inlined
def packet_u32(cx: int, site: int, at: int) -> int:
    return swap32(ld_u32(frames(cx) + reach(cx, site, at, 4, ld_i64(cx + DATA_SIZE))))


@inlined
def packet_u64(cx: int, site: int, at: int) -> int:
    return swap64(ld_u64(frames(cx) + reach(cx, site, at, 8, ld_i64(cx + DATA_SIZE))))


@inlined
def _address(cx: int, pk: int, at4: int, at6: int, low: int) -> int:
    """Half of an address. An IP header that was read is wholly there."""
    version = ld_u8(pk + PK_VERSION)
    start = frames(cx) + ld_i32(pk + PK_L3)
    if version == 4:
        return swap32(ld_u32(start + at4)) if low else 0
    return swap64(ld_u64(start + at6 + 8 * low)) if version == 6 else 0


@inlined
def source_high(cx: int, pk: int) -> int:
    return _address(cx, pk, _SOURCE_4, _SOURCE_6, 0)


@inlined
def source_low(cx: int, pk: int) -> int:
    return _address(cx, pk, _SOURCE_4, _SOURCE_6, 1)


@inlined
def target_high(cx: int, pk: int) -> int:
    return _address(cx, pk, _TARGET_4, _TARGET_6, 0)


@inlined
def target_low(cx: int, pk: int) -> int:
    return _address(cx, pk, _TARGET_4, _TARGET_6, 1)


@inlined
def snapped(pk: int) -> bool:
    return ld_i32(pk + PK_END) - ld_i32(pk + PK_START) < ld_u32(pk + PK_LENGTH)


@inlined
def clamped(at: int, count: int) -> int:
    """Where a slice begins; none of ours counts from the end, but -1 is what is absent, and means an empty one."""
    return 0 if at < 0 else min(count, at)


@inlined
def slice_octets(start: int, end: int, count: int) -> int:
    """How many octets a slice has."""
    start, end = clamped(start, count), clamped(end, count)
    return end - start if end > start else 0


@inlined
def put_octets(field: int, octets_max: int, source: int, octets: int) -> None:
    """Store a byte string in a field of state or record: what fits of it, and zeros behind."""
    kept = min(octets_max, octets)
    st_16(field, kept)
    copy_octets(field + 2, source, kept)
    clear_octets(field + 2 + kept, octets_max - kept)


@inlined
def emit_begin(cx: int, site: int, row: int, number: int, octets: int, template: int) -> int:
    """Room for a record of that class, which begins as the template; its address."""
    used = ld_i64(cx + EMITTED_USED)
    if not below(used + EV_RECORD + octets, ld_i64(cx + EMITTED_SIZE)):
        fail(cx, site)
    event = ld_i64(cx + EMITTED) + used
    copy_octets(event, row, KEY_OCTETS)
    st_32(event + EV_CLASS, number)
    st_32(event + EV_OCTETS, octets)
    copy_octets(event + EV_RECORD, template, octets)
    st_64(cx + EMITTED_USED, used + EV_RECORD + octets)
    return event + EV_RECORD


@outlined
def nf_error(cx: int, stage: int, pk: int, row: int) -> int:
    """The NF at that place of the chain has failed: count it, and remember the first for whoever wants to know."""
    errors = ld_i64(cx + ERRORS) + 8 * stage
    st_64(errors, ld_i64(errors) + 1)
    if ld_i64(cx + FAIL_NF) < 0:
        st_64(cx + FAIL_NF, stage)
        st_64(cx + FAIL_PACKET, pk)
        if pk != 0:
            copy_octets(ld_i64(cx + FAIL_RECORD), pk, PK_OCTETS)
        copy_octets(ld_i64(cx + FAIL_ROW), row, ld_i64(cx + STRIDE))
        st_64(cx + FAIL_FIRST_SITE, ld_i64(cx + FAIL_SITE))
    return _NF_ERROR


@inlined
def plain_packet(cx: int, stage: int, pk: int, row: int) -> int:
    """Have an interpreted NF process the packet. It may have written to its state: nobody has seen it."""
    st_8(row + ROW_DIRTY, ld_u8(row + ROW_DIRTY) | 1 << min(stage, PARTS_MAX - 1))
    verdict = call_address(ld_i64(cx + PLAIN_PACKET), stage, pk, row)
    if verdict < 0:
        fail(cx, 0)
    return verdict


@inlined
def plain_end(cx: int, stage: int, what: int, row: int) -> None:
    """Tell an interpreted NF that the flow has ended (1) or leaves (2)."""
    if call_address(ld_i64(cx + PLAIN_END), stage, what, row) < 0:
        fail(cx, 0)


@inlined
def divide(cx: int, site: int, a: float, b: float) -> float:
    if b == 0.0:
        fail(cx, site)
    return a / b


@inlined
def truncated(cx: int, site: int, value: float) -> int:
    """Towards zero, as ``int`` does."""
    if not -9.2e18 < value < 9.2e18:
        fail(cx, site)
    return word_of(value)
