"""What reading the protocols has found in them, each as the shortest story that shows it."""

from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from nfactor.cluster import liaison
from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, OUTSIDE
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import at_most_once
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.limits import Limits
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_schedules import (
    begin_again,
    cluster_of,
    flow_with_a_replica_at,
    move,
    owner_of,
    run,
)


def at_first(
    cluster: HeapCluster, kind: str, strike: Callable[[Delivery], None], sender: str = "", receiver: str = ""
) -> None:
    """Do that before the first message of a kind from now on is handled, on that way if one is named."""

    def look(delivery: Delivery) -> None:
        if delivery.kind == kind and sender in ("", delivery.sender) and receiver in ("", delivery.receiver):
            cluster.network.before = lambda _: None
            strike(delivery)

    cluster.network.before = look


def lose(cluster: HeapCluster, delivery: Delivery) -> None:
    """It is said again a quarter of a second later."""
    cluster.network.end_session(delivery.sender, delivery.receiver)


def soon(cluster: HeapCluster, milliseconds: int, action: Callable[[], None]) -> None:
    cluster.network.at(cluster.network.now_us + milliseconds * 1000, action)


def move_all(cluster: HeapCluster, source: str, target: str) -> None:
    order = SetMigrationTarget(target, 50)
    cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)


def who_has(cluster: HeapCluster, flow: int) -> list[str]:
    key = cluster.key_of[flow]
    return [runtime.node.name for runtime in cluster.living() if key in list(runtime.engine.keys())]


def test_flows_that_came_back_and_went_on_are_not_reported_as_turned() -> None:
    """A set had keys of two switches. One of them had given its flows back, which went on to another runtime, and the
    other had not answered. When the first began again the source said that they were still out with the set."""
    cluster = HeapCluster(Random(1), runtimes=3, switches=2, mode=Mode.parse("none"))
    for flow in range(18):
        cluster.feed(flow)
    run(cluster, 0.1)
    cuts = cluster.network.cuts

    def kill_target(_: Delivery) -> None:
        cuts.add(("switch-1", "runtime-0"))  # so that it is not known there that all were turned
        soon(cluster, 5, partial(cluster.kill, "runtime-1"))
        at_first(cluster, "TakeBack", answer_now, receiver="runtime-0")

    def answer_now(_: Delivery) -> None:
        cuts.clear()
        at_first(cluster, "ClaimFlows", go_on, "runtime-0", "switch-1")

    def go_on(delivery: Delivery) -> None:
        cuts.add((delivery.sender, delivery.receiver))
        soon(cluster, 10, partial(move_all, cluster, "runtime-0", "runtime-2"))
        soon(cluster, 30, partial(begin_again, cluster, "switch-0"))
        soon(cluster, 800, cuts.clear)

    at_first(cluster, "FlowStatuses", kill_target, sender="runtime-1")
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 4.0)
    assert ["switch-0"] == cluster.history.restarts
    owners_agree(cluster)


def test_what_began_anew_is_not_expected_any_more_from_the_dead() -> None:
    """Flows of one switch had begun anew, had gone on and were coming back, when the other switch answered. The target
    took what it was holding for them for what was to come from the dead source, and let go of it."""
    cluster = HeapCluster(Random(1), runtimes=3, switches=2, mode=Mode.parse("none"))
    for flow in range(18):
        cluster.feed(flow)
    run(cluster, 0.1)
    cluster.network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FindTurned", lambda _: at_first(cluster, "FlowStatuses", go_on), receiver="switch-0")

    def go_on(delivery: Delivery) -> None:
        lose(cluster, delivery)
        move_all(cluster, "runtime-1", "runtime-2")
        soon(cluster, 100, partial(move_all, cluster, "runtime-2", "runtime-1"))
        at_first(cluster, "InstallFlows", partial(lose, cluster), sender="runtime-2")

    at_first(cluster, "InstallFlows", kill_source)
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    owners_agree(cluster)


def test_an_old_question_about_a_part_of_a_report_does_not_end_a_later_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch had asked for the second part, and that was lost. The view changed, and it asked for all anew, and had
    it, when the old question came again: the runtime had nothing left to answer it from."""
    monkeypatch.setattr(liaison, "REPORT_BATCH_FLOWS_MAX", 2)
    cluster = cluster_of(3, "none")
    for flow in range(18):
        cluster.feed(flow)
    run(cluster, 0.1)

    def lose_second(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.launch(3, "")

    def lose_next(_: Delivery) -> None:
        at_first(cluster, "ReportFlows", lose_second, receiver="runtime-0")

    at_first(cluster, "ReportFlows", lose_next, receiver="runtime-0")
    begin_again(cluster, "switch-0")
    run(cluster, 2.0)
    assert "runtime-3" in cluster.switches["switch-0"].view
    owners_agree(cluster)


def test_what_is_claimed_in_the_stead_of_a_dead_source_is_reported_below_who_has_the_flow() -> None:
    """The flow had come to its target, and its source died. So did the runtime of which its replica was to claim what
    had been on its way there; when the switch began again, the replica reported its copy in the epoch that the flow
    has at its target, and the switch believed the replica."""
    cluster = cluster_of(4)
    for flow in range(4):
        cluster.feed(flow, 3)
    run(cluster, 0.1)
    assert "runtime-3" == owner_of(cluster, 3)
    assert cluster.key_of[3] in list(cluster.runtimes["runtime-2"].replicas._store.look("runtime-3")[0])

    def kill_both(_: Delivery) -> None:
        cluster.kill("runtime-3")
        cluster.kill("runtime-0")
        at_first(cluster, "TakeBack", strike, receiver="runtime-2")

    def strike(_: Delivery) -> None:
        begin_again(cluster, "switch-0")
        at_first(cluster, "ReportFlows", partial(lose, cluster), receiver="runtime-1")  # so it reports last

    at_first(cluster, "FlowsInstalled", kill_both)
    cluster.network.keep_messages = False
    move(cluster, "runtime-3", "runtime-1")
    run(cluster, 3.0)
    assert ["switch-0"] == cluster.history.restarts
    assert ["runtime-1"] == who_has(cluster, 3)


def test_a_flow_that_may_have_ended_is_reported_below_the_next_life_of_its_key() -> None:
    """The switch had let it end, and its runtime had not heard of that; the key's next life began at another one, and
    the switch began again. Both runtimes said that the flow was theirs, in the same epoch."""
    cluster = HeapCluster(
        Random(2), runtimes=2, mode=Mode.parse("strict"), time_outs=TimeOuts(udp_idle_s=2.0), packet_step_s=0.2
    )
    cluster.feed(0)
    run(cluster, 0.01)
    assert "runtime-0" == owner_of(cluster, 0)

    def begin_next_life(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.feed(20)  # it is at runtime-0
        cluster.feed(0)
        soon(cluster, 20, partial(begin_again, cluster, "switch-0"))
        at_first(cluster, "ReportFlows", partial(lose, cluster), receiver="runtime-1")  # so it reports last

    at_first(cluster, "FlowStatuses", begin_next_life, sender="switch-0")
    while not cluster.history.switch_deaths:
        for flow in (1, 2, 3):
            cluster.feed(flow)
        run(cluster, 0.005)
    run(cluster, 3.0)
    assert ["runtime-1"] == who_has(cluster, 0)


def test_what_a_dead_replica_has_told_in_part_is_not_told_again() -> None:
    """It had more records to tell than one message takes, and died after the first. The drops of all of its commits
    had gone with that, and its primary told them once more."""
    cluster = flow_with_a_replica_at("runtime-1")
    [flow] = cluster.key_of
    cluster.network.keep_messages = False
    cluster.network.cuts.add(("runtime-1", OUTSIDE))
    for _ in range(80):
        cluster.feed(flow, 3)
        run(cluster, 0.0025)
    cluster.network.cuts.clear()

    def tell_first(_: Delivery) -> None:
        at_first(cluster, "Outcomes", kill_replica, sender="runtime-1")

    def kill_replica(_: Delivery) -> None:
        at_first(cluster, "Done", lambda _: cluster.kill("runtime-1"), OUTSIDE, "runtime-1")

    at_first(cluster, "Outcomes", tell_first, sender="runtime-1")
    run(cluster, 3.0)
    assert ["runtime-1"] == [death.node for death in cluster.history.deaths]
    at_most_once(cluster.history)


def test_a_flow_that_is_claimed_back_has_room() -> None:
    """It had left, come back, and left again within a second. With the tombstone of its first departure that of the
    second was removed too, and its row went to another flow: when its target died there was no room for it."""
    cluster = HeapCluster(Random(1), runtimes=3, mode=Mode.parse("strict"), limits=Limits(flows=2))
    cluster.feed(0, 3)
    run(cluster, 0.05)
    cluster.network.keep_messages = False
    for source, target in (("runtime-0", "runtime-1"), ("runtime-1", "runtime-0")):
        move(cluster, source, target)
        run(cluster, 0.25)
    assert ["runtime-0"] == who_has(cluster, 0)
    at_first(cluster, "InstallFlows", lambda _: cluster.kill("runtime-1"))
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.7)  # the first tombstone is a second old by then
    for flow in range(30, 40):
        cluster.feed(flow)
    run(cluster, 3.0)
    assert ["runtime-1"] == [death.node for death in cluster.history.deaths]
    assert ["runtime-0"] == who_has(cluster, 0)
