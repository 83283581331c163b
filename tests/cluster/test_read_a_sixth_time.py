"""Stories that a sixth critical reading has told: of what a dead replica had, and of what it had let out."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from nfactor.cluster.messages import NotifyClusterCfg
from nfactor.cluster.outcome_messages import Outcomes
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.testing.checkers import at_most_once
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import neighbours_agree
from tests.cluster.test_found_by_reading import at_first, lose, soon
from tests.cluster.test_found_by_schedules import cluster_of, run
from tests.cluster.test_read_a_third_time import with_replica

DEAD = "runtime-2"

# ------------------------------------------------ 1: a switch has lost what a dead replica had let out


def lose_replica_and_switch(cluster: HeapCluster, flow: int, then: Callable[[], None]) -> None:
    """The replica has let a packet out, and dies before that is confirmed; the switch dies when it is just being asked
    what had come, and begins again."""
    cluster.network.keep_messages = False

    def strike(_: Delivery) -> None:
        cluster.kill(DEAD)
        cluster.network.behind = lose_switch

    def lose_switch(_: Delivery) -> None:
        if DEAD not in cluster.membership.view:
            cluster.network.behind = lambda _: None
            cluster.kill("switch-0")
            soon(cluster, 5, partial(cluster.restart, "switch-0"))
            soon(cluster, 5, then)

    at_first(cluster, "CommitsStored", strike, sender=DEAD)
    cluster.feed(flow)
    run(cluster, 5.0)
    assert [DEAD] == [event.node for event in cluster.recovered]
    assert [1, 2] == [came.mark for came in cluster.history.out]
    at_most_once(cluster.history)
    assert 1 == cluster.runtimes["runtime-0"].flows.replicator.in_doubt


def test_what_went_out_by_a_switch_that_died_with_a_replica_does_not_go_again() -> None:
    """Its next life was asked again how far the replica had come, and knew nothing. The primary heard so when it had
    not yet heard that the switch had begun again: that view was lost on its way. Another replica had it."""
    cluster, flow = with_replica(DEAD, 3)

    def lose_view(delivery: Delivery) -> None:
        if delivery.receiver != "runtime-0":
            return
        if delivery.kind == "SetReplicas":
            cluster.network.before = lambda _: None
        if delivery.kind == "NotifyClusterCfg" and delivery.inner.term == cluster.membership.view.term:
            lose(cluster, delivery)

    lose_replica_and_switch(cluster, flow, lambda: setattr(cluster.network, "before", lose_view))


def test_nor_if_it_is_asked_before_it_has_a_view() -> None:
    """The link had kept the question. That the switch had begun again no runtime had heard, as the outside was slow."""
    cluster, flow = with_replica(DEAD, 3)
    cluster.network.links_keep = True
    lose_replica_and_switch(cluster, flow, lambda: cluster.network.slow_us.update(outside=600_000))


# ------------------------------------------------ 4: what a replica had no room for, and told


@pytest.mark.parametrize("taken", [0, 1])
def test_what_a_dead_replica_has_told_that_its_port_refused_does_not_go_again(taken: int) -> None:
    """Its queue to the switch was full: of two packets that it released that many went, and no receipt. The outside had
    been told of the rest, and the primary had not been told anything."""
    cluster, flow = with_replica(DEAD, 3)
    cluster.network.keep_messages = False
    port, room = cluster.runtimes[DEAD].flows._port, [taken]
    send = port.send
    port.send = lambda burst: send(burst.slice(0, room.pop())) if room else 0  # type: ignore[method-assign]
    at_first(cluster, "CommitsStored", lambda _: cluster.kill(DEAD), sender=DEAD)
    cluster.feed(flow, 2)
    run(cluster, 3.0)
    assert [DEAD] == [event.node for event in cluster.recovered]
    assert [1, 2][: 1 + taken] == [came.mark for came in cluster.history.out]
    assert [("port_full", 2), ("port_full", 3)][taken:] == cluster.history.dropped
    assert 0 == cluster.runtimes["runtime-0"].flows.replicator.in_doubt
    neighbours_agree(cluster)


def test_the_outside_remembers_the_latest_that_ports_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of those who died, until that is made good for."""
    monkeypatch.setattr("nfactor.cluster.outside.REFUSED_PACKETS_MAX", 3)
    cluster = cluster_of(3)
    run(cluster, 0.1)

    def tell(*fates: tuple[str, list[int]]) -> None:
        counts, marks = tuple(len(marks) for _, marks in fates), [mark for _, some in fates for mark in some]
        octets, commits = np.array(marks, "<u8").tobytes(), {b"primary": 1}
        told = Outcomes(DEAD, tuple(reason for reason, _ in fates), counts, octets, (), commits)
        cluster.collector.outcomes(told)

    tell(("port_full", [1, 2]), ("lineage_chosen", [3]), ("port_full", [4]))
    tell(("late", [5]))
    tell(("port_full", [6]))
    view = cluster.membership.view
    others = tuple(member for member in view.members if member.name != DEAD)
    released = cluster.collector.configure(NotifyClusterCfg(view.term + 1, others)).released
    assert [[2, 4, 6]] == [np.frombuffer(told.marks, "<u8").tolist() for told in released if told.marks]
    cluster.collector.node_recovered(NodeRecovered(DEAD, 0, 0.0))
    assert () == cluster.collector.configure(NotifyClusterCfg(view.term + 1, others)).released


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
