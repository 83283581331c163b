"""The liaison of a runtime: takes the coordinator's calls and drives the migrations that leave here.

It holds no flow. What touches flows it has done by the flow table beside it, and what concerns other nodes it asks of
them; the order of the steps is the machine's in ``nfactor.protocols.migration``, and this file is its shell: an effect
in, a message out, a reply back into the machine.
"""

from functools import partial

import attrs
import numpy as np

from nfactor.actors import handles
from nfactor.cluster.addresses import life_of
from nfactor.cluster.assurance import Assurance
from nfactor.cluster.flow_report import FlowReport
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.messages import (
    CancelFlows,
    Done,
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    Member,
    Migrating,
    MigrationEnded,
    NotifyClusterCfg,
    PollWorkload,
    PrepareFlows,
    RedirectFlows,
    SendMarker,
    SetMigrationTarget,
    ViewTaken,
    Workload,
    pack_u32,
    unpack_statuses,
)
from nfactor.cluster.names import COORDINATOR, FLOWS, LIAISON, MEMBERSHIP, count_of, migration_number, source_of
from nfactor.cluster.ownership import by_owner
from nfactor.cluster.recovery_messages import (
    AwaitLetGo,
    ClaimFlows,
    FlowsClaimed,
    FlowsReported,
    Heartbeat,
    Join,
    KnownState,
    ReadState,
    ReportFlows,
    SignHeard,
    StepTaken,
    TakeBack,
)
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View
from nfactor.dataplane.changes import NO_KEYS
from nfactor.dataplane.engine import Epochs, Records
from nfactor.packet.flow_key import FlowKeys, places_of
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
MARKER_AGAIN_S = 0.2
"""When a switch has turned flows and its marker has not come for so long, it is asked for another: ports may lose."""
REPORT_BATCH_FLOWS_MAX = 4096
"""Flows of a report to a switch that travel in one message, at most."""
TOMBSTONE_S = 1.0
"""How long a runtime remembers that a flow has left, so that its late packets are known as such."""


@attrs.define(eq=False)
class _Migration:
    """One set of flows on its way out: the machine, and what the shell needs to carry out its effects."""

    number: int
    target: str
    machine: MigrationSource
    flows: int
    """How many set out."""
    departed: FlowKeys = NO_KEYS
    records: Records = attrs.Factory(lambda: np.zeros((0, 0), np.uint8))
    """Flows that have departed, and their states, which are kept until the target has answered."""
    buffered: int = 0

    def records_of(self, keys: FlowKeys) -> Records:
        """The states of some that have departed."""
        return self.records[places_of(keys, self.departed)]


class Liaison(Role):
    """``own`` is how the runtime is known; its number and life are in the numbers of its migrations, so that no two
    ever use the same. ``flows`` and ``replicas`` are the tables of this runtime. ``joins``: the cluster is there
    already."""

    hears_first = (NotifyClusterCfg, ReadState)

    def __init__(
        self,
        own: Member,
        flows: FlowTable,
        replicas: ReplicaTable,
        view: View,
        assurance: Assurance,
        *,
        joins: bool = False,
        batch_flows_max: int = MIGRATION_BATCH_FLOWS_MAX,
    ) -> None:
        self._own = own
        self.own_life = life_of(own.address)
        self._flows = flows
        self._replicas = replicas
        self._joins = joins
        self._batch_flows_max = batch_flows_max
        self.view = view
        self._assurance = assurance
        self._count = 0
        self._migrations: dict[int, _Migration] = {}
        self._taking_back: list[tuple[str, Later]] = []
        """Nodes that are dead, and who waits until no migration to them is left."""
        self._tombstones: dict[int, list[tuple[FlowKeys, Epochs]]] = {}
        """Flows whose tombstones stand here, by migration, and the epochs that they have elsewhere."""
        self._arrived: dict[int, _Migration] = {}
        """Migrations of which there are such, as all went well."""
        self._awaited: list[tuple[int, Later]] = []
        """Who waits until a migration is let go of."""
        self._early: list[tuple[ReportFlows, Later]] = []
        """Switches that have a later view than we."""
        self._snapshots: dict[str, tuple[int, FlowKeys]] = {}
        """What is being reported to a switch, and the view with which it has asked."""
        flows.when_marked = self._marker

    def begin(self) -> None:
        """Begin to say that this runtime lives."""
        self._beat()
        if self._joins:
            self.ask(COORDINATOR, MEMBERSHIP, Join(self._own), Done, lambda _: None)

    def _beat(self) -> None:
        sign = Heartbeat(self.host.node, self._own.address, self._count, self._standing(), self.host.now())
        self.host.tell(COORDINATOR, MEMBERSHIP, sign)
        for switch in self.view.names("switch"):
            self.host.tell(switch, LIAISON, sign)
        awaited, self._awaited = self._awaited, []
        for migration, later in awaited:
            self.await_let_go(AwaitLetGo(migration)).when_there(later.answer)
        self.host.after(HEARTBEAT_S, self._beat)

    @handles(AwaitLetGo)
    def await_let_go(self, message: AwaitLetGo) -> Later:
        """A target gives nothing away of what flows had that we may take back."""
        later = Later()
        first = migration_number(self._own.index, self.host.life, self._standing())
        if message.migration < first or source_of(message.migration) != source_of(first):  # an earlier life's
            later.answer(Done())
        else:
            self._awaited.append((message.migration, later))
        return later

    @handles(SignHeard)
    def sign_heard(self, message: SignHeard) -> None:
        """So long it cannot have been declared dead. (Each life has a clock of its own.)"""
        if message.address == self._own.address:
            self._assurance.heard(message.said_s)

    def _standing(self) -> int:
        """The first migration that is under way, or of which tombstones or copies may be left."""
        left = self._flows.replicator.not_forgotten()
        numbers = (*self._migrations, *self._tombstones, *left)
        return min(map(count_of, numbers), default=self._count + 1)

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> ViewTaken | Later:
        """Take the view, for the whole runtime, unless a newer one is known. One with an earlier life of it is
        none of ours: whoever gave it will learn that that one is dead."""
        if any(member.name == self._own.name and member.address != self._own.address for member in message.members):
            return Later()
        self._flows.settle()
        if self.view.take(message):
            self._flows.follow_switches()
            self._replicas.may_tell()
            early, self._early = self._early, []
            for question, later in early:
                self.report(question).when_there(later.answer)
        return ViewTaken()

    @handles(ReadState)
    def state(self, message: ReadState) -> KnownState:
        """For a coordinator that has begun again."""
        return self.view.state()

    @handles(ReportFlows)
    def report(self, message: ReportFlows) -> Later:
        """For a switch that has lost its table. What its earlier life sent is not taken any more: that begins with the
        view in which the switch is as it is now."""
        later = Later()
        if self.view.term < message.term:
            self._early.append((message, later))
            return later
        switch, start = message.switch, message.start
        if start == 0 and message.term >= self._snapshots.get(switch, (-1, NO_KEYS))[0]:  # else it is a late one
            self._snapshots[switch] = message.term, self._flows.keys()
        term, every = self._snapshots.get(switch, (-1, NO_KEYS))
        if term != message.term:
            later.answer(FlowsReported((), (), 0))  # all has been asked anew since, and nobody waits for this
            return later
        report = FlowReport(switch, self.view.names("switch"), self._flows.chain)
        some = FlowKeys(every.array[start : start + REPORT_BATCH_FLOWS_MAX])
        keys, epochs, records = self._flows.copy(some)
        perhaps = self._flows.may_have_ended(switch, keys, records)
        report.add(self._own, keys.where(~perhaps), epochs[~perhaps], records[~perhaps])
        if perhaps.any():
            report.add(self._own, keys.where(perhaps), epochs[perhaps], records[perhaps], perhaps=True)
        following = start + len(some)
        if following >= len(every):
            following = 0
            del self._snapshots[switch]
            self._report_turned(report, switch)
            self._replicas.report(report)
        later.answer(FlowsReported(tuple(report.sets), tuple(report.aliases), following))
        return later

    def _report_turned(self, report: FlowReport, switch: str) -> None:
        """Flows that a switch was told, or may have been told, to send elsewhere; of those that have arrived, the ones
        whose runtime is dead: while their tombstones stand here, nothing may begin anew with their keys."""
        lost = [migration for migration in self._arrived.values() if migration.target not in self.view]
        for migration in (*self._migrations.values(), *lost):
            keys, epochs = migration.machine.turned(switch)
            if len(keys):
                records = migration.records_of(keys) if len(migration.departed) else self._flows.copy(keys)[2]
                report.add_turned(self.view.known[migration.target], keys, epochs, records)
            report.add_aliases(migration.departed, migration.records)

    @handles(PollWorkload)
    def workload(self, message: PollWorkload) -> Workload:
        """How busy this runtime is."""
        return self._flows.workload()

    # ---------------------------------------------------------------- migrations

    @property
    def migrations_open(self) -> int:
        """Sets of flows that have set out from here and are neither there nor back."""
        return len(self._migrations)

    @handles(SetMigrationTarget)
    def migrate(self, message: SetMigrationTarget) -> Migrating:
        """Set out with flows for another runtime; answers as soon as they are picked."""
        if message.target not in self.view or message.target == self.host.node:
            return Migrating(0)
        keys, epochs, groups = self._flows.pick(min(message.flows, self._batch_flows_max))
        if not len(keys):
            return Migrating(0)
        self._count += 1
        number = migration_number(self._own.index, self.host.life, self._count)
        machine = MigrationSource(keys, epochs, dict(by_owner(keys, self.view.names("switch"))), groups)
        migration = self._migrations[number] = _Migration(number, message.target, machine, len(keys))
        self._carry_out(migration, machine.start())
        return Migrating(len(keys), number)

    def _marker(self, number: int, address: bytes) -> None:
        """A switch's answer on the data path. One of a migration that is over says nothing new."""
        migration = self._migrations.get(number)
        switch = next((member.name for member in self.view.of_kind("switch") if member.address == address), None)
        if migration is not None and switch is not None:
            self._carry_out(migration, migration.machine.marker(switch))

    def _carry_out(self, migration: _Migration, effects: list[Effect]) -> None:
        for effect in effects:
            self._do(migration, effect)
        if migration.machine.over and self._migrations.pop(migration.number, None) is not None:
            self._over(migration)

    def _do(self, migration: _Migration, effect: Effect) -> None:
        number, target, own, flows = migration.number, migration.target, self.host.node, self._flows
        match effect:
            case Prepare(keys, epochs):
                request = PrepareFlows(number, own, keys.octets(), pack_u32(epochs))
                self.ask(target, FLOWS, request, FlowStatuses, partial(self._prepared, migration))
            case Redirect(switch, keys, epochs):
                order = RedirectFlows(number, own, target, keys.octets(), pack_u32(epochs))
                self.ask(switch, LIAISON, order, FlowStatuses, partial(self._redirected, migration, switch))
            case Install(keys, epochs):
                migration.departed, migration.records = keys, flows.depart(number, keys)
                states = InstallFlows(number, own, keys.octets(), pack_u32(epochs), migration.records.tobytes())
                self.ask(target, FLOWS, states, FlowsInstalled, partial(self._installed, migration))
            case Claim(switch, keys, epochs):
                claim = partial(self._claim, migration, switch, keys)
                if len(migration.departed):  # packets may be here before the answer is
                    full = flows.expect_back(number, keys, epochs)
                    rest, then = keys.where(full), partial(claim, np.where(full, np.uint32(0), epochs))
                    self._replicas.forgo(target, switch, rest, epochs[full], migration.records_of(rest), then)
                else:
                    claim(epochs)
            case Return(keys, epochs, departed):
                flows.take_back(number, keys, epochs, migration.records_of(keys) if departed else None)
            case Keep(keys):
                flows.keep(keys)
            case Cancel():
                self.ask(target, FLOWS, CancelFlows(number), Done, lambda _: None)
            case Bury(keys, epochs):
                flows.moved(number, keys)
                self._tombstones.setdefault(number, []).append((keys, epochs))
                self.host.after(TOMBSTONE_S, partial(self._bury, number))

    def _claim(self, migration: _Migration, switch: str, keys: FlowKeys, epochs: Epochs) -> None:
        claim = ClaimFlows(self.host.node, migration.target, keys.octets(), pack_u32(epochs), b"")
        self.ask(switch, LIAISON, claim, FlowsClaimed, partial(self._returned, migration, switch))

    def _prepared(self, migration: _Migration, answer: FlowStatuses | None) -> None:
        machine = migration.machine
        effects = machine.died() if answer is None else machine.prepared(unpack_statuses(answer.statuses))
        self._carry_out(migration, effects)

    def _redirected(self, migration: _Migration, switch: str, answer: FlowStatuses | None) -> None:
        assert answer is not None, "switches do not leave"
        self._carry_out(migration, migration.machine.redirected(switch, unpack_statuses(answer.statuses)))
        self.host.after(MARKER_AGAIN_S, partial(self._look_for_marker, migration, switch))

    def _look_for_marker(self, migration: _Migration, switch: str) -> None:
        if migration.machine.lacks_marker(switch):
            self.ask(switch, LIAISON, SendMarker(migration.number, self.host.node), Done, lambda _: None)
            self.host.after(MARKER_AGAIN_S, partial(self._look_for_marker, migration, switch))

    def _installed(self, migration: _Migration, answer: FlowsInstalled | None) -> None:
        """Where the target is declared dead, its replicas come first, and then ``take_back``."""
        if answer is not None:
            migration.buffered = answer.buffered
            self._carry_out(migration, migration.machine.installed(unpack_statuses(answer.statuses)))

    def _returned(self, migration: _Migration, switch: str, answer: FlowsClaimed | None) -> None:
        assert answer is not None, "switches do not leave"
        effects = migration.machine.returned(switch, unpack_statuses(answer.statuses))
        self._carry_out(migration, effects)
        if migration.machine.over and len(migration.departed):  # those that are another's will not come
            self._flows.give_up(migration.number)

    def _over(self, migration: _Migration) -> None:
        moved = len(migration.machine.keys) if migration.machine.state is State.DONE else 0
        if moved:
            self._arrived[migration.number] = migration
        ended = MigrationEnded(
            migration=migration.number,
            source=self.host.node,
            target=migration.target,
            flows=moved,
            failed=migration.flows - moved,
            buffered=migration.buffered,
        )
        self.ask(COORDINATOR, COORDINATOR, ended, Done, lambda _: None)
        self._look_whether_taken_back()

    # ---------------------------------------------------------------- recovery

    @handles(TakeBack)
    def take_back(self, message: TakeBack) -> Later:
        """A target is dead: what was on its way there and has not been claimed by its replicas comes back. It is
        coming already where a coordinator that has begun again asks anew."""
        later = Later()
        self._replicas.take_back(message.node, partial(self._rest_taken_back, message.node, later))
        for migration in list(self._migrations.values()):
            machine = migration.machine
            if migration.target == message.node and not (machine.over or machine.target_is_dead):
                self._carry_out(migration, migration.machine.died())
        return later

    def _rest_taken_back(self, node: str, later: Later, _: object) -> None:
        self._taking_back.append((node, later))
        self._look_whether_taken_back()

    def _look_whether_taken_back(self) -> None:
        targets = {migration.target for migration in self._migrations.values()}
        ready = [later for node, later in self._taking_back if node not in targets]
        if not ready:
            return
        self._taking_back = [(node, later) for node, later in self._taking_back if node in targets]
        # What nobody could claim begins anew somewhere, and here it must not be taken for late.
        for number in list(self._tombstones):
            self._bury(number)
        for later in ready:
            later.answer(StepTaken())

    def _bury(self, number: int) -> None:
        self._arrived.pop(number, None)
        for keys, epochs in self._tombstones.pop(number, ()):
            self._flows.bury(keys, epochs)
