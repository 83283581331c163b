"""How long flows of a dead runtime are without one: from the decision that it is dead to the first packet of the last.

    python benchmarks/recovery.py [--quick] [--json FILE]

The real roles, coordinator included, on one core and without links (``benchmarks/roles.py``): the dead runtime's
replicas are two others, under strict replication. When death is decided, a packet each of some thousand flows comes in
and waits at the switch; the last of them comes out when the last flow is served again, and its state stored elsewhere.
"""

import statistics
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import attrs
import numpy as np
from rich.console import Console

from benchmarks.report import Report, run_benchmark
from benchmarks.roles import SOURCE, Cluster, Sent
from benchmarks.traffic import bursts_of, plain_frames
from nfactor.compiled.dispatcher import CompiledDispatcher
from nfactor.dataplane.engine import Engine
from nfactor.packet.burst import concatenate
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import FlowKeys

FLOWS_MAX = 1 << 19
WAITING = 4_000
"""Flows of which a packet waits: fewer than a switch keeps."""
LIMITS_MS = {50_000: 100, 300_000: 500}


@attrs.frozen
class Recovered:
    """One recovery. Nanoseconds since death was decided."""

    last_out: float
    over: float
    busiest: float
    """What the busiest node took of that."""
    lost: int
    sent: list[Sent]


def use(engine: Engine, flows: int) -> None:
    """A table that has had so many other flows, and has none now."""
    keys = np.zeros((flows, 48), np.uint8)
    keys[:, :4] = np.arange(flows, dtype=np.uint32).view(np.uint8).reshape(-1, 4)
    engine.hold(FlowKeys(keys), np.ones(flows, np.uint32))
    engine.release(FlowKeys(keys))


def recovered(flows: int, seed: int, *, used: bool) -> Recovered:
    """A runtime with so many flows dies. ``used``: the tables of the others have had as many before."""
    table = CompiledDispatcher(FlowClassifier("auto"), flows_max=FLOWS_MAX)
    cluster = Cluster(table, flows_max=FLOWS_MAX, runtimes=3, mode="strict")
    for runtime in list(cluster.flows.values())[1:] if used else ():
        use(runtime._engine, flows)
    every = plain_frames(flows, flows, zipf=False, in_order=True)
    for burst in bursts_of(every, 1024):
        cluster.feed(burst)
        cluster.network.settle()
    network, lost = cluster.network, cluster.lost
    chosen = np.random.default_rng(seed).choice(flows, WAITING, replace=False)
    packets = bursts_of(np.ascontiguousarray(every[chosen]), 64)
    cluster.latencies.clear()
    network.sent, network.dead = [], {SOURCE}
    network.costs.clear()
    begin = network.busy_ns
    cluster.membership._declare_dead(SOURCE)
    cluster.feed(concatenate(packets))
    while cluster.membership._open:
        assert network.step(), "the recovery has stopped on its way"
    over = network.busy_ns - begin
    nodes: Counter[str] = Counter()
    for (node, _), cost in network.costs.items():
        nodes[node] += cost
    sent, network.sent = network.sent, None
    network.settle()
    last_out = float(np.concatenate(cluster.latencies).max())
    return Recovered(last_out, over, max(nodes.values()), cluster.lost - lost, sent)


def rows(flows: int, rounds: int, report: Report) -> None:
    """Round by round, each with new nodes."""
    done, fresh = (
        [recovered(flows, seed, used=used) for seed in range(turns)] for used, turns in ((True, rounds), (False, 1))
    )
    limit = LIMITS_MS[flows]
    last = statistics.median(each.last_out for each in done) / 1e6
    report.add(f"{flows:,} flows: first packet of the last", last, "ms", f"≤ {limit}", last <= limit)
    report.add("  into tables that were never used", fresh[0].last_out / 1e6, "ms")
    report.add("  everybody has said that it is over", statistics.median(each.over for each in done) / 1e6, "ms")
    report.add("  of it the busiest node", statistics.median(each.busiest for each in done) / 1e6, "ms")
    report.add("  packets lost that waited", sum(each.lost for each in done), "", "0", not any(e.lost for e in done))
    sent = done[0].sent
    claims = Counter(each.kind for each in sent)["ClaimFlows"]
    report.add("  questions to the switch", claims, "claims")
    report.add("  messages in all", len(sent), "")
    report.add("  octets of all messages", sum(each.octets for each in sent) / flows, "a flow")


def measure(*, quick: bool, report: Report, console: Console) -> None:
    """See the module."""
    for flows, rounds in ((50_000, 3 if quick else 7), (300_000, 1 if quick else 5)):
        console.log(f"{flows:,} flows")
        rows(flows, rounds, report)


if __name__ == "__main__":
    run_benchmark("recovery", __doc__ or "", measure)
