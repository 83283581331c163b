"""Flows that have left a runtime which still knows them: while it does, their keys do not begin anew.

A tombstone takes the packets of a key's next life for late ones, and a copy of the last life may be claimed for it.
Both go soon, but not if who has to answer cannot be heard. So a runtime says with each sign of life up to which of its
migrations it has let go of everything, and a switch forgets no flow that has moved since the first of the others.
"""

from collections import deque
from collections.abc import Collection, Iterable
from math import inf
from sys import float_info
from typing import Final

EVER: Final = -float_info.max
"""Before every move, but not before that of a flow which has never moved (minus infinity)."""


class Departures:
    """At a switch. Runtimes are known by their addresses, and count the migrations of each life from 1 on."""

    def __init__(self) -> None:
        self._turned: dict[bytes, deque[tuple[int, float]]] = {}
        """By runtime, migrations of which flows were turned here, and when; those that it has not let go of."""
        self._heard: set[bytes] = set()

    def turned(self, runtime: bytes, migration: int, now: float) -> None:
        """Flows of that runtime were turned to another one."""
        self._turned.setdefault(runtime, deque()).append((migration, now))

    def heard(self, runtime: bytes, begun: int, standing: int) -> None:
        """It has begun so many, and has let go of all before ``standing``. At its first word nobody knows when flows of
        those that it has begun were turned."""
        turned = self._turned.setdefault(runtime, deque())
        if runtime not in self._heard:
            self._heard.add(runtime)
            turned.appendleft((begun, EVER))
        while turned and turned[0][0] < standing:
            turned.popleft()

    def begin_anew(self) -> None:
        """The table was lost, and with it what was turned when."""
        self._turned.clear()
        self._heard.clear()

    def follow(self, runtimes: Collection[bytes]) -> None:
        """These alone are there from now on. What others knew is made good for before anybody has their names again."""
        self._turned = {runtime: turned for runtime, turned in self._turned.items() if runtime in runtimes}
        self._heard.intersection_update(runtimes)

    def since(self, runtimes: Iterable[bytes]) -> float:
        """A flow that has moved then or later may still be known where it was; whenever it was (``EVER``) while one of
        these has not been heard of."""
        return min((self._since(runtime) for runtime in runtimes), default=inf)

    def _since(self, runtime: bytes) -> float:
        if runtime not in self._heard:
            return EVER
        turned = self._turned[runtime]
        return turned[0][1] if turned else inf
