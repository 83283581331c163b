"""What schedules of faults have found in the code, each as the shortest story that shows it."""

from random import Random

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, OUTSIDE
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree


def cluster_of(runtimes: int, mode: str = "strict") -> HeapCluster:
    return HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse(mode))


def run(cluster: HeapCluster, seconds: float) -> None:
    cluster.network.run(cluster.network.now_us + round(seconds * 1e6))


def begin_again(cluster: HeapCluster, name: str) -> None:
    cluster.kill(name)
    cluster.restart(name)


def move(cluster: HeapCluster, source: str, target: str) -> None:
    order = SetMigrationTarget(target, 1)
    cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)


def owner_of(cluster: HeapCluster, flow: int) -> str:
    key = cluster.key_of[flow]
    return next(runtime.node.name for runtime in cluster.living() if key in list(runtime.engine.keys()))


def flow_with_a_replica_at(replica: str) -> HeapCluster:
    """A cluster of three in which the one flow is at runtime-0."""
    for flow in range(20):
        cluster = cluster_of(3)
        cluster.feed(flow, 3)
        run(cluster, 0.1)
        if cluster.runtimes[replica].replicas.copies:
            return cluster
    raise AssertionError("one of twenty flows has its replica there")


def test_commits_of_a_primarys_earlier_life_confirm_none_of_its_next() -> None:
    """Its replica was told that their records had arrived only when the primary had begun again, and confirmed to it
    commits that it had never made."""
    cluster = cluster_of(2)
    cluster.network.cuts.add(("runtime-1", OUTSIDE))
    for _ in range(3):
        cluster.feed(0)
        run(cluster, 0.01)
    assert "runtime-0" == owner_of(cluster, 0)
    begin_again(cluster, "runtime-0")
    run(cluster, 0.3)
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    cluster.feed(0)
    run(cluster, 0.1)
    assert [1, 2, 3, 4] == sorted(came.mark for came in cluster.history.out)


def test_how_far_a_replica_had_come_with_a_primarys_earlier_life_says_nothing_of_its_next() -> None:
    """Its next life counts its commits anew. A replica died with the first of them, and the switch knew of receipts for
    many more: the packet counted as released."""
    cluster = cluster_of(2)
    for _ in range(10):
        cluster.feed(0)
        run(cluster, 0.01)
    begin_again(cluster, "runtime-0")
    run(cluster, 1.0)

    def kill_replica(delivery: Delivery) -> None:
        if (delivery.sender, delivery.kind) == ("runtime-0", "StoreCommit"):
            cluster.kill("runtime-1")

    cluster.network.before = kill_replica
    cluster.feed(1)
    cluster.feed(2)
    run(cluster, 2.0)
    assert "runtime-1" in [death.node for death in cluster.history.deaths]
    at_the_new_one = [entry.mark for entry in cluster.history.processed if (entry.node, entry.life) == ("runtime-0", 2)]
    assert at_the_new_one, "it had a packet"
    told = {mark for _, mark in cluster.history.dropped}
    assert set(at_the_new_one) <= {came.mark for came in cluster.history.out} | told


def test_a_lost_flow_that_had_been_turned_to_another_runtime_begins_there_as_its_switch_knows_it() -> None:
    """Its source died with the state on its way. It began anew in the first epoch, the switch knew of a later one, and
    refused whatever it was asked about the flow from then on: it could neither move nor be claimed."""
    cluster = cluster_of(2, "none")
    cluster.feed(0, 3)
    run(cluster, 0.1)

    def kill_source(delivery: Delivery) -> None:
        if delivery.kind == "InstallFlows":
            cluster.kill("runtime-0")

    cluster.network.before, cluster.network.keep_messages = kill_source, False
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    cluster.network.before = lambda delivery: None
    assert "runtime-1" == owner_of(cluster, 0), "it is there before it has any packet, so that its end can come"
    cluster.restart("runtime-0")
    run(cluster, 1.0)
    cluster.feed(0)
    move(cluster, "runtime-1", "runtime-0")
    run(cluster, 0.1)
    assert "runtime-0" == owner_of(cluster, 0)


def test_what_waits_for_a_flow_that_its_switch_has_elsewhere_by_now_begins_nothing() -> None:
    """The source had turned the flow, and died; so did the switch, which then learnt of the flow from its replica. The
    target held packets from before, and when nothing more was to come, it began a second flow with them."""
    cluster = flow_with_a_replica_at("runtime-2")

    def kill_both(delivery: Delivery) -> None:
        if delivery.kind == "InstallFlows":
            cluster.kill("runtime-0")
            begin_again(cluster, "switch-0")

    def feed_when_turned(delivery: Delivery) -> None:
        if (delivery.sender, delivery.kind) == ("switch-0", "FlowStatuses"):
            cluster.feed(next(iter(cluster.key_of)), 2)

    cluster.network.before, cluster.network.behind, cluster.network.keep_messages = kill_both, feed_when_turned, False
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    owners_agree(cluster)
    assert ["fenced", "fenced"] == [reason for reason, _ in cluster.history.dropped]
