"""What schedules of faults have found in the code, each as the shortest story that shows it."""

from random import Random

from nfactor.cluster.names import OUTSIDE
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster


def cluster_of(runtimes: int, mode: str = "strict") -> HeapCluster:
    return HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse(mode))


def run(cluster: HeapCluster, seconds: float) -> None:
    cluster.network.run(cluster.network.now_us + round(seconds * 1e6))


def begin_again(cluster: HeapCluster, name: str) -> None:
    cluster.kill(name)
    cluster.restart(name)


def owner_of(cluster: HeapCluster, flow: int) -> str:
    key = cluster.key_of[flow]
    return next(runtime.node.name for runtime in cluster.living() if key in list(runtime.engine.keys()))


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
