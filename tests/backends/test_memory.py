"""The memory network: order, exact accounting, faults by rule, cuts."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
import trio

from nfactor.backends.memory import LinkRule, MemoryNetwork, MemoryPort, open_memory_network
from nfactor.errors import CallerError
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst
from nfactor.testing import Simulation, simulate

A, B, C, D = (bytes.fromhex(f"0200000000{number:02x}") for number in range(1, 5))


def numbered(targets: bytes | Sequence[bytes], numbers: Sequence[int], source: bytes = A) -> Burst:
    """Frames whose mark is their number; targets in turn if there are several."""
    chosen = [targets] if isinstance(targets, bytes) else targets
    frames = [chosen[index % len(chosen)] + source + b"\x88\xb5" + bytes(50) for index in range(len(numbers))]
    return Burst.from_frames(frames, marks=numbers)


def marks(port: MemoryPort) -> list[int]:
    """The marks of all that has arrived."""
    found: list[int] = []
    while (burst := port.receive()) is not None:
        assert len(burst) <= BURST_PACKETS_MAX
        found += burst.marks.tolist()
    return found


def test_jitter_keeps_order_per_pair() -> None:
    """Jitter that is much larger than the gap between sends reorders nothing, for ports nor transports."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng, data_jitter_s=1e-3, control_jitter_s=1e-3) as network:
            a, b, left, right = network.port(A), network.port(B), network.transport("l"), network.transport("r")
            for number in range(200):
                assert 1 == a.send(numbered(B, [number]))
                assert left.send("r", b"%d" % number)
                await trio.sleep(1e-6)
            await trio.sleep(1)
            assert list(range(200)) == marks(b)
            assert [int(right.receive()[1]) for _ in range(200)] == list(range(200))  # type: ignore[index]

    simulate(main)


def test_a_rate_makes_each_delivery_wait_for_the_octets_before_it() -> None:
    """64 octets at 1 Mbit/s take 512 µs, one after the other; a burst comes when all of it has; other links do not
    wait; a rule makes one link slower than the rest."""

    async def main(sim: Simulation) -> None:
        rule = LinkRule(source="slow", bits_per_s=8e3)
        rates = {"data_bits_per_s": 1e6, "control_bits_per_s": 8e6}
        async with open_memory_network(rng=sim.rng, rules=[rule], **rates) as network:
            a, b, c = network.port(A), network.port(B), network.port(C)
            fast, slow, end = (network.transport(name) for name in ("fast", "slow", "end"))
            a.send(numbered(B, [0]))
            a.send(numbered(B, [1, 2]))
            a.send(numbered(C, [3]))
            fast.send("end", bytes(100))
            slow.send("end", bytes(100))
            arrived: list[tuple[int, object]] = []
            for _ in range(1002):
                arrived += [(round(trio.current_time() * 1e6), mark) for mark in (*marks(b), *marks(c))]
                while (got := end.receive()) is not None:
                    arrived.append((round(trio.current_time() * 1e6), got[0]))
                await trio.sleep(100e-6)
            assert arrived == [(100, "fast"), (600, 0), (600, 3), (1600, 1), (1600, 2), (100_000, "slow")]

    simulate(main)
    with pytest.raises(CallerError, match="positive rate"):
        MemoryNetwork(rng=random.Random(1), data_bits_per_s=-1)


def test_reorder_and_duplicate_rules_touch_transports_alone() -> None:
    """Datagrams overtake and repeat where a rule says so; packets never do, even under the same rule."""

    async def main(sim: Simulation) -> None:
        rule = LinkRule(reorder=0.5, duplicate=0.5)
        async with open_memory_network(rng=sim.rng, rules=[rule]) as network:
            a, b, left, right = network.port(A), network.port(B), network.transport("l"), network.transport("r")
            for number in range(100):
                a.send(numbered(B, [number]))
                left.send("r", b"%d" % number)
            await trio.sleep(1)
            assert list(range(100)) == marks(b)
            arrived = []
            while (got := right.receive()) is not None:
                arrived.append(int(got[1]))
            datagrams = network.statistics().datagrams
            assert datagrams.duplicated == len(arrived) - 100 > 0
            assert sorted(set(arrived)) == list(range(100)) != list(dict.fromkeys(arrived))
            assert datagrams.unaccounted == 0

    simulate(main)


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_accounted_for_at_every_moment(seed: int) -> None:
    """Sent = received + queued + in flight + lost by reason, after every single operation, whatever they are."""

    async def main(sim: Simulation) -> None:
        rng = sim.random("operations")
        rules = [LinkRule(source=A, target=B, loss=0.3), LinkRule(target="r", loss=0.2, duplicate=0.3, reorder=0.3)]
        latencies = {"data_latency_s": rng.choice((0, 1e-5)), "data_jitter_s": rng.choice((0, 1e-4))}
        async with open_memory_network(rng=sim.rng, rules=rules, **latencies) as network:
            ports = [network.port(address, queue_packets_max=200, node=address.hex()) for address in (A, B, C)]
            ends = [network.transport(name, queue_datagrams_max=20) for name in "lr"]
            taken = refused = 0
            for _ in range(300):
                operation = rng.randrange(10)
                if operation < 4:
                    targets = [rng.choice((A, B, C, D)) for _ in range(rng.choice((1, 1, 5)))]
                    burst = numbered(targets, range(rng.randrange(150)))
                    count = rng.choice(ports).send(burst)
                    taken, refused = taken + count, refused + len(burst) - count
                elif operation < 6:
                    rng.choice(ends).send(rng.choice("lrx"), bytes(rng.choice((10, 2000))))
                elif operation < 8:
                    rng.choice(ports).receive()
                    rng.choice(ends).receive()
                elif operation == 8:
                    await trio.sleep(rng.choice((0, 1e-5)))
                elif rng.random() < 0.2:
                    network.cut(C)
                else:
                    network.restore(C)
                statistics = network.statistics()
                assert statistics.packets.unaccounted == statistics.datagrams.unaccounted == 0
                assert (statistics.packets.sent, statistics.packets.refused) == (taken, refused)
                each = [port.statistics() for port in ports]
                assert statistics.packets.queued == sum(port.queued for port in each)
                assert sum(statistics.packets.lost.values()) == sum(port.lost for port in each)
                assert statistics.packets.in_flight == network.in_flight_packets()
                assert all(port.queued <= 200 for port in each)

    simulate(main, seed=seed)


def test_refusal_counts_what_is_in_flight() -> None:
    """A receiver's bound holds for queued and in flight together, so that nothing taken is dropped for want of room."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng, data_latency_s=1e-3) as network:
            a, b = network.port(A), network.port(B, queue_packets_max=100)
            assert 60 == a.send(numbered(B, range(60)))
            assert 40 == a.send(numbered(B, range(60, 120)))
            assert 0 == a.send(numbered(B, range(100, 160)))
            await trio.sleep(2e-3)
            assert list(range(100)) == marks(b)
            assert a.statistics().refused == 80

    simulate(main)


def test_a_burst_for_several_targets_is_taken_up_to_the_first_without_room() -> None:
    """The prefix ends before the first frame that its target cannot take, and no frame behind it is sent."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            a, b, c = network.port(A), network.port(B, queue_packets_max=3), network.port(C)
            assert 9 == a.send(numbered([B, C, D], range(30)))
            await trio.sleep(1e-6)
            assert [0, 3, 6] == marks(b)
            assert [1, 4, 7] == marks(c)
            assert {"no_such_target": 3} == network.statistics().packets.lost

    simulate(main)


def test_frames_too_short_or_too_long_are_lost_among_their_neighbours() -> None:
    """A frame without a whole header or over the MTU is taken, counted, and disturbs no other; also at buffer's end."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            a, b = network.port(A, mtu=100), network.port(B)
            good = B + A + b"\x88\xb5"
            burst = Burst.from_frames([good, good + bytes(87), B, good + bytes(86), b""], marks=range(5))
            assert 5 == a.send(burst)
            assert 2 == a.send(Burst.from_frames([b"", B]))
            await trio.sleep(1e-6)
            assert [0, 3] == marks(b)
            assert {"size": 5} == network.statistics().packets.lost

    simulate(main)


def test_a_burst_of_one_target_is_not_copied() -> None:
    """The fast way hands on the very same object."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            a, b = network.port(A), network.port(B)
            burst = numbered(B, range(64))
            a.send(burst)
            await b.wait_readable()
            assert b.receive() is burst

    simulate(main)


def test_cut_loses_what_was_for_the_node_and_says_which() -> None:
    """A cut node neither sends nor receives; queued and in-flight packets come back; what had left it arrives."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng, data_latency_s=1e-3, control_latency_s=1e-3) as network:
            a, b = network.port(A), network.port(B, node="b")
            left, right = network.transport("a"), network.transport("b")
            a.send(numbered(B, [1, 2]))
            left.send("b", b"queued")
            await trio.sleep(2e-3)
            a.send(numbered(B, [3]))
            b.send(numbered(A, [9], source=B))
            left.send("b", b"in flight")
            lost = network.cut("b")
            assert [mark for burst in lost for mark in burst.marks.tolist()] == [1, 2, 3]
            assert (b.receive(), right.receive()) == (None, None)
            assert 0 == b.send(numbered(A, [10], source=B))
            assert right.send("a", b"x") is False
            assert 1 == a.send(numbered(B, [4]))
            assert left.send("b", b"x") is True
            await trio.sleep(1e-2)
            assert [9] == marks(a)
            assert b.receive() is None
            statistics = network.statistics()
            assert (statistics.packets.lost, statistics.datagrams.lost) == ({"cut": 4}, {"cut": 3})
            network.restore("b")
            a.send(numbered(B, [5]))
            await b.wait_readable()
            assert [5] == marks(b)

    simulate(main)


def test_a_restarted_node_replaces_its_cut_ends() -> None:
    """Opening the name or address of a cut end closes the old one; of an open one it is an error."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            a, b = network.port(A), network.port(B, node="b")
            with pytest.raises(CallerError, match="already open"):
                network.port(B)
            network.cut("b")
            again = network.port(B, node="b")
            with pytest.raises(trio.ClosedResourceError):
                await b.wait_readable()
            a.send(numbered(B, [1]))
            await again.wait_readable()
            assert [1] == marks(again)

    simulate(main)


def test_rules_first_match_wins_and_can_be_taken_out() -> None:
    """The newest rule is asked first; a one-way cut leaves the other way open."""

    async def main(sim: Simulation) -> None:
        slow = LinkRule(delay_s=1.0)
        async with open_memory_network(rng=sim.rng, rules=[slow]) as network:
            a, b = network.port(A, node="a"), network.port(B, node="b")
            cut = LinkRule(source="a", target=B, cut=True)
            network.add_rule(cut)
            assert network.rules == (cut, slow)
            a.send(numbered(B, [1]))
            b.send(numbered(A, [2], source=B))
            await trio.sleep(1.1)
            assert ([], [2]) == (marks(b), marks(a))
            network.remove_rule(cut)
            a.send(numbered(B, [3]))
            await trio.sleep(0.5)
            assert [] == marks(b)
            await trio.sleep(0.6)
            assert [3] == marks(b)
            assert {"link": 1} == network.statistics().packets.lost

    simulate(main)


def test_closing_loses_what_was_on_its_way() -> None:
    """What is queued for or in flight to an end that closes is lost as ``closed``; later packets have no target."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng, data_latency_s=1e-3) as network:
            a, b = network.port(A), network.port(B)
            a.send(numbered(B, range(3)))
            b.close()
            a.send(numbered(B, range(2)))
            assert {"closed": 3, "no_such_target": 2} == network.statistics().packets.lost

    simulate(main)


def test_one_pump_at_a_time_and_restartable() -> None:
    """A second pump is refused; a pump that ended may be started again, and then delivers what waited."""

    async def main(sim: Simulation) -> None:
        network = MemoryNetwork(rng=sim.rng)
        a, b = network.port(A), network.port(B)
        for number in range(2):
            a.send(numbered(B, [number]))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(network.run)
                await b.wait_readable()
                with pytest.raises(trio.BusyResourceError):
                    await network.run()
                nursery.cancel_scope.cancel()
            assert [number] == marks(b)

    simulate(main)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda network: network.port(b"short"),
        lambda network: network.port(A, queue_packets_max=0),
        lambda network: network.cut("nobody"),
        lambda network: MemoryNetwork(rng=random.Random(1), data_latency_s=-1),
        lambda network: network.add_rule(LinkRule(loss=1.5)),
        lambda network: network.add_rule(LinkRule(delay_s=-1)),
    ],
)
def test_mistakes_are_refused(mistake: object) -> None:
    """What makes no sense is a CallerError at once."""
    with pytest.raises(CallerError):
        mistake(MemoryNetwork(rng=random.Random(1)))  # type: ignore[operator]


def test_mixed_split_equals_the_obvious_split() -> None:
    """Splitting with numpy gives what a loop over frames gives."""

    async def main(sim: Simulation) -> None:
        async with open_memory_network(rng=sim.rng) as network:
            source, targets = network.port(A), {address: network.port(address) for address in (B, C, D)}
            chosen = [sim.rng.choice(list(targets)) for _ in range(500)]
            burst = numbered(chosen, range(500)).select(np.arange(499, -1, -1))
            assert 500 == source.send(burst)
            await trio.sleep(1e-6)
            for address, port in targets.items():
                assert marks(port) == [number for number in range(499, -1, -1) if chosen[number] == address]

    simulate(main)


def test_what_the_block_raises_comes_out_as_it_is() -> None:
    """Neither an error nor an outer cancellation is wrapped in a group by the pump's nursery."""

    async def main(sim: Simulation) -> None:
        with pytest.raises(KeyError):
            async with open_memory_network(rng=sim.rng):
                raise KeyError
        with trio.move_on_after(1) as scope:
            async with open_memory_network(rng=sim.rng):
                await trio.sleep_forever()
        assert scope.cancelled_caught

    simulate(main)
