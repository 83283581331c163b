"""Which virtual switch owns a flow key: a static hash of the key, as RSS does in a NIC (DESIGN section 8)."""

import zlib
from collections.abc import Sequence


def owner_of(key: bytes, switches: Sequence[str]) -> str:
    """One of the switches, the same for everybody who knows the same switches in the same order."""
    return switches[zlib.crc32(key) % len(switches)] if len(switches) > 1 else switches[0]
