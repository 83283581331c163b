"""The flow actors of a runtime: an actor table around the engine, fed by the port.

One actor owns all flows of its runtime. Packets come as bursts from the port and go back to the switch that sent them;
messages about sets of flows (the steps of a migration) come from the liaisons of this and other runtimes; a single flow
actor is addressed through its own ref. All of it is synchronous and runs to completion, so a burst, a marker and the
departure of a thousand flows never interleave.
"""

from collections.abc import Sequence

import numpy as np
import trio

from nfactor.actors import ActorTable, Ref, handles, handles_keyed
from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    BuryFlows,
    CancelFlows,
    DepartedFlows,
    DepartFlows,
    EndFlows,
    ExpireFlows,
    FlowRecord,
    FlowsEnded,
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    KeepFlows,
    MarkerSeen,
    NodeCounters,
    PickedFlows,
    PickFlows,
    PollWorkload,
    PrepareFlows,
    ReadCounters,
    ReadFlow,
    Workload,
    pack_u32,
    unpack_records,
    unpack_statuses,
    unpack_u32,
)
from nfactor.cluster.reporter import Reporter
from nfactor.dataplane.engine import HELD, REPLY, Engine, Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import keys_list

BUFFER_PACKETS_MAX = 4096
"""Packets of coming flows that a runtime keeps until their states are here (DESIGN section 7)."""
IDLE_FLOWS_MAX = 1024
"""Flows that one question to the switch proposes for expiry, at most."""
PACKETS_PER_IDLE_LOOK = 4
"""One row of the table is looked at for so many packets."""
BURSTS_PER_PASS_MAX = 16
"""Bursts that are processed before other tasks of the node get their turn."""


class FlowTable(ActorTable[None]):
    """Owns the engine, whose rows are the flow actors (so ``records`` stays empty), and the packets that wait for
    flows that are coming. ``switch`` is asked before flows expire."""

    def __init__(
        self, engine: Engine, port: Port, ledger: Ledger, *, liaison: Ref, switch: Ref, observer: Ref | None
    ) -> None:
        self._engine = engine
        self._port = port
        self._ledger = ledger
        self._liaison = liaison
        self._switch = switch
        self._reporter = Reporter(ledger, observer)
        self._waiting: list[Burst] = []
        self._holds: dict[int, list[bytes]] = {}
        """Keys that are held, by migration."""
        self._leaving = 0
        """Flows that were picked and have neither departed nor been kept."""
        self._idle_keys: dict[bytes, int] = {}
        """Flows to propose to the switch for expiry, and their packet counts."""
        self._idle_found = trio.Event()

    async def started(self) -> None:
        """Begin to take packets."""
        self.context.start_soon(self._pump)
        self.context.start_soon(self._reporter.run)
        self.context.start_soon(self._expire)

    # ---------------------------------------------------------------- packets

    async def _pump(self) -> None:
        while True:
            await self._port.wait_readable()
            for _ in range(BURSTS_PER_PASS_MAX):
                burst = self._port.receive()
                if burst is None:
                    break
                self._arrived(burst)
            self._reporter.wake()

    def _arrived(self, burst: Burst) -> None:
        """Packets in their order; where a marker stands among them, it is seen exactly there."""
        start = 0
        for index in cluster_frame.marker_indices(burst).tolist():
            self._packets_arrived(burst.slice(start, index))
            self._marker_arrived(burst.frame(index))
            start = index + 1
        self._packets_arrived(burst.slice(start, len(burst)) if start else burst)

    def _packets_arrived(self, burst: Burst) -> None:
        if len(burst):
            self._ledger.received += len(burst)
            self._process(burst)
            self._reporter.emitted(self._engine.take_records())
            self._look_for_idle(len(burst))

    def _marker_arrived(self, frame: bytes) -> None:
        self._ledger.markers_received += 1
        migration = cluster_frame.read_marker(frame)
        if migration is not None:  # else it is somebody's junk with our EtherType, which says nothing
            self._liaison.tell_nowait(MarkerSeen(migration))

    def _process(self, burst: Burst) -> None:
        codes = self._engine.process(burst)
        if codes.any():
            for code in np.unique(codes[codes > HELD]).tolist():
                self._ledger.drop(self._engine.reasons[code], burst.select(np.flatnonzero(codes == code)))
            self._hold(burst.select(np.flatnonzero(codes == HELD)))
            burst = burst.select(np.flatnonzero(codes <= REPLY))
        self._send(burst)

    def _hold(self, burst: Burst) -> None:
        room = BUFFER_PACKETS_MAX - self._ledger.buffered
        self._ledger.drop("migration_buffer_full", burst.slice(room, len(burst)))
        burst = burst.slice(0, room)
        if len(burst):
            self._waiting.append(burst)
            self._ledger.buffer(len(burst))

    def _send(self, burst: Burst) -> None:
        if len(burst):
            cluster_frame.turn_back(burst, source=self._port.address)
            taken = self._port.send(burst)
            self._ledger.sent += taken
            self._ledger.drop("port_full", burst.slice(taken, len(burst)))

    # ---------------------------------------------------------------- flows that leave

    @handles(PickFlows)
    def pick(self, message: PickFlows) -> PickedFlows:
        """Pin flows for a migration."""
        keys, epochs = self._engine.pick(message.flows)
        self._leaving += len(keys)
        return PickedFlows(b"".join(keys), pack_u32(epochs))

    @handles(KeepFlows)
    def keep(self, message: KeepFlows) -> None:
        """They stay."""
        keys = keys_list(message.keys)
        self._leaving -= len(keys)
        self._engine.unpin(keys)

    @handles(DepartFlows)
    def depart(self, message: DepartFlows) -> DepartedFlows:
        """Take pinned flows out; late packets of theirs are dropped from now on."""
        keys = keys_list(message.keys)
        self._leaving -= len(keys)
        records, statuses = self._engine.depart(keys)
        assert not statuses.any(), "only flows that were picked depart, and picked flows neither expire nor leave twice"
        return DepartedFlows(records.tobytes())

    @handles(BuryFlows)
    def bury(self, message: BuryFlows) -> None:
        """Remove tombstones (those that are still tombstones: a flow may have come back)."""
        self._engine.forget(keys_list(message.keys))

    # ---------------------------------------------------------------- flows that come

    @handles(PrepareFlows)
    def prepare(self, message: PrepareFlows) -> FlowStatuses:
        """Step 1 of a migration to here."""
        keys = keys_list(message.keys)
        statuses = self._engine.hold(keys, unpack_u32(message.epochs))
        self._holds[message.migration] = _where_ok(keys, statuses.tolist())
        return FlowStatuses(statuses.tobytes())

    @handles(InstallFlows)
    def install(self, message: InstallFlows) -> FlowsInstalled:
        """Step 3 of a migration to here: install the states, then process what waited for them, in order."""
        keys = keys_list(message.keys)
        records = unpack_records(message.records, self._engine.record_size)
        statuses = self._engine.install(keys, unpack_u32(message.epochs), records)
        self._let_go(message.migration, keys)
        return FlowsInstalled(statuses.tobytes(), self._drain())

    @handles(CancelFlows)
    def cancel(self, message: CancelFlows) -> None:
        """The flows will not come."""
        self._let_go(message.migration, [])
        self._drain()

    def _let_go(self, migration: int, installed: Sequence[bytes]) -> None:
        here = dict.fromkeys(installed)
        self._engine.release([key for key in self._holds.pop(migration, []) if key not in here])

    def _drain(self) -> int:
        """Process what waited; what still has to wait for another migration waits on, in the same order."""
        waiting, self._waiting = self._waiting, []
        before = self._ledger.buffered
        for burst in waiting:
            self._ledger.buffer(-len(burst))
            self._process(burst)
        self._reporter.wake()
        return before - self._ledger.buffered

    # ---------------------------------------------------------------- flows that end

    def _look_for_idle(self, packets: int) -> None:
        """Scan a slice of the table for each burst, so that the scan costs a fraction of the traffic."""
        if len(self._idle_keys) < IDLE_FLOWS_MAX:
            keys, counts = self._engine.idle(max(1, packets // PACKETS_PER_IDLE_LOOK))
            if keys:
                self._idle_keys.update(zip(keys, counts.tolist(), strict=True))
                self._idle_found.set()

    async def _expire(self) -> None:
        """Ask the switch about idle flows, and end those that it has forgotten (or that it says are not ours)."""
        while True:
            await self._idle_found.wait()
            self._idle_found = trio.Event()
            found, self._idle_keys = self._idle_keys, {}
            keys, counts = list(found), np.fromiter(found.values(), np.uint32, len(found))
            question = ExpireFlows(self._ledger.node, b"".join(keys), pack_u32(counts))
            answer = unpack_statuses((await self._switch.ask(question, FlowStatuses)).statuses)
            self._engine.expire(_where_ok(keys, answer.tolist()), counts[answer == Status.OK])
            self._engine.expire(
                [key for key, status in zip(keys, answer.tolist(), strict=True) if status == Status.UNKNOWN]
            )
            self._reporter.emitted(self._engine.take_records())

    @handles(EndFlows)
    def end(self, message: EndFlows) -> FlowsEnded:
        """End flows as if they had expired, oldest first: the system closes down."""
        keys = self._engine.keys()[: message.flows]
        self._engine.expire(keys)
        self._reporter.emitted(self._engine.take_records())
        return FlowsEnded(len(keys), self._engine.statistics().flows, self._reporter.records)

    # ---------------------------------------------------------------- questions

    @handles(PollWorkload)
    def workload(self, message: PollWorkload) -> Workload:
        """The load as it will be when the migrations under way have ended: without the flows that leave, with those
        that come. Otherwise two migrations in quick succession would both act on what the first has already
        changed."""
        statistics = self._engine.statistics()
        coming = sum(map(len, self._holds.values()))
        return Workload(statistics.flows - self._leaving + coming, statistics.packets)

    @handles(ReadCounters)
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        statistics = self._engine.statistics()
        return self._ledger.counters(nf_errors=statistics.nf_errors, nf_error_sample=statistics.nf_error_sample)

    @handles_keyed(ReadFlow, creates=True)
    def read(self, key: bytes, message: ReadFlow) -> FlowRecord:
        """One flow actor's state."""
        return FlowRecord(self._engine.read(key) or b"")


def _where_ok(keys: Sequence[bytes], statuses: Sequence[int]) -> list[bytes]:
    return [key for key, status in zip(keys, statuses, strict=True) if status == Status.OK]
