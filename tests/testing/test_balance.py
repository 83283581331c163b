"""The judge of packets between nodes: what it lets pass while packets are on their way, and what not."""

from random import Random
from typing import TYPE_CHECKING

import pytest

from nfactor.cluster.names import OUTSIDE
from nfactor.protocols.replication import Mode
from nfactor.testing.balance import Balance
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.violation import Violation

if TYPE_CHECKING:
    from nfactor.testing.heap_members import Runtime, Switch


def busy_cluster() -> HeapCluster:
    """Two switches that pass packets on to each other, and two runtimes; some are on their way everywhere."""
    cluster = HeapCluster(Random(3), runtimes=2, switches=2, mode=Mode.parse("strict"))
    for number in range(60):
        at_us = cluster.network.now_us + 50 * number
        cluster.network.at(at_us, lambda flow=number % 6: cluster.feed(flow, 2))  # type: ignore[misc]
    cluster.network.run(cluster.network.now_us + 1_500)
    assert on_their_way(cluster) > 10
    return cluster


def on_their_way(cluster: HeapCluster) -> int:
    """Packets, where none is lost."""
    wires = cluster.network.wires
    return wires.sent.total() - wires.came.total()


def look(cluster: HeapCluster) -> None:
    members: list[Switch | Runtime] = [*cluster.switches.values(), *cluster.runtimes.values()]
    for member in members:
        Balance(cluster).look(member)


def test_what_is_on_its_way_is_neither_lost_nor_too_much() -> None:
    cluster = busy_cluster()
    look(cluster)
    cluster.network.run(cluster.network.now_us + 100_000)
    assert 0 == on_their_way(cluster)
    look(cluster)


SWITCH, RUNTIME = ("switch-0", 1), ("runtime-0", 1)
WAYS = {
    "the outside to switches": ("sent", (OUTSIDE, 1), "switch-0"),
    "the outside to switch-0": ("came", OUTSIDE, SWITCH),
    "switches to the outside": ("came", "switch-0", (OUTSIDE, 1)),
    "switch-0 to the outside": ("sent", SWITCH, OUTSIDE),
    "switch-0 to switch-1": ("sent", SWITCH, "switch-1"),
    "switch-0 to runtime-0": ("sent", SWITCH, "runtime-0"),
    r"switch(es|-0) to runtime-0": ("came", "switch-0", RUNTIME),
    "runtime-0 to switches": ("sent", RUNTIME, "switch-0"),
    "inside to switch-0, receipts among them": ("frames", "runtime-0", SWITCH),
}


@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("way", WAYS)
def test_packets_that_are_lost_or_made_on_any_way_are_seen_at_once(way: str, more: int) -> None:
    """The wires have carried one less or one more than nodes say."""
    cluster = busy_cluster()
    look(cluster)
    counter, sender, receiver = WAYS[way]
    getattr(cluster.network.wires, counter)[sender, receiver] += more
    with pytest.raises(Violation, match=rf"^\(a\) conservation: nodes .* from {way}, and the wires carried"):
        look(cluster)


@pytest.mark.parametrize("taker", ["runtime-0", "switch-1"])
@pytest.mark.parametrize("more", [1, -1])
def test_a_count_that_is_off_by_one_is_seen_at_once(taker: str, more: int) -> None:
    cluster = busy_cluster()
    cluster.switches["switch-0"].ledger.handed[taker] += more
    with pytest.raises(Violation, match=r"\(a\) conservation: "):
        look(cluster)


@pytest.mark.parametrize("taker", ["runtime-0", "switch-1"])
def test_a_packet_that_is_counted_as_another_switchs_is_seen_at_once(taker: str) -> None:
    """Though the sum is right."""
    cluster = busy_cluster()
    member: Runtime | Switch = cluster.runtimes.get(taker) or cluster.switches[taker]
    member.ledger.taken["switch-0"] += 1
    member.ledger.taken["switch-1"] -= 1
    with pytest.raises(Violation, match=r"\(a\) conservation: nodes say that .* went from switch-0 to"):
        look(cluster)


def test_a_later_life_is_judged_as_the_first_one() -> None:
    for name in ("switch-0", "runtime-0"):
        cluster = busy_cluster()
        cluster.kill(name)
        cluster.restart(name)
        cluster.network.run(cluster.network.now_us + 3_000_000)
        cluster.feed(0, 3)
        cluster.network.run(cluster.network.now_us + 100_000)
        look(cluster)
        member: Runtime | Switch = cluster.runtimes.get(name) or cluster.switches[name]
        assert 0 < member.ledger.received, "it has got something in this life"
        member.ledger.received += 1
        with pytest.raises(Violation, match=r"\(a\) conservation: "):
            look(cluster)


def test_a_replica_that_has_got_more_than_was_given_is_seen_at_once() -> None:
    cluster = busy_cluster()
    given = cluster.runtimes["runtime-0"].ledger.handed["runtime-1"]
    cluster.runtimes["runtime-1"].ledger.taken["runtime-0"] = given + 1
    with pytest.raises(Violation, match=f"runtime-0 gave {given} packets to runtime-1, which has got {given + 1}"):
        look(cluster)


def test_of_a_node_that_has_died_nothing_is_asked() -> None:
    cluster = busy_cluster()
    cluster.kill("runtime-0")
    cluster.runtimes["runtime-0"].ledger.taken["switch-0"] += 1
    look(cluster)
