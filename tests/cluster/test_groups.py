"""Flows that belong together, in a whole cluster: whatever is refused or lost, each group is at one place."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from nfactor import nf
from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import COORDINATOR, LIAISON, OUTSIDE
from nfactor.dataplane.nf import NF
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.lineage import Lineage

FLOWS, GROUPS = 12, 3
KINDS = (
    "PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "FlowStatuses", "StoreCommit", "CommitsStored",
    "ForgetReplicas", "MigrationEnded",
)  # fmt: skip
"""Messages at which somebody dies."""


@nf.state
class Bound:
    group: nf.u16


class Binds(NF):
    """Flows belong together by the last digit of their port, all but those of group 0."""

    State = Bound
    together = "group"

    def process_pkt(self, pkt: nf.Packet, fs: Bound) -> int:
        fs.group = (pkt.source_port if pkt.direction == 0 else pkt.target_port) % (GROUPS + 1)
        return nf.FORWARD


class Grouped(HeapCluster):
    def functions(self, log: Callable[[int, int, int, int], None]) -> list[NF]:
        """See ``HeapCluster``."""
        return [Binds(), Lineage(log)]

    def order(self, source: str, target: str, flows: int, moved: list[int]) -> None:
        def then(answer: Migrating | None) -> None:
            moved.append(0 if answer is None else answer.flows)

        self.coordinator.ask(source, LIAISON, SetMigrationTarget(target, flows), Migrating, then)

    def places(self) -> dict[int, set[str]]:
        """Where the flows of each group are."""
        found: dict[int, set[str]] = defaultdict(set)
        for runtime in self.living():
            for key in list(runtime.engine.keys()):
                if group := (1000 + self.flow_of_key[key]) % (GROUPS + 1):
                    found[group].add(runtime.node.name)
        return found


class Killing:
    """Kills somebody at the message of that kind before which there are so many. A switch and the coordinator begin
    again soon, and some runtimes."""

    def __init__(self, cluster: Grouped, rng: Random, kind: str, before: int, who: str) -> None:
        self.killed = ""
        self._cluster, self._rng, self._kind, self._before, self._who = cluster, rng, kind, before, who
        self._behind_it = rng.random() < 0.5
        cluster.network.before, cluster.network.behind = self._see, self._behind

    def _see(self, delivery: Delivery) -> None:
        if delivery.kind == self._kind:
            self._before -= 1
            if self._before < 0 and not self.killed:
                self._kind = ""
                self._who = {"sender": delivery.sender, "receiver": delivery.receiver}.get(self._who, self._who)
                if not self._behind_it:
                    self._kill()

    def _behind(self, delivery: Delivery) -> None:
        if not self._kind and not self.killed:
            self._kill()

    def _kill(self) -> None:
        cluster, network = self._cluster, self._cluster.network
        self.killed = COORDINATOR if self._who == OUTSIDE else self._who
        cluster.kill(self.killed)
        if self.killed not in cluster.runtimes or self._rng.random() < 0.5:
            again_us = self._rng.choice([200, 3_000, 1_500_000])
            network.at(network.now_us + again_us, partial(cluster.restart, self.killed))


@pytest.mark.parametrize("seed", range(40))
def test_a_group_is_at_one_place_whatever_is_refused_or_lost_on_the_way(seed: int) -> None:
    rng = Random(seed)
    cluster = Grouped(
        rng,
        runtimes=3,
        switches=rng.choice([1, 2]),
        mode=Mode.parse(rng.choice(["none", "strict"])),
        reluctant=rng.choice([0.0, 0.2]),
    )
    network, moved = cluster.network, list[int]()
    for flow in range(FLOWS):
        cluster.feed(flow)
    network.run(network.now_us + 50_000)
    names = sorted(cluster.runtimes)
    for _ in range(12):  # all flows come together: a target that refuses some takes them another time
        for source in names[1:]:
            cluster.order(source, names[0], FLOWS, moved)
        network.run(network.now_us + 50_000)
    if any(len(places) > 1 for places in cluster.places().values()):
        pytest.skip("too reluctant a target")
    moved.clear()
    for _ in range(30):
        at = network.now_us + rng.randrange(400_000)
        network.at(at, partial(cluster.feed, rng.randrange(FLOWS)))
        source, target = rng.sample(names, 2)
        network.at(at, partial(cluster.order, source, target, rng.randint(1, 5), moved))
        if rng.random() < 0.2:
            network.at(at, partial(network.end_session, *rng.sample([*names, "switch-0", COORDINATOR], 2)))
    network.run(network.now_us + 3_000_000)
    assert sum(moved) > GROUPS, "some were on their way"
    assert all(len(places) == 1 for places in cluster.places().values())
    for runtime in cluster.living():
        statistics = runtime.engine.statistics()
        assert statistics.flows == statistics.rows, "nothing is held that will not come"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_a_group_is_at_one_place_whoever_dies(seed: int) -> None:
    """Who sends or receives a message of a migration dies before or behind it, or any node does: source, target and
    replica, a switch, the coordinator. (Flows go on where their replicas are, so these have one: the only runtime in
    another failure domain.)"""
    rng = Random(f"deaths {seed}")
    cluster = Grouped(rng, runtimes=3, switches=rng.choice([1, 2]), mode=Mode.parse("strict"), domains=("a", "a", "b"))
    network, pair, moved = cluster.network, ["runtime-0", "runtime-1"], list[int]()
    for flow in range(FLOWS):
        cluster.feed(flow)
    network.run(network.now_us + 50_000)
    for source in ("runtime-1", "runtime-2"):  # all flows come together
        cluster.order(source, "runtime-0", FLOWS, moved)
    network.run(network.now_us + 50_000)
    assert all(places == {"runtime-0"} for places in cluster.places().values())
    who = rng.choice(["sender", "receiver", *cluster.runtimes, *cluster.switches, COORDINATOR])
    kill = Killing(cluster, rng, rng.choice(KINDS), rng.choice([0, 0, 1, 2, 3]), who)
    for _ in range(20):
        at = network.now_us + rng.randrange(5_000)
        network.at(at, partial(cluster.feed, rng.randrange(FLOWS)))
        source, target = rng.sample(pair, 2)
        network.at(at, partial(cluster.order, source, target, rng.randint(1, 5), moved))
    network.run(network.now_us + 6_000_000)
    assert kill.killed, "there are such messages"
    assert all(len(places) == 1 for places in cluster.places().values())
    for runtime in cluster.living():
        statistics = runtime.engine.statistics()
        assert statistics.flows == statistics.rows, "nothing is held that will not come"
    assert not any(runtime.liaison.migrations_open for runtime in cluster.living())


def test_groups_are_counted_that_are_too_large(monkeypatch: Any) -> None:
    monkeypatch.setattr("nfactor.dataplane.together.GROUP_FLOWS_MAX", 2)
    cluster = Grouped(Random(1), runtimes=1, mode=Mode())
    for flow in range(FLOWS):
        cluster.feed(flow)
    cluster.network.run(cluster.network.now_us + 50_000)
    table = cluster.runtimes["runtime-0"].flows
    keys, _, _ = table.pick(FLOWS)
    assert len(keys) == FLOWS // (GROUPS + 1), "those that belong to nobody"
    assert {"together.passed_over": FLOWS - len(keys)} == table._picking.counters()
