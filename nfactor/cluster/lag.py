"""Flows whose states lag behind at their replicas, where they follow the packets (``every``)."""

from collections.abc import Iterator

import numpy as np

from nfactor.dataplane.changes import Rows
from nfactor.packet.burst import BURST_PACKETS_MAX


class Lag:
    """Rows of an engine that packets have touched since their replicas were last told, ``packets_max`` at most."""

    def __init__(self, packets_max: int) -> None:
        self._packets_max = packets_max
        self._rows: list[Rows] = []
        self._packets = 0

    def add(self, rows: Rows) -> bool:
        """A burst has touched these; whether it is time to tell the replicas."""
        self._rows.append(rows)
        self._packets += len(rows)
        return self._packets >= self._packets_max

    def take(self) -> Iterator[Rows]:
        """All of them, as many at once as a burst may have packets; there is no lag any more."""
        lagging, self._rows, self._packets = self._rows, [], 0
        if lagging:
            rows = lagging[0] if len(lagging) == 1 else np.concatenate(lagging)
            for start in range(0, len(rows), BURST_PACKETS_MAX):
                yield rows[start : start + BURST_PACKETS_MAX]
