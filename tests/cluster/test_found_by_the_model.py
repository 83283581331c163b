"""What exploring the model of the protocols (``tests/protocols/model``) has found in the code."""

from random import Random

import numpy as np

from nfactor.cluster.messages import CancelFlows, Migrating, PrepareFlows, SetMigrationTarget, pack_u32
from nfactor.cluster.names import LIAISON
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime
from nfactor.testing.heap_node import HeapNode


def with_a_flow(runtimes: int) -> tuple[HeapCluster, Runtime, Runtime, bytes]:
    """A cluster in which one flow has had three packets; who has it, another runtime, and the flow's key."""
    cluster = HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse("strict"))
    cluster.feed(0, 3)
    cluster.network.run(cluster.network.now_us + 100_000)
    key = cluster.key_of[0]
    owner = next(runtime for runtime in cluster.runtimes.values() if key in list(runtime.engine.keys()))
    other = next(runtime for runtime in cluster.runtimes.values() if runtime is not owner)
    return cluster, owner, other, key


def test_a_cancelled_migration_of_a_runtime_that_is_declared_dead_takes_no_claim_back() -> None:
    """The target of a migration is the replica of its flow, and claims it when the source is declared dead. The source
    lives, is told by the switch that it may not turn the flow, and cancels its migration, while the claim is on its
    way. The target held the flow for that migration, and then not at all: the state that it was given by the switch
    had no place to go to."""
    cluster, source, target, key = with_a_flow(2)
    migration = 7
    target.flows.prepare(PrepareFlows(migration, source.node.name, key, pack_u32(np.array([2], np.uint32))))

    def cancel_when_claimed(delivery: Delivery) -> None:
        if delivery.kind == "ClaimFlows":
            target.flows.cancel(CancelFlows(migration))

    cluster.network.before = cancel_when_claimed
    cluster.pause(source.node.name, deadly=True)
    cluster.network.run(cluster.network.now_us + 3_000_000)
    state = cluster.state_of(target, key)
    assert state is not None, "the flow goes on at its replica"
    assert (1, 3) == (state.born, state.count)


def test_a_flow_that_has_just_arrived_stays_until_its_source_has_been_answered() -> None:
    """It set out again at once, back to its source; the target died before its own replica had the state. The source
    still had it, but was refused when it claimed the flow back: it was the owner already, and waited for the dead."""
    cluster, source, target, key = with_a_flow(3)
    free: list[bool] = []
    arrived = False

    def see_arrival(delivery: Delivery) -> None:
        nonlocal arrived
        arrived = arrived or delivery.kind == "InstallFlows"

    def look(node: HeapNode) -> None:
        if arrived and node is target.node:
            keys = target.flows.pick(1)[0]
            free.append(len(keys) > 0)
            target.flows.keep(keys)

    cluster.network.before, cluster.network.after = see_arrival, look
    order = SetMigrationTarget(target.node.name, 1)
    cluster.coordinator.ask(source.node.name, LIAISON, order, Migrating, lambda _: None)
    cluster.network.run(cluster.network.now_us + 100_000)
    assert not free[0], "it has arrived, and its source does not know"
    assert free[-1], "its source knows"
    assert key in list(target.engine.keys())
