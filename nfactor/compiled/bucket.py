"""The bucket that a flow is in, as ``dataplane.buckets`` has it."""

from nfactor.compiled.machine import inlined, ld_i64, lshr
from nfactor.dataplane.buckets import (
    BUCKET_SHIFT,
    FACTOR_0,
    FACTOR_1,
    FACTOR_2,
    FACTOR_3,
    FACTOR_4,
    FACTOR_5,
    MIX_BITS,
    MIX_FACTOR,
)


@inlined
def bucket_of(key: int) -> int:
    """Of a key of 48 octets."""
    h = ld_i64(key) * FACTOR_0 + ld_i64(key + 8) * FACTOR_1 + ld_i64(key + 16) * FACTOR_2
    h = h + ld_i64(key + 24) * FACTOR_3 + ld_i64(key + 32) * FACTOR_4 + ld_i64(key + 40) * FACTOR_5
    h ^= lshr(h, MIX_BITS)
    return lshr(h * MIX_FACTOR, BUCKET_SHIFT)
