"""The coordinator: tells every node who is in the cluster, and names source, target and number of a migration.

Paper section 3.5. It takes no part in any flow's migration: once it has named the runtimes, they work it out among
themselves, and it hears how it ended.
"""

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.messages import (
    Done,
    Member,
    Migrate,
    Migrating,
    MigrationCounts,
    MigrationEnded,
    NotifyClusterCfg,
    PollWorkload,
    ReadMigrations,
    SetMigrationTarget,
    Workload,
)
from nfactor.cluster.names import LIAISON


class Coordinator(Actor):
    """Owns the view of one cluster. ``observer`` is told the end of each migration."""

    def __init__(self, members: tuple[Member, ...], *, observer: Ref | None) -> None:
        self._members = members
        self._observer = observer
        self._term = 0
        self._started = self._ended = self._completed = self._failed = self._flows = 0

    async def notify_all(self) -> None:
        """Give every node the present view, and wait until each has taken it."""
        self._term += 1
        for member in self._members:
            await self._liaison(member.name).ask(NotifyClusterCfg(self._term, self._members), Done)

    async def started(self) -> None:
        """The cluster is ready when every node knows it."""
        await self.notify_all()

    @handles(Migrate)
    async def migrate(self, message: Migrate) -> Migrating:
        """Half of the flows of the runtime that has the most, as many as asked for at most, to the one with the
        fewest."""
        loads = {member.name: 0 for member in self._members if member.kind == "runtime"}

        async def poll(name: str) -> None:
            loads[name] = (await self._liaison(name).ask(PollWorkload(), Workload)).flows

        async with trio.open_nursery() as polls:
            for name in loads:
                polls.start_soon(poll, name)
        if len(loads) < 2:
            return Migrating(0)
        source, target = max(loads, key=lambda name: loads[name]), min(reversed(loads), key=lambda name: loads[name])
        if source == target or loads[source] == 0:
            return Migrating(0)
        request = SetMigrationTarget(target, min((loads[source] + 1) // 2, message.flows))
        reply = await self._liaison(source).ask(request, Migrating)
        self._started += reply.flows > 0
        return reply

    @handles(MigrationEnded)
    async def migration_ended(self, message: MigrationEnded) -> None:
        """Count it and pass it on."""
        self._ended += 1
        self._completed += message.flows > 0
        self._failed += message.flows == 0
        self._flows += message.flows
        if self._observer is not None:
            await self._observer.tell(message)

    @handles(ReadMigrations)
    def read_migrations(self, message: ReadMigrations) -> MigrationCounts:
        """How many began and ended."""
        return MigrationCounts(
            started=self._started,
            ended=self._ended,
            completed=self._completed,
            failed=self._failed,
            flows=self._flows,
        )

    def _liaison(self, name: str) -> Ref:
        return self.context.node.ref(name, LIAISON)
