"""What schedules of faults have found in the code, each as the shortest story that shows it."""

from random import Random
from typing import Any

import numpy as np
import pytest

from nfactor.cluster.messages import Migrating, NotifyClusterCfg, PrepareFlows, SetMigrationTarget, pack_u32
from nfactor.cluster.names import LIAISON, OUTSIDE
from nfactor.cluster.plan import runtime_member
from nfactor.cluster.recovery_messages import CommitsStored, FinishFlows
from nfactor.dataplane.engine import Status
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.limits import Limits
from nfactor.testing.rest import owners_agree


def cluster_of(runtimes: int, mode: str = "strict") -> HeapCluster:
    return HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse(mode))


def run(cluster: HeapCluster, seconds: float) -> None:
    cluster.network.run(cluster.network.now_us + round(seconds * 1e6))


def begin_again(cluster: HeapCluster, name: str) -> None:
    cluster.kill(name)
    cluster.restart(name)


def move(cluster: HeapCluster, source: str, target: str) -> None:
    order = SetMigrationTarget(target, 1)
    cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)


def owner_of(cluster: HeapCluster, flow: int) -> str:
    key = cluster.key_of[flow]
    return next(runtime.node.name for runtime in cluster.living() if key in list(runtime.engine.keys()))


def flow_with_a_replica_at(replica: str) -> HeapCluster:
    """A cluster of three in which the one flow is at runtime-0."""
    for flow in range(20):
        cluster = cluster_of(3)
        cluster.feed(flow, 3)
        run(cluster, 0.1)
        if cluster.runtimes[replica].replicas.copies:
            return cluster
    raise AssertionError("one of twenty flows has its replica there")


def test_commits_of_a_primarys_earlier_life_confirm_none_of_its_next() -> None:
    """Its replica was told that their records had arrived only when the primary had begun again, and confirmed to it
    commits that it had never made."""
    cluster = cluster_of(2)
    cluster.network.cuts.add(("runtime-1", OUTSIDE))
    for _ in range(3):
        cluster.feed(0)
        run(cluster, 0.01)
    assert "runtime-0" == owner_of(cluster, 0)
    begin_again(cluster, "runtime-0")
    run(cluster, 0.3)
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    cluster.feed(0)
    run(cluster, 0.1)
    assert [1, 2, 3, 4] == sorted(came.mark for came in cluster.history.out)


def test_how_far_a_replica_had_come_with_a_primarys_earlier_life_says_nothing_of_its_next() -> None:
    """Its next life counts its commits anew. A replica died with the first of them, and the switch knew of receipts for
    many more: the packet counted as released."""
    cluster = cluster_of(2)
    for _ in range(10):
        cluster.feed(0)
        run(cluster, 0.01)
    begin_again(cluster, "runtime-0")
    run(cluster, 1.0)

    def kill_replica(delivery: Delivery) -> None:
        if (delivery.sender, delivery.kind) == ("runtime-0", "StoreCommit"):
            cluster.kill("runtime-1")

    cluster.network.before = kill_replica
    cluster.feed(1)
    cluster.feed(2)
    run(cluster, 2.0)
    assert "runtime-1" in [death.node for death in cluster.history.deaths]
    at_the_new_one = [entry.mark for entry in cluster.history.processed if (entry.node, entry.life) == ("runtime-0", 2)]
    assert at_the_new_one, "it had a packet"
    told = {mark for _, mark in cluster.history.dropped}
    assert set(at_the_new_one) <= {came.mark for came in cluster.history.out} | told


def test_a_lost_flow_that_had_been_turned_to_another_runtime_begins_there_as_its_switch_knows_it() -> None:
    """Its source died with the state on its way. It began anew in the first epoch, the switch knew of a later one, and
    refused whatever it was asked about the flow from then on: it could neither move nor be claimed."""
    cluster = cluster_of(2, "none")
    cluster.feed(0, 3)
    run(cluster, 0.1)

    def kill_source(delivery: Delivery) -> None:
        if delivery.kind == "InstallFlows":
            cluster.kill("runtime-0")

    cluster.network.before, cluster.network.keep_messages = kill_source, False
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    cluster.network.before = lambda delivery: None
    assert "runtime-1" == owner_of(cluster, 0), "it is there before it has any packet, so that its end can come"
    cluster.restart("runtime-0")
    run(cluster, 1.0)
    cluster.feed(0)
    move(cluster, "runtime-1", "runtime-0")
    run(cluster, 0.1)
    assert "runtime-0" == owner_of(cluster, 0)


def test_what_waits_for_a_flow_that_its_switch_has_elsewhere_by_now_begins_nothing() -> None:
    """The source had turned the flow, and died; so did the switch, which then learnt of the flow from its replica. The
    target held packets from before, and when nothing more was to come, it began a second flow with them."""
    cluster = flow_with_a_replica_at("runtime-2")

    def kill_both() -> None:
        cluster.kill("runtime-0")
        begin_again(cluster, "switch-0")

    def turned(delivery: Delivery) -> None:
        if (delivery.sender, delivery.kind) == ("switch-0", "FlowStatuses"):
            cluster.network.cuts.add(("runtime-0", "runtime-1"))
            cluster.feed(next(iter(cluster.key_of)), 2)
            cluster.network.at(cluster.network.now_us + 5_000, kill_both)

    cluster.network.behind = turned
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    owners_agree(cluster)
    assert ["fenced", "fenced"] == [reason for reason, _ in cluster.history.dropped]


def test_a_replica_that_is_declared_dead_confirms_nothing() -> None:
    """A recovery that is under way may hold up that of a second runtime, whose place as a replica nobody has taken yet.
    If it lives, and wakes, what it releases is dropped by the switches; its primary let go of it all the same."""
    cluster = cluster_of(2)
    cluster.network.cuts.add(("runtime-1", "runtime-0"))
    cluster.feed(0)
    run(cluster, 0.01)
    primary, stored = cluster.runtimes["runtime-0"], list[bool]()
    primary.flows.replicator.when_stored(lambda: stored.append(True))
    view = primary.liaison.view
    others = tuple(member for member in view.members if member.name != "runtime-1")
    primary.liaison.configure(NotifyClusterCfg(view.term + 1, others))
    primary.flows.stored(CommitsStored("runtime-1", 1, runtime_member(0, 1, "").address))
    assert not stored


def test_a_flow_for_which_its_replica_has_no_room_ends_and_is_not_claimed() -> None:
    """It had been claimed first and then found no room: the switch had it at a runtime that knew nothing of it, in an
    epoch in which it could never begin there."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"), limits=Limits(flows=2))
    for flow in (0, 1, 2):
        cluster.feed(flow, 2)
        run(cluster, 0.1)
    cluster.kill("runtime-0")
    run(cluster, 2.0)
    assert 2 == len(list(cluster.runtimes["runtime-1"].engine.keys()))
    assert [2] == [end.ended.count for end in cluster.history.ends]
    owners_agree(cluster)
    (switch,) = cluster.switches.values()
    assert 2 == switch.dispatcher.statistics().flows, "the third is forgotten"


def test_a_flow_that_came_in_the_stead_of_a_dead_source_is_not_expected_from_it_any_more() -> None:
    """It went on, and set out for the same target once more before the recovery of its first source was over. That then
    let go of what the target was holding for the second."""
    cluster = flow_with_a_replica_at("runtime-2")

    target, loads = cluster.runtimes["runtime-1"], list[int]()

    def kill_source(delivery: Delivery) -> None:
        if (delivery.sender, delivery.kind) == ("switch-0", "FlowStatuses"):
            cluster.kill("runtime-0")

    def look(delivery: Delivery) -> None:
        if delivery.kind == "FinishFlows":
            loads.append(target.flows.workload().flows)

    cluster.network.before, cluster.network.behind = kill_source, look
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 2.0)
    assert [1] == loads, "it is here, and none is to come"


def test_a_state_in_the_stead_of_a_dead_source_is_not_taken_for_what_is_to_come_from_another() -> None:
    """The flow had been lost with its source and the target of its migration, and a new one of its key was on its way
    to that target in the same epoch. The replica of the dead source then gave the old state to it."""
    cluster = flow_with_a_replica_at("runtime-2")
    key, epochs = next(iter(cluster.key_of.values())), pack_u32(np.array([2], np.uint32))
    _, records, _ = cluster.runtimes["runtime-0"].engine.copy(FlowKeys.of([key]))
    target = cluster.runtimes["runtime-1"].flows
    answers = list[Any]()
    target.prepare(PrepareFlows(7, "runtime-0", key, epochs))
    for dead in ("runtime-2", "runtime-0"):
        target.finish(FinishFlows(dead, key, epochs, records.tobytes())).when_there(answers.append)
    assert [bytes([Status.UNKNOWN]), bytes([Status.OK])] == [answer.statuses for answer in answers]


def test_a_coordinator_that_has_begun_again_says_anew_that_a_target_is_dead() -> None:
    """The migration waited for its switch, and knew: a death that is known was an error."""
    cluster = cluster_of(3, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    source = owner_of(cluster, 0)
    target = next(name for name in sorted(cluster.runtimes) if name != source)
    cluster.network.cuts.add(("switch-0", source))
    move(cluster, source, target)
    run(cluster, 0.01)
    cluster.kill(target)
    run(cluster, 1.3)
    [migration] = cluster.runtimes[source].liaison._migrations.values()
    assert migration.machine.target_is_dead
    begin_again(cluster, "coordinator")
    run(cluster, 1.5)
    cluster.network.cuts.clear()
    run(cluster, 3)
    assert not cluster.runtimes[source].liaison.migrations_open
    assert owner_of(cluster, 0) == source


def test_a_claim_for_a_state_of_long_ago_does_not_let_go_of_a_flow_that_is_coming_back() -> None:
    """A flow went from runtime-0 to runtime-2, whose copy of it nobody took back as its source died, and on to
    runtime-1, which died as well. Runtime-2 claimed what it had sent, and in the stead of runtime-0 also the copy:
    the switch refused that, and with it went what held the flow."""
    cluster = flow_with_a_replica_at("runtime-2")
    [flow], network = cluster.key_of, cluster.network

    def strike(delivery: Delivery) -> None:
        if delivery.kind == "ForgetReplicas" and cluster.network.nodes["runtime-0"].alive:
            network.cuts.add(("runtime-0", "runtime-2"))
            cluster.kill("runtime-0")
            network.at(network.now_us + 1_000, lambda: move(cluster, "runtime-2", "runtime-1"))
        elif (delivery.kind, delivery.receiver) == ("InstallFlows", "runtime-1"):
            cluster.kill("runtime-1")

    network.before = strike
    move(cluster, "runtime-0", "runtime-2")
    run(cluster, 3.0)
    assert {"runtime-0", "runtime-1"} == {death.node for death in cluster.history.deaths}
    assert "runtime-2" == owner_of(cluster, flow)
    owners_agree(cluster)
    cluster.feed(flow)
    run(cluster, 0.1)
    assert 4 == cluster.state_of(cluster.runtimes["runtime-2"], cluster.key_of[flow]).count


def test_a_runtime_that_joins_is_nobodys_replica_before_every_switch_takes_its_frames() -> None:
    """It joined during a recovery, which told the replicas by then; what it released a switch that had not heard of it
    dropped, and the packets were lost."""
    cluster = cluster_of(2)
    cluster.feed(0)
    run(cluster, 0.1)
    owner = owner_of(cluster, 0)
    cluster.kill(next(name for name in cluster.runtimes if name != owner))

    network = cluster.network

    def begin_a_third() -> None:
        network.cuts.clear()
        cluster.launch(2, "")

    def hold_up(delivery: Delivery) -> None:
        if (delivery.kind, delivery.receiver, len(cluster.runtimes)) == ("NotifyClusterCfg", OUTSIDE, 2):
            network.cuts.add((OUTSIDE, "coordinator"))  # the recovery waits for half a second
            network.at(network.now_us + 100_000, begin_a_third)
        elif (delivery.kind, delivery.receiver, len(cluster.runtimes)) == ("NotifyClusterCfg", "switch-0", 3):
            network.cuts.add(("coordinator", "switch-0"))  # and the third is known there after it has gone on
            network.at(network.now_us + 600_000, network.cuts.clear)
            network.before = lambda delivery: None

    network.before = hold_up
    for _ in range(200):
        run(cluster, 0.01)
        cluster.feed(0)
    run(cluster, 1.0)
    assert "runtime-2" in cluster.membership.view
    assert set(range(1, 202)) == {came.mark for came in cluster.history.out} | {m for _, m in cluster.history.dropped}
    assert not cluster.runtimes[owner].flows.replicator.unprotected_flows(), "in the end it is one"


def test_a_coordinator_that_has_begun_again_makes_no_replica_of_one_that_is_fenced() -> None:
    """It took whoever was dead for one that might still release something. What waited for a replica was given to that
    one, and counted as released, by as many commits as had been in its life."""
    cluster = cluster_of(2, "strict-hold")
    for _ in range(5):
        cluster.feed(0)
        run(cluster, 0.01)
    owner = owner_of(cluster, 0)
    replica = next(name for name in cluster.runtimes if name != owner)
    cluster.kill(replica)

    def begin_coordinator_again(delivery: Delivery) -> None:
        if delivery.kind == "Recover":
            cluster.feed(0, 3)
            cluster.network.at(cluster.network.now_us + 5_000, lambda: cluster.restart("coordinator"))
            cluster.network.before, cluster.network.behind = lambda delivery: None, hold_up
            cluster.kill("coordinator")

    def hold_up(delivery: Delivery) -> None:
        if (delivery.kind, delivery.receiver) == ("NotifyClusterCfg", OUTSIDE):
            cluster.network.cuts.add(("coordinator", OUTSIDE))  # the recovery goes on later than the beginning
            cluster.network.at(cluster.network.now_us + 100_000, cluster.network.cuts.clear)
            cluster.network.behind = lambda delivery: None

    cluster.network.before = begin_coordinator_again
    run(cluster, 4.0)
    assert ["coordinator"] == cluster.history.restarts
    cluster.restart(replica)
    run(cluster, 2.0)
    assert set(range(1, 9)) == {came.mark for came in cluster.history.out} | {m for _, m in cluster.history.dropped}


@pytest.mark.parametrize("forgets", [False, True])
def test_a_flow_that_ends_for_want_of_room_does_not_go_on_at_the_source_of_its_migration(forgets: bool) -> None:
    """It had arrived, and its source had not heard of that when the target died. The target's replica had no room for
    it, and told its end; then the source took it back, in a state that may be older than what had come out. So it was
    again where the switch had begun again meanwhile and ``forgets`` that the flow was forgone."""

    def story(last: int) -> HeapCluster:
        cluster = HeapCluster(Random(1), runtimes=3, mode=Mode.parse("strict"), limits=Limits(flows=2))
        for flow in (0, 1, 2):
            cluster.feed(flow)
        run(cluster, 0.1)
        move(cluster, "runtime-0", "runtime-2")
        run(cluster, 0.1)
        cluster.feed(last, 2)
        run(cluster, 0.1)

        def keep_quiet(delivery: Delivery) -> None:
            if delivery.kind == "FlowsInstalled":
                cluster.network.cuts.add(("runtime-1", "runtime-0"))

        cluster.network.before = keep_quiet
        move(cluster, "runtime-0", "runtime-1")
        run(cluster, 0.1)
        cluster.kill("runtime-1")
        return cluster

    def is_at(replica: str, cluster: HeapCluster, flow: int) -> bool:
        keys = cluster.runtimes[replica].replicas._store.look("runtime-1")[0]
        return cluster.key_of[flow] in list(keys)

    def forget(delivery: Delivery) -> None:
        answers = (delivery.sender, delivery.kind, delivery.receiver) == ("switch-0", "FlowStatuses", "runtime-2")
        if forgets and answers and not cluster.history.restarts:
            begin_again(cluster, "switch-0")

    cluster, flow = next((cluster, flow) for flow in range(3, 20) if is_at("runtime-2", cluster := story(flow), flow))
    cluster.network.behind = forget
    run(cluster, 3.0)
    assert forgets == ("switch-0" in cluster.history.restarts)
    cluster.feed(flow)
    run(cluster, 0.1)
    (life,) = {entry.born for entry in cluster.history.processed if entry.mark in (4, 5)}
    assert [life] == [end.ended.born for end in cluster.history.ends if end.ended.born == life]
    assert life not in {entry.born for entry in cluster.history.processed if entry.mark > 5}
    assert not cluster.runtimes["runtime-2"].replicas._forgone, "the next life of the dead one has nothing of it"
    owners_agree(cluster)
