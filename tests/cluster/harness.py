"""A whole cluster under ``simulate``: what went in, what came out, and the objects inside for a test to look at."""

import random
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import attrs
import numpy as np

from nfactor.backends.base import Transport
from nfactor.backends.faulty import FaultyTransport
from nfactor.backends.memory import MemoryNetwork, open_memory_network
from nfactor.cli.worlds import CONTROL_LATENCY_S, DATA_LATENCY_S, MemoryWorld
from nfactor.cluster import launcher, switch
from nfactor.cluster.launcher import Cluster, Here, open_cluster
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import MigrationEnded
from nfactor.cluster.outside import Event
from nfactor.cluster.plan import ClusterPlan
from nfactor.cluster.relay import Relay
from nfactor.cluster.replay import Outcome, Pace, replay
from nfactor.compiled.engines import EngineKind, open_engine, open_owners
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.nf import NF
from nfactor.dataplane.owners import Owners
from nfactor.functions.firewall import Firewall
from nfactor.functions.monitor import FlowRow, Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.protocols.replication import Mode
from nfactor.testing import Simulation, packets, simulate


class Frames:
    """A source: frames of a list, a time step apart, but those with some marks; marks count from 1."""

    def __init__(self, frames: Sequence[bytes], step_s: float, without: Collection[int]) -> None:
        self._frames = frames
        self._step_s = step_s
        self._marks = [mark for mark in range(1, len(frames) + 1) if mark not in without]
        self._next = 0

    def read_burst(self, packets_max: int) -> Burst | None:
        """See ``Source``."""
        marks = np.array(self._marks[self._next : self._next + packets_max], np.int64)
        self._next += len(marks)
        if not len(marks):
            return None
        burst = packets.burst_of([self._frames[mark - 1] for mark in marks.tolist()])
        # Whole nanoseconds, so that a packet's time does not hang on which burst it is fed in.
        times = (marks - 1) * round(self._step_s * 1e9)
        return attrs.evolve(burst, times=times, marks=marks.astype(np.uint64))


@attrs.define
class Out:
    """A sink that keeps everything."""

    marks: list[int] = attrs.field(factory=list)
    frames: dict[int, bytes] = attrs.field(factory=dict)
    rows: list[tuple[str, FlowRow]] = attrs.field(factory=list)
    migrations: list[MigrationEnded] = attrs.field(factory=list)

    def packets_out(self, burst: Burst) -> None:
        """See ``Sink``."""
        marks = burst.marks.tolist()
        self.marks += marks
        self.frames.update(zip(marks, (frame[16:] for frame in burst.frames()), strict=True))

    def record(self, node: str, record: Any) -> None:
        """See ``Sink``."""
        self.rows.append((node, record))

    def happened(self, event: Event) -> None:
        """See ``Sink``."""
        if isinstance(event, MigrationEnded):
            self.migrations.append(event)


@attrs.frozen
class Inside:
    """What a node-crossing test must not use and a judge of the whole may: the objects inside."""

    network: MemoryNetwork
    cluster: Cluster
    here: Here
    """Can end and restart any node."""
    ledgers: list[Ledger]
    dispatchers: list[Owners]
    relays: list[Relay]

    def check_nodes(self) -> None:
        """DESIGN section 10 for each node, at this very moment."""
        for ledger in self.ledgers:
            ledger.counters()

    def check_accounting(self) -> None:
        """The same for the whole, where nothing is replicated and nobody dies."""
        self.check_nodes()
        outside, statistics = self.cluster.outside, self.network.statistics().packets
        markers = sum(
            ledger.markers_sent + ledger.receipts_sent - ledger.markers_received - ledger.receipts
            for ledger in self.ledgers
        )
        under_way = statistics.queued + statistics.in_flight - markers
        dropped = sum(sum(ledger.dropped.values()) for ledger in self.ledgers)
        buffered = sum(ledger.buffered for ledger in self.ledgers)
        assert outside.packets_in == outside.packets_out + dropped + buffered + under_way
        assert sum(statistics.lost.values()) == 0


@attrs.frozen
class Run:
    """What a simulated cluster did."""

    outcome: Outcome
    out: Out
    digest: str

    def rows(self) -> list[Any]:
        """Flow rows without the node, in order of first packets."""
        return sorted((row for _, row in self.out.rows), key=lambda row: (row.first_mark, row.key))


@contextmanager
def _collected(made: dict[str, list[Any]]) -> Any:
    """Remember the ledgers and relays that nodes make."""

    def remember(name: str, module: Any = launcher) -> Callable[..., Any]:
        original = getattr(module, name)

        def make(*args: Any, **options: Any) -> Any:
            made[name].append(original(*args, **options))
            return made[name][-1]

        return make

    with (
        mock.patch.object(launcher, "Ledger", remember("Ledger")),
        mock.patch.object(switch, "Relay", remember("Relay", switch)),
    ):
        yield


def _plan(
    runtimes: int,
    switches: int,
    functions: Callable[[], Sequence[NF]],
    time_outs: TimeOuts,
    replication: str,
    engine: EngineKind,
    tables: list[Owners],
) -> ClusterPlan:
    def owners() -> Owners:
        tables.append(open_owners(engine, FlowClassifier("auto"), flows_max=1000))
        return tables[-1]

    return ClusterPlan(
        runtimes=runtimes,
        switches=switches,
        engine=lambda: open_engine(
            engine, Chain.of(functions()), FlowClassifier("auto"), time_outs=time_outs, common_clock=True
        ),
        owners=owners,
        records=tuple(cls for function in functions() for cls in function.records),
        replication=Mode.parse(replication),
    )


def run(
    frames: Sequence[bytes],
    *,
    runtimes: int = 1,
    switches: int = 1,
    migrate_every: int = 0,
    kill_at: int = 0,
    remember: bool = False,
    without: Collection[int] = (),
    replication: str = "none",
    seed: int = 0,
    functions: Callable[[], Sequence[NF]] = lambda: [Firewall(), Monitor()],
    step_s: float = 0.001,
    time_outs: TimeOuts | None = None,
    pace: Pace | None = None,
    look: Callable[[Inside], None] = lambda _: None,
    last: Callable[[Inside], Any] | None = None,
    queue_packets_max: int = 4096,
    data_latency_s: float = DATA_LATENCY_S,
    patches: AbstractContextManager[Any] | None = None,
    engine: EngineKind = "reference",
    mistreated: float = 0.0,
) -> Run:
    """Send the frames through a simulated cluster. ``look`` is called after each burst that went in. Of the datagrams
    that carry messages, such a part is lost, doubled, reordered, or corrupted, each."""
    out = Out()
    tables: list[Owners] = []
    plan = _plan(runtimes, switches, functions, time_outs or TimeOuts(), replication, engine, tables)
    chosen = pace or Pace.of(migrate_every, CONTROL_LATENCY_S, kill_at)

    async def main(sim: Simulation) -> Outcome:
        made: dict[str, list[Any]] = {"Ledger": [], "Relay": []}
        async with open_memory_network(
            rng=sim.random("network"),
            data_latency_s=data_latency_s,
            control_latency_s=CONTROL_LATENCY_S,
            control_jitter_s=CONTROL_LATENCY_S,
        ) as network:
            world, here = _World(network, queue_packets_max, sim.random("faults"), mistreated), Here()
            with _collected(made), patches or nullcontext():
                opened = open_cluster(
                    world,
                    plan,
                    out,
                    window_packets_max=chosen.window_packets,
                    remember=remember or kill_at > 0,
                    launcher=here,
                )
                async with opened as cluster:
                    inside = Inside(network, cluster, here, made["Ledger"], tables, made["Relay"])
                    outcome = await replay(
                        cluster, Frames(frames, step_s, without), chosen, between=lambda: look(inside)
                    )
                    if last is not None:
                        await last(inside)
                    return outcome

    result = simulate(main, seed=seed)
    return Run(result.value, out, result.digest)


class _World(MemoryWorld):
    def __init__(self, network: MemoryNetwork, queue_packets_max: int, rng: random.Random, mistreated: float) -> None:
        super().__init__(network)
        self._queue_packets_max = queue_packets_max
        self._rng = rng
        self._part = mistreated

    def transport(self, node: str) -> Transport:
        part, transport = self._part, super().transport(node)
        if not part:
            return transport
        return FaultyTransport(transport, rng=self._rng, loss=part, duplicate=part, corrupt=part, reorder=part)

    def port(self, node: str, address: bytes) -> Any:
        limit = self._queue_packets_max if node.startswith("runtime") else 4096
        return self.network.port(address, node=node, queue_packets_max=limit)


def traffic(flows: int, count: int, seed: int = 1) -> list[bytes]:
    """Interleaved TCP and UDP packets of that many flows, in both directions, each with a payload of its own."""
    rng = random.Random(seed)
    frames = []
    for number in range(count):
        flow, payload = rng.randrange(flows), number.to_bytes(4, "big")
        make = packets.tcp if flow % 3 else packets.udp
        ends = [("10.0.0.1", 1000 + flow), ("10.9.0.2", 53)]
        (a, a_port), (b, b_port) = ends if rng.random() < 0.5 else ends[::-1]
        frames.append(make(a, a_port, b, b_port, payload))
    return frames


def mixed_traffic(flows: int, count: int, seed: int) -> list[bytes]:
    """The same with what makes a flow hard to follow: IPv6, VLANs, fragments, ICMP errors, and ends of TCP."""
    rng = random.Random(seed)
    frames: list[bytes] = []
    while len(frames) < count:
        flow, back = rng.randrange(flows), rng.random() < 0.5
        a, b = ("2001:db8::1", "2001:db8::2") if flow % 4 == 1 else ("10.0.0.1", "10.9.0.2")
        (a, a_port), (b, b_port) = ((b, 53), (a, 1000 + flow)) if back else ((a, 1000 + flow), (b, 53))
        if flow % 4 == 3:
            frames += fragments(a, a_port, b, b_port, len(frames) % 65535 + 1)
            continue
        if flow % 4 == 2:
            frame = packets.udp(a, a_port, b, b_port, bytes(4))
        else:
            flags = rng.choice([packets.ACK] * 8 + [packets.SYN, packets.FIN | packets.ACK, packets.RST])
            frame = packets.tcp(a, a_port, b, b_port, bytes(4), flags=flags)
        if flow % 5 == 0:
            frame = frame[:12] + b"\x81\x00" + (flow % 3 + 1).to_bytes(2, "big") + frame[12:]
        elif flow % 4 == 2 and rng.random() < 0.2:
            frame = packets.ip_packet(b, a, 1, b"\x03\x03" + bytes(6) + frame[14:])
        frames.append(frame)
    return frames[:count]


def fragments(a: str, a_port: int, b: str, b_port: int, identifier: int) -> list[bytes]:
    """A UDP datagram in two fragments; checksums are left as they were."""
    whole = packets.udp(a, a_port, b, b_port, bytes(24))
    first, later = bytearray(whole[:14] + whole[14:34] + whole[34:50]), bytearray(whole[:34] + whole[50:])
    for part, offset in ((first, 0x2000), (later, 2)):
        part[16:18] = (len(part) - 14).to_bytes(2, "big")
        part[18:22] = identifier.to_bytes(2, "big") + offset.to_bytes(2, "big")
    return [bytes(first), bytes(later)]
