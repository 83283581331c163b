"""Stories that a seventh critical reading has told: of flows whose new runtime dies before anybody else has them."""

from functools import partial
from random import Random

import pytest

from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, lose, move_all, soon, who_has
from tests.cluster.test_found_by_schedules import begin_again, move, run
from tests.cluster.test_read_a_third_time import goes_on_when_both_are_made_good_for, with_replica

# ------------------------------------------------ 2: a target that has no replicas, and is to have some


def they_go_on_when_the_target_is_dead(cluster: HeapCluster, target: str, flows: list[int]) -> None:
    """Each has had three packets, and its next one finds it."""
    run(cluster, 3.0)
    assert [target] == [event.node for event in cluster.recovered]
    for flow in flows:
        cluster.feed(flow)
    run(cluster, 0.5)
    for flow in flows:
        (node,) = who_has(cluster, flow)
        assert 4 == cluster.state_of(cluster.runtimes[node], cluster.key_of[flow]).count
    owners_agree(cluster)


@pytest.mark.parametrize("mode", ["strict", "every=1", "strict-hold"])
def test_flows_do_not_set_out_for_a_runtime_that_has_joined_and_was_not_told_its_replicas(mode: str) -> None:
    """It took their states, had nobody to give them to, and said that they were there; so the source let go of them,
    and had its replica forget them. They had been protected, and were lost with it."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse(mode))
    for flow in range(10):
        cluster.feed(flow, 3)
    run(cluster, 0.6)
    flows = [flow for flow in range(10) if who_has(cluster, flow) == ["runtime-0"]]
    assert 5 == len(flows)

    def set_out(delivery: Delivery) -> None:
        lose(cluster, delivery)
        move_all(cluster, "runtime-0", "runtime-2")
        soon(cluster, 100, partial(cluster.kill, "runtime-2"))

    at_first(cluster, "SetReplicas", set_out, receiver="runtime-2")
    cluster.launch(2, "")
    run(cluster, 1.5)
    they_go_on_when_the_target_is_dead(cluster, "runtime-2", flows)


@pytest.mark.parametrize("mode", ["strict", "every=1", "strict-hold"])
def test_nor_for_one_that_was_alone_and_was_not_told_of_who_has_joined(mode: str) -> None:
    """The one that has joined knows that it may replicate to the other, whose own order about replicas is lost."""
    cluster = HeapCluster(Random(1), runtimes=1, mode=Mode.parse(mode))
    run(cluster, 0.1)

    def feed(delivery: Delivery) -> None:
        lose(cluster, delivery)
        for flow in range(10):
            soon(cluster, 20, partial(cluster.feed, flow, 3))
        soon(cluster, 50, set_out)

    def set_out() -> None:
        flows.extend(flow for flow in range(10) if who_has(cluster, flow) == ["runtime-1"])
        move_all(cluster, "runtime-1", "runtime-0")
        soon(cluster, 100, partial(begin_again, cluster, "runtime-0"))

    flows = list[int]()
    at_first(cluster, "SetReplicas", feed, receiver="runtime-0")
    cluster.launch(1, "")
    run(cluster, 1.5)
    assert len(flows) > 3
    they_go_on_when_the_target_is_dead(cluster, "runtime-0", flows)


@pytest.mark.parametrize("mode", ["strict", "every=1", "strict-hold"])
def test_they_do_when_it_has_been_told(mode: str) -> None:
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse(mode))
    for flow in range(10):
        cluster.feed(flow, 3)
    run(cluster, 0.6)
    at_first(cluster, "SetReplicas", partial(lose, cluster), receiver="runtime-2")
    cluster.launch(2, "")
    run(cluster, 1.5)
    move_all(cluster, "runtime-0", "runtime-2")
    run(cluster, 0.5)
    assert [(5, 0)] == [(event.flows, event.failed) for event in cluster.history.ended]


# ------------------------------------------------ 5: who was given a state in the stead of a dead source


@pytest.mark.parametrize("again", [False, True])
def test_a_state_that_was_given_in_the_stead_of_a_dead_source_is_kept_until_its_recovery_is_over(again: bool) -> None:
    """The source's replica claimed the flow, which had been turned to the target, and gave it the state. The target
    said that it had it, and died when its own replica had not heard of it. Nobody had a copy any more."""
    cluster, flow = with_replica("runtime-2", 4)
    first, network = cluster._last_mark, cluster.network
    network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FinishFlows", hold_up, receiver="runtime-1")

    def hold_up(_: Delivery) -> None:
        network.cuts.add(("runtime-1", "runtime-3"))  # what is on its way there when its sender dies
        network.behind = kill_target

    def kill_target(delivery: Delivery) -> None:
        if (delivery.kind, delivery.sender, delivery.receiver) == ("FlowStatuses", "runtime-1", "runtime-2"):
            network.behind = lambda _: None
            network.cuts.clear()
            copies.extend(len(runtime.replicas.copies_of("runtime-1")[0]) for runtime in cluster.living())
            cluster.kill("runtime-1")
            if again:
                cluster.restart("runtime-1")

    copies = list[int]()
    at_first(cluster, "InstallFlows", kill_source)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 6.0)
    assert [0, 0, 0] == copies
    goes_on_when_both_are_made_good_for(cluster, flow, first)
    owners_agree(cluster)
    for runtime in cluster.living():
        assert not runtime.replicas._left
        assert not runtime.replicas._given
