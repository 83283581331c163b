"""Nodes of a simulation crash, restart, stop, and are cut off from each other."""

import pytest
import trio

from nfactor.actors import Actor, LinkLimits, Messages, Node, Supervisor, handles, message
from nfactor.backends.memory import LinkRule
from nfactor.errors import CallerError, PeerDown
from nfactor.testing import Simulation, open_nodes, simulate


@message(tag=1)
class Add:
    number: int


@message(tag=2)
class Total:
    number: int


CODEC = Messages(Add, Total)
QUICK = LinkLimits(give_up_s=1.0)


class Counter(Actor[Add]):
    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    def add(self, message: Add) -> Total:
        self.total += message.number
        return Total(self.total)


async def counting(node: Node, supervisor: Supervisor) -> None:
    await supervisor.start(Counter, name="counter")


async def idle(node: Node, supervisor: Supervisor) -> None:
    pass


def test_a_node_that_crashed_is_silent_and_knows_nothing_when_it_is_back() -> None:
    """What is asked of it while it is away is in doubt; its next life is a new incarnation and begins at 0."""

    async def main(sim: Simulation) -> list[int]:
        async with open_nodes(sim, CODEC, jitter_s=0.002, loss=0.1) as nodes:
            first = await nodes.start("server", counting)
            client = await nodes.start("client", idle, limits=QUICK)
            counter = client.ref("server", "counter", accepts=Counter)
            totals = [(await counter.ask(Add(5), Total)).number]
            nodes.crash("server")
            with pytest.raises(CallerError, match="not running"):
                nodes["server"]
            with pytest.raises(PeerDown):
                await counter.ask(Add(5), Total)
            second = await nodes.restart("server")
            assert (first.incarnation, second.incarnation) == (1, 2)
            assert nodes["server"] is second
            totals.append((await counter.ask(Add(7), Total)).number)
            return totals

    assert simulate(main, seed=3).value == [5, 7]
    assert simulate(main, seed=3) == simulate(main, seed=3)


def test_a_node_restarts_in_the_same_instant() -> None:
    """The end of the old life does not disturb the new one."""

    async def main(sim: Simulation) -> int:
        async with open_nodes(sim, CODEC) as nodes:
            await nodes.start("server", counting)
            client = await nodes.start("client", idle)
            counter = client.ref("server", "counter", accepts=Counter)
            for _ in range(5):
                await counter.ask(Add(1), Total)
                nodes.crash("server")
                await nodes.restart("server")
                with pytest.raises(PeerDown):
                    await counter.ask(Add(1), Total)
            return (await counter.ask(Add(1), Total)).number

    assert simulate(main).value == 1


def test_a_node_that_stops_still_sends_what_it_told() -> None:
    """Stopping is in good order, crashing is not: the same tell arrives, or does not."""

    async def main(sim: Simulation, stops: bool) -> int:
        async with open_nodes(sim, CODEC) as nodes:
            await nodes.start("server", counting)
            client = await nodes.start("client", idle)
            counter = client.ref("server", "counter", accepts=Counter)
            await counter.ask(Add(0), Total)
            counter.tell_nowait(Add(3))
            if stops:
                await nodes.stop("client")
            else:
                nodes.crash("client")
            await trio.sleep(5)
            client = await nodes.restart("client")
            return (await client.ref("server", "counter", accepts=Counter).ask(Add(0), Total)).number

    assert (simulate(main, True).value, simulate(main, False).value) == (3, 0)


def test_cuts_partitions_and_slowness_heal() -> None:
    """One way, all ways between groups, and late; rules of the test's own stay."""

    async def main(sim: Simulation) -> list[float]:
        async with open_nodes(sim, CODEC, latency_s=0.001) as nodes:
            await nodes.start("server", counting)
            client = await nodes.start("client", idle, limits=QUICK)
            await nodes.start("other", counting)
            nodes.network.add_rule(own := LinkRule(loss=0.0))
            counter = client.ref("server", "counter", accepts=Counter)
            other = client.ref("other", "counter", accepts=Counter)
            took: list[float] = []

            async def timed() -> None:
                begun = trio.current_time()
                await counter.ask(Add(1), Total)
                took.append(round(trio.current_time() - begun, 3))

            await timed()
            nodes.slow("server", 0.05)
            await timed()
            nodes.heal()
            await trio.sleep(1)  # what was sent again is still on its way, and is not overtaken
            await timed()
            for cut in (("client", "server"), ("server", "client")):
                nodes.cut(*cut)
                with pytest.raises(PeerDown):
                    await counter.ask(Add(1), Total)
                nodes.heal()
                await timed()
            nodes.partition(["client", "other"], ["server"])
            with pytest.raises(PeerDown):
                await counter.ask(Add(1), Total)
            assert (await other.ask(Add(1), Total)).number == 1
            nodes.heal()
            await timed()
            assert nodes.network.rules == (own,)
            return took

    anew = 0.004  # a session takes a round trip to open
    assert simulate(main).value == [anew, 0.052, 0.002, anew, anew, anew]


def test_what_a_node_raises_ends_the_simulation() -> None:
    """Whether it comes from its start or from an actor that its supervisor does not bear any more."""

    async def broken(node: Node, supervisor: Supervisor) -> None:
        raise ZeroDivisionError

    async def main(sim: Simulation) -> None:
        async with open_nodes(sim, CODEC) as nodes:
            await nodes.start("server", broken)

    with pytest.raises(ExceptionGroup) as caught:
        simulate(main)
    assert caught.group_contains(ZeroDivisionError)


def test_mistakes_are_named() -> None:
    """Unknown nodes, names twice, a restart of what runs."""

    async def main(sim: Simulation) -> None:
        async with open_nodes(sim, CODEC) as nodes:
            await nodes.start("server", counting)
            with pytest.raises(CallerError, match="already"):
                await nodes.start("server", counting)
            with pytest.raises(CallerError, match="is running"):
                await nodes.restart("server")
            with pytest.raises(CallerError, match="no node 'sever'; there are: 'server'"):
                nodes.crash("sever")
            with pytest.raises(CallerError, match="no node 'sever'"):
                nodes.cut("server", "sever")

    simulate(main)
