"""A whole cluster on a heap of events: switches, runtimes, the coordinator and what surrounds them, from one seed.

The roles are the ones that run on trio; only their surroundings are others. What the cluster did is in its ``history``.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.assurance import Assurance
from nfactor.cluster.coordinator import Coordinator
from nfactor.cluster.egress import Egress
from nfactor.cluster.leases import Leases
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import HEARTBEAT_S, Liaison
from nfactor.cluster.membership import DEAD_AFTER_S, Membership
from nfactor.cluster.messages import Member, MigrationEnded
from nfactor.cluster.names import (
    COLLECTOR,
    COORDINATOR,
    FLOWS,
    LEASES,
    LIAISON,
    MEMBERSHIP,
    OUTSIDE,
    POOLS,
    REPLICAS,
    runtime_name,
    switch_name,
)
from nfactor.cluster.outcome_messages import Outcomes
from nfactor.cluster.outside import Collector
from nfactor.cluster.plan import runtime_member, switch_member
from nfactor.cluster.pools import Pools
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.reporter import Reporter, record_name
from nfactor.cluster.role import Role
from nfactor.cluster.switch import VirtualSwitch
from nfactor.cluster.view import View
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.nf import NF
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.dataplane.state import schema_of
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.protocols.replication import Mode
from nfactor.testing import packets
from nfactor.testing.deaths import Deaths
from nfactor.testing.heap import Clock, HeapNetwork
from nfactor.testing.heap_members import Runtime, Switch
from nfactor.testing.heap_node import HeapHost, HeapNode, HeapPort
from nfactor.testing.judged import state_of
from nfactor.testing.limits import Limits
from nfactor.testing.lineage import Came, End, Ended, History, Lineage, Processed, read_tail
from nfactor.testing.reluctant import ReluctantFlowTable
from nfactor.testing.violation import Violation

if TYPE_CHECKING:
    from nfactor.protocols.leasing import Journal

HEARTBEAT_US = round(HEARTBEAT_S * 1e6)
LAUNCH_US = 20_000
"""So long it takes to start a runtime."""


class HeapCluster:
    """Nodes that know each other, and nothing on its way. ``feed`` and ``network.run`` do the rest."""

    def __init__(
        self,
        rng: Random,
        *,
        runtimes: int,
        mode: Mode,
        switches: int = 1,
        time_outs: TimeOuts = TimeOuts(never=True),  # noqa: B008 - frozen
        packet_step_s: float = 0.001,
        reluctant: float = 0.0,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        domains: Sequence[str] = (),
        launches: bool = False,
        clocks: Mapping[str, Clock] = MappingProxyType({}),
    ) -> None:
        """``domains``: failure domains of the runtimes, in order; all are in one if there are none. ``launches``: one
        that the coordinator asks for begins ``LAUNCH_US`` later. ``clocks`` are those that are not true."""
        self.network = HeapNetwork(rng, clocks)
        self.history = History()
        self.mode = mode
        self._time_outs = time_outs
        self._limits = limits
        self._reluctant = reluctant
        """The part of flows that a target of a migration refuses."""
        self._step_ns = round(packet_step_s * 1e9)
        self.key_of: dict[int, bytes] = {}
        """By flow number."""
        self._entry_of: dict[tuple[int, int], int] = {}
        self.flow_of_key: dict[bytes, int] = {}
        self.runtimes: dict[str, Runtime] = {}
        self.switches: dict[str, Switch] = {}
        self.ready = False
        self._lease_journal: Journal = list[Any]()
        """It outlives the coordinator."""
        self.recovered: list[NodeRecovered] = []
        self.launched: list[int] = []
        """Numbers of runtimes that the coordinator has asked for."""
        self.deaths = Deaths(self)
        self.killed: Callable[[str], None] = lambda name: None
        self.restarted: Callable[[str], None] = lambda name: None
        """Called with the name of a node that dies, before it does; of one that has begun again."""
        self._classifier = FlowClassifier("auto")
        self._last_mark = 0
        self.domains = {number: (*domains, "")[min(number, len(domains))] for number in range(runtimes)}
        self._launches = launches
        self._members = (
            *(switch_member(n, 1) for n in range(switches)),
            *(runtime_member(n, 1, self.domains[n]) for n in range(runtimes)),
        )
        for number in range(switches):
            self._start_switch(number)
        for number in range(runtimes):
            self._start_runtime(number)
        self._begin()

    # ---------------------------------------------------------------- nodes

    def _begin(self) -> None:
        """Until all know each other."""
        self._start_outside()
        self._start_coordinator()
        for name in self.runtimes:  # they do not all begin at once, nor say at once that they live
            self.network.pause(name)
            self.network.at(self.network.rng.randrange(HEARTBEAT_US), partial(self.network.resume, name))
        self.network.run(1_000_000)
        if not self.ready:
            raise Violation("(i) liveness: a cluster without faults is not ready within a second")

    def _join(self, node: HeapNode, **roles: Role) -> None:
        node.roles = dict(roles)
        for actor, role in roles.items():
            role.join(HeapHost(self.network, node, actor))
        for role in roles.values():
            role.begin()

    def _port(self, node: HeapNode, mac: bytes) -> HeapPort:
        port = self.network.ports[mac] = HeapPort(self.network, node, mac)
        return port

    def restart(self, name: str) -> None:
        """A node that is dead begins again, and knows nothing."""
        if name == COORDINATOR:
            self._start_coordinator(again=True)
        elif name in self.switches:
            self._start_switch(self.switches[name].number)
        else:
            self._start_runtime(self.runtimes[name].number)
        self.history.restarts.append(name)
        self.restarted(name)

    def _start_switch(self, number: int) -> None:
        name = switch_name(number)
        node, ledger = self.network.begin_life(name), Ledger(name)
        dispatcher = Dispatcher(FlowClassifier("auto"), flows_max=self._limits.switch_flows)
        outside = self._port(node, address(Kind.SWITCH_OUTSIDE, number, node.life))
        inside = self._port(node, address(Kind.SWITCH_INSIDE, number, node.life))
        next_hop, member = address(Kind.OUTSIDE, 0), switch_member(number, node.life)
        again = member if node.life > 1 else None
        role = VirtualSwitch(
            dispatcher, outside, inside, ledger, next_hop=next_hop, observed=True, again=again,
            orphans_max=self._limits.buffer_packets,
        )  # fmt: skip
        outside.take, inside.take = role.packets_in, role.packets_out
        self._join(node, **{LIAISON: role})
        node.settle = role.wake
        self.switches[name] = Switch(number, node, role, dispatcher, ledger)

    def _start_runtime(self, number: int) -> None:
        name = runtime_name(number)
        node, ledger, view, waiting = self.network.begin_life(name), Ledger(name), View(), deque[Burst]()

        def log(mark: int, born: int, count: int, digest: int) -> None:
            now_us = self.network.now_us
            self.history.processed.append(Processed(name, node.life, mark, born, count, digest, now_us))

        engine = ReferenceEngine(
            Chain.of(self.functions(log)), FlowClassifier("auto"), common_clock=True, flows_max=self._limits.flows,
            time_outs=self._time_outs,
        )  # fmt: skip
        port = self._port(node, address(Kind.RUNTIME, number, node.life))
        port.take = waiting.append
        reporter = Reporter(ledger, observed=True)
        egress = Egress(port, ledger, reporter)
        flows = ReluctantFlowTable(
            self.network.rng, self._reluctant, engine, port, ledger, egress, self.mode, view,
            buffer_packets_max=self._limits.buffer_packets,
        )  # fmt: skip
        assurance = Assurance(DEAD_AFTER_S)
        replicas = ReplicaTable(egress, ledger, reporter, engine.changes.copies, flows, view, assurance)
        own = runtime_member(number, node.life, self.domains[number])
        liaison = Liaison(own, flows, replicas, view, assurance, joins=node.life > 1 or own not in self._members)

        def settle() -> None:
            while waiting and flows.may_take():
                flows.intake.take(waiting.popleft())
            egress.flush()

        self._join(node, **{REPLICAS: replicas, FLOWS: flows, POOLS: Pools(flows, view), LIAISON: liaison})
        node.settle = settle
        self.runtimes[name] = Runtime(number, node, engine, flows, replicas, liaison, ledger, waiting)

    def _start_coordinator(self, *, again: bool = False) -> None:
        def ready() -> None:
            self.ready = True

        node, view = self.network.begin_life(COORDINATOR), View()
        coordinator, leases = Coordinator(view, observed=True), Leases(view, self._lease_journal, begins=not again)
        membership = Membership(
            self._members,
            view,
            replicated=self.mode.replicates,
            dead_after_s=DEAD_AFTER_S,
            observed=True,
            ready=lambda: leases.stock(ready),
            again=again,
            launches=self._launches,
        )
        self._join(node, **{COORDINATOR: coordinator, MEMBERSHIP: membership, LEASES: leases})
        self.membership, self.coordinator = membership, coordinator

    def _start_outside(self) -> None:
        node = self.network.begin_life(OUTSIDE)
        self._outside = self._port(node, address(Kind.OUTSIDE, 0))
        self._outside.take = self._packets_out
        schemas = {record_name(cls): schema_of(cls) for cls in Lineage.records}
        self.collector = Collector(self, schemas)  # type: ignore[arg-type]
        self._join(node, **{COLLECTOR: self.collector})

    def functions(self, log: Callable[[int, int, int, int], None]) -> list[NF]:
        """A runtime's chain, the last of which is a ``Lineage``."""
        return [Lineage(log)]

    def check_event(self) -> None:
        """Whatever must hold after every event besides."""

    def check_over(self, *, flows_end: bool) -> None:
        """The same of a run that is over."""

    # ---------------------------------------------------------------- the outside

    def feed(self, flow: int, count: int = 1) -> None:
        """So many packets of a flow go in, all of a flow to one switch, whichever owns its key."""
        marks = range(self._last_mark + 1, self._last_mark + 1 + count)
        self._last_mark += count
        frame = packets.udp("10.0.0.1", 1000 + flow, "10.9.0.2", 53, bytes(16))
        burst = packets.burst_of([frame] * count, first_mark=marks[0])
        burst = attrs.evolve(burst, times=np.array(marks, np.int64) * self._step_ns)
        if flow not in self.key_of:
            self._learn(flow, burst)
        self.history.flow_of.update(dict.fromkeys(marks, flow))
        self._put_in(flow, burst)

    def _put_in(self, flow: int, burst: Burst, way: int = 0) -> None:
        """The packets of a flow and a way go in at one switch."""
        number = self._entry_of.setdefault((flow, way), self.network.rng.randrange(len(self.switches)))
        entry = address(Kind.SWITCH_OUTSIDE, number, self.switches[switch_name(number)].node.life)
        cluster_frame.readdress(burst, target=entry, source=self._outside.address)
        self._outside.send(burst)

    def _learn(self, flow: int, burst: Burst) -> None:
        packet = Packet(burst.octets())
        parse(packet, 0, int(burst.lengths[0]), int(burst.wire_lengths[0]))
        key, _ = self._classifier.classify(packet)
        self.key_of[flow], self.flow_of_key[key] = key, flow

    def _packets_out(self, burst: Burst) -> None:
        for mark, frame in zip(burst.marks.tolist(), burst.frames(), strict=True):
            self.history.out.append(Came(self.network.now_us, mark, *read_tail(frame)))

    def launch(self, index: int, domain: str) -> None:
        """See ``Outside``."""
        if index not in self.domains:
            self.domains[index] = domain
            self.launched.append(index)
            self.network.at(self.network.now_us + LAUNCH_US, partial(self._start_runtime, index))

    def take_view(self, members: Sequence[Member]) -> None:
        """See ``Outside``: packets go to the present life of a switch, as soon as there is one."""

    def told(self, outcomes: Outcomes) -> None:
        """See ``Outside``."""
        marks = iter(np.frombuffer(outcomes.marks, "<u8").tolist())
        for reason, count in zip(outcomes.reasons, outcomes.counts, strict=True):
            self.history.dropped += [(reason, next(marks)) for _ in range(count)]
            self.history.told_by[outcomes.node] += count

    def emitted(self, node: str, record: Any) -> None:
        """See ``Outside``."""
        if isinstance(record, Ended):
            self.history.ends.append(End(node, record, self._last_mark, self.network.now_us))
        else:
            self.history.records.append((node, record))

    def happened(self, event: MigrationEnded) -> None:
        """See ``Outside``."""
        self.history.ended.append(event)

    def node_recovered(self, event: NodeRecovered) -> None:
        """See ``Outside``."""
        self.recovered.append(event)
        self.deaths.note_recovered(event.node)

    # ---------------------------------------------------------------- faults, and looking inside

    def living(self) -> list[Runtime]:
        """Runtimes that live and that the coordinator counts as living."""
        view = self.membership.view
        return [runtime for name, runtime in self.runtimes.items() if runtime.node.alive and name in view]

    def kill(self, name: str) -> None:
        """A crash; what a runtime had promised is noted."""
        node = self.network.nodes[name]
        if not node.alive:
            return
        self.killed(name)
        if name in self.runtimes:
            self.deaths.note(name, lives=False)
        elif name in self.switches:
            self.history.switch_deaths.append(name)
        self.network.kill(name)

    def pause(self, name: str, *, deadly: bool) -> None:
        """It does nothing for a while; ``deadly``: so long that it will be declared dead, which it will not know."""
        if deadly:
            self.deaths.silence(name)
        self.network.pause(name)

    def state_of(self, runtime: Runtime, key: bytes) -> Any:
        """The state of a flow on a runtime, or None."""
        return state_of(runtime.engine, key)
