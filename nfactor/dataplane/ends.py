"""Which flows ended a little while ago, and whose they were.

A runtime may die between a switch's permission to let a flow end and saying so to anyone else. Who then claims the flow
by an older state of it learns here that it has ended.
"""

from typing import Final

ENDED_REMEMBER_S: Final = 10.0
"""For so long the switch knows that a flow ended and whose it was; and longer, if its owner has not been heard of
since: it may be dead, and nobody there to see that."""
ENDED_MAX = 65_536
"""Flows of which that is known, at most; the oldest are forgotten first, which is counted (``forgotten_early``)."""


class Ends:
    """Pairs of a key and the runtime where a flow of that key ended."""

    def __init__(self) -> None:
        self._ended: dict[tuple[bytes, int], float] = {}
        self._heard: dict[int, float] = {}
        self.forgotten_early = 0

    def __len__(self) -> int:
        return len(self._ended)

    def __contains__(self, end: tuple[bytes, int]) -> bool:
        return end in self._ended

    def heard(self, owner: int, now: float) -> None:
        """That runtime lives."""
        self._heard[owner] = now

    def remember(self, key: bytes, owner: int, now: float) -> None:
        """A flow has ended there."""
        self._ended.pop((key, owner), None)
        self._ended[key, owner] = now
        while self._oldest_may_go(now) or len(self._ended) > ENDED_MAX:
            self.forgotten_early += not self._oldest_may_go(now)
            del self._ended[next(iter(self._ended))]

    def _oldest_may_go(self, now: float) -> bool:
        (_, owner), ended = next(iter(self._ended.items()))
        return self._heard.get(owner, now) - ended > ENDED_REMEMBER_S

    def over(self, owner: int) -> None:
        """That runtime is dead, and whoever has its copies has asked."""
        self._heard.pop(owner, None)
        self._ended = {end: when for end, when in self._ended.items() if end[1] != owner}

    def owns_again(self, key: bytes, owner: int) -> None:
        """A runtime where a flow of that key ended has a new one of it: it knows of both, and lets the first one
        end."""
        self._ended.pop((key, owner), None)
