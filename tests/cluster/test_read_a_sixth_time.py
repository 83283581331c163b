"""Stories that a sixth critical reading has told: of what a dead replica had, and of what it had let out."""

from nfactor.testing.heap import Delivery
from tests.cluster.test_found_by_reading import at_first, lose, soon
from tests.cluster.test_found_by_schedules import cluster_of, run

DEAD = "runtime-2"

# ------------------------------------------------ 6: a copy at a replica that is dead protects nothing


def test_flows_of_which_the_replica_is_known_to_be_dead_do_not_count_as_protected() -> None:
    """A runtime has the view without its replica, and is not told for a while who the next one is."""
    cluster = cluster_of(3)
    for flow in range(12):
        cluster.feed(flow)
    run(cluster, 0.3)
    replicator = cluster.runtimes["runtime-0"].flows.replicator
    flows, with_it = replicator.protected_flows(), len(cluster.runtimes[DEAD].replicas.copies_of("runtime-0")[0])
    assert 0 < with_it < len(flows)
    seen = list[tuple[int, int, int]]()

    def look() -> None:
        told = replicator.protection()
        assert told is not None
        seen.append((len(replicator.protected_flows()), replicator.unprotected_flows(), told.flows))

    def strike(delivery: Delivery) -> None:
        assert DEAD not in cluster.runtimes["runtime-0"].flows.view
        lose(cluster, delivery)
        soon(cluster, 100, look)

    at_first(cluster, "SetReplicas", strike, receiver="runtime-0")
    cluster.kill(DEAD)
    run(cluster, 4.0)
    assert [(len(flows) - with_it, with_it, with_it)] == seen
    assert 0 == replicator.unprotected_flows()
    assert set(flows) <= set(replicator.protected_flows())
