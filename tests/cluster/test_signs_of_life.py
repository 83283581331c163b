"""What is told to a runtime of its signs of life, and what is told of it, agree: whoever believes that it lives is not
declared dead while it does. And what a life of a runtime began is told from what its next life does."""

from functools import partial
from random import Random

import pytest

from nfactor.cluster.hearing import Hearing
from nfactor.cluster.names import COORDINATOR, POOLS, migration_number, source_of
from nfactor.cluster.pools import Pools
from nfactor.cluster.recovery_messages import LastHeard
from nfactor.cluster.suspicions import Suspicions
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import included_came_out
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.judged import finals_of
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.pasts import pasts_of
from tests.cluster.test_found_by_reading import at_first, lose, who_has
from tests.cluster.test_found_by_schedules import begin_again, move, run
from tests.cluster.test_read_a_third_time import with_replica

SUSPECT = "runtime-2"


def with_six_flows(seed: int) -> HeapCluster:
    cluster = HeapCluster(Random(seed), runtimes=3, mode=Mode.parse("strict"))
    for flow in range(6):
        cluster.feed(flow)
    run(cluster, 0.1)
    return cluster


def what_is_included_came_out(cluster: HeapCluster) -> None:
    included_came_out(cluster.history, pasts_of(cluster.history, finals_of(cluster)), certain=True)


@pytest.mark.parametrize("seed", [0, 3])
def test_who_was_said_to_be_silent_takes_no_commit_though_it_wakes(seed: int) -> None:
    """A replica stands still for a second and wakes when the switch has just said so. The switch hears its next sign of
    life, and is late to hear that it was declared dead: what the replica released, nobody took."""
    cluster = with_six_flows(seed)
    network, has = cluster.network, set[str]()
    network.pause(SUSPECT)

    def wake(delivery: Delivery) -> None:
        if delivery.kind == "Witness" and "woken" not in has:
            has.add("woken")
            network.at(network.now_us + 1, lambda: network.resume(SUSPECT))
            for number in range(600):
                network.at(network.now_us + 500 * number, partial(cluster.feed, number % 6))

    def lose(delivery: Delivery) -> None:
        if (delivery.kind, delivery.receiver) == ("NotifyClusterCfg", "switch-0") and has == {"woken"}:
            has.add("lost")
            network.end_session(delivery.sender, delivery.receiver)

    network.behind, network.before = wake, lose
    run(cluster, 6.0)
    assert "woken" in has
    what_is_included_came_out(cluster)


def test_a_switch_that_begins_again_does_not_say_that_it_never_heard_of_anybody() -> None:
    """Signs of life of a runtime do not reach the coordinator, and the only switch that hears them begins again."""
    cluster = with_six_flows(5)
    cluster.network.cuts.add((SUSPECT, COORDINATOR))
    run(cluster, 1.35)
    assert SUSPECT in cluster.membership.view
    begin_again(cluster, "switch-0")
    for number in range(1500):
        cluster.feed(number % 6)
        run(cluster, 0.0002)
    assert SUSPECT in cluster.membership.view, "the switch's next life hears it as well"
    run(cluster, 4.0)
    what_is_included_came_out(cluster)


@pytest.mark.parametrize("ms", range(0, 100, 20))
def test_a_switch_has_heard_of_runtimes_before_anybody_has_told_it_who_is_there(ms: int) -> None:
    """It begins again while the coordinator hears nobody, and is asked about all of them as soon as that is over."""
    cluster = with_six_flows(0)
    alone, silent = frozenset([COORDINATOR]), {(name, COORDINATOR) for name in cluster.runtimes}
    cluster.network.splits.append(alone)
    cluster.network.cuts |= silent
    begin_again(cluster, "switch-0")
    run(cluster, 2.5 + ms / 1000)
    cluster.network.splits.remove(alone)
    run(cluster, 0.6)
    cluster.network.cuts -= silent
    run(cluster, 2.0)
    assert 3 == len(cluster.living())
    assert not cluster.recovered


def test_who_was_said_to_be_silent_and_lives_does_not_hang_on_the_coordinator() -> None:
    """A replica stands still for a second, wakes in time, and the switch's word of its silence comes late. Much later
    the coordinator dies. The switch hears the replica, and tells it so."""
    cluster, flow = with_replica(SUSPECT, 3)
    network = cluster.network
    network.pause(SUSPECT)

    def wake(delivery: Delivery) -> None:
        network.resume(SUSPECT)
        at_first(cluster, "LastHeard", partial(lose, cluster))

    at_first(cluster, "Witness", wake, receiver="switch-0")
    run(cluster, 10.0)
    assert SUSPECT in cluster.membership.view
    cluster.kill(COORDINATOR)
    run(cluster, 2.0)
    before = len(cluster.history.out)
    cluster.feed(flow, 5)
    run(cluster, 2.0)
    assert 5 == len(cluster.history.out) - before


def test_switches_are_asked_about_whom_one_of_them_took_for_dead_until_none_does() -> None:
    """The first of two said that it was silent; and both are asked again, though it is heard."""
    suspicions, both = Suspicions(1.0), 2
    suspicions.heard("one", 10.0)
    assert [] == list(suspicions.to_ask_about(["one"], 11.0))
    assert ["one"] == list(suspicions.to_ask_about(["one"], 11.1))
    assert [] == list(suspicions.to_ask_about(["one"], 11.1)), "their answers are awaited"
    assert not suspicions.is_dead("one", LastHeard(1.1), both, 11.2)
    suspicions.heard("one", 11.3)
    assert not suspicions.is_dead("one", LastHeard(0.1), both, 11.4)
    assert 0 == suspicions.false_alarms, "it was heard here, too"
    assert ["one"] == list(suspicions.to_ask_about(["one"], 11.5))
    assert not suspicions.is_dead("one", LastHeard(0.1), both, 11.6)
    assert not suspicions.is_dead("one", LastHeard(0.1), both, 11.6)
    assert [] == list(suspicions.to_ask_about(["one"], 11.7))
    assert ["one"] == list(suspicions.to_ask_about(["one"], 12.4))
    assert not suspicions.is_dead("one", LastHeard(1.1), both, 12.5)
    assert suspicions.is_dead("one", LastHeard(1.1), both, 12.5)


@pytest.mark.parametrize("life", [5, 0xFFFF])
def test_numbers_come_home_whatever_the_life_of_the_source(life: int) -> None:
    """A runtime that has sent flows to another one begins again, and only the low 16 bits of its life are in the
    numbers of its migrations. Who has had the flows waited for ever to hear that nobody takes them back."""
    cluster = NatCluster(
        Random(1), runtimes=3, mode=Mode.parse("strict"), ports=64, block=4, time_outs=TimeOuts(udp_idle_s=2.0),
        packet_step_s=0.1,
    )  # fmt: skip
    run(cluster, 0.3)
    cluster.network.nodes["runtime-0"].life = life - 1
    begin_again(cluster, "runtime-0")
    run(cluster, 1.0)
    for flow in range(6):
        cluster.feed(flow)
    run(cluster, 0.1)
    there = [flow for flow in range(6) if who_has(cluster, flow) == ["runtime-0"]]
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 1.5)
    assert ["runtime-1"] in [who_has(cluster, flow) for flow in there]
    begin_again(cluster, "runtime-0")
    run(cluster, 2.0)
    for flow in range(100, 300):
        cluster.feed(flow)
        run(cluster, 0.03)
    run(cluster, 2.0)
    assert "nat_no_port" not in {reason for reason, _ in cluster.history.dropped}
    pools = cluster.runtimes["runtime-1"].node.roles[POOLS]
    assert isinstance(pools, Pools)
    (stock,) = pools.stocks.values()
    assert not stock.stored, "no number waits to come home"


def test_lives_of_a_source_are_told_apart() -> None:
    of_one = source_of(migration_number(3, 70_000, 1))
    assert of_one == source_of(migration_number(3, 70_000, 99))
    others = {source_of(migration_number(index, life, 1)) for index, life in ((3, 70_001), (3, 69_999), (4, 70_000))}
    assert of_one not in others
    assert 3 == len(others)


def test_who_was_said_to_be_silent_is_told_nothing_until_that_is_taken_back() -> None:
    """By a switch that began at 10 s, of two runtimes, the first of which it hears at 11 s."""
    hearing, one, other = Hearing(), b"one", b"other"
    hearing.begin(10.0)
    assert hearing.heard(one, 11.0)
    assert 0.5 == hearing.silence_s(one, 11.5, dead_after_s=1.0)
    assert 0.5 == hearing.silence_s(other, 10.5, dead_after_s=1.0), "as if it had been heard of when it began"
    assert hearing.heard(one, 11.6), "nothing else was said of it"
    assert 1.5 == hearing.silence_s(one, 13.1, dead_after_s=1.0)
    assert not hearing.heard(one, 13.2)
    assert hearing.heard(other, 13.2)
    hearing.silence_s(one, 13.3, dead_after_s=1.0)
    assert hearing.heard(one, 13.4), "this was said, too"
    hearing.silence_s(one, 15.0, dead_after_s=1.0)
    hearing.follow({other})
    assert hearing.heard(one, 15.1), "whoever has this address now"
