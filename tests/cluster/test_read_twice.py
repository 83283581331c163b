"""What reading the protocols a second time has found in them, each as the shortest story that shows it."""

from functools import partial
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest

from nfactor.cluster.messages import Migrate, ReadMigrations
from nfactor.cluster.names import COORDINATOR, OUTSIDE
from nfactor.dataplane.engine import Status, TimeOuts
from nfactor.dataplane.owners import owner_number
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_node import HeapHost
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.rest import flows_are_free, owners_agree
from tests.cluster.test_found_by_reading import at_first, lose, move_all, soon, who_has
from tests.cluster.test_found_by_schedules import begin_again, cluster_of, move, owner_of, run


def test_a_switch_that_turns_a_flow_reads_its_clock_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It read it twice, and the clock went on between. By its table the flow had moved before anything that its source
    still knew of, and it let the flow end at once: its key might have begun anew where its tombstone stood."""
    now, ticks = HeapHost.now, count(1)
    monkeypatch.setattr(HeapHost, "now", lambda host: now(host) + next(ticks) * 1e-9)
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    owner = cluster.runtimes["runtime-1"]

    def propose() -> None:
        owner.flows._expiry._propose(owner.engine.keys(), np.array([1], np.uint32))

    def lose_answer(delivery: Delivery) -> None:
        lose(cluster, delivery)
        soon(cluster, 1, propose)

    at_first(cluster, "FlowsInstalled", lose_answer)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.1)
    assert ["runtime-1"] == who_has(cluster, 0)


def test_a_runtime_that_joins_has_no_view_sooner_than_the_outside() -> None:
    """Another recovery, of an earlier view, brought it the one that took it in, which the outside had not been given
    yet. What it said of its drops was a stranger's word there, and nobody told of them again."""
    cluster = cluster_of(3, "none")
    run(cluster, 0.1)
    cuts = cluster.network.cuts

    def join(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.launch(3, "")
        at_first(cluster, "Join", lambda _: at_first(cluster, "NotifyClusterCfg", hold_up, receiver=OUTSIDE))

    def hold_up(_: Delivery) -> None:
        cuts.add((COORDINATOR, OUTSIDE))
        soon(cluster, 600, cuts.clear)
        at_first(cluster, "NotifyClusterCfg", lambda _: soon(cluster, 1, feed), receiver="runtime-3")

    def feed() -> None:
        for flow in range(60):  # of some of them, at every runtime, the chain drops the packet
            cluster.feed(flow)

    at_first(cluster, "ViewTaken", join, sender="switch-0")
    cluster.kill("runtime-1")
    run(cluster, 3.0)
    assert "runtime-3" in cluster.membership.view
    assert 60 == len(cluster.history.out) + len(cluster.history.dropped)


def test_a_flow_that_was_coming_back_from_the_dead_is_still_expected() -> None:
    """Its source had not heard that it had come, and claimed it back as its target died: in the epoch in which the
    target had turned it back. Its switch said that it was there already, and nobody had it."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    cluster.network.keep_messages = False

    def lose_answer(delivery: Delivery) -> None:
        lose(cluster, delivery)
        soon(cluster, 1, partial(move, cluster, "runtime-1", "runtime-0"))
        at_first(cluster, "InstallFlows", lambda _: cluster.kill("runtime-1"), sender="runtime-1")

    at_first(cluster, "FlowsInstalled", lose_answer)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    cluster.feed(0)
    run(cluster, 0.1)
    assert ["runtime-1"] == [death.node for death in cluster.history.deaths]
    assert ["runtime-0"] == who_has(cluster, 0)
    owners_agree(cluster)
    flows_are_free(cluster)


def with_a_late_word() -> tuple[NatCluster, int]:
    """A flow has ended at the switch of that number, the word to the switch of its port is on its way, and its key has
    begun anew with the same port."""
    end_soon: Any = {"time_outs": TimeOuts(udp_idle_s=2.0), "packet_step_s": 0.2}
    cluster = NatCluster(Random(1), runtimes=1, switches=2, mode=Mode.parse("none"), ports=4, block=4, **end_soon)
    cluster.network.rng.random = lambda: 0.0  # type: ignore[method-assign]  # the server answers everything
    run(cluster, 0.2)
    for flow in (101, 102, 103, 0):
        cluster.feed(flow)
        run(cluster, 0.01)
    home = owner_number(cluster.key_of[0], 2)
    cluster._entry_of[0, 0], cluster._entry_of[0, 1] = home, 1 - home
    cuts = cluster.network.cuts
    at_first(cluster, "ForgetAliases", lambda way: cuts.add((way.sender, way.receiver)), sender=f"switch-{home}")
    while not cuts:
        for flow in (101, 102, 103):
            cluster.feed(flow)
        run(cluster, 0.005)
    run(cluster, 0.2)
    feed_often(cluster)
    return cluster, home


def feed_often(cluster: NatCluster) -> None:
    for _ in range(6):
        cluster.feed(0)
        run(cluster, 0.02)


def answers_come_in(cluster: NatCluster) -> None:
    """Those to the flow that is there now."""
    born = cluster.went[-1].born
    feed_often(cluster)
    answers = [mark for mark, answered in cluster.answers.items() if answered.born == born]
    assert len(answers) > 1
    assert [] == [mark for reason, mark in cluster.history.dropped if mark in answers and reason == "nat_unsolicited"]


def test_a_late_word_that_a_flow_has_ended_takes_no_alias_from_the_next_life_of_its_key() -> None:
    """The next life had the same port, whose switch took the word for one about that. Answers to it went astray from
    then on, for as something had come back it told of its port no more."""
    cluster, _ = with_a_late_word()
    cluster.network.cuts.clear()
    run(cluster, 0.5)
    answers_come_in(cluster)


def test_a_migration_whose_source_was_declared_dead_and_lives_has_ended_once() -> None:
    """It had failed as its source was declared dead, which did not know that, and told later that it had come off."""
    cluster = cluster_of(3)
    cluster.feed(0)
    run(cluster, 0.1)
    owner = owner_of(cluster, 0)

    def strike(_: Delivery) -> None:
        cluster.pause(owner, deadly=True)
        soon(cluster, 1800, partial(cluster.network.resume, owner))

    at_first(cluster, "InstallFlows", strike)
    cluster.coordinator.migrate(Migrate(1))
    run(cluster, 3.0)
    counts = cluster.coordinator.read_migrations(ReadMigrations())
    assert (1, 1, 1) == (counts.started, counts.ended, counts.completed + counts.failed)


def test_the_end_of_a_migration_is_told_once() -> None:
    """The coordinator had told the outside of it, and died before its source knew that. The next one was told again,
    and told it again."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        soon(cluster, 20, partial(begin_again, cluster, COORDINATOR))

    def wait(_: Delivery) -> None:
        at_first(cluster, "Done", strike, COORDINATOR, "runtime-0")

    at_first(cluster, "MigrationEnded", wait, receiver=COORDINATOR)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    assert [COORDINATOR] == cluster.history.restarts
    assert 1 == len(cluster.history.ended)


def test_the_end_of_a_migration_is_heard_by_a_coordinator_that_asks_around() -> None:
    """It had begun again, and knew of nobody yet: it took the source for dead."""
    cluster = cluster_of(3, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def strike(_: Delivery) -> None:
        cluster.kill("runtime-2")  # so it asks for a second
        begin_again(cluster, COORDINATOR)

    at_first(cluster, "MigrationEnded", strike, receiver=COORDINATOR)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 4.0)
    assert "runtime-1" == owner_of(cluster, 0)
    assert 1 == len(cluster.history.ended)


def test_a_runtime_that_joins_takes_no_packet_before_it_has_a_view() -> None:
    """Switches had the view and sent it packets of new flows, all of which it took for those of a stranger."""
    cluster = cluster_of(3, "none")
    run(cluster, 0.1)

    def feed() -> None:
        for flow in range(40):
            cluster.feed(flow)

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        soon(cluster, 1, feed)

    cluster.launch(3, "")
    at_first(cluster, "NotifyClusterCfg", strike, receiver="runtime-3")
    run(cluster, 3.0)
    assert "fenced" not in [reason for reason, _ in cluster.history.dropped]
    assert 40 == sum(runtime.engine.statistics().flows for runtime in cluster.living())


def test_a_switch_that_begins_again_behind_a_late_word_about_an_alias_tells_what_is_so_again() -> None:
    """It had said that a flow had ended, which was heard when the next life of its key had the same alias, and died
    before it could say that: nothing for the flow came in from then on."""
    cluster, home = with_a_late_word()

    def strike(_: Delivery) -> None:
        begin_again(cluster, f"switch-{home}")

    at_first(cluster, "Done", strike, f"switch-{1 - home}", f"switch-{home}")
    cluster.network.cuts.clear()
    run(cluster, 1.5)
    assert cluster.history.restarts
    answers_come_in(cluster)


def test_a_flow_that_may_have_ended_is_not_taken_for_its_keys_next_life_that_moves() -> None:
    """It had been elsewhere and was in a higher epoch. The switch that had let it end died while the state of the next
    life was on its way, so that nobody had that: the next switch believed that the first was still there."""
    end_soon: Any = {"time_outs": TimeOuts(udp_idle_s=2.0), "packet_step_s": 0.2}
    cluster = HeapCluster(Random(1), runtimes=3, mode=Mode.parse("none"), **end_soon)
    cluster.feed(0)
    run(cluster, 0.05)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.1)
    move(cluster, "runtime-1", "runtime-0")
    run(cluster, 2.5)
    assert "runtime-0" == owner_of(cluster, 0)
    table = cluster.switches["switch-0"].dispatcher

    def let_end(delivery: Delivery) -> None:
        ended = Status.UNKNOWN == table.turned([cluster.key_of[0]], np.array([3], np.uint32), 0)[0]
        if (delivery.kind, delivery.sender) == ("FlowStatuses", "switch-0") and ended:
            lose(cluster, delivery)
            table.set_runtimes([1, 2, 0])  # the next one begins at runtime-1
            cluster.feed(0)
            soon(cluster, 20, partial(move_all, cluster, "runtime-1", "runtime-2"))
            at_first(cluster, "InstallFlows", die, sender="runtime-1")

    def die(delivery: Delivery) -> None:
        lose(cluster, delivery)
        begin_again(cluster, "switch-0")

    cluster.network.before = let_end
    while not cluster.history.switch_deaths:
        for flow in (101, 102, 103):
            cluster.feed(flow)
        run(cluster, 0.005)
    run(cluster, 3.0)
    assert "runtime-2" == owner_of(cluster, 0)
    owners_agree(cluster)
