"""A switch as a witness: whether a runtime lives of which the coordinator has heard nothing.

A runtime is told that its signs of life are heard, and believes for a while that nobody can have declared it dead
(``cluster.assurance``). So what is told to it and what is said of it must never disagree: of whom it was said that it
is silent, it is not told any more that it is heard, for the coordinator may be declaring it dead just now. If it lives,
the coordinator hears it, and tells it so; or asks again, is told that it is heard, and then it is told so here, too.
"""

from collections.abc import Collection
from math import inf


class Hearing:
    """Lives of runtimes are known by their addresses. Times are this node's."""

    def __init__(self) -> None:
        self._since_s = inf
        self._heard: dict[bytes, float] = {}
        self._given_up: set[bytes] = set()
        """Those that were said to be silent."""

    def begin(self, now: float) -> None:
        """Who is not heard of from now on is silent since now: an earlier life of this node may have heard of it."""
        self._since_s = now

    def heard(self, runtime: bytes, now: float) -> bool:
        """There was a sign of life; whether it may be told so."""
        self._heard[runtime] = now
        return runtime not in self._given_up

    def silence_s(self, runtime: bytes, now: float, *, dead_after_s: float) -> float:
        """For so long nothing was heard of it, as the coordinator is told, who takes it for dead after so long."""
        seconds = now - self._heard.get(runtime, self._since_s)
        if seconds > dead_after_s:
            self._given_up.add(runtime)
        else:
            self._given_up.discard(runtime)
        return seconds

    def follow(self, runtimes: Collection[bytes]) -> None:
        """These alone are there from now on."""
        self._heard = {runtime: when for runtime, when in self._heard.items() if runtime in runtimes}
        self._given_up.intersection_update(runtimes)
