"""The flow actors of a runtime: an actor table around the engine, fed by the port.

One actor owns all flows of its runtime. Packets come as bursts from the port and go back to the switch that sent them;
messages about sets of flows (the steps of a migration) come from the liaisons of this and other runtimes; a single flow
actor is addressed through its own ref. All of it is synchronous and runs to completion, so a burst, a marker and the
departure of a thousand flows never interleave.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from nfactor.actors import handles
from nfactor.backends.base import Port
from nfactor.cluster.addresses import life_of
from nfactor.cluster.announcements import Announcements
from nfactor.cluster.arrivals import Arrivals
from nfactor.cluster.bereft import Bereft
from nfactor.cluster.egress import Egress
from nfactor.cluster.endings import Endings
from nfactor.cluster.expiry import Expiry
from nfactor.cluster.fence import Fence
from nfactor.cluster.flow_questions import FlowQuestions
from nfactor.cluster.holding import Holding, split, where_ok
from nfactor.cluster.intake import Intake, settled
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    CancelFlows,
    Done,
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    PrepareFlows,
    unpack_records,
    unpack_u32,
)
from nfactor.cluster.names import REPLICAS
from nfactor.cluster.outcome_messages import EndFlows, FlowsEnded
from nfactor.cluster.picking import Picking
from nfactor.cluster.pump import Gate
from nfactor.cluster.recovery_messages import CommitsStored, FinishFlows, RecoveryOver, SetReplicas, StepTaken
from nfactor.cluster.replication_clock import ReplicationClock
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.role import Later, Task
from nfactor.cluster.view import View
from nfactor.dataplane.aliases import teach
from nfactor.dataplane.engine import HELD, Counts, Engine, Epochs, Records, Status, Statuses
from nfactor.dataplane.together import Groups
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode


class FlowTable(FlowQuestions):
    """Owns the engine, whose rows are the flow actors (``records`` stays empty), and packets of flows that come."""

    hears_first = ()

    def __init__(
        self,
        engine: Engine,
        port: Port,
        ledger: Ledger,
        egress: Egress,
        mode: Mode,
        view: View,
        *,
        threaded: bool = False,
        buffer_packets_max: int | None = None,
    ) -> None:
        self._engine = engine
        self._port = port
        self.own_life = life_of(port.address)
        self._ledger = ledger
        self._egress = egress
        self._mode = mode
        self.view = view
        engine.follows = mode.replicates or engine.chain.has_aliases  # else nobody asks which flows a burst has changed
        self._threaded = threaded
        self.is_stocked: Callable[[], bool] = lambda: True
        """Whether its pools have their first numbers."""
        self.when_processed: Callable[[], None] = lambda: None
        """Called behind each burst: numbers may be running out."""
        self.when_marked: Callable[[int, bytes], None] = lambda migration, switch: None
        """Called with a migration and a switch's address: its marker came on the data path, and everything before it
        is processed, stored and released."""
        self._gate = Gate(self._is_full, lambda: self.host.now())
        self._fence = Fence(ledger)
        self._holding = Holding(engine, ledger, packets_max=buffer_packets_max)
        self._picking = Picking(engine, self._holding)
        self._leaving = 0
        """Flows that were picked and have neither departed nor been kept."""

    def begin(self) -> None:
        """Be ready for packets."""
        self.replicator = Replicator(
            self._mode,
            self._engine,
            self._egress,
            self._ledger,
            send=lambda runtime, commit: self.host.tell(runtime, REPLICAS, self.view.addressed(runtime, commit)),
            forget=lambda runtime, message, then: self.ask(runtime, REPLICAS, message, Done, lambda _: then()),
            now=self.host.now,
            room=self._gate.look,
            lives=self.view.__contains__,
        )
        self.intake = Intake(
            self._port, self._engine, admit=self._fence.only, arrived=self._fence.count, processed=self._processed,
            marker=self._marker_arrived, replicated=self._mode.replicates, threaded=self._threaded,
        )  # fmt: skip
        self._endings = Endings(self._engine, self.replicator)
        self._expiry = Expiry(
            self._engine, self.host.node, self.view, ask=self.ask, end=self._end, taking_s=lambda: self._gate.open_s
        )
        self._bereft = Bereft(
            self._engine, self._holding, self.view, self.ask, self.settle, self._drain, self.replicator.adopt
        )
        self._announcements = Announcements(self.ask)
        self.arrivals = Arrivals(self.view, self.ask)
        self._clock = ReplicationClock(self.host, self.replicator, self._mode, self.intake.settle)

    def tasks(self) -> list[Task]:
        """See ``Role``."""
        return [(self.intake.run, (self._gate.wait, self._egress.flush))]

    def _is_full(self) -> bool:
        """Because of what is under way to replicas, or as there is not yet what network functions need."""
        return self.replicator.is_full or not self.is_stocked()

    def may_take(self) -> bool:
        """Whether the burst that waits at the port may be taken now."""
        return self._gate.is_open()

    def look(self) -> None:
        """There may be room again for what waits at the port."""
        self._gate.look()

    def settle(self) -> None:
        """Nothing is half done behind this: what a worker thread has is taken."""
        self.intake.settle()

    # ---------------------------------------------------------------- packets

    def follow_switches(self) -> None:
        """The view has changed: packets of a switch that has begun again go to where it is now."""
        switches = self.view.of_kind("switch")
        if renewed := self._fence.admit(switches):
            self._egress.follow([member.address for member in switches])
            for burst in (*self._holding.waiting, *self.replicator.homeless):
                self._egress.renew(burst)
            self.replicator.doubt(renewed)
            self._announcements.tables_are_lost([member.name for member in switches])

    def _processed(self, burst: Burst, codes: npt.NDArray[np.uint8]) -> None:
        """The engine is done with packets from the port."""
        count = len(burst)
        self._done(burst, codes)
        self._expiry.look(count)
        self.when_processed()

    def _marker_arrived(self, frame: bytes) -> None:
        """The flows' last packet from the switch is processed. Once it has left the system, the states may leave too,
        or the target's next packet could overtake it."""
        self._ledger.markers_received += 1
        migration = cluster_frame.read_marker(frame)
        if migration is not None:  # else it is somebody's junk with our EtherType, which says nothing
            self.replicator.when_stored(partial(self.when_marked, migration, frame[6:12]))

    def _done(self, burst: Burst, codes: npt.NDArray[np.uint8]) -> None:
        rows, emitted = self._engine.touched, self._engine.take_emitted()
        if emitted:
            burst, emitted = teach(self._engine, burst, codes, emitted)
        self._endings.records += len(emitted)
        held = codes == HELD
        if held.any():
            waiting, burst = split(burst, held)
            self._holding.keep(waiting)
            codes = codes[~held]
            rows = rows[~held] if len(rows) else rows
        if len(burst):
            self.replicator.commit(burst, rows, codes, emitted)

    # ---------------------------------------------------------------- flows that leave

    @settled
    def pick(self, flows_max: int) -> tuple[FlowKeys, Epochs, Groups | None]:
        """Pin flows for a migration; which of them belong together, if any may."""
        keys, epochs, groups = self._picking.pick(flows_max)
        self._leaving += len(keys)
        return keys, epochs, groups

    @settled
    def keep(self, keys: FlowKeys) -> None:
        """They stay."""
        self._leaving -= len(keys)
        self._engine.unpin(keys)

    @settled
    def depart(self, migration: int, keys: FlowKeys) -> Records:
        """Take pinned flows out; late packets of theirs are dropped from now on."""
        self._leaving -= len(keys)
        records, statuses = self._engine.depart(keys)
        assert not statuses.any(), "only flows that were picked depart, and picked flows neither expire nor leave twice"
        self.replicator.departed(migration, keys, records)
        return records

    @settled
    def moved(self, migration: int, keys: FlowKeys) -> None:
        """The target owns them, and they are protected there."""
        self.replicator.moved(migration, keys)

    @settled
    def take_back(self, migration: int, keys: FlowKeys, epochs: Epochs, records: Records | None) -> None:
        """The target is dead and a switch has given these back, with these epochs. ``records`` are the states of flows
        that had departed, and are held now; None: they never did."""
        if records is None:
            self._leaving -= len(keys)
            self._engine.unpin(keys, epochs)
        else:
            statuses = self._engine.install(keys, epochs, records)
            assert not statuses.any(), "what is claimed back is held"
            self._holding.came(keys)
        self.replicator.adopt(keys)
        self.replicator.moved(migration, keys)
        self._drain()

    @settled
    def bury(self, keys: FlowKeys, epochs: Epochs) -> None:
        """Remove tombstones of flows that are in these epochs elsewhere. One that has come back since is none any more,
        and if it has left again its tombstone is a later one."""
        self._engine.forget(keys, epochs)

    # ---------------------------------------------------------------- flows that come

    @handles(PrepareFlows)
    @settled
    def prepare(self, message: PrepareFlows) -> FlowStatuses:
        """Step 1 of a migration to here. Whoever is declared dead is not waited for. And where flows are replicated,
        none comes before there is somebody to replicate it to: its source will let go of it as soon as it is here. One
        that lives and has flows to send could be that, so it is only that this has not been said here yet."""
        keys = FlowKeys.of_octets(message.keys)
        is_safe_here = self._clock.has_replicas or not self._mode.replicates
        if message.source not in self.view or not is_safe_here:
            return FlowStatuses(bytes([Status.UNKNOWN] * len(keys)))
        return FlowStatuses(self.expect(message.migration, message.source, keys, unpack_u32(message.epochs)).tobytes())

    @settled
    def expect(self, migration: int, source: str, keys: FlowKeys, epochs: Epochs) -> Statuses:
        """Hold packets of flows that will come, in that migration (or claim), from there."""
        return self._holding.expect(migration, source, keys, epochs)

    @settled
    def expect_back(self, migration: int, keys: FlowKeys, epochs: Epochs) -> npt.NDArray[np.bool_]:
        """Hold packets of flows that had departed in that migration, and are claimed back; which have no room."""
        return self._holding.expect_back(migration, self.host.node, keys, epochs)

    @handles(InstallFlows)
    @settled
    def install(self, message: InstallFlows) -> Later:
        """Step 3 of a migration to here: install the states, have them stored, process what waited for them, in order;
        the answer goes when they are stored, and the switches know of them. A dead source gets none."""
        later, keys = Later(), FlowKeys.of_octets(message.keys)
        if message.source in self.view:
            records = unpack_records(message.records, self._engine.record_size)
            statuses = self._take_over(keys, unpack_u32(message.epochs), records)
            self.arrivals.came(message.source, message.migration)
            self._holding.give_up(message.migration)
            self._holding.have_just_come(message.migration, where_ok(keys, statuses))
            answer = FlowsInstalled(statuses.tobytes(), self._drain())
            say = partial(self._installed, message.migration, later, answer)
            self.replicator.when_stored(partial(self._announcements.tell, say))
        return later

    def _installed(self, migration: int, later: Later, answer: FlowsInstalled) -> None:
        self._holding.are_protected(migration)
        later.answer(answer)

    def _take_over(self, keys: FlowKeys, epochs: Epochs, records: Records) -> Statuses:
        statuses = self._engine.install(keys, epochs, records)
        here = where_ok(keys, statuses)
        self._holding.came(here)
        self.replicator.adopt(here)
        return statuses

    @handles(CancelFlows)
    @settled
    def cancel(self, message: CancelFlows) -> Done:
        """The flows will not come. Who is declared dead is not believed: what is held for him we may be claiming."""
        if self._holding.source_of(message.migration) in self.view:
            self.give_up(message.migration)
        return Done()

    @handles(FinishFlows)
    @settled
    def finish(self, message: FinishFlows) -> Later:
        """States that a dead source has not sent any more; its replicas have."""
        later, keys = Later(), FlowKeys.of_octets(message.keys)
        records = unpack_records(message.records, self._engine.record_size)
        due, statuses = self._holding.waits_for(keys, message.dead), np.full(len(keys), Status.UNKNOWN, np.uint8)
        statuses[due] = self._take_over(keys.where(due), unpack_u32(message.epochs)[due], records[due])
        self._drain()
        self._announcements.tell(partial(later.answer, FlowStatuses(statuses.tobytes())))
        return later

    @settled
    def when_ends_are_known(self, switch: str, keys: FlowKeys, then: Callable[[], None]) -> None:
        """What is here of these may have ended, as far as that switch knows; do that when it has said so."""
        self._expiry.when_known(switch, keys, then)

    @settled
    def adopt(self, claim: int, keys: FlowKeys, epochs: Epochs, records: Records) -> int:
        """Flows of a dead runtime whose replicas were here, and which are ours now; no others of that claim will come.
        How many go on: all, for they are held."""
        self._holding.expect_here(claim, self.host.node, keys, epochs)
        statuses = self._take_over(keys, epochs, records)
        assert not statuses.any(), "what is claimed is held"
        self.give_up(claim)
        return len(keys)

    @settled
    def farewell(self, keys: FlowKeys, records: Records) -> None:
        """Flows that ended where NFs could not say what they had to."""
        self._endings.farewell(keys, records)

    @settled
    def give_up(self, migration: int) -> None:
        """What has not come in that migration (or claim) will not."""
        self._holding.give_up(migration)
        self._drain()

    def _drain(self) -> int:
        """Process what waited; what still has to wait for another migration waits on, in the same order."""
        before = self._ledger.buffered
        for burst in self._holding.take():
            self._done(burst, self._engine.process(burst))
        self._egress.flush()
        return before - self._ledger.buffered

    # ---------------------------------------------------------------- the cluster

    @handles(SetReplicas)
    @settled
    def set_replicas(self, message: SetReplicas) -> Done:
        """Where the flows of this runtime are replicated from now on."""
        self._clock.set_replicas(message, self._port.address)
        return Done()

    @handles(CommitsStored)
    @settled
    def stored(self, message: CommitsStored) -> None:
        """A replica has stored and released some. Who is declared dead has released nothing: it may be fenced, and how
        far it had come is known from others."""
        if message.replica in self.view and message.to == self._port.address:
            self.replicator.stored(message.replica, message.sequence)

    @handles(RecoveryOver)
    @settled
    def recovery_over(self, message: RecoveryOver) -> Later:
        """Flows that a dead source was about to send will not come any more."""
        later = Later()
        self._bereft.begin_anew(self.host.node, message.node, partial(later.answer, StepTaken()))
        return later

    # ---------------------------------------------------------------- flows that end

    @settled
    def _end(self, keys: FlowKeys, packets: Counts) -> None:
        self._endings.end(keys, packets)

    @handles(EndFlows)
    @settled
    def end(self, message: EndFlows) -> FlowsEnded:
        """End flows as if they had expired, oldest first: the system closes down."""
        keys = self._engine.keys()[: message.flows]
        self._endings.end(keys)
        return FlowsEnded(len(keys), self._engine.statistics().flows, self._endings.records)
