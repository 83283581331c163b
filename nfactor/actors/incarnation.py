"""Incarnations from the clock: a number that is greater on each start of a node."""

import time

from nfactor.errors import CallerError

_SINCE = 1_577_836_800
"""2020-01-01 UTC."""
_PER_SECOND = 10
INCARNATION_MAX = 0xFFFF_FFFF


def incarnation_now() -> int:
    """Tenths of a second since 2020 (1 to 2**32 - 1: until 2033), for nodes that keep no count of their own.

    Two starts of one node must be a tenth of a second apart, on a clock that is not set back between them; a process
    takes about that long to start.
    """
    return max(1, min(INCARNATION_MAX, int((time.time() - _SINCE) * _PER_SECOND)))


def check_incarnation(incarnation: int) -> None:
    """Raises CallerError for one that cannot be."""
    if type(incarnation) is not int or not 0 < incarnation <= INCARNATION_MAX:
        raise CallerError(f"incarnation {incarnation!r}: use 1 to {INCARNATION_MAX}, greater on each start of a node")
