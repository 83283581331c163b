"""Packets that nobody can deal with yet: in order, counted, and not too many."""

from collections.abc import Iterator

from nfactor.cluster.ledger import Ledger
from nfactor.packet.burst import Burst


class WaitingRoom:
    """For ``packets_max`` packets of a node; the others are dropped for that ``reason``."""

    def __init__(self, ledger: Ledger, *, packets_max: int, reason: str) -> None:
        self._ledger = ledger
        self._packets_max = packets_max
        self._reason = reason
        self._bursts: list[Burst] = []

    @property
    def bursts(self) -> list[Burst]:
        """Everything that waits, in order, which stays here."""
        return list(self._bursts)

    def keep(self, burst: Burst) -> None:
        """These have to wait."""
        room = max(0, self._packets_max - self._ledger.buffered)
        self._ledger.drop(self._reason, burst.slice(room, len(burst)))
        burst = burst.slice(0, room)
        if len(burst):
            self._bursts.append(burst)
            self._ledger.buffer(len(burst))

    def take(self) -> Iterator[Burst]:
        """Everything that waits, in order; what is still to wait is to be kept again."""
        bursts, self._bursts = self._bursts, []
        for burst in bursts:
            self._ledger.buffer(-len(burst))
            yield burst
