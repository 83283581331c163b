"""Flows whose replica died, or that had none, on their way to another."""

import numpy as np

from nfactor.cluster.recovery_messages import StoreCommit
from nfactor.cluster.replication_clock import REREPLICATION_FLOWS_MAX
from nfactor.dataplane.buckets import buckets_of
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Watermark
from tests.cluster.test_replicator import CHANGE, SWITCH, World


def test_flows_go_to_another_replica_little_by_little_and_those_with_packets_at_once() -> None:
    world = World("strict")
    world.replicator.set_replicas(["one"], {})
    for start in range(1, 6000, 200):
        world.packets(list(range(start, start + 200)))
        world.settle()
    assert world.replicator.unprotected_flows() == 0
    world.replicator.set_replicas(["two"], {"one": Watermark({SWITCH: 1 << 32}, set(), 1 << 32)})
    flows = world.engine.statistics().flows
    assert flows == world.replicator.unprotected_flows() == 6000
    assert not world.replicas["two"].under_way
    world.packets([5999])
    world.settle()
    assert world.replicator.unprotected_flows() == 5999, "its state went with its packet"
    rounds = 0
    while world.replicator.moves:
        world.replicator.protect_more(REREPLICATION_FLOWS_MAX)
        sent = sum(
            len(message.changes) // CHANGE
            for message in world.replicas["two"].under_way
            if isinstance(message, StoreCommit)
        )
        assert 0 < sent <= 2000 + 500
        world.settle()
        rounds += 1
    assert rounds >= 3
    assert world.replicator.unprotected_flows() == 0


def test_many_flows_move_in_messages_of_some_buckets_each() -> None:
    world = World("strict")
    world.view(["one", "two"])
    for start in range(0, 3000, 500):
        world.packets(list(range(1 + start, 501 + start)))
        world.settle()
    world.packets(list(range(1, 3001, 7)))
    world.view(["two"])
    messages = [message for message in world.replicas["two"].under_way if isinstance(message, StoreCommit)]
    assert len(messages) >= 4
    for message in messages[1:]:
        assert len(message.changes) <= 500 * CHANGE
        flows = FlowKeys.of(message.changes[start : start + 48] for start in range(0, len(message.changes), CHANGE))
        assert (np.diff(buckets_of(flows.array).astype(int)) >= 0).all()
    world.settle()
    assert sorted(world.released) == list(range(1, world.mark + 1))
    assert len(world.replicas["two"].store) == 3000
