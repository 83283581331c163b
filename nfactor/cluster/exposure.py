"""How much of a runtime went, and goes, without a replica where there was to be one."""

from collections.abc import Callable

from nfactor.cluster.outcome_messages import Protection


class Exposure:
    """Packets that went out unprotected, and for how long that went on; ``now`` is the time in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._packets = 0
        self._seconds = 0.0
        self._since: float | None = None

    @property
    def goes_on(self) -> bool:
        """Whether some went out and not all flows have been protected since."""
        return self._since is not None

    def count(self, packets: int) -> None:
        """So many went out."""
        if packets:
            self._packets += packets
            if self._since is None:
                self._since = self._now()

    def end(self) -> None:
        """What was without a replica has one."""
        if self._since is not None:
            self._seconds += self._now() - self._since
            self._since = None

    def told(self, flows: int, *, in_doubt: int) -> Protection:
        """With the number of flows that are not protected now, and what else ``Protection`` tells."""
        running = 0.0 if self._since is None else self._now() - self._since
        return Protection(flows, self._packets, self._seconds + running, in_doubt)
