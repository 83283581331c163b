"""The liaison of a runtime: takes the coordinator's calls and drives the migrations that leave here.

It holds no flow. What touches flows it asks of the flow table (local messages) and of other nodes (remote ones); the
order of the steps is the machine's in ``nfactor.protocols.migration``, and this file is its shell: an effect in, a
message out, a reply back into the machine.
"""

from collections import deque
from contextlib import suppress

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.messages import (
    BuryFlows,
    CancelFlows,
    DepartedFlows,
    DepartFlows,
    Done,
    FlowsInstalled,
    FlowsMoved,
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
    ReturnFlows,
    SetMigrationTarget,
    ViewTaken,
    Workload,
    pack_u32,
    unpack_statuses,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, FLOWS, MEMBERSHIP
from nfactor.cluster.recovery_messages import ClaimFlows, FlowsClaimed, Heartbeat, StepTaken, TakeBack
from nfactor.cluster.view import View
from nfactor.dataplane.dispatch import REMEMBER_S
from nfactor.dataplane.engine import Status, Statuses
from nfactor.errors import MailboxFull, PeerDown
from nfactor.packet.flow_key import keys_list
from nfactor.protocols.migration import (
    Bury,
    Cancel,
    Claim,
    Effect,
    Install,
    Keep,
    MigrationSource,
    Prepare,
    Redirect,
    Return,
    State,
)

MIGRATION_BATCH_FLOWS_MAX = 500
"""Flows that one migration moves, at most (DESIGN section 7)."""
HEARTBEAT_S = 0.1
"""How often a runtime says that it lives (DESIGN section 7)."""
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
        self.happened = trio.Event()
        """Something came that was no answer to a question."""
        self.departed: tuple[bytes, ...] = ()
        self.records = b""
        """Flows that have departed, and their states, which are kept until the target has answered."""
        self.buffered = 0

    def records_of(self, keys: tuple[bytes, ...]) -> bytes:
        """The states of some that have departed."""
        size = len(self.records) // len(self.departed)
        place = {key: index * size for index, key in enumerate(self.departed)}
        return b"".join(self.records[place[key] : place[key] + size] for key in keys)

    def after(self, effects: list[Effect]) -> None:
        """Something happened, and this is to be done now."""
        self.effects.extend(effects)
        self.happened.set()


class Liaison(Actor):
    """``index`` is the runtime's number; migrations are numbered so that no two runtimes ever use the same number."""

    def __init__(self, index: int, table: Ref, replicas: Ref, switch: Ref) -> None:
        self._index = index
        self._table = table
        self._replicas = replicas
        self._switch = switch
        self._view = View()
        self._count = 0
        self._migrations: dict[int, _Migration] = {}
        self._one_less = trio.Event()
        """A migration is over."""
        self._tombstones: dict[int, tuple[bytes, ...]] = {}
        """Flows whose tombstones stand here, by migration."""

    async def started(self) -> None:
        """Begin to say that this runtime lives."""
        self.context.start_soon(self._beat)

    async def _beat(self) -> None:
        sign = Heartbeat(self.context.node.name)
        to = (self.context.node.ref(COORDINATOR, MEMBERSHIP), self._switch)
        while True:
            for ref in to:
                with suppress(MailboxFull):  # a sign of life that is late says nothing that the next does not
                    ref.tell_nowait(sign)
            await trio.sleep(HEARTBEAT_S)

    @handles(NotifyClusterCfg)
    async def configure(self, message: NotifyClusterCfg) -> ViewTaken:
        """Take the view, everywhere on this runtime, unless a newer one is known."""
        self._view.take(message)
        for ref in (self._replicas, self._table):
            await ref.ask(message, ViewTaken)
        return ViewTaken()

    @handles(PollWorkload)
    async def workload(self, message: PollWorkload) -> Workload:
        """How busy this runtime is."""
        return await self._table.ask(message, Workload)

    @handles(SetMigrationTarget)
    async def migrate(self, message: SetMigrationTarget) -> Migrating:
        """Set out with flows for another runtime; answers as soon as they are picked."""
        picked = await self._table.ask(PickFlows(min(message.flows, MIGRATION_BATCH_FLOWS_MAX)), PickedFlows)
        keys, number = keys_list(picked.keys), 0
        if keys:
            self._count += 1
            number = (self._index + 1) << 32 | self._count
            migration = _Migration(number, message.target, keys, MigrationSource(keys, unpack_u32(picked.epochs)))
            self._migrations[number] = migration
            self.context.start_soon(self._drive, migration)
        return Migrating(len(keys), number)

    @handles(MarkerSeen)
    def marker_seen(self, message: MarkerSeen) -> None:
        """The switch's answer on the data path. One of a migration that is over says nothing new."""
        migration = self._migrations.get(message.migration)
        if migration is not None:
            migration.after(migration.machine.marker())

    @handles(FlowsInstalled)
    def installed(self, message: FlowsInstalled) -> None:
        """The target's answer to the last step. From one that is declared dead it comes too late: others decide."""
        migration = self._migrations.get(message.migration)
        if migration is not None and migration.target in self._view:
            migration.buffered = message.buffered
            migration.after(migration.machine.installed(unpack_statuses(message.statuses)))

    @handles(TakeBack)
    def take_back(self, message: TakeBack) -> None:
        """A target is dead: what was on its way there and has not been claimed by its replicas comes back."""
        for migration in self._migrations.values():
            if migration.target == message.node and not migration.machine.over:
                migration.after(migration.machine.died())
        self.context.start_soon(self._taken_back, message)

    async def _taken_back(self, message: TakeBack) -> None:
        while any(migration.target == message.node for migration in self._migrations.values()):
            await self._one_less.wait()
        # What nobody could claim begins anew somewhere, and here it must not be taken for late.
        for number in list(self._tombstones):
            await self._bury(number)
        step = StepTaken(message.recovery, self.context.node.name)
        self.context.node.ref(COORDINATOR, MEMBERSHIP).tell_nowait(step)

    async def _drive(self, migration: _Migration) -> None:
        while migration.effects or not migration.machine.over:
            if migration.effects:
                await self._carry_out(migration, migration.effects.popleft())
            else:
                await migration.happened.wait()
                migration.happened = trio.Event()
        del self._migrations[migration.number]
        self._one_less.set()
        self._one_less = trio.Event()
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
        number, machine, own = migration.number, migration.machine, self.context.node.name
        target = self.context.node.ref(migration.target, FLOWS)
        match effect:
            case Prepare(keys, epochs):
                request = PrepareFlows(number, own, b"".join(keys), pack_u32(epochs))
                try:
                    reply = await self._view.ask(target, request, FlowStatuses)
                except PeerDown:
                    migration.after(machine.died())
                else:
                    migration.after(machine.prepared(unpack_statuses(reply.statuses)))
            case Redirect(keys, epochs):
                order = RedirectFlows(number, own, migration.target, b"".join(keys), pack_u32(epochs))
                reply = await self._switch.ask(order, FlowStatuses)
                migration.after(machine.redirected(unpack_statuses(reply.statuses)))
            case Install(keys, epochs):
                octets = b"".join(keys)
                migration.records = (await self._table.ask(DepartFlows(number, octets), DepartedFlows)).records
                migration.departed = keys
                await target.tell(InstallFlows(number, own, octets, pack_u32(epochs), migration.records))
            case Claim(keys, epochs):
                migration.after(machine.returned(await self._claim(migration, b"".join(keys), pack_u32(epochs))))
            case Return(keys, epochs, departed):
                records = migration.records_of(keys) if departed else b""
                await self._table.ask(ReturnFlows(number, b"".join(keys), pack_u32(epochs), records), Done)
            case Keep(keys):
                await self._table.tell(KeepFlows(b"".join(keys)))
            case Cancel():
                await target.tell(CancelFlows(number))
            case Bury(keys):
                await self._table.tell(FlowsMoved(number, b"".join(keys)))
                self._tombstones[number] = keys
                self.context.start_soon(self._bury_later, number)

    async def _claim(self, migration: _Migration, keys: bytes, epochs: bytes) -> Statuses:
        """Claim flows back. Packets of those that have departed may be here before the switch's answer is, so they are
        held first."""
        own = self.context.node.name
        if migration.departed:
            await self._table.ask(PrepareFlows(migration.number, own, keys, epochs), FlowStatuses)
        claimed = await self._switch.ask(ClaimFlows(own, migration.target, keys, epochs, b""), FlowsClaimed)
        statuses = unpack_statuses(claimed.statuses)
        if migration.departed and (statuses != Status.OK).all():
            await self._table.tell(CancelFlows(migration.number))
        return statuses

    async def _bury_later(self, number: int) -> None:
        await trio.sleep(TOMBSTONE_S)
        await self._bury(number)

    async def _bury(self, number: int) -> None:
        keys = self._tombstones.pop(number, ())
        if keys:
            await self._table.tell(BuryFlows(b"".join(keys)))
