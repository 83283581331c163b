"""A cluster of whole nodes under ``simulate``, and its history: what a judge asks of it, and what may be done to it.

Nothing in the nodes is replaced. Engines show what they have processed, as the function at the end of their chain
writes each flow's past into its packets; the outside shows what came out and what it was told.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from random import Random
from typing import Any, Literal, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
import trio

from nfactor.cluster.coordinator import Coordinator
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.launcher import Cluster, Here, LocalLife
from nfactor.cluster.ledger import Ledger, check_node
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.membership import Membership
from nfactor.cluster.messages import Migrating, MigrationEnded, SetMigrationTarget
from nfactor.cluster.names import COORDINATOR, FLOWS, LIAISON, MEMBERSHIP, OUTSIDE, REPLICAS
from nfactor.cluster.outcome_messages import Outcomes
from nfactor.cluster.outside import Event
from nfactor.cluster.plan import ClusterPlan, runtime_member
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.compiled.engines import open_owners
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import FORWARD, Engine, TimeOuts
from nfactor.dataplane.nf import NF
from nfactor.dataplane.owners import Owners
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.protocols.replication import Kind, Mode
from nfactor.testing import packets
from nfactor.testing.judged import death_of, mends
from nfactor.testing.limits import FLOWS_MAX
from nfactor.testing.lineage import (
    CHOSEN,
    Came,
    Death,
    End,
    Ended,
    History,
    PlainLineage,
    Processed,
    Step,
    read_tail,
)
from nfactor.testing.node_draws import NodeSchedule
from nfactor.testing.rest import one_owner

Engines: TypeAlias = Literal["reference", "compiled"]
IDLE_S, STEP_S = 2.0, 0.2
"""Where flows end, they do so after so much time by the clock of the packets, and from packet to packet it is so much
later."""
HEADER_OCTETS = 16
"""Of ours, before each frame."""


def engines() -> tuple[Engines, ...]:
    """Those that there are here."""
    return ("reference",) if find_spec("llvmlite") is None else ("reference", "compiled")


def functions() -> list[NF]:
    """The chain of every runtime. Both write to their states with every packet: the reference engine, which does not
    know who has, sends all states with each change, and else the engines would send different numbers of octets."""
    return [Monitor(), PlainLineage()]


def engine_of(kind: Engines, schedule: NodeSchedule) -> Engine:
    """One engine for a schedule."""
    outs = TimeOuts(tcp_idle_s=IDLE_S, udp_idle_s=IDLE_S) if schedule.flows_end else TimeOuts(never=True)
    options: Any = {"flows_max": FLOWS_MAX, "time_outs": outs, "common_clock": True}
    if kind == "reference":
        return ReferenceEngine(Chain.of(functions()), FlowClassifier("auto"), **options)
    from nfactor.compiled.engine import CompiledEngine

    return CompiledEngine(Chain.of(functions()), FlowClassifier("auto"), **options)


@attrs.frozen
class _Runtime:
    """See ``judged.JudgedRuntime``."""

    life: LocalLife
    name: str
    number: int
    engine: Engine
    flows: FlowTable
    replicas: ReplicaTable
    liaison: Liaison
    ledger: Ledger
    refused: int = 0

    @classmethod
    def of(cls, life: LocalLife) -> "_Runtime":
        roles: dict[str, Any] = life.roles
        assert life.engine is not None
        assert life.ledger is not None
        number = int(life.name.partition("-")[2])
        return cls(life, life.name, number, life.engine, roles[FLOWS], roles[REPLICAS], roles[LIAISON], life.ledger)


@attrs.frozen
class _Switch:
    """See ``judged.JudgedSwitch``."""

    life: LocalLife
    name: str
    number: int
    dispatcher: Owners
    ledger: Ledger

    @classmethod
    def of(cls, life: LocalLife) -> "_Switch":
        assert life.owners is not None
        assert life.ledger is not None
        return cls(life, life.name, int(life.name.partition("-")[2]), life.owners, life.ledger)


def frame_of(flow: int, *, back: bool) -> bytes:
    """A packet of a flow: over UDP or TCP, IPv4 or IPv6, some with a VLAN; every flow has a pair of addresses of its
    own, which says at which switch it goes in."""
    a, b = (f"2001:db8::{flow + 1:x}", "2001:db8::ffff") if flow % 4 == 2 else (f"10.0.0.{flow + 1}", "10.9.0.2")
    ends = (b, 53, a, 1000 + flow) if back else (a, 1000 + flow, b, 53)
    frame = (packets.tcp if flow % 2 else packets.udp)(*ends, bytes(20))
    return frame[:12] + b"\x81\x00\x00\x07" + frame[12:] if flow % 4 == 3 else frame


class NodeCluster:
    """Made before the cluster is: ``plan`` and (as its sink) this belong to it; ``open`` takes it when it is there."""

    def __init__(self, schedule: NodeSchedule, engine: Engines, rng: Random, tell: Callable[[str], object]) -> None:
        self.history = History()
        self.mode = Mode.parse(schedule.mode)
        self.here = Here()
        self.key_of: dict[int, bytes] = {}
        """By flow number."""
        self.flow_of_key: dict[bytes, int] = {}
        self.fed: dict[int, tuple[bytes, int]] = {}
        """By mark: the frame that went in, and its time."""
        self.came: dict[int, bytes] = {}
        """By mark: the frame that came out."""
        self.recovered: list[NodeRecovered] = []
        self._schedule = schedule
        self._engine = engine
        self._rng = rng
        self._tell = tell
        self._classifier = FlowClassifier("auto")
        self._step_ns = round((STEP_S if schedule.flows_end else 0.001) * 1e9)
        self._were_in: set[tuple[str, int]] = set()
        """Lives of runtimes that were in the view."""
        self._dead: set[tuple[str, int]] = set()
        """Those whose deaths are noted."""
        self._restarted: set[tuple[str, int]] = set()
        """Lives after which the next one was begun."""
        self._lingering: list[Death] = []
        """Of who was declared dead, lives, and is not fenced everywhere yet."""
        self._feeding, self._fed = trio.open_memory_channel[Burst](10_000)

    # ---------------------------------------------------------------- what the cluster is made of

    def plan(self) -> ClusterPlan:
        """See ``ClusterPlan``."""
        schedule = self._schedule
        return ClusterPlan(
            runtimes=schedule.runtimes,
            switches=schedule.switches,
            engine=self._open_engine,
            owners=lambda: open_owners(self._engine, FlowClassifier("auto"), flows_max=FLOWS_MAX),
            records=tuple(record for function in functions() for record in function.records),
            replication=self.mode,
            domains=schedule.domains,
            launches=schedule.launches,
        )

    def _open_engine(self) -> Engine:
        engine = engine_of(self._engine, self._schedule)
        process = engine.process
        chosen = engine.reasons.index(CHOSEN)

        def show(burst: Burst) -> npt.NDArray[np.uint8]:
            codes = process(burst)
            for index in np.flatnonzero((codes == FORWARD) | (codes == chosen)).tolist():
                tail, name = read_tail(burst.frame(index)), self._name_of(engine)
                self.history.processed.append(Processed(name, 0, int(burst.marks[index]), *tail, self._now_us()))
            return codes

        setattr(engine, "process", show)  # noqa: B010 - this one object's, and not its class's
        return engine

    def _name_of(self, engine: Engine) -> str:
        return next((life.name for life in self.here.lives.values() if life.engine is engine), "a runtime")

    def open(self, cluster: Cluster, nursery: trio.Nursery) -> None:
        """It is there."""
        self._cluster = cluster
        outside = cluster.outside
        hear = outside.told

        def told(outcomes: Outcomes) -> None:
            self._told(outcomes)
            hear(outcomes)

        setattr(outside, "told", told)  # noqa: B010 - this one object's, and not its class's
        nursery.start_soon(self._feed_all)

    async def _feed_all(self) -> None:
        async for burst in self._fed:
            await self._cluster.outside.feed(burst)

    # ---------------------------------------------------------------- see ``judged.JudgedCluster``

    @property
    def runtimes(self) -> dict[str, _Runtime]:
        """The latest life of each."""
        return {name: _Runtime.of(life) for name, life in self.here.lives.items() if name.startswith("runtime")}

    @property
    def switches(self) -> dict[str, _Switch]:
        """The same."""
        return {name: _Switch.of(life) for name, life in self.here.lives.items() if name.startswith("switch")}

    @property
    def _membership(self) -> Membership:
        membership: Any = self.here.lives[COORDINATOR].roles[MEMBERSHIP]
        return membership  # type: ignore[no-any-return]

    def living(self) -> Sequence[_Runtime]:
        """Runtimes that live and that the coordinator counts as living."""
        return [runtime for runtime in self.runtimes.values() if not runtime.life.killed and self._is_in(runtime)]

    def _is_in(self, runtime: _Runtime) -> bool:
        address = runtime_member(runtime.number, runtime.life.number, "").address
        return self._membership.view.is_life(runtime.name, address)

    @property
    def serves(self) -> bool:
        """Whether packets are to pass: where nothing may leave without a replica, there has to be one."""
        return self.mode.kind is not Kind.STRICT_HOLD or len(self.living()) > 1

    # ---------------------------------------------------------------- what comes out

    def packets_out(self, burst: Burst) -> None:
        """See ``Sink``."""
        self._say(f"out come {_numbers(burst)}")
        for mark, frame in zip(burst.marks.tolist(), burst.frames(), strict=True):
            self.history.out.append(Came(self._now_us(), mark, *read_tail(frame)))
            self.came[mark] = frame[HEADER_OCTETS:]
        self.look()

    def record(self, node: str, record: Any) -> None:
        """See ``Sink``."""
        if isinstance(record, Ended):
            self.history.ends.append(End(node, record, len(self.fed), self._now_us()))
        elif isinstance(record, Step):
            self.history.records.append((node, record))

    def happened(self, event: Event) -> None:
        """See ``Sink``."""
        self._say(str(event))
        if isinstance(event, MigrationEnded):
            self.history.ended.append(event)
        elif isinstance(event, NodeRecovered):
            self.recovered.append(event)
            for death in self._lingering:
                death.until_us = self._now_us()
            self._lingering = [death for death in self._lingering if death.node != event.node]

    def _told(self, outcomes: Outcomes) -> None:
        marks = iter(np.frombuffer(outcomes.marks, "<u8").tolist())
        for reason, count in zip(outcomes.reasons, outcomes.counts, strict=True):
            dropped = [(reason, next(marks)) for _ in range(count)]
            self._say(f"{outcomes.node} tells that these were dropped: {dropped}")
            self.history.dropped += dropped
            self.history.told_by[outcomes.node] += count

    def _now_us(self) -> int:
        return round(trio.current_time() * 1e6)

    def _say(self, what: str) -> None:
        self._tell(f"{trio.current_time() * 1000:11.3f} ms  {what}")

    # ---------------------------------------------------------------- what is done to it

    def feed(self, flow: int, count: int = 1) -> list[int]:
        """So many packets of a flow go in; their marks."""
        marks = range(len(self.fed) + 1, len(self.fed) + 1 + count)
        frames = [frame_of(flow, back=self._rng.random() < 0.5) for _ in marks]
        burst = packets.burst_of(frames, first_mark=marks[0])
        burst = attrs.evolve(burst, times=np.array(marks, np.int64) * self._step_ns)
        if flow not in self.key_of:
            packet = Packet(burst.octets())
            parse(packet, 0, int(burst.lengths[0]), int(burst.wire_lengths[0]))
            key, _ = self._classifier.classify(packet)
            self.key_of[flow], self.flow_of_key[key] = key, flow
        self.history.flow_of.update(dict.fromkeys(marks, flow))
        self.fed.update({mark: (frame, mark * self._step_ns) for mark, frame in zip(marks, frames, strict=True)})
        self._say(f"in go {_numbers(burst)} of flow {flow}")
        self._feeding.send_nowait(burst)
        return list(marks)

    def migrate(self) -> None:
        """Some flows set out."""
        names = [runtime.name for runtime in self.living()]
        if len(names) < 2 or self.here.lives[COORDINATOR].killed:
            return
        source, target = self._rng.sample(names, 2)
        coordinator: Any = self.here.lives[COORDINATOR].roles[COORDINATOR]
        assert isinstance(coordinator, Coordinator)
        self._say(f"up to 4 flows set out from {source} for {target}")
        order = SetMigrationTarget(target, self._rng.randint(1, 4))
        coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)

    def everybody(self) -> list[str]:
        """All nodes that there are."""
        return [*self.here.lives, OUTSIDE]

    def kill(self, name: str) -> bool:
        """A crash; what a runtime had promised is noted. False: it was dead already."""
        life = self.here.lives[name]
        if life.killed:
            return False
        self._say(f"{name} dies")
        if name.startswith("runtime"):
            self._note_death(_Runtime.of(life))
        elif name.startswith("switch"):
            self.history.switch_deaths.append(name)
        life.end()
        return True

    def restart(self, name: str) -> None:
        """A node that is dead begins again, and knows nothing."""
        life = self.here.lives[name]
        if life.killed and (name, life.number) not in self._restarted:
            self._say(f"{name} begins again")
            self._restarted.add((name, life.number))
            self.history.restarts.append(name)
            self.here.restart(name)

    def _note_death(self, runtime: _Runtime) -> None:
        life = runtime.name, runtime.life.number
        if life not in self._dead:
            self._dead.add(life)
            domains = {int(name.partition("-")[2]): domain for name, domain in self.here.domains.items()}
            overlaps = mends(self, runtime, domains, self.recovered)
            self.history.deaths.append(death_of(self, runtime, self._now_us(), overlaps=overlaps))

    # ---------------------------------------------------------------- what must hold at every moment

    def look(self) -> None:
        """(a) and (d). And who was declared dead and lives is noted as dead: it finds this out by nothing."""
        for life in self.here.lives.values():
            if life.ledger is not None and not life.killed:
                check_node(life.ledger)
        for runtime in self.runtimes.values():
            life_of_it = runtime.name, runtime.life.number
            if runtime.life.killed or life_of_it in self._dead:
                continue
            if self._is_in(runtime):
                self._were_in.add(life_of_it)
            elif life_of_it in self._were_in and self._membership.view.term:
                self._say(f"{runtime.name} was declared dead, and lives")
                self._note_death(runtime)
                self._lingering.append(self.history.deaths[-1])
        one_owner(self, flows_end=self._schedule.flows_end)


def _numbers(burst: Burst) -> str:
    marks = burst.marks.tolist()
    return f"{'packet' if len(marks) == 1 else 'packets'} {', '.join(map(str, marks))}"
