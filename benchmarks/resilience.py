"""What replication costs per packet: octets of commits alone, and a primary and its replicas beside no replication.

    python benchmarks/resilience.py [--quick] [--all] [--json FILE]

Everything is in memory and in one process, with the compiled engine and firewall → monitor → balancer. ``Primary`` and
``Replica`` are the parts that a runtime is made of, with messages encoded and decoded as on a wire; links, tasks and
ports are left out on both sides of every comparison. Contestants take turns, round by round; medians of paired ratios
are compared. ``--all`` measures migration and recovery, too (``benchmarks/migration.py``, ``benchmarks/recovery.py``).
"""

import statistics
import sys
import time
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.engine import compiled, light
from benchmarks.report import Report, run_benchmark
from benchmarks.traffic import bursts_of, plain_frames
from nfactor.backends.memory import MemoryPort
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.egress import Egress
from nfactor.cluster.lag import STEPS_PER_TIME
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.recovery_messages import CommitsStored, StoreCommit
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.reporter import Reporter
from nfactor.compiled import outer_headers
from nfactor.dataplane.buckets import BUCKETS, buckets_of
from nfactor.dataplane.engine import HELD
from nfactor.packet.burst import Burst
from nfactor.packet.burst_codec import pack_burst, unpack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.dealing import Deal
from nfactor.protocols.replication import Mode, ReplicaStore

FLOWS = 100_000
FLOWS_MAX = 1 << 18
EVERY = ("every=64", "every=64/50ms", "every=64/10ms", "every=1024")
EVERY_TURN_NS = 300_000_000
"""Of the source, in which its clock strikes several times for each of them."""
IN_FLIGHT = 4096
"""Packets that the primary may have under way before replicas get their turn."""

Rounds = dict[str, list[float]]
"""By contestant, nanoseconds a packet, round by round."""


class Wire:
    """A port that has room for everything."""

    address = bytes(6)

    def send(self, burst: Burst) -> int:
        return len(burst)


class Arrivals(MemoryPort):
    """The receiving side of a port."""

    def __init__(self) -> None:
        self.waiting: deque[Burst] = deque()

    def receive(self) -> Burst | None:
        return self.waiting.popleft() if self.waiting else None


def egress_of(ledger: Ledger) -> Egress:
    return Egress(Wire(), ledger, Reporter(ledger, observed=False))  # type: ignore[arg-type]


class Primary:
    """The packet path of a runtime, from the port's burst to whatever leaves."""

    def __init__(self, mode: str, replicas: list[str]) -> None:
        self.engine = compiled(light(), FLOWS_MAX)
        self._ledger = Ledger("primary")
        parsed = Mode.parse(mode)
        self.engine.follows = parsed.replicates
        self._step_ns, self._stepped_ns = parsed.every_ms * 1_000_000 // STEPS_PER_TIME, 0
        self.sent: deque[tuple[str, bytes]] = deque()
        egress = egress_of(self._ledger)
        self._replicator = Replicator(
            parsed,
            self.engine,
            egress,
            self._ledger,
            send=self._send,
            forget=lambda replica, message, then: self._send(replica, message),
            now=time.monotonic,
            room=lambda: None,
        )
        self._replicator.set_replicas(replicas, {})

    def _send(self, replica: str, message: object) -> None:
        self.sent.append((replica, MESSAGES.encode(message)))

    def take(self, burst: Burst) -> None:
        """As ``Intake`` and ``FlowTable`` do."""
        assert not self._replicator.is_full
        assert not len(outer_headers.marker_indices(burst))
        self._ledger.take("switch", len(burst))
        codes = self.engine.process(burst)
        rows, emitted = self.engine.touched, self.engine.take_emitted()
        assert not (codes == HELD).any()
        self._replicator.commit(burst, rows, codes, emitted)

    def told(self, octets: bytes) -> None:
        message = MESSAGES.decode(octets)
        assert isinstance(message, CommitsStored)
        self._replicator.stored(message.replica, message.sequence)

    def look_at_the_clock(self, spent_ns: int) -> None:
        """As ``ReplicationClock`` does, by a clock that stands still while replicas have their turns."""
        if spent_ns >= self._stepped_ns + self._step_ns:
            self._stepped_ns = spent_ns
            self._replicator.step()


class Replica:
    """The table of replicas on a runtime, as ``ReplicaTable`` is."""

    def __init__(self, name: str) -> None:
        self.store = ReplicaStore(compiled(light(), FLOWS_MAX).changes.copies)
        self._ledger = Ledger(name)
        self.answers: deque[bytes] = deque()
        self._reporter = Reporter(self._ledger, observed=False)
        self._reporter.completed = self._completed
        self._egress = Egress(Wire(), self._ledger, self._reporter)  # type: ignore[arg-type]

    def _completed(self, primary: bytes, sequence: int) -> None:
        self.answers.append(MESSAGES.encode(CommitsStored(self._ledger.node, sequence, primary)))

    def take(self, octets: bytes) -> None:
        message = MESSAGES.decode(octets)
        assert isinstance(message, StoreCommit)
        self.store.store(message.primary, message.sequence, message.changes, FlowKeys.of_octets(message.ended))
        burst = unpack_burst(message.packets)
        self._ledger.take(message.primary, len(burst) + sum(message.counts))
        if len(burst):
            switches = outer_headers.count_sources(burst)
            self._egress.packets(burst)
            for switch in switches:
                self._egress.receipt(switch, message.address, message.sequence)
        self._egress.drops(message.reasons, message.counts, message.marks)
        self._egress.records(list(message.emitted))
        self._reporter.complete(message.address, message.sequence)


class Pair:
    """A primary and its replicas, and the time that each side took since it was last asked."""

    def __init__(self, mode: str, replicas: int, *, joined: bool) -> None:
        self._port = Arrivals()
        self._receive = partial(self._port.receive_joined, large=mode != "none") if joined else self._port.receive
        names = [f"replica-{number}" for number in range(replicas)]
        self._primary = Primary(mode, names)
        self._replicas = {name: Replica(name) for name in names}
        self._spent_ns = 0

    def run(self, bursts: list[Burst]) -> tuple[int, int]:
        """Nanoseconds of the primary and of the replicas for these bursts, of which several wait at the port."""
        source = target = 0
        size = max(1, IN_FLIGHT // len(bursts[0]))
        for start in range(0, len(bursts), size):
            begin = time.process_time_ns()
            self._port.waiting.extend(bursts[start : start + size])
            while (burst := self._receive()) is not None:
                self._primary.take(burst)
            self._primary.look_at_the_clock(self._spent_ns + source)
            source += time.process_time_ns() - begin
            begin = time.process_time_ns()
            while self._primary.sent:
                replica, octets = self._primary.sent.popleft()
                self._replicas[replica].take(octets)
            target += time.process_time_ns() - begin
            begin = time.process_time_ns()
            for each in self._replicas.values():
                while each.answers:
                    self._primary.told(each.answers.popleft())
            source += time.process_time_ns() - begin
        self._spent_ns += source
        return source, target


def paired(rounds: Rounds, over: str | list[str], under: str | list[str]) -> float:
    """The median of ratios of sums, round by round."""
    names = [[side] if isinstance(side, str) else side for side in (over, under)]
    tops, bottoms = ([sum(turn) for turn in zip(*(rounds[name] for name in side), strict=True)] for side in names)
    return float(statistics.median(top / bottom for top, bottom in zip(tops, bottoms, strict=True)))


def alone(bursts: list[Burst], octets: int, size: int, rounds: int, report: Report) -> Rounds:
    """The engine's time, and that of a commit's octets: made, and taken at the other end."""
    engine, packets = compiled(light(), FLOWS_MAX), sum(map(len, bursts))
    changes, copies = engine.changes, engine.changes.copies()
    costs: Rounds = {"engine": [], "build": [], "apply": []}
    for _ in range(rounds + 1):
        process = build = apply = 0
        for start in range(0, len(bursts), 16):
            for burst in bursts[start : start + 16]:
                begin = time.process_time_ns()
                engine.process(burst)
                middle = time.process_time_ns()
                rows = engine.touched
                changes.buckets(rows)
                made = changes.of(rows).octets, pack_burst(burst)
                end = time.process_time_ns()
                copies.apply(made[0])
                unpack_burst(made[1])
                apply += time.process_time_ns() - end
                process, build = process + middle - begin, build + end - middle
        for name, cost in (("engine", process), ("build", build), ("apply", apply)):
            costs[name].append(cost / packets)
    costs = {name: cost[1:] for name, cost in costs.items()}
    what = f"{octets} B, bursts of {size}"
    for name, target in (("build", {64: 12.4, 512: 6.9}[octets]), ("apply", {64: 17.9, 512: 14.0}[octets])):
        speed = 1e3 / statistics.median(costs[name])
        report.add(f"{name} a commit's octets, {what}", speed, "Mpps", f"{target} (bare)")
        report.add("  beside the engine's own time", paired(costs, name, "engine"), "x")
    return costs


def source_rows(bursts: list[Burst], size: int, rounds: int, bare: Rounds, report: Report) -> None:
    """The rate of a primary, beside one that replicates nothing; and what both ends take together. Several bursts wait,
    and are joined as ``Intake`` does."""
    modes = {"none": 1, "strict": 1, "strict, two replicas": 2}
    pairs = {name: Pair(name.partition(",")[0], replicas, joined=True) for name, replicas in modes.items()}
    pairs["strict, one by one"] = Pair("strict", 1, joined=False)
    packets = sum(map(len, bursts))
    costs: Rounds = {f"{name}{side}": [] for name in pairs for side in ("", " replica")}
    for turn in range(rounds + 1):
        for name, pair in pairs.items():
            source, target = pair.run(bursts)
            if turn:
                costs[name].append(source / packets)
                costs[f"{name} replica"].append(target / packets)
    what = f"bursts of {size}"
    report.add(f"no replication, {what}", 1e3 / statistics.median(costs["none"]), "Mpps")
    for name in ("strict", "strict, two replicas"):
        share = 100 * paired(costs, "none", name)
        report.add(f"{name}: rate of the source beside none, {what}", share, "%", "≥ 45", share >= 45)
    share = paired(costs, "strict", "strict, one by one")
    report.add(f"strict, bursts joined beside one by one, {what}", share, "x the time")
    total = statistics.median(map(sum, zip(costs["strict"], costs["strict replica"], strict=True)))
    parts = sum(statistics.median(bare[name]) for name in ("engine", "build", "apply"))
    times = total / parts
    report.add(f"strict: both ends beside engine + build + apply, {what}", times, "x", "≤ 1.2", times <= 1.2)


def every_rows(size: int, rounds: int, report: Report) -> None:
    """The rate of a primary whose states follow, beside one that replicates nothing. Each turn is so long that the
    states of flows which have few packets follow several times."""
    bursts = bursts_of(plain_frames(1 << 18, FLOWS, zipf=True), size)
    modes = ("none", *EVERY)
    pairs, costs = {mode: Pair(mode, 1, joined=True) for mode in modes}, {mode: list[float]() for mode in modes}
    for turn in range(rounds + 1):
        for mode, pair in pairs.items():
            spent = packets = 0
            while spent < EVERY_TURN_NS:
                spent += pair.run(bursts)[0]
                packets += len(bursts) * size
            if turn:
                costs[mode].append(spent / packets)
    for mode in EVERY:
        share = 100 * paired(costs, "none", mode)
        what = f"{mode}: rate of the source beside none, bursts of {size}"
        report.add(what, share, "%", "≥ 85", share >= 85)


def evenness_rows(report: Report) -> None:
    """How far from even the replicas' shares of the flows are."""
    engine = compiled(light(), FLOWS_MAX)
    for burst in bursts_of(plain_frames(FLOWS, FLOWS, zipf=False, in_order=True), 1024):
        engine.process(burst)
    buckets = buckets_of(engine.keys().array)
    for replicas in (2, 7, 255):
        deal = Deal()
        deal.change([str(number) for number in range(replicas)])
        shares = np.bincount(deal.holders(buckets), minlength=replicas)
        report.add(
            f"largest share of {FLOWS:,} flows among {replicas} replicas", shares.max() / shares.mean(), "x mean"
        )
    report.add("flows in the largest of all buckets", np.bincount(buckets, minlength=BUCKETS).max(), "")


def set_rows(flows: int, rounds: int, report: Report) -> None:
    """All flows of a table, whole: when a replica died; and out of a store: when the primary did."""
    engine = compiled(light(), 1 << 19)
    for burst in bursts_of(plain_frames(flows, flows, zipf=False, in_order=True), 1024):
        engine.process(burst)
    keys = engine.keys()
    costs: Rounds = {"whole": [], "apply": [], "all": []}
    for _ in range(rounds):
        copies, marks = engine.changes.copies(), [time.process_time_ns()]
        parts = [engine.changes.whole(keys[start : start + 500]).octets for start in range(0, flows, 500)]
        marks.append(time.process_time_ns())
        for part in parts:
            copies.apply(part)
        marks.append(time.process_time_ns())
        copies.all()
        marks.append(time.process_time_ns())
        for name, cost in zip(costs, np.diff(marks).tolist(), strict=True):
            costs[name].append(cost / 1e6)
    for name, what in (("whole", "send again"), ("apply", "take in"), ("all", "take over")):
        report.add(f"{what} {flows:,} flows", statistics.median(costs[name]), "ms of CPU")


def measure(*, quick: bool, report: Report, console: Console) -> None:
    """See the module."""
    packets, rounds = (1 << 16, 5) if quick else (1 << 18, 9)
    for octets in (64, 512):
        frames = plain_frames(packets, FLOWS, zipf=True, octets=octets)
        for size in (64, 1024):
            console.log(f"{octets} B, bursts of {size}")
            bursts = bursts_of(frames, size)
            bare = alone(bursts, octets, size, rounds, report)
            if octets == 64:
                source_rows(bursts, size, rounds, bare, report)
                console.log(f"{octets} B, bursts of {size}, states that follow")
                every_rows(size, 5, report)
    evenness_rows(report)
    set_rows(50_000 if quick else 300_000, 3, report)


if __name__ == "__main__":
    # What resilience costs in all; each is usable alone, too.
    from benchmarks import migration, recovery

    more = {"migration": migration.measure, "recovery": recovery.measure}
    run_benchmark("replication", __doc__ or "", measure, more)
