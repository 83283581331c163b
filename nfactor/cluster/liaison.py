"""The liaison of a runtime: takes the coordinator's calls and drives the migrations that leave here.

It holds no flow. What touches flows it asks of the flow table (local messages) and of other nodes (remote ones); the
order of the steps is the machine's in ``nfactor.protocols.migration``, and this file is its shell: an effect in, a
message out, a reply back into the machine.
"""

from collections import deque

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.messages import (
    BuryFlows,
    CancelFlows,
    DepartedFlows,
    DepartFlows,
    Done,
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    KeepFlows,
    MarkerSeen,
    Migrating,
    MigrationEnded,
    NotifyClusterCfg,
    PickedFlows,
    PickFlows,
    PollWorkload,
    PrepareFlows,
    RedirectFlows,
    SetMigrationTarget,
    Workload,
    pack_u32,
    unpack_statuses,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, FLOWS
from nfactor.dataplane.dispatch import REMEMBER_S
from nfactor.errors import PeerDown
from nfactor.packet.flow_key import keys_list
from nfactor.protocols.migration import (
    Bury,
    Cancel,
    Effect,
    Install,
    Keep,
    MigrationSource,
    Prepare,
    Redirect,
    State,
)

MIGRATION_BATCH_FLOWS_MAX = 500
"""Flows that one migration moves, at most (DESIGN section 7)."""
TOMBSTONE_S = 1.0
"""How long a runtime remembers that a flow has left, so that its late packets are known as such."""


assert REMEMBER_S > TOMBSTONE_S, "a switch forgets no flow whose tombstone still stands"


class _Migration:
    """One set of flows on its way out: the machine, and what the shell needs to carry out its effects."""

    def __init__(self, number: int, target: str, keys: list[bytes], machine: MigrationSource) -> None:
        self.number = number
        self.target = target
        self.flows = len(keys)
        self.machine = machine
        self.effects: deque[Effect] = deque(machine.start())
        self.marked = trio.Event()
        self.buffered = 0


class Liaison(Actor):
    """``index`` is the runtime's number; migrations are numbered so that no two runtimes ever use the same number."""

    def __init__(self, index: int, table: Ref, switch: Ref) -> None:
        self._index = index
        self._table = table
        self._switch = switch
        self._term = 0
        self._count = 0
        self._migrations: dict[int, _Migration] = {}

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> Done:
        """Take the view, unless a newer one is known. (A runtime needs none of it yet but the term.)"""
        self._term = max(self._term, message.term)
        return Done()

    @handles(PollWorkload)
    async def workload(self, message: PollWorkload) -> Workload:
        """How busy this runtime is."""
        return await self._table.ask(message, Workload)

    @handles(SetMigrationTarget)
    async def migrate(self, message: SetMigrationTarget) -> Migrating:
        """Set out with flows for another runtime; answers as soon as they are picked."""
        picked = await self._table.ask(PickFlows(min(message.flows, MIGRATION_BATCH_FLOWS_MAX)), PickedFlows)
        keys = keys_list(picked.keys)
        if keys:
            self._count += 1
            number = (self._index + 1) << 32 | self._count
            migration = _Migration(number, message.target, keys, MigrationSource(keys, unpack_u32(picked.epochs)))
            self._migrations[number] = migration
            self.context.start_soon(self._drive, migration)
        return Migrating(len(keys))

    @handles(MarkerSeen)
    def marker_seen(self, message: MarkerSeen) -> None:
        """The switch's answer on the data path. One of a migration that is over says nothing new."""
        migration = self._migrations.get(message.migration)
        if migration is not None:
            migration.effects.extend(migration.machine.marker())
            migration.marked.set()

    async def _drive(self, migration: _Migration) -> None:
        while migration.effects or not migration.machine.over:
            if migration.effects:
                await self._carry_out(migration, migration.effects.popleft())
            else:
                await migration.marked.wait()
        del self._migrations[migration.number]
        moved = len(migration.machine.keys) if migration.machine.state is State.DONE else 0
        await self.context.node.ref(COORDINATOR, COORDINATOR).tell(
            MigrationEnded(
                migration=migration.number,
                source=self.context.node.name,
                target=migration.target,
                flows=moved,
                failed=migration.flows - moved,
                buffered=migration.buffered,
            )
        )

    async def _carry_out(self, migration: _Migration, effect: Effect) -> None:
        number, machine = migration.number, migration.machine
        target = self.context.node.ref(migration.target, FLOWS)
        match effect:
            case Prepare(keys, epochs):
                try:
                    reply = await target.ask(PrepareFlows(number, b"".join(keys), pack_u32(epochs)), FlowStatuses)
                except PeerDown:
                    migration.effects.extend(machine.failed())
                else:
                    migration.effects.extend(machine.prepared(unpack_statuses(reply.statuses)))
            case Redirect(keys, epochs):
                order = RedirectFlows(
                    number, self.context.node.name, migration.target, b"".join(keys), pack_u32(epochs)
                )
                reply = await self._switch.ask(order, FlowStatuses)
                migration.effects.extend(machine.redirected(unpack_statuses(reply.statuses)))
            case Install(keys, epochs):
                octets = b"".join(keys)
                departed = await self._table.ask(DepartFlows(octets), DepartedFlows)
                states = InstallFlows(number, octets, pack_u32(epochs), departed.records)
                installed = await target.ask(states, FlowsInstalled)
                migration.buffered = installed.buffered
                migration.effects.extend(machine.installed(unpack_statuses(installed.statuses)))
            case Keep(keys):
                await self._table.tell(KeepFlows(b"".join(keys)))
            case Cancel():
                await target.tell(CancelFlows(number))
            case Bury(keys):
                self.context.start_soon(self._bury, keys)

    async def _bury(self, keys: tuple[bytes, ...]) -> None:
        await trio.sleep(TOMBSTONE_S)
        await self._table.tell(BuryFlows(b"".join(keys)))
