"""The coordinator: names source, target and number of a migration.

Paper section 3.5. It takes no part in any flow's migration: once it has named the runtimes, they work it out among
themselves, and it hears how it ended.
"""

from functools import partial

import attrs

from nfactor.actors import handles
from nfactor.cluster.messages import (
    Done,
    Migrate,
    Migrating,
    MigrationCounts,
    MigrationEnded,
    PollWorkload,
    ReadMigrations,
    SetMigrationTarget,
    Workload,
)
from nfactor.cluster.names import COLLECTOR, LIAISON, OUTSIDE
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View


@attrs.define
class _Poll:
    """Runtimes that are asked how busy they are."""

    flows_max: int
    answer: Later
    waiting: int
    loads: dict[str, int] = attrs.Factory(dict)


class Coordinator(Role):
    """``view`` is that of ``Membership``, on the same node. ``observed``: the outside is told the end of each
    migration."""

    def __init__(self, view: View, *, observed: bool) -> None:
        self.view = view
        view.watch(self._lost)
        self._observed = observed
        self._sources: dict[int, str] = {}
        """Of migrations that have not ended, by number."""
        self._ended: set[int] = set()
        """Those that ended before we heard that they had set out: on lossy links answers may be overtaken."""
        self._started = self._completed = self._failed = self._flows = 0

    def _lost(self, node: str) -> None:
        """Its migrations have failed, and its replicas finish them."""
        for migration in [migration for migration, source in self._sources.items() if source == node]:
            del self._sources[migration]
            self._failed += 1

    @handles(Migrate)
    def migrate(self, message: Migrate) -> Later:
        """Half of the flows of the runtime that has the most, as many as asked for at most, to the one with the
        fewest."""
        runtimes = self.view.names("runtime")
        poll = _Poll(message.flows, Later(), len(runtimes))
        if not runtimes:
            poll.answer.answer(Migrating(0))
        for name in runtimes:
            self.ask(name, LIAISON, PollWorkload(), Workload, partial(self._polled, poll, name))
        return poll.answer

    def _polled(self, poll: _Poll, name: str, answer: Workload | None) -> None:
        poll.waiting -= 1
        if answer is not None:
            poll.loads[name] = answer.flows
        if poll.waiting == 0:
            self._choose(poll)

    def _choose(self, poll: _Poll) -> None:
        loads = poll.loads
        names = sorted(loads)
        source = max(names, key=lambda name: loads[name], default="")
        target = min(reversed(names), key=lambda name: loads[name], default="")
        if source == target or loads[source] == 0:
            poll.answer.answer(Migrating(0))
            return
        request = SetMigrationTarget(target, min((loads[source] + 1) // 2, poll.flows_max))
        self.ask(source, LIAISON, request, Migrating, partial(self._set_out, poll, source))

    def _set_out(self, poll: _Poll, source: str, answer: Migrating | None) -> None:
        if answer is not None and answer.flows:
            self._started += 1
            if answer.migration in self._ended:
                self._ended.discard(answer.migration)
            else:
                self._sources[answer.migration] = source
        poll.answer.answer(answer or Migrating(0))

    @handles(MigrationEnded)
    def migration_ended(self, message: MigrationEnded) -> Done:
        """Count it and pass it on. Of a source that was declared dead it has failed already."""
        if self.view.is_dead(message.source):
            return Done()
        if self._sources.pop(message.migration, None) is None:
            self._ended.add(message.migration)
        self._completed += message.flows > 0
        self._failed += message.flows == 0
        self._flows += message.flows
        if self._observed:
            self.ask(OUTSIDE, COLLECTOR, message, Done, lambda _: None)
        return Done()

    @handles(ReadMigrations)
    def read_migrations(self, message: ReadMigrations) -> MigrationCounts:
        """How many began and ended. One whose source is dead has failed."""
        return MigrationCounts(
            started=self._started,
            ended=self._started - len(self._sources),
            completed=self._completed,
            failed=self._failed,
            flows=self._flows,
        )
