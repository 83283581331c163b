"""A runtime that was declared dead may live on, and not know it: what it still says of its migrations counts nothing."""

from random import Random

import numpy as np

from nfactor.cluster.messages import CancelFlows, PrepareFlows, pack_u32
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster


def test_a_cancelled_migration_of_a_runtime_that_is_declared_dead_takes_no_claim_back() -> None:
    """Found by exploring the model (``tests/protocols/model``): the target of a migration is the replica of its flow,
    and claims it when the source is declared dead. The source lives, is told by the switch that it may not turn the
    flow, and cancels its migration, while the claim is on its way. The target held the flow for that migration, and
    then not at all: the state that it was given by the switch had no place to go to."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"))
    cluster.feed(0, 3)
    cluster.network.run(cluster.network.now_us + 100_000)
    key = cluster.key_of[0]
    (source,) = (runtime for runtime in cluster.runtimes.values() if key in list(runtime.engine.keys()))
    (target,) = (runtime for runtime in cluster.runtimes.values() if runtime is not source)
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
