"""What it costs to move flows between two runtimes while packets run, beside a central controller and stop-and-copy.

    python benchmarks/migration.py [--quick] [--json FILE]

The roles are the real ones, with the compiled engine and firewall → monitor → balancer, and messages encoded and
decoded as on a wire (``benchmarks/roles.py``). The whole cluster runs on one core, and time is what its handlers take.
Flows go to the other runtime and back, round by round, so that both tables have been used before; what a table costs
that has never been used is a row of its own. The others are in ``benchmarks/central.py``.
"""

import gc
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.central import centre_of
from benchmarks.report import Report, run_benchmark
from benchmarks.roles import SOURCE, SWITCH, TARGET, Cluster, Sent
from benchmarks.traffic import bursts_of, plain_frames
from nfactor.cluster.names import COORDINATOR
from nfactor.compiled.dispatcher import CompiledDispatcher
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier

FLOWS_MAX = 1 << 19
SET = 1_000
"""Flows that move together, unless a row says otherwise."""
PACKET_NS = 7_800
"""So often, in the cluster's own time, a packet of a flow that moves comes in (0.13 Mpps), in bursts."""
BURST = 128
SHORT_BURST = 32
"""Where everything is over in a millisecond."""


class Load:
    """Packets that run, as long as it is on."""

    def __init__(self, cluster: Cluster, bursts: list[Burst]) -> None:
        self._cluster, self._bursts = cluster, bursts
        self._turn = 0
        self._next_ns = cluster.network.busy_ns
        cluster.network.between = self._look

    def _look(self) -> None:
        busy_ns = self._cluster.network.busy_ns
        if busy_ns >= self._next_ns:
            self._cluster.feed(self._bursts[self._turn % len(self._bursts)])
            self._turn += 1
            self._next_ns = max(
                busy_ns, self._next_ns + PACKET_NS * len(self._bursts[0])
            )  # never more than it can bear

    def stop(self) -> None:
        self._cluster.network.between = lambda: None
        self._cluster.network.settle()


def populated(flows: int, burst_packets: int = BURST) -> tuple[Cluster, list[Burst]]:
    """A cluster whose flows are all at one runtime, and packets of them in random order."""
    cluster = Cluster(CompiledDispatcher(FlowClassifier("auto"), flows_max=FLOWS_MAX), flows_max=FLOWS_MAX)
    for burst in bursts_of(plain_frames(flows, flows, zipf=False, in_order=True), 1024):
        cluster.feed(burst)
        cluster.network.settle()
    gc.collect()
    gc.freeze()  # as the process of a node does
    return cluster, bursts_of(plain_frames(1 << 16, flows, zipf=False, seed=2), burst_packets)


@attrs.frozen
class Round:
    """All flows, once across. Nanoseconds."""

    ends: int
    """What both runtimes took for messages, and to bury the tombstones."""
    switch: int
    """What the switch took for messages."""
    whole: int
    """Everything, packets included."""
    latencies: Any
    lost: int
    held: int
    """The most packets that waited at the target."""


def across(cluster: Cluster, bursts: list[Burst], flows: int, size: int, source: str, target: str) -> Round:
    """Move them all, set by set, while packets run."""
    network, control = cluster.network, cluster.control
    network.settle()
    network.costs.clear()
    cluster.latencies.clear()
    for ledger in cluster.ledgers.values():
        ledger.buffered_max = 0
    begin, wanted = network.busy_ns, control.moved + flows
    load = Load(cluster, bursts)
    while control.moved < wanted:
        before = control.moved
        control.order(min(size, wanted - before), source, target)
        while control.moved == before:
            assert network.step(), "the set has stopped on its way"
    load.stop()
    whole = network.busy_ns - begin
    network.elapse(1.1)
    ends = sum(network.costs[node, what] for node in (source, target) for what in ("messages", "timers"))
    held = cluster.ledgers[target].buffered_max
    latencies = np.concatenate(cluster.latencies)
    return Round(ends, network.costs[SWITCH, "messages"], whole, latencies, cluster.lost, held)


def engines_alone(cluster: Cluster, flows: int, size: int) -> int:
    """Nanoseconds of what both engines do for the same: the floor. The flows go across and stay there."""
    begin, source, target = time.process_time_ns(), *(cluster.flows[name]._engine for name in (SOURCE, TARGET))
    for _ in range(flows // size):
        keys, epochs = source.pick(size)
        target.hold(keys, epochs + np.uint32(1))
        records, _ = source.depart(keys)
        target.install(keys, epochs + np.uint32(1), records)
        source.forget(keys)
    return time.process_time_ns() - begin


def migration_rows(flows: int, size: int, rounds: int, report: Report) -> None:
    """There and back."""
    cluster, bursts = populated(flows, SHORT_BURST if flows <= SET else BURST)
    ways = ((SOURCE, TARGET), (TARGET, SOURCE))
    done = [across(cluster, bursts, flows, size, *ways[turn % 2]) for turn in range(2 * rounds)]
    first, rest = done[0], done[2:]
    floor = engines_alone(cluster, flows, size)
    what = f"{flows:,} flows in sets of {size:,}"

    def rate(cost: Callable[[Round], int], some: list[Round] = rest) -> float:
        return statistics.median(flows / cost(each) * 1e3 for each in some)

    ends = rate(lambda each: each.ends)
    target = ("≥ 1", ends >= 1) if flows >= 100_000 else ("", None)
    report.add(f"{what}: both ends", ends, "M flows/s", *target)
    report.add("  the engines' part of it, alone", flows / floor * 1e3, "M flows/s")
    report.add("  with the switch", rate(lambda each: each.ends + each.switch), "M flows/s")
    report.add("  to a table that was never used: both ends", rate(lambda each: each.ends, [first]), "M flows/s")
    report.add("  from beginning to end, packets included", flows / rate(lambda each: each.whole) / 1e3, "ms")
    every = np.concatenate([each.latencies for each in rest]) / 1e6
    pause = float(np.percentile(every, 99))
    report.add("  a packet's time inside, median", float(np.median(every)), "ms")
    report.add("  the same, p99", pause, "ms", *(("≤ 5", pause <= 5) if size <= SET else ("", None)))
    report.add("  the same, at most", float(every.max()), "ms")
    report.add("  packets that waited at the target, at most", max(each.held for each in rest), "")
    lost = sum(each.lost for each in done)
    report.add("  packets lost", lost, f"of {sum(len(each.latencies) for each in done):,}", "0", lost == 0)


# ---------------------------------------------------------------- the others


@attrs.frozen
class Way:
    """One way to move ``SET`` flows, measured once."""

    whole: int
    latencies: Any
    lost: int
    sent: list[Sent]


def real(cluster: Cluster) -> Callable[[], bool]:
    """As it is."""
    cluster.control.order(SET)
    return lambda: cluster.control.moved >= 3 * SET


def central(cluster: Cluster, chunk: int) -> Callable[[], bool]:
    """Through a controller."""
    centre = centre_of(cluster)
    centre.move(SET, chunk)
    return lambda: centre.moved >= SET


def stop_and_copy(cluster: Cluster, chunk: int) -> Callable[[], bool]:
    """The source stops first."""
    centre_of(cluster).stop(SET, chunk)
    return lambda: cluster.table.statistics().redirected >= 3 * SET


WAYS: dict[str, Callable[[Cluster], Callable[[], bool]]] = {
    "nfactor": real,
    "central, flow by flow": lambda cluster: central(cluster, 1),
    "central, as one set": lambda cluster: central(cluster, SET),
    "stop and copy, flow by flow": lambda cluster: stop_and_copy(cluster, 1),
    "stop and copy, as one set": lambda cluster: stop_and_copy(cluster, SET),
}


def measured(way: Callable[[Cluster], Callable[[], bool]]) -> Way:
    """Both tables have been used, by a set that went there and back."""
    cluster, bursts = populated(SET, SHORT_BURST)
    across(cluster, bursts, SET, SET, SOURCE, TARGET)
    across(cluster, bursts, SET, SET, TARGET, SOURCE)
    network, lost = cluster.network, cluster.lost
    cluster.latencies[:] = [np.zeros(0, np.uint64)]
    network.sent = []
    load, begin = Load(cluster, bursts), network.busy_ns
    over = way(cluster)
    while not over():
        assert network.step(), "the set has stopped on its way"
    whole = network.busy_ns - begin
    load.stop()
    return Way(whole, np.concatenate(cluster.latencies), cluster.lost - lost, network.sent)


def way_rows(rounds: int, report: Report) -> None:
    """All of them in turns."""
    done: dict[str, list[Way]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            done[name].append(measured(way))
    for name, turns in done.items():
        ratio = statistics.median(each.whole / ours.whole for each, ours in zip(turns, done["nfactor"], strict=True))
        every = np.concatenate([each.latencies for each in turns]) / 1e6
        centre = [each for each in turns[0].sent if COORDINATOR in (each.sender, each.receiver)]
        lost = statistics.median(each.lost for each in turns)
        report.add(f"{SET:,} flows, {name}", statistics.median(each.whole for each in turns) / 1e6, "ms")
        if name != "nfactor":
            report.add("  beside nfactor", ratio, "x", "≥ 3", ratio >= 3)
        if len(every):
            report.add("  a packet's time inside, p99", float(np.percentile(every, 99)), "ms")
        report.add("  messages", len(turns[0].sent), "")
        report.add("  octets through the centre", sum(each.octets for each in centre), "")
        report.add("  packets lost", lost, "", *(("0", lost == 0) if name == "nfactor" else ("", None)))


def message_rows(report: Report) -> None:
    """What a set is told by."""
    sent = measured(real).sent
    for kind, count in Counter(each.kind for each in sent).items():
        octets = sum(each.octets for each in sent if each.kind == kind)
        report.add(f"{kind}: {count} for a set of {SET:,}", octets, "octets")


def measure(*, quick: bool, report: Report, console: Console) -> None:
    """See the module."""
    rounds = 4 if quick else 8
    for flows, size in ((1_000, SET), (100_000, SET), (100_000, 10 * SET), (300_000, SET)):
        console.log(f"{flows:,} flows in sets of {size:,}")
        migration_rows(flows, size, rounds if flows < 300_000 else max(2, rounds // 2), report)
    console.log("other ways")
    way_rows(5, report)
    message_rows(report)


if __name__ == "__main__":
    run_benchmark("migration", __doc__ or "", measure)
