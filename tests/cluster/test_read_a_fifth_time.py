"""Stories that a fifth critical reading has told: of flows that a runtime holds, has let end, or begins anew."""

from functools import partial
from random import Random

import pytest

from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, lose, move_all, soon, who_has
from tests.cluster.test_found_by_schedules import begin_again, run

# ------------------------------------------------ 1: what a dead source was to send is let go of once


def test_a_flow_that_sets_out_again_for_the_target_of_a_dead_source_is_held_for_who_sends_it_now() -> None:
    """The target asked one switch after the other whose the flows of the dead one were. One had answered; a flow of
    its, which had been claimed elsewhere, set out for the target again, and was let go of when the other answered."""
    cluster = HeapCluster(Random(2), runtimes=4, switches=2, mode=Mode.parse("strict"))
    for flow in range(40):
        cluster.feed(flow)
    run(cluster, 0.1)
    mine = [flow for flow in range(40) if who_has(cluster, flow) == ["runtime-0"]]
    cluster.network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FindTurned", go_on)

    def go_on(_: Delivery) -> None:
        move_all(cluster, "runtime-2", "runtime-1")
        move_all(cluster, "runtime-3", "runtime-1")

    at_first(cluster, "FlowStatuses", kill_source, sender="runtime-1", receiver="runtime-0")
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    assert ["runtime-0"] == [event.node for event in cluster.recovered]
    came = [flow for flow in mine if who_has(cluster, flow) == ["runtime-1"]]
    assert 0 < len(came) < len(mine), "those of one switch came, the others were still held for the dead one"
    owners_agree(cluster)


# ------------------------------------------------ 4: the next life of a key at another runtime, which dies


def test_a_replica_claims_the_next_life_of_a_key_when_it_knows_that_its_own_flow_has_ended() -> None:
    """Its switch had let the flow end, and that answer was lost. The key began anew at a runtime of which it was the
    replica, and which died. What it claimed had no place beside the old flow, and was gone, protected as it was; the
    next packet was processed by the old one."""
    time_outs = TimeOuts(udp_idle_s=2.0)
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"), time_outs=time_outs, packet_step_s=0.2)
    cluster.feed(0)
    run(cluster, 0.01)
    assert ["runtime-0"] == who_has(cluster, 0)
    born = list[int]()

    def begin_next_life(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.feed(20)  # flows that are new go to the runtimes in turn
        cluster.feed(0, 2)
        born.append(cluster._last_mark - 1)
        soon(cluster, 20, partial(begin_again, cluster, "runtime-1"))
        at_first(cluster, "Recover", lambda _: cluster.feed(0))

    at_first(cluster, "FlowStatuses", begin_next_life, sender="switch-0", receiver="runtime-0")
    while not born:
        for flow in (1, 2, 3):
            cluster.feed(flow)
        run(cluster, 0.005)
    run(cluster, 3.0)
    assert ["runtime-1"] == [event.node for event in cluster.recovered]
    assert ["runtime-0"] == who_has(cluster, 0)
    state = cluster.state_of(cluster.runtimes["runtime-0"], cluster.key_of[0])
    assert (born[0], 3) == (state.born, state.count)
    assert [(1, 1)] == [(end.ended.born, end.ended.count) for end in cluster.history.ends if end.ended.born == 1]
    owners_agree(cluster)


# ------------------------------------------------ 6: what waited for a flow of the dead, and begins anew


def with_a_source_that_dies_before_it_has_turned_anything() -> tuple[HeapCluster, list[int]]:
    """Nobody has the states of its flows, which its target holds; which they are."""
    cluster = HeapCluster(Random(4), runtimes=3, mode=Mode.parse("none"))
    for flow in range(12):
        cluster.feed(flow)
    run(cluster, 0.1)
    mine = [flow for flow in range(12) if who_has(cluster, flow) == ["runtime-0"]]
    cluster.network.keep_messages = False
    at_first(cluster, "FlowStatuses", lambda _: cluster.kill("runtime-0"), sender="runtime-1", receiver="runtime-0")
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.05)
    return cluster, mine


def they_begin_anew(cluster: HeapCluster, mine: list[int], first: int) -> None:
    """They are served, and with all packets from that one on. (Some are dropped, as the chain says.)"""
    run(cluster, 3.0)
    assert ["runtime-0"] == [event.node for event in cluster.recovered]
    assert {"lineage_chosen"} >= {reason for reason, _ in cluster.history.dropped}
    for flow in mine:
        (node,) = who_has(cluster, flow)
        state = cluster.state_of(cluster.runtimes[node], cluster.key_of[flow])
        fed = [mark for mark, of in cluster.history.flow_of.items() if of == flow and mark >= first]
        assert (fed[0], len(fed)) == (state.born, state.count)
    owners_agree(cluster)


@pytest.mark.parametrize("is_lost", [False, True], ids=["heard", "lost"])
def test_packets_that_waited_begin_their_flows_anew_at_who_was_to_have_them(is_lost: bool) -> None:
    """They came to the target, which still held the flows for its dead source, when it was not told yet that the
    recovery was over or was asking whose they were. Its switch had not turned them in the epoch that was asked about,
    and they were dropped."""
    cluster, mine = with_a_source_that_dies_before_it_has_turned_anything()
    first = cluster._last_mark + 1

    def feed(_: Delivery) -> None:
        for flow in mine:
            cluster.feed(flow, 3)
        if is_lost:
            at_first(cluster, "RecoveryOver", partial(lose, cluster), receiver="runtime-1")

    at_first(cluster, "Recover", feed)
    they_begin_anew(cluster, mine, first)


def test_so_do_those_that_come_while_it_is_asking() -> None:
    """The switch had answered that it knew of no such flows, and then began them: before its answer was there."""
    cluster, mine = with_a_source_that_dies_before_it_has_turned_anything()
    first, seen = cluster._last_mark + 1, list[str]()

    def look(delivery: Delivery) -> None:
        way = delivery.kind, delivery.receiver
        if way == ("RecoveryOver", "switch-0"):
            if not seen:
                lose(cluster, delivery)
                for flow in mine:
                    cluster.feed(flow, 3)
            seen.append(delivery.kind)
        if way == ("FlowStatuses", "runtime-1"):
            seen.append(delivery.kind)
            if seen.count("RecoveryOver") < 2:
                lose(cluster, delivery)

    cluster.network.before = look
    they_begin_anew(cluster, mine, first)
    assert "FlowStatuses" in seen[: seen.index("RecoveryOver", 1)], "it was asked before"
    assert 2 == seen[::-1].index("RecoveryOver"), "and answered twice behind"
