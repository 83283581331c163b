"""The messages by which numbers of pools are leased, given back and passed on.

Numbers travel as little-endian ``uint32``. A ``life`` is that of the node that asks, or that is meant.
"""

from nfactor.actors import message


@message(tag=110)
class LeaseNumbers:
    """Runtime → leaser: a block more of that pool, ahead of need. Reply: ``NumbersLeased``."""

    node: str
    life: int
    pool: str
    size: int
    block: int
    count: int
    """How many leases of this pool it will have had with this one."""


@message(tag=111)
class NumbersLeased:
    """These are the runtime's; none: there are none left."""

    numbers: bytes


@message(tag=112)
class ReturnNumbers:
    """Runtime → leaser: flows that had these, which others hold, have ended here. Reply: ``Done``."""

    node: str
    life: int
    pool: str
    count: int
    """Rises with each such word of this runtime about that pool."""
    numbers: bytes


@message(tag=113)
class TakeNumbers:
    """Leaser → holder: these of yours are free again. Reply: ``Done``."""

    life: int
    """Another life than the one that held them takes none."""
    pool: str
    giver: str
    giver_life: int
    count: int
    """Which word of whom that is: it may come twice, and the numbers be in use again."""
    numbers: bytes


@message(tag=114)
class BeStocked:
    """Leaser → runtime: answer when you have your first numbers of every pool. Reply: ``Stocked``."""


@message(tag=118)
class Stocked:
    """The answer; and which life it is."""

    life: int
