"""Flows that came here, and whose sources may still take them back: a source does if its target dies before it has
heard that they arrived. Until then nothing may be given away that a flow had when it came."""

from collections.abc import Callable
from functools import partial

from nfactor.cluster.messages import Done
from nfactor.cluster.names import LIAISON
from nfactor.cluster.recovery_messages import AwaitLetGo
from nfactor.cluster.view import View


class Arrivals:
    """At a runtime; ``ask`` as in ``Role``. A source is asked only if somebody wants to know."""

    def __init__(self, view: View, ask: Callable[..., None]) -> None:
        self._view = view
        self._ask = ask
        self._last: dict[str, int] = {}
        """By source, the last of its migrations that came here. (Their numbers rise.)"""
        self._asked: dict[str, int] = {}
        self._let_go: dict[str, int] = {}

    def came(self, source: str, migration: int) -> None:
        """Flows of that migration are here."""
        self._last[source] = migration

    def so_far(self) -> dict[str, int]:
        """What ``are_over`` is to be asked about, now and then: everything that came until now."""
        for source, migration in self._last.items():
            if migration > self._asked.get(source, 0):
                self._asked[source] = migration
                self._ask(source, LIAISON, AwaitLetGo(migration), Done, partial(self._over, source, migration))
        return dict(self._last)

    def _over(self, source: str, migration: int, answer: Done | None) -> None:
        """None: it is dead, and takes nothing back; others do in its stead until its recovery is over."""
        self._let_go[source] = max(migration, self._let_go.get(source, 0))

    def are_over(self, those: dict[str, int]) -> bool:
        """Whether no source, and nobody in the stead of one, can have any of these flows back."""
        heard = all(self._let_go.get(source, 0) >= migration for source, migration in those.items())
        return heard and not self._view.unfinished
