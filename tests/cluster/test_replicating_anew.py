"""Flows whose replica died, or that had none, on their way to another."""

from nfactor.cluster.recovery_messages import StoreCommit
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
        world.replicator.protect_more()
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
