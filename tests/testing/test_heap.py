"""The network of the event heap: what it loses and counts as lost, what takes long, and whose clock shows what."""

from random import Random

from nfactor.cluster.messages import Done
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Clock, Delivery
from nfactor.testing.heap_cluster import HeapCluster


def lost_when_the_primary_dies(*, stands_still: bool) -> int:
    """Commits on their way when it does; the replica stands still from before they came until after."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("every=1"))
    network, now_us = cluster.network, cluster.network.now_us
    network.keep_messages = False

    def kill(delivery: Delivery) -> None:
        if delivery.kind == "StoreCommit":
            cluster.kill("runtime-0")

    cluster.feed(0)
    if stands_still:
        cluster.pause("runtime-1", deadly=False)
        network.at(now_us + 20_000, lambda: cluster.kill("runtime-0"))
        network.at(now_us + 30_000, lambda: network.resume("runtime-1"))
    else:
        network.before = kill
    network.run(now_us + 100_000)
    return network.lost_messages["StoreCommit"]


def test_what_had_come_to_a_node_that_stood_still_is_lost_with_its_sender() -> None:
    """Nothing says how far behind such a replica is; what is on its way at a death is little."""
    assert 1 == lost_when_the_primary_dies(stands_still=True)
    assert 0 == lost_when_the_primary_dies(stands_still=False)


def heard(cluster: HeapCluster, length_us: int) -> set[tuple[str, str]]:
    """Who hears of whom within that time."""
    ways: set[tuple[str, str]] = set()
    cluster.network.before = lambda delivery: ways.add((delivery.sender, delivery.receiver))
    cluster.network.run(cluster.network.now_us + length_us)
    return ways


def test_between_two_groups_no_message_passes() -> None:
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"))
    every = heard(cluster, 200_000)
    assert {("runtime-0", "coordinator"), ("runtime-1", "switch-0"), ("switch-0", "runtime-0")} <= every
    cluster.network.splits.append(frozenset(["runtime-0", "switch-0"]))
    heard(cluster, 1_000)  # what has just come in
    parted = heard(cluster, 200_000)
    assert {("runtime-0", "switch-0"), ("runtime-1", "coordinator")} <= parted
    assert set() == parted & {("runtime-0", "coordinator"), ("runtime-1", "switch-0"), ("switch-0", "runtime-1")}
    assert cluster.network.met["a message lost by a partition"] > 0


def test_who_hears_nobody_is_noted_as_dead_when_it_is_declared_so() -> None:
    """Though nobody has planned it."""
    cluster = HeapCluster(Random(1), runtimes=3, mode=Mode.parse("strict"))
    cluster.network.after = lambda node: cluster.deaths.note_declared()
    cluster.network.run(cluster.network.now_us + 300_000)
    cluster.network.splits.append(frozenset(["runtime-0"]))
    cluster.network.run(cluster.network.now_us + 2_000_000)
    assert ["runtime-0"] == [death.node for death in cluster.history.deaths]
    assert 1 == cluster.deaths.living
    cluster.kill("runtime-0")
    assert 1 == len(cluster.history.deaths), "it dies once"
    assert 0 == cluster.deaths.living


def test_who_was_let_in_by_a_coordinator_that_told_nobody_has_not_been_declared_dead() -> None:
    """restarts 2922: the coordinator's next life knows nothing of it, nor does anybody else; it joins once more."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"))
    network = cluster.network
    network.after = lambda node: cluster.deaths.note_declared()
    cluster.kill("runtime-1")
    cluster.restart("runtime-1")
    after_it = cluster.membership.view.term + 1
    for _ in range(200_000):  # steps of 10 µs, for nobody is to hear of it
        network.run(network.now_us + 10)
        if cluster.membership.view.term > after_it:
            break
    assert cluster.membership.view.names("runtime") == ["runtime-0", "runtime-1"]
    cluster.kill("coordinator")
    cluster.restart("coordinator")
    network.run(network.now_us + 1_000)
    assert cluster.membership.view.names("runtime") == ["runtime-0"]
    network.run(network.now_us + 2_000_000)
    assert cluster.membership.view.names("runtime") == ["runtime-0", "runtime-1"]
    assert 1 == len(cluster.history.deaths), "its life before"


def test_who_sleeps_before_it_is_in_the_cluster_is_not_noted_as_dead() -> None:
    """cluster 11274: its death was noted as it fell asleep, and so not when it died, long after it had joined."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"))
    network = cluster.network
    cluster.kill("runtime-1")
    cluster.restart("runtime-1")
    cluster.pause("runtime-1", deadly=True)
    network.run(network.now_us + 900_000)  # it is in by now, and heard of in time
    network.resume("runtime-1")
    network.run(network.now_us + 2_500_000)
    assert ["runtime-0", "runtime-1"] == sorted(runtime.node.name for runtime in cluster.living())
    cluster.kill("runtime-1")
    assert ["runtime-1"] * 2 == [death.node for death in cluster.history.deaths]


def test_who_dies_alone_dies_before_the_death_of_its_replica_is_made_good_for() -> None:
    """recovery 4785: it had no flow any more; that its last one had ended it alone had said, a moment before."""
    cluster = HeapCluster(Random(1), runtimes=3, mode=Mode.parse("strict"))
    for number in range(3):
        cluster.kill(f"runtime-{number}")
        cluster.network.run(cluster.network.now_us + 3_000_000)
    assert [False, False, True] == [death.overlaps for death in cluster.history.deaths]


def test_messages_from_and_to_a_slow_node_take_longer() -> None:
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("none"))
    network, came = cluster.network, dict[str, int]()
    network.slow_us = {"runtime-0": 40_000}
    now_us = network.now_us

    def note(delivery: Delivery) -> None:
        came.setdefault(delivery.receiver, network.now_us)

    network.before = note
    for name in ("runtime-0", "runtime-1"):
        network.send(network.nodes["coordinator"], name, "nobody", Done())
    network.run(now_us + 50_000)
    assert 40_000 < came["runtime-0"] - now_us < 41_000
    assert came["runtime-1"] - now_us < 1_000


def test_a_clock_is_its_nodes_in_each_life_and_timers_go_by_it() -> None:
    clocks = {"runtime-0": Clock(offset_s=100.0, drift=1e-3)}
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("none"), clocks=clocks)
    network, rung = cluster.network, list[int]()
    for _ in range(2):
        host = cluster.runtimes["runtime-0"].flows.host
        assert abs(100 + 1.001 * network.now_us * 1e-6 - host.now()) < 1e-9
        due_us = network.now_us + 999_001
        host.after(1.0, lambda: rung.append(network.now_us))
        network.run(network.now_us + 1_000_000)
        assert rung.pop() == due_us
        cluster.kill("runtime-0")
        cluster.restart("runtime-0")
    assert network.now_us * 1e-6 == cluster.runtimes["runtime-1"].flows.host.now()
