"""What the coordinator has heard of runtimes, and what switches say of those that it has not: who of them is dead.

A switch that has said of a runtime that it is silent does not tell it any more that it is heard (``cluster.hearing``).
So if it turns out to live, switches are asked until none says so: else it would hang on the coordinator alone.
"""

from collections.abc import Iterable, Iterator

from nfactor.cluster.recovery_messages import LastHeard


class Suspicions:
    """``dead_after_s``: who is silent for longer, to all who listen, is dead. Times are the coordinator's."""

    def __init__(self, dead_after_s: float) -> None:
        self.dead_after_s = dead_after_s
        self.false_alarms = 0
        """How often a switch knew better."""
        self.inquiries: dict[str, list[bool]] = {}
        """Runtimes about which switches were asked, and what these said so far: whether they have heard of it."""
        self._heard: dict[str, float] = {}
        self._doubted: set[str] = set()
        """Those that live, and of which a switch has said that they do not."""

    def heard(self, name: str, now: float) -> None:
        """There was a sign of life; or nobody has listened before."""
        self._heard[name] = now

    def silence_s(self, name: str, now: float) -> float:
        """For so long nothing was heard of it here."""
        return now - self._heard.get(name, now)

    def is_silent(self, name: str, now: float) -> bool:
        """For too long."""
        return self.silence_s(name, now) > self.dead_after_s

    def to_ask_about(self, names: Iterable[str], now: float) -> Iterator[str]:
        """Those about which every switch is to be asked now."""
        for name in names:
            if name not in self.inquiries and (self.is_silent(name, now) or name in self._doubted):
                self.inquiries[name] = []
                yield name

    def is_dead(self, name: str, answer: LastHeard | None, switches: int, now: float) -> bool:
        """One of so many switches has answered. Whether that was the last of them, and nobody has heard of it."""
        said = self.inquiries[name]
        said.append(answer is not None and answer.seconds <= self.dead_after_s)
        if len(said) < switches:
            return False
        del self.inquiries[name]
        (self._doubted.discard if all(said) else self._doubted.add)(name)
        self.false_alarms += any(said) and self.is_silent(name, now)
        return not any(said) and self.is_silent(name, now)
