"""A cluster of the real roles in one process, without trio: one queue of messages and bursts, and what each costs.

Messages are encoded where they are sent and decoded where they are handled, as on a wire; links, tasks and sockets are
left out. Whatever is sent is handled in the order in which it was sent, the whole cluster on one core. Time is what the
handlers have taken of the processor: neither what else the machine is doing nor who feeds and measures counts. Timers
go off when ``elapse`` says so.
"""

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from benchmarks.engine import compiled, light
from nfactor.actors import handles
from nfactor.cluster import codec
from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.assurance import Assurance
from nfactor.cluster.call_messages import Answer, Call, ControlCall
from nfactor.cluster.egress import Egress
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.membership import Membership
from nfactor.cluster.messages import Done, Member, Migrating, MigrationEnded, SetMigrationTarget
from nfactor.cluster.names import COORDINATOR, FLOWS, LIAISON, MEMBERSHIP, REPLICAS, runtime_name, switch_name
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.role import Role
from nfactor.cluster.switch import VirtualSwitch
from nfactor.cluster.view import View
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.protocols.replication import Mode

Clock = time.process_time_ns
MESSAGES = codec.MESSAGES
SWITCH, SOURCE, TARGET, THIRD = switch_name(0), runtime_name(0), runtime_name(1), runtime_name(2)


@attrs.frozen
class Sent:
    """A message that was handled."""

    sender: str
    receiver: str
    kind: str
    """Its class; of a question or answer, the class of what is inside."""
    octets: int


class Network:
    """``costs`` is nanoseconds by node and by ``messages``, ``packets`` or ``timers``."""

    def __init__(self) -> None:
        self.roles: dict[tuple[str, str], Role] = {}
        self.ports: dict[bytes, Wire] = {}
        self.costs: Counter[tuple[str, str]] = Counter()
        self.busy_ns = 0
        """All of them together."""
        self.sent: list[Sent] | None = None
        """Messages, where they are to be noted."""
        self.now_s = 0.0
        self.dead: set[str] = set()
        self._queue: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, str, Callable[[], None]]] = []
        self._timers_set = 0
        self.between: Callable[[], None] = lambda: None
        """Called behind each message that was handled."""

    def tell(self, sender: str, receiver: str, actor: str, message: object) -> None:
        octets = MESSAGES.encode(message)
        self._queue.append(lambda: self._handle(sender, receiver, actor, octets))

    def carry(self, port: "Wire", burst: Burst) -> None:
        """All of its frames have the target of the first."""
        target = self.ports[burst.data[burst.offsets[0] : burst.offsets[0] + 6].tobytes()]
        self._queue.append(lambda: self._arrive(target, burst))

    def after(self, node: str, seconds: float, call: Callable[[], None]) -> None:
        self._timers_set += 1
        heapq.heappush(self._timers, (self.now_s + seconds, self._timers_set, node, call))

    def _handle(self, sender: str, receiver: str, actor: str, octets: bytes) -> None:
        role = self.roles.get((receiver, actor))
        if role is None or receiver in self.dead:
            return
        with self._charged(receiver, "messages"):
            role.act(MESSAGES.decode(octets))
        self.between()
        if self.sent is not None:
            message: Any = MESSAGES.decode(octets)
            body = MESSAGES.decode(message.body) if isinstance(message, Call | ControlCall | Answer) else message
            self.sent.append(Sent(sender, receiver, type(body).__name__, len(octets)))

    def _arrive(self, port: "Wire", burst: Burst) -> None:
        if port.node in self.dead:
            return
        with self._charged(port.node, "packets"):
            port.take(burst)

    @contextmanager
    def _charged(self, node: str, what: str) -> Iterator[None]:
        begin = Clock()
        yield
        cost = Clock() - begin
        self.costs[node, what] += cost
        self.busy_ns += cost

    def step(self) -> bool:
        """Handle what comes next; whether there was anything."""
        if not self._queue:
            return False
        self._queue.popleft()()
        return True

    def settle(self) -> None:
        """Until nothing is on its way."""
        while self.step():
            pass

    def elapse(self, seconds: float) -> None:
        """Let time pass, and handle everything meanwhile."""
        self.settle()
        until = self.now_s + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now_s, _, node, call = heapq.heappop(self._timers)
            if node not in self.dead:
                with self._charged(node, "timers"):
                    call()
            self.settle()
        self.now_s = until


@attrs.define
class Place:
    """The surroundings of a role (``nfactor.cluster.host.Host``)."""

    network: Network
    node: str
    actor: str
    life: int = 1

    def now(self) -> float:
        return self.network.now_s

    def tell(self, node: str, actor: str, message: object) -> None:
        self.network.tell(self.node, node, actor, message)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.network.after(self.node, seconds, call)


class Wire:
    """A port that has room for everything."""

    def __init__(self, network: Network, node: str, mac: bytes) -> None:
        self.address, self.node, self._network = mac, node, network
        self.take: Callable[[Burst], object] = lambda burst: None
        network.ports[mac] = self

    def send(self, burst: Burst) -> int:
        if len(burst):
            self._network.carry(self, burst)
        return len(burst)


class Control(Role):
    """In place of the coordinator: orders migrations, and hears of their ends."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.moved = self.failed = self.picked = 0

    @handles(MigrationEnded)
    def ended(self, message: MigrationEnded) -> Done:
        self.moved += message.flows
        self.failed += message.failed
        return Done()

    def order(self, flows: int, source: str = SOURCE, target: str = TARGET) -> None:
        self.ask(source, LIAISON, SetMigrationTarget(target, flows), Migrating, self._set_out)

    def _set_out(self, answer: Migrating | None) -> None:
        assert answer is not None
        self.picked += answer.flows


class Cluster:
    """A switch and some runtimes that know each other; all new flows go to the first. ``flows_max`` is the room of each
    table."""

    def __init__(self, dispatcher: Any, *, flows_max: int, runtimes: int = 2, mode: str = "none") -> None:
        self.network, self.mode = Network(), Mode.parse(mode)
        self.ledgers: dict[str, Ledger] = {}
        self.flows: dict[str, FlowTable] = {}
        self.liaisons: dict[str, Liaison] = {}
        self.members = (
            Member(SWITCH, "switch", address(Kind.SWITCH_INSIDE, 0), 0),
            *(Member(runtime_name(n), "runtime", address(Kind.RUNTIME, n), n) for n in range(runtimes)),
        )
        self.table = dispatcher
        self.control = Control(View())
        self.join(COORDINATOR, **{COORDINATOR: self.control})
        self._start_switch(dispatcher)
        for member in self.members[1:]:
            self._start_runtime(member, flows_max)
        self.outside = Wire(self.network, "outside", address(Kind.OUTSIDE, 0))
        self.outside.take = self._came_out
        self.latencies: list[Any] = []
        """Nanoseconds of packets, by burst that came out."""
        self._fed = self.out = 0
        self.membership = Membership(
            self.members,
            self.control.view,
            replicated=self.mode.replicates,
            dead_after_s=1.0,
            observed=False,
            ready=lambda: None,
        )
        self.join(COORDINATOR, **{MEMBERSHIP: self.membership})
        self.network.settle()
        dispatcher.set_runtimes([0])

    def join(self, node: str, **roles: Role) -> None:
        for actor, role in roles.items():
            self.network.roles[node, actor] = role
            role.join(Place(self.network, node, actor))
        for role in roles.values():
            role.begin()

    def _start_switch(self, dispatcher: Any) -> None:
        ledger = self.ledgers[SWITCH] = Ledger(SWITCH)
        outside = Wire(self.network, SWITCH, address(Kind.SWITCH_OUTSIDE, 0))
        inside = Wire(self.network, SWITCH, address(Kind.SWITCH_INSIDE, 0))
        next_hop = address(Kind.OUTSIDE, 0)
        role = VirtualSwitch(dispatcher, outside, inside, ledger, next_hop=next_hop, observed=False)  # type: ignore[arg-type]
        outside.take, inside.take = role.packets_in, role.packets_out
        self.entry = outside.address
        self.join(SWITCH, **{LIAISON: role})

    def _start_runtime(self, member: Member, flows_max: int) -> None:
        name, view = member.name, View()
        engine, ledger = compiled(light(), flows_max), Ledger(name)
        port, reporter = Wire(self.network, name, member.address), Reporter(ledger, observed=False)
        egress = Egress(port, ledger, reporter)  # type: ignore[arg-type]
        flows = FlowTable(engine, port, ledger, egress, self.mode, view)  # type: ignore[arg-type]
        assurance = Assurance(1.0)
        replicas = ReplicaTable(egress, ledger, reporter, engine.changes.copies, flows, view, assurance)
        liaison = Liaison(member, flows, replicas, view, assurance, batch_flows_max=1 << 20)
        self.join(name, **{REPLICAS: replicas, FLOWS: flows, LIAISON: liaison})
        port.take = flows.intake.take
        self.ledgers[name], self.flows[name], self.liaisons[name] = ledger, flows, liaison

    def feed(self, burst: Burst) -> None:
        """Packets go in; their marks say when. The frames are copied: the cluster writes to them."""
        self._fed += len(burst)
        marks = np.full(len(burst), self.network.busy_ns, np.uint64)
        start, end = int(burst.offsets[0]), int(burst.offsets[-1] + burst.lengths[-1])
        own = attrs.evolve(burst, data=burst.data[start:end].copy(), offsets=burst.offsets - start, marks=marks)
        cluster_frame.readdress(own, target=self.entry, source=self.outside.address)
        self.outside.send(own)

    def _came_out(self, burst: Burst) -> None:
        self.out += len(burst)
        self.latencies.append(np.uint64(self.network.busy_ns) - burst.marks)

    @property
    def lost(self) -> int:
        """Packets that went in and have not come out."""
        return self._fed - self.out
