"""When replicas are told to forget flows that have moved: when these are protected elsewhere, and behind all else."""

import pytest

from tests.cluster.test_replicator import World


@pytest.mark.parametrize("some", [1, 3])
def test_replicas_forget_flows_that_moved_when_they_have_arrived(some: int) -> None:
    world = World("strict")
    world.view(["one", "two"])
    world.packets([1, 2, 3, 4])
    keys, _ = world.engine.pick(3)
    records, _ = world.engine.depart(keys)
    world.replicator.departed(7, keys, records)
    world.settle()
    copies = {name: len(world.replicas[name].store) for name in ("one", "two")}
    assert sum(copies.values()) == 4, "until then they are kept"
    world.replicator.moved(7, keys[:some])
    world.replicator.moved(7, keys)
    world.replicator.moved(7, keys)
    world.settle()
    assert sum(len(replica.store) for replica in world.replicas.values()) == 1
    world.replicator.moved(9, keys)
    assert not any(replica.under_way for replica in world.replicas.values())


def test_replicas_are_told_to_forget_when_they_have_what_was_sent_to_them_before() -> None:
    """A commit that is lost comes again, and would bring back the copy of a flow that has left."""
    world = World("strict")
    world.view(["one"])
    world.packets([1, 2])
    world.settle()
    keys, _ = world.engine.pick(1)
    world.replicator.adopt(keys)
    lost = world.replicas["one"].under_way.pop()
    records, _ = world.engine.depart(keys)
    world.replicator.departed(7, keys, records)
    world.replicator.moved(7, keys)
    assert not world.replicas["one"].under_way
    world.replicas["one"].under_way.append(lost)
    world.settle()
    world.settle()
    assert len(world.replicas["one"].store) == 1
