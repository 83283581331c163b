"""Flows that came here, and whose sources may still take them back: a source does if its target dies before it has
heard that they arrived. Until then nothing may be given away that a flow had when it came."""

from collections.abc import Callable
from functools import partial

from nfactor.cluster.messages import Done
from nfactor.cluster.names import LIAISON, source_of
from nfactor.cluster.recovery_messages import AwaitLetGo
from nfactor.cluster.view import View


class Arrivals:
    """At a runtime; ``ask`` as in ``Role``. A source is asked only if somebody wants to know."""

    def __init__(self, view: View, ask: Callable[..., None]) -> None:
        self._view = view
        self._ask = ask
        self._names: dict[int, str] = {}
        self._last: dict[int, int] = {}
        """By source (a life of a runtime), the last of its migrations that came here. Their numbers rise."""
        self._asked: dict[int, int] = {}
        self._let_go: dict[int, int] = {}

    def came(self, source: str, migration: int) -> None:
        """Flows of that migration of that runtime are here."""
        life = source_of(migration)
        self._last[life] = max(migration, self._last.get(life, 0))
        self._names[life] = source

    def so_far(self) -> dict[int, int]:
        """What ``are_over`` is to be asked about, now and then: everything that came until now."""
        for life, migration in self._last.items():
            if migration > self._asked.get(life, 0):
                self._asked[life] = migration
                self._ask(self._names[life], LIAISON, AwaitLetGo(migration), Done, partial(self._over, migration))
        return dict(self._last)

    def _over(self, migration: int, answer: Done | None) -> None:
        """None: it is dead, and takes nothing back; others do in its stead until its recovery is over."""
        life = source_of(migration)
        self._let_go[life] = max(migration, self._let_go.get(life, 0))

    def are_over(self, those: dict[int, int]) -> bool:
        """Whether no source, and nobody in the stead of one, can have any of these flows back."""
        heard = all(self._let_go.get(life, 0) >= migration for life, migration in those.items())
        return heard and not self._view.unfinished
