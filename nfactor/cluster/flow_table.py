"""The flow actors of a runtime: an actor table around the engine, fed by the port.

One actor owns all flows of its runtime. Packets come as bursts from the port and go back to the switch that sent them;
messages about sets of flows (the steps of a migration) come from the liaisons of this and other runtimes; a single flow
actor is addressed through its own ref. All of it is synchronous and runs to completion, so a burst, a marker and the
departure of a thousand flows never interleave.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import trio

from nfactor.actors import ActorTable, Ref, handles, handles_keyed
from nfactor.backends.base import Port
from nfactor.cluster.egress import Egress
from nfactor.cluster.expiry import Expiry
from nfactor.cluster.intake import Intake, settled
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    BuryFlows,
    CancelFlows,
    DepartedFlows,
    DepartFlows,
    Done,
    FlowRecord,
    FlowsInstalled,
    FlowsMoved,
    FlowStatuses,
    InstallFlows,
    KeepFlows,
    MarkerSeen,
    NotifyClusterCfg,
    PickedFlows,
    PickFlows,
    PollWorkload,
    PrepareFlows,
    ReadFlow,
    ReturnFlows,
    ViewTaken,
    Workload,
    pack_u32,
    unpack_records,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, LIAISON, MEMBERSHIP, REPLICAS
from nfactor.cluster.outcome_messages import EndFlows, FlowsEnded, NodeCounters, ReadCounters
from nfactor.cluster.recovery_messages import (
    AdoptFlows,
    CommitsStored,
    FinishFlows,
    RecoveryOver,
    SetReplicas,
    StepTaken,
)
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.view import watermarks
from nfactor.dataplane.engine import HELD, Counts, Engine, Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys, keys_array
from nfactor.protocols.replication import EVERY_S, Kind, Mode

BUFFER_PACKETS_MAX = 4096
"""Packets of coming flows that a runtime keeps until their states are here (DESIGN section 7)."""


class FlowTable(ActorTable[None]):
    """Owns the engine, whose rows are the flow actors (so ``records`` stays empty), and the packets that wait for
    flows that are coming. ``switch`` is asked before flows expire."""

    def __init__(
        self,
        engine: Engine,
        port: Port,
        ledger: Ledger,
        egress: Egress,
        mode: Mode,
        *,
        liaison: Ref,
        switch: Ref,
        threaded: bool = False,
    ) -> None:
        self._engine = engine
        self._port = port
        self._ledger = ledger
        self._egress = egress
        self._mode = mode
        engine.follows = mode.replicates  # else nobody asks which flows a burst has changed
        self._liaison = liaison
        self._threaded = threaded
        self._switch = switch
        self._term = 0
        self._members: frozenset[str] = frozenset()
        self._room = trio.lowlevel.ParkingLot()
        self._waiting: list[Burst] = []
        self._holds: dict[int, tuple[str, Sequence[bytes]]] = {}
        """Keys that are held, by migration, and who will send their states."""
        self._leaving = 0
        """Flows that were picked and have neither departed nor been kept."""
        self._records = 0
        """Records that NFs have emitted so far."""

    async def started(self) -> None:
        """Begin to take packets."""
        node = self.context.node
        self._replicator = Replicator(
            self._mode,
            self._engine,
            self._egress,
            self._ledger,
            send=lambda runtime, message: node.ref(runtime, REPLICAS).tell_nowait(message),
            now=trio.current_time,
            room=self._room.unpark_all,
        )
        self._intake = Intake(
            self._port,
            self._engine,
            arrived=lambda burst: self._ledger.take(self._switch.node_name, len(burst)),
            processed=self._processed,
            marker=self._marker_arrived,
            threaded=self._threaded,
        )
        self._expiry = Expiry(self._engine, node.name, switch=self._switch, end=self._end)
        self.context.start_soon(self._expiry.run)
        self.context.start_soon(self._intake.run, self._wait_room, self._egress.flush)
        if self._mode.kind is Kind.EVERY:
            self.context.start_soon(self._catch_up)

    # ---------------------------------------------------------------- packets

    async def _wait_room(self) -> None:
        """Return when another burst may be processed."""
        while self._replicator.is_full:
            await self._room.park()

    def _processed(self, burst: Burst, codes: npt.NDArray[np.uint8]) -> None:
        """The engine is done with packets from the port."""
        count = len(burst)
        self._done(burst, codes)
        self._expiry.look(count)

    def _marker_arrived(self, frame: bytes) -> None:
        """The flows' last packet from the switch is processed. Once it has left the system, the states may leave too,
        or the target's next packet could overtake it."""
        self._ledger.markers_received += 1
        migration = cluster_frame.read_marker(frame)
        if migration is not None:  # else it is somebody's junk with our EtherType, which says nothing
            self._replicator.when_stored(partial(self._liaison.tell_nowait, MarkerSeen(migration)))

    def _done(self, burst: Burst, codes: npt.NDArray[np.uint8]) -> None:
        rows, emitted = self._engine.touched, self._engine.take_emitted()
        self._records += len(emitted)
        held = codes == HELD
        if held.any():
            self._hold(burst.select(np.flatnonzero(held)))
            burst, codes = burst.select(np.flatnonzero(~held)), codes[~held]
            rows = rows[~held] if len(rows) else rows
        if len(burst):
            self._replicator.commit(burst, rows, codes, emitted)

    def _hold(self, burst: Burst) -> None:
        room = max(0, BUFFER_PACKETS_MAX - self._ledger.buffered)
        self._ledger.drop("migration_buffer_full", burst.slice(room, len(burst)))
        burst = burst.slice(0, room)
        if len(burst):
            self._waiting.append(burst)
            self._ledger.buffer(len(burst))

    async def _catch_up(self) -> None:
        """Under ``every``: no state lags behind for longer than this, however quiet it is."""
        while True:
            await trio.sleep(EVERY_S)
            self._intake.settle()
            self._replicator.catch_up()

    # ---------------------------------------------------------------- flows that leave

    @handles(PickFlows)
    @settled
    def pick(self, message: PickFlows) -> PickedFlows:
        """Pin flows for a migration."""
        keys, epochs = self._engine.pick(message.flows)
        self._leaving += len(keys)
        return PickedFlows(keys.octets(), pack_u32(epochs))

    @handles(KeepFlows)
    @settled
    def keep(self, message: KeepFlows) -> None:
        """They stay."""
        keys = FlowKeys.of_octets(message.keys)
        self._leaving -= len(keys)
        self._engine.unpin(keys)

    @handles(DepartFlows)
    @settled
    def depart(self, message: DepartFlows) -> DepartedFlows:
        """Take pinned flows out; late packets of theirs are dropped from now on."""
        keys = FlowKeys.of_octets(message.keys)
        self._leaving -= len(keys)
        records, statuses = self._engine.depart(keys)
        assert not statuses.any(), "only flows that were picked depart, and picked flows neither expire nor leave twice"
        self._replicator.departed(message.migration, keys, records)
        return DepartedFlows(records.tobytes())

    @handles(FlowsMoved)
    @settled
    def moved(self, message: FlowsMoved) -> None:
        """The target owns them, and they are protected there."""
        self._replicator.moved(message.migration, FlowKeys.of_octets(message.keys))

    @handles(ReturnFlows)
    @settled
    def returned(self, message: ReturnFlows) -> Done:
        """The target is dead and the switch has given these back."""
        keys, epochs = FlowKeys.of_octets(message.keys), unpack_u32(message.epochs)
        if message.records:
            self._engine.install(keys, epochs, unpack_records(message.records, self._engine.record_size))
            self._let_go(message.migration, keys)
        else:
            self._leaving -= len(keys)
            self._engine.unpin(keys, epochs)
        self._replicator.adopt(keys)
        self._replicator.moved(message.migration, keys)
        self._drain()
        return Done()

    @handles(BuryFlows)
    @settled
    def bury(self, message: BuryFlows) -> None:
        """Remove tombstones (those that are still tombstones: a flow may have come back)."""
        self._engine.forget(FlowKeys.of_octets(message.keys))

    # ---------------------------------------------------------------- flows that come

    @handles(PrepareFlows)
    @settled
    def prepare(self, message: PrepareFlows) -> FlowStatuses:
        """Step 1 of a migration to here. Whoever is declared dead is not waited for."""
        keys = FlowKeys.of_octets(message.keys)
        if message.source not in self._members:
            return FlowStatuses(bytes([Status.UNKNOWN] * len(keys)))
        statuses = self._engine.hold(keys, unpack_u32(message.epochs))
        self._holds[message.migration] = message.source, _where_ok(keys, statuses.tolist())
        return FlowStatuses(statuses.tobytes())

    @handles(InstallFlows)
    @settled
    def install(self, message: InstallFlows) -> None:
        """Step 3 of a migration to here: install the states, have them stored, process what waited for them, in order;
        the answer goes when they are stored."""
        if message.source not in self._members:
            return
        keys = FlowKeys.of_octets(message.keys)
        records = unpack_records(message.records, self._engine.record_size)
        statuses = self._engine.install(keys, unpack_u32(message.epochs), records)
        self._let_go(message.migration, keys)
        self._replicator.adopt(_where_ok(keys, statuses.tolist()))
        answer = FlowsInstalled(message.migration, statuses.tobytes(), self._drain())
        source = self.context.node.ref(message.source, LIAISON)
        self._replicator.when_stored(partial(source.tell_nowait, answer))

    @handles(CancelFlows)
    @settled
    def cancel(self, message: CancelFlows) -> None:
        """The flows will not come."""
        self._let_go(message.migration, [])
        self._drain()

    @handles(FinishFlows)
    @settled
    def finish(self, message: FinishFlows) -> FlowStatuses:
        """States that a dead source has not sent any more; its replicas have."""
        keys, records = FlowKeys.of_octets(message.keys), unpack_records(message.records, self._engine.record_size)
        statuses = self._engine.install(keys, unpack_u32(message.epochs), records)
        self._replicator.adopt(_where_ok(keys, statuses.tolist()))
        self._drain()
        return FlowStatuses(statuses.tobytes())

    @handles(AdoptFlows)
    @settled
    def adopt(self, message: AdoptFlows) -> FlowStatuses:
        """Flows of a dead runtime whose replicas were here. Those for which there is no room end, as others did."""
        keys, records = FlowKeys.of_octets(message.keys), unpack_records(message.records, self._engine.record_size)
        statuses = self._engine.install(keys, unpack_u32(message.epochs), records)
        self._let_go(message.claim, keys)
        self._replicator.adopt(_where_ok(keys, statuses.tolist()))
        refused, size = np.flatnonzero(statuses != Status.OK), self._engine.record_size
        self._engine.farewell([keys[place] for place in refused.tolist()], records[refused])
        self._engine.farewell(FlowKeys.of_octets(message.ended_keys), unpack_records(message.ended_records, size))
        emitted = self._engine.take_emitted()
        self._records += len(emitted)
        self._replicator.ended([], emitted)
        self._drain()
        return FlowStatuses(statuses.tobytes())

    def _let_go(self, migration: int, installed: Sequence[bytes]) -> None:
        here = dict.fromkeys(installed)
        _, held = self._holds.pop(migration, ("", ()))
        self._engine.release([key for key in held if key not in here])

    def _drain(self) -> int:
        """Process what waited; what still has to wait for another migration waits on, in the same order."""
        waiting, self._waiting = self._waiting, []
        before = self._ledger.buffered
        for burst in waiting:
            self._ledger.buffer(-len(burst))
            self._done(burst, self._engine.process(burst))
        self._egress.flush()
        return before - self._ledger.buffered

    # ---------------------------------------------------------------- the cluster

    @handles(NotifyClusterCfg)
    @settled
    def configure(self, message: NotifyClusterCfg) -> ViewTaken:
        """Who is in the cluster: nothing is taken from others."""
        self._term = max(self._term, message.term)
        if message.term == self._term:
            self._members = frozenset(member.name for member in message.members)
        return ViewTaken()

    @handles(SetReplicas)
    @settled
    def set_replicas(self, message: SetReplicas) -> Done:
        """Where the flows of this runtime are replicated from now on."""
        if message.term >= self._term:
            self._replicator.set_replicas(message.replicas, watermarks(message, self._ledger.node))
        return Done()

    @handles(CommitsStored)
    @settled
    def stored(self, message: CommitsStored) -> None:
        """A replica has stored and released some."""
        self._replicator.stored(message.replica, message.sequence)

    @handles(RecoveryOver)
    @settled
    def recovery_over(self, message: RecoveryOver) -> None:
        """Flows that a dead source was about to send will not come any more."""
        for migration, (source, _) in list(self._holds.items()):
            if source == message.node:
                self._let_go(migration, [])
        self._drain()
        to = self.context.node.ref(COORDINATOR, MEMBERSHIP)
        to.tell_nowait(StepTaken(message.recovery, self._ledger.node))

    # ---------------------------------------------------------------- flows that end

    def _end(self, keys: Sequence[bytes], packets: Counts | None = None) -> None:
        """End flows here and at their replicas, and let NFs say what they have to. ``packets`` as in
        ``Engine.expire``."""
        self._intake.settle()
        statuses = self._engine.expire(keys, packets)
        emitted = self._engine.take_emitted()
        self._records += len(emitted)
        self._replicator.ended(_where_ok(keys, statuses.tolist()), emitted)

    @handles(EndFlows)
    @settled
    def end(self, message: EndFlows) -> FlowsEnded:
        """End flows as if they had expired, oldest first: the system closes down."""
        keys = self._engine.keys()[: message.flows]
        self._end(keys)
        return FlowsEnded(len(keys), self._engine.statistics().flows, self._records)

    # ---------------------------------------------------------------- questions

    @handles(PollWorkload)
    @settled
    def workload(self, message: PollWorkload) -> Workload:
        """The load as it will be when the migrations under way have ended: without the flows that leave, with those
        that come. Otherwise two migrations in quick succession would both act on what the first has already
        changed."""
        statistics = self._engine.statistics()
        coming = sum(len(keys) for _, keys in self._holds.values())
        return Workload(statistics.flows - self._leaving + coming, statistics.packets)

    @handles(ReadCounters)
    @settled
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        statistics = self._engine.statistics()
        return self._ledger.counters(
            nf_errors=statistics.nf_errors,
            nf_error_sample=statistics.nf_error_sample,
            protection=self._replicator.protection(),
        )

    @handles_keyed(ReadFlow, creates=True)
    @settled
    def read(self, key: bytes, message: ReadFlow) -> FlowRecord:
        """One flow actor's state."""
        return FlowRecord(self._engine.read(key) or b"")


def _where_ok(keys: Sequence[bytes], statuses: Sequence[int]) -> FlowKeys:
    return FlowKeys(keys_array(keys)).where(np.asarray(statuses, np.uint8) == Status.OK)
