"""How far flows lag behind at their replicas, in packets of each: counted in their rows (``Changes.count``)."""

from typing import Final

from nfactor.compiled.layout import ARRAY_DATA, ARRAY_DIMENSIONS, MAKE_INTEGER, ROW_LAG
from nfactor.compiled.machine import call_address, entry, inlined, ld_i64, ld_u32, lshr, st_32, st_64

DUE_SHIFT: Final = 32
"""``count_lag`` says how many rows begin to lag, and from this bit on, how many are due."""


@inlined
def _take_due(rows: int, count: int, least: int, due: int) -> int:
    """Write down the rows in which so many packets are counted, and begin anew in them; how many."""
    found = 0
    for place in range(count):
        row = ld_i64(rows + 8 * place)
        if row != 0 and ld_u32(row + ROW_LAG) >= least:
            st_32(row + ROW_LAG, 0)
            st_64(due + 8 * found, row)
            found += 1
    return found


@inlined
def _keep_lagging(rows: int, count: int) -> int:
    """Move those rows to the front in which packets are counted; how many."""
    kept = 0
    for place in range(count):
        row = ld_i64(rows + 8 * place)
        if ld_u32(row + ROW_LAG) != 0:
            st_64(rows + 8 * kept, row)
            kept += 1
    return kept


@entry
def count_lag(context: int, arguments: int, _count: int) -> int:
    """``count_lag(rows, packets_max, begin, due)``, as a C function of Python (see ``loop.process``)."""
    cx, rows, most = ld_i64(context + ARRAY_DATA), ld_i64(arguments), ld_i64(ld_i64(arguments + 8) + ARRAY_DATA)
    begin, due = ld_i64(ld_i64(arguments + 16) + ARRAY_DATA), ld_i64(ld_i64(arguments + 24) + ARRAY_DATA)
    count, rows, packets_max = ld_i64(ld_i64(rows + ARRAY_DIMENSIONS)), ld_i64(rows + ARRAY_DATA), ld_i64(most)
    highest, begun, taken = 0, 0, 0
    for place in range(count):
        row = ld_i64(rows + 8 * place)
        if row != 0:
            lag = ld_u32(row + ROW_LAG) + 1
            st_32(row + ROW_LAG, lag)
            highest = max(highest, lag)
            if lag == 1:
                st_64(begin + 8 * begun, row)
                begun += 1
    if highest >= packets_max:
        taken = _take_due(rows, count, packets_max - lshr(packets_max, 1), due)
        begun = _keep_lagging(begin, begun)
    return call_address(ld_i64(cx + MAKE_INTEGER), begun | taken << DUE_SHIFT, 0, 0)
