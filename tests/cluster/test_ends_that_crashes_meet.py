"""A flow ends, and its owner or where it came from dies about then: what reading has found, as the shortest stories."""

from random import Random

from nfactor.cluster.names import COORDINATOR
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from tests.cluster.test_found_by_reading import at_first, move_all, who_has
from tests.cluster.test_found_by_schedules import run

SOURCE, TARGET = "runtime-0", "runtime-1"


def cluster_with_flow_0_at_the_source(packet_step_s: float) -> HeapCluster:
    cluster = HeapCluster(
        Random(1), runtimes=3, mode=Mode.parse("strict"), time_outs=TimeOuts(udp_idle_s=2.0),
        packet_step_s=packet_step_s,
    )  # fmt: skip
    cluster.feed(0)
    run(cluster, 0.01)
    assert [SOURCE] == who_has(cluster, 0)
    return cluster


def test_an_end_is_remembered_while_nobody_is_there_to_see_that_its_owner_is_dead() -> None:
    """The owner dies with the permission to end on its way, and so does the coordinator, whose next life comes
    after 12 s. Other flows end meanwhile. Who claims the flow says what its owner could not."""
    cluster, dead = cluster_with_flow_0_at_the_source(0.2), list[str]()

    def die(delivery: Delivery) -> None:
        dead.extend([SOURCE, COORDINATOR])
        for name in dead:
            cluster.kill(name)

    cluster.network.keep_messages = False
    at_first(cluster, "FlowStatuses", die, sender="switch-0", receiver=SOURCE)
    while not dead:
        for flow in (1, 2, 3):
            cluster.feed(flow)
        run(cluster, 0.005)
    for number in range(240):
        for flow in (1, 2, *([30 + number] if number % 12 == 0 else [])):
            cluster.feed(flow)
        run(cluster, 0.05)
    cluster.restart(COORDINATOR)
    run(cluster, 4.0)
    assert [(1, 1)] == [(end.ended.born, end.ended.count) for end in cluster.history.ends if end.ended.born == 1]


def test_a_flow_does_not_end_while_its_copy_from_where_it_was_may_be_claimed() -> None:
    """Its source dies as it hears that the flow has come to the target, so that its copy is there yet. If the flow
    ended before that is claimed, and the switch began again, the copy would be the flow."""
    cluster, dead = cluster_with_flow_0_at_the_source(0.05), list[str]()
    for flow in range(60, 66):
        cluster.feed(flow)
        run(cluster, 0.01)
    others = [flow for flow in range(60, 66) if who_has(cluster, flow) == [TARGET]]
    (switch,) = cluster.switches.values()
    asked = list[bool]()

    def die(delivery: Delivery) -> None:
        dead.append(SOURCE)
        cluster.kill(SOURCE)

    def look(delivery: Delivery) -> None:
        if delivery.kind == "ExpireFlows" and switch.view.unfinished:
            asked.append(cluster.key_of[0] in switch.dispatcher._entries)

    cluster.network.keep_messages = False
    at_first(cluster, "FlowsInstalled", die, receiver=SOURCE)
    cluster.network.behind = look
    move_all(cluster, SOURCE, TARGET)
    run(cluster, 1.015)
    assert dead
    for _ in range(600):
        for flow in others:
            cluster.feed(flow)
        run(cluster, 0.00015)
    run(cluster, 2.5)
    assert asked, "whether it may end, while the recovery was under way"
    assert all(asked)
    cluster.feed(others[0], 3)
    run(cluster, 0.5)
    assert [(1, 1)] == [(end.ended.born, end.ended.count) for end in cluster.history.ends if end.ended.born == 1]
