"""What reading has found that goes wrong between two lives of a node, each as the shortest story that shows it."""

from functools import partial

import numpy as np

from nfactor.cluster.call_messages import Call
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.commit import NO_PACKETS
from nfactor.cluster.messages import Migrate, PrepareFlows, ReadMigrations, pack_u32
from nfactor.cluster.names import COORDINATOR, LIAISON, OUTSIDE
from nfactor.cluster.plan import runtime_member
from nfactor.cluster.recovery_messages import CommitsStored, StoreCommit
from nfactor.packet.burst_codec import pack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.checkers import at_most_once
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, lose, soon
from tests.cluster.test_found_by_schedules import (
    begin_again,
    cluster_of,
    flow_with_a_replica_at,
    move,
    owner_of,
    run,
)


def test_a_switch_that_begins_again_as_a_recovery_ends_serves_the_next_life_of_the_dead() -> None:
    """The recovery was over at its earlier life, and not yet at a runtime, which told the next one of the dead. Nobody
    told it that the recovery was over: it kept what came for the next life of the dead, for ever."""
    cluster = cluster_of(3, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        soon(cluster, 2, partial(begin_again, cluster, "switch-0"))

    at_first(cluster, "RecoveryOver", strike, receiver="runtime-2")
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    assert "runtime-1" in cluster.membership.view
    for flow in range(1, 10):
        cluster.feed(flow)
    run(cluster, 1.0)
    assert 10 == len(cluster.history.out)
    assert 0 == cluster.switches["switch-0"].ledger.buffered


def test_migrations_of_two_lives_of_a_runtime_have_not_the_same_number() -> None:
    """Its first life had sent a flow, which the target could not store at once; its next life sent another one there,
    in a migration of the same number, and the target forgot the first."""
    cluster = flow_with_a_replica_at("runtime-1")  # that of runtime-1 is at runtime-2

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        begin_again(cluster, "runtime-0")

    at_first(cluster, "StoreCommit", strike, "runtime-1", "runtime-2")
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.075)
    assert cluster.runtimes["runtime-0"].view.term, "it is there again"
    for flow in range(30, 36):
        cluster.feed(flow)
    run(cluster, 0.01)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 1.0)
    assert 9 == len(cluster.history.out) + len(cluster.history.dropped)


def test_what_was_held_from_an_earlier_life_of_a_switch_comes_out_once() -> None:
    """Packets waited at the target of a migration when their switch began again. A replica released them to the next
    life of the switch, and died; their runtime knew them as the earlier one's, and sent them again."""
    cluster = flow_with_a_replica_at("runtime-1")  # that of runtime-1 is at runtime-2
    [flow] = cluster.key_of
    cluster.network.keep_messages = False

    def lose_state(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.feed(flow, 2)
        soon(cluster, 5, partial(begin_again, cluster, "switch-0"))
        at_first(cluster, "CommitsStored", lambda _: cluster.kill("runtime-2"), sender="runtime-2")

    at_first(cluster, "InstallFlows", lose_state)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    assert ["runtime-2"] == [death.node for death in cluster.history.deaths]
    at_most_once(cluster.history)


def test_a_late_word_that_a_node_was_recovered_forgets_nothing_that_its_next_life_has_told() -> None:
    """The outside forgot with it how far that life had come with its primary. When it died as well, its primary told
    once more what it had told."""
    cluster = cluster_of(2)
    cluster.network.keep_messages = False
    cluster.feed(0)
    run(cluster, 0.1)
    owner = owner_of(cluster, 0)
    replica = next(name for name in cluster.runtimes if name != owner)

    def begin_next_life(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.restart(replica)

    at_first(cluster, "NodeRecovered", begin_next_life)
    cluster.kill(replica)
    while not cluster.history.restarts:
        run(cluster, 0.01)
    run(cluster, 0.02)
    assert replica in cluster.membership.view
    at_first(cluster, "Done", lambda _: cluster.kill(replica), OUTSIDE, replica)  # it has told, and does not know it
    cluster.feed(0, 12)
    run(cluster, 3.0)
    assert [replica, replica] == [death.node for death in cluster.history.deaths]
    at_most_once(cluster.history)


def test_the_outside_believes_what_a_runtime_tells_that_it_has_not_heard_of_yet() -> None:
    """It had joined, and a switch sent it packets before it had a view, which it dropped as fenced. The view was on its
    way to the outside once more, which thought that this runtime was none of the cluster."""
    cluster = cluster_of(2, "none")

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        for flow in range(5):
            soon(cluster, 1, partial(cluster.feed, flow))

    def lose_next(_: Delivery) -> None:
        at_first(cluster, "NotifyClusterCfg", strike, receiver=OUTSIDE)

    at_first(cluster, "NodeRecovered", lose_next)
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    told = {mark for _, mark in cluster.history.dropped} | {came.mark for came in cluster.history.out}
    assert set(cluster.history.flow_of) == told


def test_a_second_word_that_a_recovery_is_over_lets_go_of_nothing_of_the_next_life() -> None:
    """A coordinator had said it and begun again, and its next life said it too. That was carried out first, and the
    next life of the dead came in; what it was about to send was let go of when the first was."""
    cluster = cluster_of(3, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    assert "runtime-0" == owner_of(cluster, 0)
    cuts = cluster.network.cuts

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        soon(cluster, 1, partial(cluster.restart, "runtime-0"))
        at_first(cluster, "FlowStatuses", lose_answer, "switch-0", "runtime-1")

    def lose_answer(delivery: Delivery) -> None:
        lose(cluster, delivery)
        begin_again(cluster, "coordinator")
        at_first(cluster, "FlowStatuses", hold_up, "switch-0", "runtime-1")

    def hold_up(_: Delivery) -> None:
        cuts.add(("runtime-1", "switch-0"))  # the question whose answer was lost does not come again yet
        at_first(cluster, "FlowStatuses", hold_up_state, "runtime-1", "runtime-0")

    def hold_up_state(_: Delivery) -> None:
        cuts.clear()
        cuts.add(("runtime-0", "runtime-1"))
        soon(cluster, 500, cuts.clear)

    at_first(cluster, "InstallFlows", kill_source)
    cluster.network.keep_messages = False
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.6)
    assert "runtime-0" in cluster.membership.view
    for flow in range(1, 7):
        cluster.feed(flow)
    run(cluster, 0.01)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    assert not cuts
    owners_agree(cluster)


def test_a_migration_of_a_source_that_has_begun_again_has_ended() -> None:
    """It died before anybody asked how many had ended, and began again: the coordinator took its migration for under
    way, for ever."""
    cluster = cluster_of(3)
    cluster.feed(0)
    run(cluster, 0.1)
    owner = owner_of(cluster, 0)

    def strike(delivery: Delivery) -> None:
        cluster.network.cuts.add((delivery.receiver, owner))
        soon(cluster, 1, partial(begin_again, cluster, owner))
        soon(cluster, 100, cluster.network.cuts.clear)

    at_first(cluster, "PrepareFlows", strike)
    cluster.coordinator.migrate(Migrate(1))
    run(cluster, 2.0)
    assert [owner] == cluster.history.restarts
    counts = cluster.coordinator.read_migrations(ReadMigrations())
    assert (1, 1) == (counts.started, counts.ended)


def test_a_runtime_that_asks_a_next_coordinator_once_more_to_join_stays_a_replica() -> None:
    """The last coordinator had taken it in, and died before it said so. The next one had it in its view, and took its
    frames for unknown as it asked again: its primary had no replica for a while, and counted its commits anew."""
    cluster = cluster_of(1)
    cluster.feed(0)
    run(cluster, 0.1)
    cuts = cluster.network.cuts

    def kill_coordinator(_: Delivery) -> None:
        cluster.kill("coordinator")
        soon(cluster, 1, partial(cluster.restart, "coordinator"))
        cuts.add((OUTSIDE, "coordinator"))  # it knows of the outside when the runtime has asked again
        soon(cluster, 600, cuts.clear)
        for milliseconds in range(20, 120, 20):
            soon(cluster, milliseconds, partial(cluster.feed, 0))
        at_first(cluster, "NotifyClusterCfg", hold_up_next, receiver="switch-0")

    def hold_up_next(_: Delivery) -> None:
        way = ("coordinator", "switch-0")
        at_first(cluster, "NotifyClusterCfg", lambda _: cuts.add(way), *way)
        soon(cluster, 100, cuts.clear)

    at_first(cluster, "Done", kill_coordinator, "coordinator", "runtime-1")
    cluster.network.keep_messages = False
    cluster.launch(1, "")
    run(cluster, 1.5)
    for _ in range(5):
        cluster.feed(0)
        run(cluster, 0.02)
    assert ["coordinator"] == cluster.history.restarts
    run(cluster, 1.0)
    assert 11 == len(cluster.history.out) + len(cluster.history.dropped)


def test_a_runtime_that_joins_lets_nothing_out_before_it_knows_its_replicas() -> None:
    """Under ``strict`` it let packets of its first flows out unprotected, though there was a replica, and died."""
    cluster = cluster_of(2)
    cluster.feed(0)
    run(cluster, 0.1)
    begin_again(cluster, "runtime-1")

    def keep_order(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.network.cuts.add(("coordinator", "runtime-1"))

    at_first(cluster, "SetReplicas", keep_order, receiver="runtime-1")
    run(cluster, 0.5)
    for flow in range(1, 5):
        cluster.feed(flow)
    run(cluster, 0.05)
    assert [] == [came.mark for came in cluster.history.out if owner_of_mark(cluster, came.mark) == "runtime-1"]
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    assert 5 == len(cluster.history.out) + len(cluster.history.dropped)


def owner_of_mark(cluster: HeapCluster, mark: int) -> str:
    return next(entry.node for entry in cluster.history.processed if entry.mark == mark)


def test_a_commit_that_a_link_had_kept_for_an_earlier_life_of_the_replica_is_not_taken_by_the_next() -> None:
    """A link keeps what it cannot deliver for a while, and a replica may begin again meanwhile. It stored the first
    commit for its earlier life, and took the first one that was its own for known: it told its primary of a commit that
    had not been sent, which ended the primary."""
    cluster = cluster_of(2)
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    assert "runtime-1" in cluster.membership.view
    kept = commit_for(runtime_member(1, 1, "").address)
    cluster.runtimes["runtime-1"].replicas.store(kept)
    cluster.feed(0, 3)
    run(cluster, 0.1)
    assert [1, 2, 3] == [came.mark for came in cluster.history.out]


def test_a_confirmation_that_a_link_had_kept_for_an_earlier_life_of_the_primary_confirms_nothing() -> None:
    """The same the other way."""
    cluster = cluster_of(2)
    begin_again(cluster, "runtime-0")
    run(cluster, 3.0)
    cluster.runtimes["runtime-0"].flows.stored(CommitsStored("runtime-1", 7, runtime_member(0, 1, "").address))
    cluster.feed(0, 3)
    run(cluster, 0.1)
    assert [1, 2, 3] == [came.mark for came in cluster.history.out]


def test_a_question_that_a_link_had_kept_for_an_earlier_life_of_a_target_is_not_acted_on_by_the_next() -> None:
    """Its source had heard that the target was dead and kept the flows; the next life waited for them for ever.
    (Recovery 364 and 381, restarts 267, when links on the heap began to keep what they cannot deliver.)"""
    cluster = cluster_of(2)
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    target = cluster.runtimes["runtime-1"].flows
    keys = FlowKeys.of([bytes(48)])
    question = MESSAGES.encode(PrepareFlows(7, "runtime-0", keys.octets(), pack_u32(np.array([2], np.uint32))))
    for life, held in ((1, 0), (2, 1)):
        target.called(Call("runtime-0", LIAISON, 1, life, 1000 + life, 1, question))
        assert held == target._holding.flows


def test_a_life_that_was_declared_dead_does_not_come_in_again() -> None:
    """It had joined, and nobody heard of it before it had heard that. The coordinator began again, and let in whom the
    switches had fenced and recovered: two owners of one flow (restarts 3008)."""
    cluster = cluster_of(3)
    cluster.feed(0)
    cluster.kill("runtime-1")
    run(cluster, 3.0)
    alone = frozenset({"runtime-1"})
    at_first(cluster, "NotifyClusterCfg", lambda _: cluster.network.splits.append(alone), receiver="runtime-1")
    cluster.restart("runtime-1")
    run(cluster, 4.0)
    assert "runtime-1" not in cluster.membership.view
    begin_again(cluster, COORDINATOR)
    run(cluster, 2.0)
    cluster.network.splits.clear()
    run(cluster, 2.0)
    assert "runtime-1" not in cluster.membership.view
    begin_again(cluster, "runtime-1")
    run(cluster, 2.0)
    assert "runtime-1" in cluster.membership.view


def commit_for(replica: bytes) -> StoreCommit:
    """The first one of runtime-0, with nothing in it."""
    return StoreCommit(
        primary="runtime-0", address=runtime_member(0, 1, "").address, sequence=1, changes=b"", ended=b"",
        packets=pack_burst(NO_PACKETS), reasons=(), counts=(), marks=b"", emitted=(), to=replica,
    )  # fmt: skip
