"""Flows whose states lag behind at their replicas, where they follow the packets (``every``).

What is counted of a flow is counted in its row, so that nothing is kept of flows here, and nothing is left of them when
they go: a row that has another flow by then says what has changed of that one. Rows are listed when a flow begins to
lag, by the step of time in which it does, and told when that is long enough ago (once more, perhaps, if it has been
told meanwhile as it had so many packets). So no more are told at once than began to lag in one step: to tell some ten
thousand would hold packets up for milliseconds, and their changes take memory that the system has to find, and gets
back.
"""

from collections import deque
from typing import Final

import numpy as np

from nfactor.dataplane.changes import Changes, Rows

LAG_STEPS: Final = 8
"""A flow that begins to lag is told within so many steps."""
STEPS_PER_TIME: Final = 10
"""How many steps are made in the time that a flow may lag: two are left for timers that are late."""


class Lag:
    """Rows of flows that lag. Some may have been told since, or have another flow, and some be there twice."""

    def __init__(self, changes: Changes, packets_max: int) -> None:
        self._changes = changes
        self._packets_max = packets_max
        self._listed: deque[list[Rows]] = deque([[]])
        """By step, the last one at the end."""

    def add(self, rows: Rows) -> Rows:
        """A burst has touched these; about which of them a replica is to be told at once, or ``packets_max`` packets of
        a flow might be lost."""
        begin, due = self._changes.count(rows, self._packets_max)
        if len(begin):
            self._listed[-1].append(begin)
        return due

    def step(self) -> list[Rows]:
        """A step of time is over: those that have lagged long enough."""
        self._listed.append([])
        return self._listed.popleft() if len(self._listed) > LAG_STEPS else []

    def take(self) -> list[Rows]:
        """All of them."""
        rows = [each for step in self._listed for each in step]
        self._listed = deque([[]])
        return rows


def in_bulk(rows: list[Rows], rows_max: int) -> list[Rows]:
    """The same in few arrays, of so many at most."""
    if not rows:
        return []
    every = np.concatenate(rows)
    return [every[start : start + rows_max] for start in range(0, len(every), rows_max)]
