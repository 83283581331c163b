"""Faulty wrappers: each fault happens as often as asked, is counted, and does nothing else."""

import random
from typing import Any

import attrs
import pytest
import trio

from nfactor.backends.faulty import FaultCounts, FaultyPort, FaultyTransport
from nfactor.backends.memory import open_memory_network
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst
from nfactor.testing import Simulation, simulate

A, B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def through(faults: dict[str, Any], count: int = 400) -> tuple[FaultyTransport, list[int]]:
    """The numbers that arrive of ``count`` sent through a faulty transport."""

    async def main(sim: Simulation) -> tuple[FaultyTransport, list[int]]:
        async with open_memory_network(rng=sim.rng) as network:
            faulty = FaultyTransport(network.transport("left"), rng=sim.random("faults"), **faults)
            right = network.transport("right")
            assert all(faulty.send("right", number.to_bytes(2, "big")) for number in range(count))
            await trio.sleep(1)
            arrived = []
            while (got := right.receive()) is not None:
                arrived.append(int.from_bytes(got[1], "big"))
            assert (faulty.statistics().sent, faulty.statistics().refused) == (count, 0)
            return faulty, arrived

    return simulate(main).value


def test_loss() -> None:
    """What is lost had been taken; the rest arrives in order."""
    faulty, arrived = through({"loss": 0.25})
    assert 60 < faulty.faults.lost < 140
    assert len(arrived) == 400 - faulty.faults.lost
    assert arrived == sorted(set(arrived))


def test_duplicate() -> None:
    """Every datagram arrives, some twice."""
    faulty, arrived = through({"duplicate": 0.25})
    assert 60 < faulty.faults.duplicated == len(arrived) - 400
    assert sorted(set(arrived)) == list(range(400))


def test_corrupt() -> None:
    """Corruption flips one bit of a copy."""
    faulty, arrived = through({"corrupt": 1.0})
    assert faulty.faults.corrupted == 400
    assert all((number ^ sent).bit_count() == 1 for sent, number in enumerate(arrived))


def test_reorder() -> None:
    """A datagram is overtaken by at most ``reorder_sends_max`` later ones; held ones at the end are still held."""
    faulty, arrived = through({"reorder": 0.25, "reorder_sends_max": 3})
    assert arrived != sorted(arrived)
    assert 0 <= 400 - len(arrived) <= 4
    assert all(sum(later > number for later in arrived[: arrived.index(number)]) <= 3 for number in arrived)
    held = 400 - len(arrived)
    faulty.close()
    assert faulty.faults.lost == held


def test_held_datagram_that_is_refused_later_is_lost() -> None:
    """What was taken and held is counted as lost if the transport refuses it when its time comes."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            faulty = FaultyTransport(network.transport("left"), rng=sim.rng, reorder=1.0, reorder_sends_max=1)
            assert faulty.send("nobody", b"1")
            assert faulty.faults.lost == 0
            assert faulty.send("nobody", b"2")
            assert faulty.faults.lost == 1

    simulate(main)


def test_port_loss_keeps_order_and_the_prefix() -> None:
    """Lost packets count as taken and lost; a refusal behind them returns the place of the first packet refused."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            faulty = FaultyPort(network.port(A), rng=sim.random("faults"), loss=0.5)
            b = network.port(B, queue_packets_max=20)
            burst = Burst.from_frames([B + A + bytes(50)] * 100, marks=range(100))
            taken = faulty.send(burst)
            await b.wait_readable()
            arrived = b.receive()
            assert arrived is not None
            assert len(arrived) == 20
            assert arrived.marks.max() < taken < 100
            statistics = faulty.statistics()
            assert (statistics.sent, statistics.refused, statistics.lost) == (taken, 100 - taken, taken - 20)
            assert faulty.send(burst.slice(taken, 100)) + taken > taken

    simulate(main)


def test_all_packets_lost() -> None:
    """A port that loses everything takes everything."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            faulty = FaultyPort(network.port(A), rng=sim.rng, loss=1.0)
            assert faulty.send(Burst.from_frames([B + A + bytes(50)] * 3)) == 3
            assert faulty.statistics().lost == 3

    simulate(main)


def test_probability_out_of_range() -> None:
    """A probability is from 0 to 1."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            with pytest.raises(CallerError, match="loss is a probability"):
                FaultyPort(network.port(A), rng=random.Random(1), loss=2)

    simulate(main)


def test_a_transport_that_is_healed_sends_what_it_held_and_mistreats_nothing_more() -> None:
    async def main(sim: Simulation) -> tuple[list[bytes], FaultCounts]:
        async with open_memory_network(rng=sim.random("network")) as network:
            faulty = FaultyTransport(network.transport("a"), rng=sim.random("faults"), loss=0.5, reorder=0.5)
            other = network.transport("b")
            for number in range(20):
                faulty.send("b", bytes([number]))
            faulty.heal()
            before = attrs.evolve(faulty.faults)
            for number in range(20, 40):
                faulty.send("b", bytes([number]))
            await trio.sleep(1)
            assert before == faulty.faults
            came = []
            while (item := other.receive()) is not None:
                came.append(item[1])
            return came, before

    came, faults = simulate(main, seed=1).value
    assert faults.lost > 0
    assert 40 == len(came) + faults.lost
    assert [bytes([number]) for number in range(20, 40)] == came[-20:]
