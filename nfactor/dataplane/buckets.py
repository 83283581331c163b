"""Which *bucket* a flow is in: a fixed hash of its key, so that nobody has to remember it.

Flows are given to replicas by bucket (``nfactor.protocols.dealing``). The hash has no secret: every engine, numpy and
the next life of a node find the same bucket. Whoever crafts flows can put them into one, which makes one replica's
share larger and nothing slower.
"""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from nfactor.packet.burst import Octets

Buckets: TypeAlias = npt.NDArray[np.uint16]

BUCKETS: Final = 4096
"""Enough that each of 255 replicas has 16 or 17 of them, and that one of a million flows has a few hundred."""
NO_BUCKET: Final = 0xFFFF
"""In place of the bucket of a packet that has no flow."""

# A sum of the key's words, each times an odd number that looks random, mixed once more: the upper bits of a product
# hang on all bits of its word.
FACTOR_0: Final = 0x1E3779B97F4A7C15
FACTOR_1: Final = 0x3F58476D1CE4E5B9
FACTOR_2: Final = 0x14D049BB133111EB
FACTOR_3: Final = 0x2127599BF4325C37
FACTOR_4: Final = 0x580D2E4A2CB9D9A3
FACTOR_5: Final = 0x369DEA0F31A53F85
MIX_BITS: Final = 32
MIX_FACTOR: Final = 0x2545F4914F6CDD1D
BUCKET_SHIFT: Final = 64 - 12

_FACTORS: Final = np.array([FACTOR_0, FACTOR_1, FACTOR_2, FACTOR_3, FACTOR_4, FACTOR_5], np.uint64)


def buckets_of(keys: Octets) -> Buckets:
    """The buckets of flows; ``keys`` is ``uint8[n, 48]``."""
    mixed = (np.ascontiguousarray(keys).view("<u8") * _FACTORS).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(MIX_BITS)
    found: Buckets = (mixed * np.uint64(MIX_FACTOR) >> np.uint64(BUCKET_SHIFT)).astype(np.uint16)
    return found
