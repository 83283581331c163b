"""Which flows ended a little while ago, and whose they were.

A runtime may die between a switch's permission to let a flow end and saying so to anyone else. Who then claims the flow
by an older state of it learns here that it has ended.
"""

from typing import Final

ENDED_REMEMBER_S: Final = 10.0
"""For so long the switch knows that a flow ended and whose it was: longer than a recovery takes."""
ENDED_MAX = 65_536
"""Flows of which that is known, at most; the oldest are forgotten first."""


class Ends:
    """Pairs of a key and the runtime where a flow of that key ended."""

    def __init__(self) -> None:
        self._ended: dict[tuple[bytes, int], float] = {}

    def __len__(self) -> int:
        return len(self._ended)

    def __contains__(self, end: tuple[bytes, int]) -> bool:
        return end in self._ended

    def remember(self, key: bytes, owner: int, now: float) -> None:
        """A flow has ended there."""
        self._ended.pop((key, owner), None)
        self._ended[key, owner] = now
        while len(self._ended) > ENDED_MAX or now - next(iter(self._ended.values())) > ENDED_REMEMBER_S:
            del self._ended[next(iter(self._ended))]

    def owns_again(self, key: bytes, owner: int) -> None:
        """A runtime where a flow of that key ended has a new one of it: it knows of both, and lets the first one
        end."""
        self._ended.pop((key, owner), None)
