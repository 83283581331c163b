"""Stories that a third critical reading of the protocols has told: which premises one to three faults break."""

from functools import partial
from random import Random
from typing import Any

import pytest

from nfactor.cluster import liaison
from nfactor.cluster.names import COORDINATOR
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.owners import owner_number
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, lose, move_all, soon, who_has
from tests.cluster.test_found_by_schedules import begin_again, cluster_of, move, owner_of, run
from tests.cluster.test_pools import NAME, keeper, mine


def test_a_switch_that_begins_again_takes_what_others_pass_on_before_it_has_a_view() -> None:
    cluster = HeapCluster(Random(1), runtimes=2, switches=2, mode=Mode.parse("none"))
    for flow in range(8):
        cluster._entry_of[flow, 0] = 1  # all come in at switch-1
        cluster.feed(flow)
    run(cluster, 0.1)
    before = len(cluster.history.out) + len(cluster.history.dropped)
    assert before == 8

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        for n in range(5, 100, 10):
            for flow in range(8):
                soon(cluster, n, partial(cluster.feed, flow))

    at_first(cluster, "NotifyClusterCfg", strike, receiver="switch-0")
    begin_again(cluster, "switch-0")
    run(cluster, 3.0)
    for flow in range(8):
        cluster.feed(flow)
    run(cluster, 1.0)
    told = {mark for _, mark in cluster.history.dropped} | {came.mark for came in cluster.history.out}
    assert cluster.switches["switch-0"].role._relay.fenced == 0
    assert set(cluster.history.flow_of) == told


def test_a_runtime_that_is_told_its_replicas_by_another_recovery_takes_no_packet_before_it_has_a_view() -> None:
    cluster = cluster_of(3, "none")
    run(cluster, 0.1)

    def join(delivery: Delivery) -> None:
        lose(cluster, delivery)  # so that this recovery is held up
        soon(cluster, 300, partial(cluster.launch, 3, ""))
        at_first(cluster, "NotifyClusterCfg", hold_up, receiver="runtime-3")

    def hold_up(delivery: Delivery) -> None:
        lose(cluster, delivery)
        for flow in range(30):
            soon(cluster, 20 * flow, partial(cluster.feed, flow))

    at_first(cluster, "ViewTaken", join, sender="runtime-2")
    cluster.kill("runtime-1")
    run(cluster, 4.0)
    assert "runtime-3" in cluster.membership.view
    assert "fenced" not in [reason for reason, _ in cluster.history.dropped]


END_SOON: dict[str, Any] = {"time_outs": TimeOuts(udp_idle_s=2.0), "packet_step_s": 0.2}


def with_replica(replica: str, runtimes: int, **more: Any) -> tuple[HeapCluster, int]:
    for flow in range(20):
        cluster = HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse("strict"), **more)
        cluster.feed(flow)
        run(cluster, 0.01)
        if owner_of(cluster, flow) == "runtime-0" and cluster.runtimes[replica].replicas.copies:
            return cluster, flow
    raise AssertionError


def goes_on_when_both_are_made_good_for(cluster: HeapCluster, flow: int, first: int) -> None:
    """Source and target are dead, and the flow's next packet is the second one of what began with the first."""
    assert {"runtime-0", "runtime-1"} == {event.node for event in cluster.recovered}
    cluster.feed(flow)
    run(cluster, 0.5)
    state = cluster.state_of(cluster.runtimes[owner_of(cluster, flow)], cluster.key_of[flow])
    assert (first, 2) == (state.born, state.count)


def test_a_state_that_a_claimer_sends_when_it_has_been_declared_dead_is_not_taken() -> None:
    cluster, flow = with_replica("runtime-2", 4, **END_SOON)
    first = cluster._last_mark
    cluster.network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FlowsClaimed", lambda _: cluster.pause("runtime-2", deadly=True), receiver="runtime-2")

    at_first(cluster, "InstallFlows", kill_source)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 4.0)
    assert ["runtime-0", "runtime-2"] == [event.node for event in cluster.recovered]
    cluster.restart("runtime-0")
    run(cluster, 2.0)
    assert ["runtime-1"] == who_has(cluster, flow)
    while who_has(cluster, flow):
        for other in (101, 102, 103):
            cluster.feed(other)
        run(cluster, 0.005)
    cluster.switches["switch-0"].dispatcher.set_runtimes([0, 1, 3])
    cluster.feed(flow)
    born = cluster._last_mark
    run(cluster, 0.1)
    assert ["runtime-0"] == who_has(cluster, flow)

    def wake(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.network.resume("runtime-2")

    at_first(cluster, "InstallFlows", wake, sender="runtime-0")
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    assert ["runtime-1"] == who_has(cluster, flow)
    state = cluster.state_of(cluster.runtimes["runtime-1"], cluster.key_of[flow])
    assert born != first
    assert born == state.born


@pytest.mark.parametrize("kind", ["", "Recover", "TakeBack"])
def test_what_a_source_was_to_take_back_is_claimed_by_its_replica(kind: str) -> None:
    cluster, flow = with_replica("runtime-2", 4)
    first = cluster._last_mark
    cluster.network.keep_messages = False

    def kill_target(_: Delivery) -> None:
        cluster.kill("runtime-1")
        if kind:
            at_first(cluster, kind, lambda _: cluster.kill("runtime-0"), receiver="runtime-0")
        else:
            soon(cluster, 200, partial(cluster.kill, "runtime-0"))

    at_first(cluster, "InstallFlows", kill_target)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 5.0)
    goes_on_when_both_are_made_good_for(cluster, flow, first)


def test_a_replica_that_is_fenced_and_lives_confirms_nothing() -> None:
    cluster, flow = with_replica("runtime-2", 3)
    cluster.pause("runtime-2", deadly=True)

    def wake(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.network.resume("runtime-2")

    soon(cluster, 500, partial(cluster.feed, flow, 2))
    at_first(cluster, "NotifyClusterCfg", wake, receiver="runtime-0")
    run(cluster, 5.0)
    assert ["runtime-2"] == [event.node for event in cluster.recovered]
    state = cluster.state_of(cluster.runtimes["runtime-0"], cluster.key_of[flow])
    assert 3 == state.count
    told = {mark for _, mark in cluster.history.dropped} | {came.mark for came in cluster.history.out}
    assert set(cluster.history.flow_of) == told


def test_what_a_replica_releases_that_is_wrongly_declared_dead_is_not_lost() -> None:
    """One fault: signs of life of a replica are lost."""
    cluster, flow = with_replica("runtime-2", 3)
    cluster.network.cuts |= {("runtime-2", COORDINATOR), ("runtime-2", "switch-0")}
    for n in range(2_000):
        cluster.network.at(cluster.network.now_us + 1_050_000 + 50 * n, partial(cluster.feed, flow))
    run(cluster, 5.0)
    assert ["runtime-2"] == [event.node for event in cluster.recovered]
    state = cluster.state_of(cluster.runtimes["runtime-0"], cluster.key_of[flow])
    told = {mark for _, mark in cluster.history.dropped} | {came.mark for came in cluster.history.out}
    missing = set(cluster.history.flow_of) - told
    assert (state.count, missing) == (2_001, set())


def test_an_old_first_question_for_a_report_does_not_end_a_later_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liaison, "REPORT_BATCH_FLOWS_MAX", 2)
    cluster = cluster_of(3, "none")
    for flow in range(18):
        cluster.feed(flow)
    run(cluster, 0.1)

    def lose_first(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.launch(3, "")
        at_first(cluster, "ReportFlows", pass_next, receiver="runtime-0")

    def pass_next(_: Delivery) -> None:
        at_first(cluster, "ReportFlows", partial(lose, cluster), receiver="runtime-0")

    at_first(cluster, "ReportFlows", lose_first, receiver="runtime-0")
    begin_again(cluster, "switch-0")
    run(cluster, 2.0)
    assert "runtime-3" in cluster.switches["switch-0"].view
    owners_agree(cluster)


def test_a_late_word_about_an_alias_takes_it_from_no_other_flow() -> None:
    cluster = NatCluster(Random(1), runtimes=1, switches=2, mode=Mode.parse("none"), ports=4, block=4, **END_SOON)
    cluster.network.rng.random = lambda: 0.0  # type: ignore[method-assign]
    run(cluster, 0.2)
    for flow in (101, 102, 103, 0):
        cluster.feed(flow)
        run(cluster, 0.01)
    home = owner_number(cluster.key_of[0], 2)
    port = cluster.went[-1].port
    assert cluster.went[-1].flow == 0
    there = cluster.switches[f"switch-{1 - home}"].dispatcher
    assert [known for known in there._aliases._known.values() if known.key == cluster.key_of[0]]
    cluster.network.cuts.add((f"switch-{home}", f"switch-{1 - home}"))
    begin_again(cluster, f"switch-{home}")
    run(cluster, 1.0)
    while who_has(cluster, 0):
        for flow in (101, 102, 103):
            cluster.feed(flow)
        run(cluster, 0.02)
    run(cluster, 0.1)
    for _ in range(6):  # the port is another flow's now
        cluster.feed(7)
        run(cluster, 0.02)
    assert (7, port) == (cluster.went[-1].flow, cluster.went[-1].port)
    assert [] == [mark for reason, mark in cluster.history.dropped if mark in cluster.answers]
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    for _ in range(6):
        cluster.feed(7)
        run(cluster, 0.02)
    assert [] == [reason for reason, mark in cluster.history.dropped if mark in cluster.answers]


@pytest.mark.parametrize("again", [False, True])
def test_a_target_that_has_begun_again_does_not_refuse_what_its_earlier_life_was_to_get(again: bool) -> None:
    cluster, flow = with_replica("runtime-2", 4)
    first = cluster._last_mark
    cluster.network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FlowsClaimed", kill_target, receiver="runtime-2")

    def kill_target(_: Delivery) -> None:
        cluster.kill("runtime-1")
        if again:
            cluster.restart("runtime-1")

    at_first(cluster, "InstallFlows", kill_source)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 5.0)
    goes_on_when_both_are_made_good_for(cluster, flow, first)


def test_a_number_that_is_passed_on_as_the_leaser_begins_again_comes_home() -> None:
    made = NatCluster(
        Random(1),
        runtimes=2,
        mode=Mode.parse("none"),
        ports=12,
        block=4,
        time_outs=TimeOuts(udp_idle_s=2.0),
        packet_step_s=1.0,
    )
    made.feed(0)
    run(made, 0.05)
    home, away = sorted(made.runtimes, key=lambda name: made.runtimes[name].engine.statistics().flows)[::-1]
    stock = keeper(made, home).stocks[NAME]
    (number,) = mine(made, home) - set(stock.pool.free_numbers().tolist())
    move(made, home, away)
    run(made, 2.5)
    made.network.rng.random = lambda: 1.0  # type: ignore[method-assign]
    made.network.keep_messages = False

    def strike(_: Delivery) -> None:
        made.kill(COORDINATOR)
        soon(made, 1, partial(made.restart, COORDINATOR))

    at_first(made, "TakeNumbers", strike)
    for _ in range(30):
        made.feed(1)
        made.feed(2)
        run(made, 0.2)
    assert [COORDINATOR] == made.history.restarts
    assert number in stock.pool.free_numbers()


def test_a_recovery_that_is_over_is_not_told_again_because_the_dead_one_lives() -> None:
    cluster = cluster_of(3)
    cluster.pause("runtime-2", deadly=True)
    run(cluster, 3.0)
    assert ["runtime-2"] == [event.node for event in cluster.recovered]
    cluster.network.resume("runtime-2")
    run(cluster, 1.0)
    begin_again(cluster, COORDINATOR)
    run(cluster, 4.0)
    assert ["runtime-2"] == [event.node for event in cluster.recovered]
