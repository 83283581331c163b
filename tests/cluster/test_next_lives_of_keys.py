"""A flow moves and ends where it is, and its key begins anew, in the first epoch, where the flow had come from.

What was said of the first is lost again and again meanwhile: for longer than a switch remembers that a flow has moved.
"""

from random import Random

from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import copies_are_of_flows
from tests.cluster.test_found_by_schedules import move, owner_of, run

OTHERS = (101, 102, 103)


def flow_at_runtime_0() -> tuple[HeapCluster, int]:
    """Its replica is at runtime-2; it ends when it has been idle for ten packets of others."""
    for flow in range(20):
        cluster = HeapCluster(
            Random(1), runtimes=3, mode=Mode.parse("strict"), time_outs=TimeOuts(udp_idle_s=2.0), packet_step_s=0.2
        )
        cluster.feed(flow)
        run(cluster, 0.01)
        if cluster.runtimes["runtime-2"].replicas.copies:
            return cluster, flow
    raise AssertionError("one of twenty flows has its replica there")


def begin_anew_after_a_move(cluster: HeapCluster, flow: int) -> None:
    """It moves to runtime-1 and may end there. Flows that are new go to the runtimes in turn."""
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.1)  # one that has just moved does not end
    for _ in range(20):
        for other in OTHERS:
            cluster.feed(other)
        run(cluster, 0.005)
    cluster.feed(104)
    cluster.feed(105)
    cluster.feed(flow)
    run(cluster, 0.1)


def test_a_late_word_that_a_flow_has_moved_does_not_forget_the_next_life_of_its_key() -> None:
    """Its source had told its replica to forget the flow, which came to that when it had a copy of the key's next
    life: it forgot that one, and the flow had no copy at all."""
    cluster, flow = flow_at_runtime_0()

    def lose_word(delivery: Delivery) -> None:
        if (delivery.kind, delivery.sender) == ("ForgetReplicas", "runtime-0"):
            cluster.network.end_session("runtime-0", "runtime-2")

    cluster.network.before = lose_word
    begin_anew_after_a_move(cluster, flow)
    cluster.network.before = lambda _: None
    run(cluster, 1.0)
    copies_are_of_flows(cluster)


def test_a_copy_of_a_flow_that_moved_and_ended_is_not_claimed_as_the_next_life_of_its_key() -> None:
    """The replica of its source had not heard that it had moved, nor of the key's next life there. When the source
    died it claimed its copy, and the flow went on that had ended long ago."""
    cluster, flow = flow_at_runtime_0()

    def cut(delivery: Delivery) -> None:
        if (delivery.kind, delivery.sender) == ("ForgetReplicas", "runtime-0"):
            cluster.network.cuts.add(("runtime-0", "runtime-2"))

    cluster.network.before = cut
    begin_anew_after_a_move(cluster, flow)
    cluster.kill("runtime-0")
    cluster.network.before = lambda _: None
    cluster.network.cuts.clear()
    run(cluster, 3.0)
    cluster.feed(flow)
    run(cluster, 1.0)
    ended = [end.ended.born for end in cluster.history.ends]
    assert len(set(ended)) == len(ended)


def test_a_tombstone_of_a_flow_that_moved_and_ended_does_not_make_the_next_life_of_its_key_late() -> None:
    """Its source had not heard that the flow was at its target, so its tombstone stood for longer than the switch knew
    of the flow: the packet with which the key began anew was dropped there."""
    cluster, flow = flow_at_runtime_0()

    def lose_answer(delivery: Delivery) -> None:
        if delivery.kind == "FlowsInstalled":
            cluster.network.end_session("runtime-0", "runtime-1")

    cluster.network.before = lose_answer
    begin_anew_after_a_move(cluster, flow)
    cluster.network.before = lambda _: None
    run(cluster, 1.0)
    assert "late" not in [reason for reason, _ in cluster.history.dropped]


def test_the_copy_of_a_next_life_has_the_packets_of_that_life() -> None:
    """nat 3277: the switch's word that a flow had ended was under way for long; the key's next life began, and had a
    copy. The runtime then counted packets from where that life began, and its replica did not."""
    cluster = HeapCluster(
        Random(1), runtimes=2, mode=Mode.parse("strict"), time_outs=TimeOuts(udp_idle_s=2.0), packet_step_s=0.2
    )
    cluster.feed(0)
    run(cluster, 0.01)
    (owner,) = (runtime for runtime in cluster.runtimes.values() if len(runtime.engine.keys()))
    hidden = ("switch-0", owner.name)

    def hide_the_answer(delivery: Delivery) -> None:
        if (delivery.kind, delivery.receiver) == ("ExpireFlows", "switch-0"):
            cluster.network.cuts.add(hidden)

    cluster.network.before = hide_the_answer
    for _ in range(12):
        for other in OTHERS:
            cluster.feed(other)
        run(cluster, 0.005)
    assert hidden in cluster.network.cuts
    cluster.feed(0)
    run(cluster, 0.05)
    assert owner_of(cluster, 0) == owner.name
    assert cluster.history.processed[-1].count == 1, "its next life"
    copies_are_of_flows(cluster)
    cluster.network.before = lambda _: None
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    copies_are_of_flows(cluster)
