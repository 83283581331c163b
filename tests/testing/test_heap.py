"""The network of the event heap: what it counts as lost."""

from random import Random

from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster


def lost_when_the_primary_dies(*, stands_still: bool) -> int:
    """Commits on their way when it does; the replica stands still from before they came until after."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("every=1"))
    network, now_us = cluster.network, cluster.network.now_us
    network.keep_messages = False

    def kill(delivery: Delivery) -> None:
        if delivery.kind == "StoreCommit":
            cluster.kill("runtime-0")

    cluster.feed(0)
    if stands_still:
        cluster.pause("runtime-1", deadly=False)
        network.at(now_us + 20_000, lambda: cluster.kill("runtime-0"))
        network.at(now_us + 30_000, lambda: network.resume("runtime-1"))
    else:
        network.before = kill
    network.run(now_us + 100_000)
    return network.lost_messages["StoreCommit"]


def test_what_had_come_to_a_node_that_stood_still_is_lost_with_its_sender() -> None:
    """Nothing says how far behind such a replica is; what is on its way at a death is little."""
    assert 1 == lost_when_the_primary_dies(stands_still=True)
    assert 0 == lost_when_the_primary_dies(stands_still=False)
