"""Which replica a flow has: its bucket's, and the buckets are dealt to the replicas in turn.

Nothing is remembered of a flow. When a replica dies, its buckets are dealt anew among the others; one that joins gets
its share of the buckets that have no replica then, and no other: a bucket never leaves a replica that lives. Replicas
that do not fail together with the primary come before all others.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from nfactor.dataplane.buckets import BUCKETS, Buckets

Numbers: TypeAlias = npt.NDArray[np.int16]
Mask: TypeAlias = npt.NDArray[np.bool_]

NOBODY = -1


class Deal:
    """Replicas are known by number here: their places among all that there ever were."""

    def __init__(self) -> None:
        self.replicas: tuple[str, ...] = ()
        """Those that there are now."""
        self._names: list[str] = []
        self._holders: Numbers = np.full(BUCKETS, NOBODY, np.int16)

    def name(self, number: int) -> str:
        """The replica of that number."""
        return self._names[number]

    def numbered(self) -> list[tuple[int, str]]:
        """Those that there are now, with their numbers."""
        return [(self._names.index(name), name) for name in self.replicas]

    def holders(self, buckets: Buckets) -> Numbers:
        """The numbers of the replicas of flows, by their buckets; ``NOBODY`` only if there are no replicas."""
        found: Numbers = self._holders[buckets]
        return found

    def change(self, replicas: Sequence[str], apart: Sequence[str] = ()) -> Mask:
        """There are these now: deal what has none of them, to those ``apart`` if there are any. Which buckets have been
        dealt, or have lost theirs."""
        self._names += [name for name in replicas if name not in self._names]
        self.replicas = tuple(replicas)
        numbers = np.array([self._names.index(name) for name in replicas], np.int16)
        without = ~np.isin(self._holders, numbers)
        if apart:
            numbers = np.array([self._names.index(name) for name in apart], np.int16)
        turns = np.arange(np.count_nonzero(without)) % max(1, len(numbers))
        self._holders[without] = numbers[turns] if len(numbers) else NOBODY
        return without


def batches(counts: npt.NDArray[np.intp], most: int) -> list[tuple[int, int]]:
    """Cut the buckets into ranges (first, behind the last) of at most so many flows each, or of one bucket; ``counts``
    are the flows of each bucket."""
    behind = np.cumsum(counts)
    cuts, first = [], 0
    while first < len(counts):
        before = int(behind[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(behind, before + most, side="right")))
        cuts.append((first, last))
        first = last
    return cuts
