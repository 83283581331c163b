"""The coordinator: tells every node who is in the cluster, and names source, target and number of a migration.

Paper section 3.5. It takes no part in any flow's migration: once it has named the runtimes, they work it out among
themselves, and it hears how it ended.
"""

from contextlib import suppress

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.messages import (
    Migrate,
    Migrating,
    MigrationCounts,
    MigrationEnded,
    PollWorkload,
    ReadMigrations,
    SetMigrationTarget,
    Workload,
)
from nfactor.cluster.names import LIAISON
from nfactor.cluster.view import View
from nfactor.errors import PeerDown


class Coordinator(Actor):
    """``view`` is that of ``Membership``, on the same node. ``observer`` is told the end of each migration."""

    def __init__(self, view: View, *, observer: Ref | None) -> None:
        self._view = view
        self._observer = observer
        self._sources: dict[int, str] = {}
        """Of migrations that have not ended, by number."""
        self._started = self._completed = self._failed = self._flows = 0

    @handles(Migrate)
    async def migrate(self, message: Migrate) -> Migrating:
        """Half of the flows of the runtime that has the most, as many as asked for at most, to the one with the
        fewest."""
        loads: dict[str, int] = {}

        async def poll(name: str) -> None:
            with suppress(PeerDown):
                loads[name] = (await self._view.ask(self._liaison(name), PollWorkload(), Workload)).flows

        async with trio.open_nursery() as polls:
            for member in self._view.of_kind("runtime"):
                polls.start_soon(poll, member.name)
        names = sorted(loads)
        if len(names) < 2:
            return Migrating(0)
        source, target = max(names, key=lambda name: loads[name]), min(reversed(names), key=lambda name: loads[name])
        if source == target or loads[source] == 0:
            return Migrating(0)
        request = SetMigrationTarget(target, min((loads[source] + 1) // 2, message.flows))
        try:
            reply = await self._view.ask(self._liaison(source), request, Migrating)
        except PeerDown:
            return Migrating(0)
        if reply.flows:
            self._started += 1
            self._sources[reply.migration] = source
        return reply

    @handles(MigrationEnded)
    async def migration_ended(self, message: MigrationEnded) -> None:
        """Count it and pass it on."""
        self._sources.pop(message.migration, None)
        self._completed += message.flows > 0
        self._failed += message.flows == 0
        self._flows += message.flows
        if self._observer is not None:
            await self._observer.tell(message)

    @handles(ReadMigrations)
    def read_migrations(self, message: ReadMigrations) -> MigrationCounts:
        """How many began and ended. One whose source is dead has failed, and its replicas have finished it."""
        for migration in [migration for migration, source in self._sources.items() if source not in self._view]:
            del self._sources[migration]
            self._failed += 1
        return MigrationCounts(
            started=self._started,
            ended=self._started - len(self._sources),
            completed=self._completed,
            failed=self._failed,
            flows=self._flows,
        )

    def _liaison(self, name: str) -> Ref:
        return self.context.node.ref(name, LIAISON)
