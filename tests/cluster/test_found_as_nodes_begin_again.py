"""What schedules in which nodes begin again have found in the code, each as the shortest story that shows it."""

from functools import partial

import numpy as np

from nfactor.cluster.messages import pack_u32
from nfactor.cluster.rebuild import Rebuild
from nfactor.cluster.recovery_messages import FlowSet, FlowsReported
from nfactor.dataplane.changes import packets_of
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Status
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.checkers import at_most_once
from nfactor.testing.heap import Delivery
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


def test_an_order_about_replicas_counts_though_the_view_has_gone_on_when_it_arrives() -> None:
    """It was lost once, and a switch began again meanwhile. The replica of the dead one took it for an old order, and
    gave what it claimed to the dead one: that is, to its next life, which knew nothing yet."""
    cluster, orders, given = cluster_of(2), list[Delivery](), list[Delivery]()
    cluster.feed(0)
    cluster.feed(1)
    run(cluster, 0.1)
    assert "runtime-1" == owner_of(cluster, 1)

    def look(delivery: Delivery) -> None:
        if delivery.kind == "SetReplicas":
            orders.append(delivery)
            if len(orders) == 1:
                cluster.network.end_session(delivery.sender, delivery.receiver)
                cluster.network.at(cluster.network.now_us, lambda: begin_again(cluster, "switch-0"))
        elif delivery.kind == "StoreCommit" and not cluster.recovered:
            given.append(delivery)

    cluster.network.before = look
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    assert [] == given
    assert 0 == cluster.runtimes["runtime-0"].flows.replicator.unprotected_flows()


def test_a_flow_that_comes_when_its_target_has_reported_to_a_new_switch_is_in_its_sources_report() -> None:
    """The switch had turned it and died. Its target reported before the state came, its source when it knew that it
    had come: nobody said of it, and its next packet began a second flow."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        begin_again(cluster, "switch-0")
        cluster.network.cuts.add(("switch-0", "runtime-0"))

    at_first(cluster, "InstallFlows", strike)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.6)
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    owners_agree(cluster)
    assert not cluster.runtimes["runtime-0"].liaison.migrations_open


def test_what_a_dead_replica_released_to_an_earlier_life_of_a_switch_is_in_doubt() -> None:
    """There was no coordinator when both died. The next one gave a view with the earlier life of the switch, whose
    present life said how far the replica had come, that is, of nothing; the primary did not know yet that this was
    another one, and sent its packets again."""
    cluster = flow_with_a_replica_at("runtime-1")

    def kill_replica(delivery: Delivery) -> None:
        if delivery.kind == "CommitsStored":
            cluster.kill("runtime-1")

    cluster.network.before, cluster.network.keep_messages = kill_replica, False
    cluster.kill("coordinator")
    cluster.feed(next(iter(cluster.key_of)))
    run(cluster, 0.01)
    begin_again(cluster, "switch-0")
    cluster.restart("coordinator")
    run(cluster, 3.0)
    at_most_once(cluster.history)
    told = cluster.runtimes["runtime-0"].flows.replicator.protection()
    assert told is not None, "it is told, in the report too"
    assert 1 == told.in_doubt


def test_what_a_switch_has_said_of_a_dead_replica_counts_when_it_has_begun_again() -> None:
    """Its next life said less, and the primary, which did not know yet that this was another one, sent again what had
    come out."""
    cluster = flow_with_a_replica_at("runtime-1")
    cuts, soon = cluster.network.cuts, {"runtime-0": 100_000, "outside": 600_000}

    def kill_replica(delivery: Delivery) -> None:
        if delivery.kind == "CommitsStored":
            cluster.network.before = kill_switch
            cluster.kill("runtime-1")

    def kill_switch(delivery: Delivery) -> None:
        if (delivery.receiver, delivery.kind) == ("runtime-0", "NotifyClusterCfg"):
            cluster.network.before = delay_what_is_sent_again
            begin_again(cluster, "switch-0")
            for node, after_us in soon.items():
                way = ("coordinator", node)
                cuts.add(way)
                cluster.network.at(cluster.network.now_us + after_us, partial(cuts.discard, way))

    def delay_what_is_sent_again(delivery: Delivery) -> None:
        if delivery.kind == "StoreCommit":
            cluster.network.before = lambda delivery: None
            cluster.network.end_session("runtime-0", "runtime-2")

    cluster.network.before, cluster.network.keep_messages = kill_replica, False
    cluster.feed(next(iter(cluster.key_of)))
    run(cluster, 3.0)
    at_most_once(cluster.history)
    assert 4 == len(cluster.history.out)
    assert 0 == cluster.runtimes["runtime-0"].flows.replicator.in_doubt


def test_a_flow_that_was_lost_where_it_had_gone_is_not_late_where_it_came_from() -> None:
    """The switch had begun again as well, and nobody told it of the flow. Its next packet went to the source, whose
    tombstone stood until the recovery came to it."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.1)

    def lose_first(delivery: Delivery) -> None:
        if (delivery.receiver, delivery.kind) == ("runtime-0", "Recover"):
            cluster.network.before = lambda delivery: None
            cluster.network.end_session("coordinator", "runtime-0")

    cluster.network.before = lose_first
    begin_again(cluster, "runtime-1")
    begin_again(cluster, "switch-0")
    run(cluster, 0.1)
    cluster.feed(0)
    run(cluster, 1.0)
    assert [] == cluster.history.dropped
    assert [1, 2] == [came.mark for came in cluster.history.out]


def test_a_packet_that_waited_at_a_target_when_the_switch_began_again_makes_no_other_look_seen() -> None:
    """Nobody had counted it for the new switch. So its runtime had seen one more than the switch had sent, and when
    the next packet was under way both said the same: the switch forgot the flow, and the packet began a second one."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def strike(delivery: Delivery) -> None:
        lose(cluster, delivery)
        cluster.feed(0)
        soon(cluster, 20, partial(begin_again, cluster, "switch-0"))

    at_first(cluster, "InstallFlows", strike)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    assert "runtime-1" == owner_of(cluster, 0)
    cluster.feed(0)
    run(cluster, 3.0)
    key, owner = FlowKeys.of([cluster.key_of[0]]), cluster.runtimes["runtime-1"]
    _, records, _ = owner.engine.copy(key)
    assert [3] == packets_of(records).tolist()
    cluster.pause("runtime-1", deadly=False)
    cluster.feed(0)
    run(cluster, 0.01)
    table, now = cluster.switches["switch-0"].dispatcher, cluster.network.now_us / 1e6
    assert [Status.BUSY] == table.forget(key, np.array([3], np.uint32), owner=1, now=now).tolist()


def test_a_copy_of_a_dead_runtimes_flow_is_not_taken_for_the_next_life_of_its_key() -> None:
    """The flow had ended, and its owner died before the replica heard of that; the key began anew elsewhere, in the
    first epoch. A switch that began again believed the copy, whose epoch was higher, and gave it to the replica: the
    key was at two runtimes."""
    table = Dispatcher(FlowClassifier("auto"))
    rebuild, (key,) = Rebuild(table), FlowKeys.of([bytes(48)])
    rebuild.begin(5, ["runtime-1", "runtime-2"])

    def told_by(runtime: str, owner: str, index: int, epoch: int, *, perhaps: bool = False) -> None:
        flows = FlowSet(owner, index, key, pack_u32(np.array([epoch])), pack_u32(np.array([7])), perhaps)
        for _ in rebuild.take(runtime, FlowsReported((flows,), (), 0), 1.0, ["runtime-1", "runtime-2"]):
            pass

    told_by("runtime-2", "runtime-0", 0, 3, perhaps=True)
    told_by("runtime-1", "runtime-1", 1, 1)
    rebuild.finish(1.0)
    claimed, owners = table.claim([key], np.array([4], np.uint32), None, dead=0, claimer=2, now=1.0)
    assert ([Status.EXISTS], [1]) == (claimed.tolist(), owners)


def test_a_flow_that_may_have_ended_does_not_begin_anew_where_its_tombstone_stands() -> None:
    """It had moved, and its runtime had asked whether it may end when the switch began again. It was in no report, so
    the next packet of its key went to the runtime that it had left, and was late there."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.1)
    owner = cluster.runtimes["runtime-1"]
    cluster.network.cuts.add(("runtime-1", "switch-0"))
    owner.flows._expiry._propose(owner.engine.keys(), np.array([1], np.uint32))
    begin_again(cluster, "switch-0")
    run(cluster, 0.1)
    cluster.network.cuts.clear()
    run(cluster, 0.5)
    cluster.feed(0)
    run(cluster, 0.1)
    assert [] == cluster.history.dropped
    assert "runtime-1" == owner_of(cluster, 0)


def test_a_flow_that_was_about_to_leave_for_a_dead_runtime_is_told_to_be_there() -> None:
    """Its source had it still, and had turned it: the switch that began again believed the first. When the source had
    sent its state it claimed the flow back from the dead one, was refused, and nobody had it."""
    table = Dispatcher(FlowClassifier("auto"))
    rebuild, (key,) = Rebuild(table), FlowKeys.of([bytes(48)])
    rebuild.begin(5, ["runtime-1"])
    here = FlowSet("runtime-1", 1, key, pack_u32(np.array([1])), pack_u32(np.array([7])), perhaps=False)
    turned = FlowSet("runtime-0", 0, key, pack_u32(np.array([2])), pack_u32(np.array([7])), perhaps=False)
    for _ in rebuild.take("runtime-1", FlowsReported((here, turned), (), 0), 1.0, ["runtime-1"]):
        pass
    rebuild.finish(1.0)
    claimed, _ = table.claim([key], np.array([3], np.uint32), None, dead=0, claimer=1, now=1.0)
    assert [Status.OK] == claimed.tolist()
