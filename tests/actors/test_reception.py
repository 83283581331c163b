"""A task that waits for the only answer under way takes in what comes, in place of its node's task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from nfactor.actors import Node, Ref, open_node, open_supervisor
from nfactor.actors.reception import Reception
from nfactor.errors import PeerDown
from tests.actors.network import MemoryTransport, Network
from tests.actors.samples import MESSAGES, Add, Counter, Nap, Sleeper, Total, virtual_time
from tests.actors.worlds import LIMITS


@attrs.frozen
class Lent:
    """Nodes ``a`` and ``b`` with an actor each; nobody looks on."""

    network: Network
    transport: MemoryTransport
    """Of ``a``."""
    a: Node
    b: Node
    counter: Ref
    """On ``b``, for ``a``."""
    sleeper: Ref
    takers: list[str]
    """Tasks of ``a`` that took in what came, one after the other."""

    async def lend(self) -> None:
        """Let the task that calls have the transport of ``a`` with its next question."""
        me, begun = trio.lowlevel.current_task().name, len(self.takers)
        while self.takers[begun:][-1:] != [me]:
            assert len(self.takers) < begun + 100, "who asks again and again never takes in anything itself"
            await self.counter.ask(Add(0), Total)


@asynccontextmanager
async def lent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lent]:
    network, takers = Network(), list[str]()
    take_in = Reception._take_in

    def note(reception: Reception, datagrams_max: int) -> int:
        if reception._node.name == "a":
            takers.append(trio.lowlevel.current_task().name)
        return take_in(reception, datagrams_max)

    monkeypatch.setattr(Reception, "_take_in", note)
    transport = network.transport("a")
    async with (
        open_node("b", network.transport("b"), MESSAGES, limits=LIMITS) as b,
        open_supervisor(b) as supervisor,
        open_node("a", transport, MESSAGES, limits=LIMITS) as a,
        open_supervisor(a) as mine,
    ):
        await mine.start(Counter, name="here")
        await supervisor.start(Counter, name="counter")
        await supervisor.start(Sleeper, name="sleeper")
        yield Lent(network, transport, a, b, a.ref("b", "counter"), a.ref("b", "sleeper"), takers)


@virtual_time
async def test_who_asks_again_and_again_is_woken_by_the_answer_itself() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            await world.lend()
            begun = len(world.takers)
            for _ in range(5):
                await world.counter.ask(Add(1), Total)
                await world.counter.ask(Add(1), Total, within_s=1.0)
            assert {trio.lowlevel.current_task().name} == set(world.takers[begun:])


@virtual_time
async def test_when_nobody_waits_the_node_takes_in_what_comes_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            await world.lend()
            here = world.b.ref("a", "here")
            assert Total(1) == await here.ask(Add(1), Total)
            assert "a.receive" == world.takers[-1]


@virtual_time
async def test_who_takes_in_what_comes_serves_others_meanwhile() -> None:
    """Questions from elsewhere, and answers to other tasks."""
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            me, totals = trio.lowlevel.current_task().name, list[int]()

            async def others() -> None:
                await trio.sleep(0.1)
                totals.append((await world.b.ref("a", "here").ask(Add(1), Total)).number)
                totals.append((await world.counter.ask(Add(1), Total)).number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(others)
                await world.lend()
                begun = len(world.takers)
                await world.sleeper.ask(Nap(0.5), Total)
                assert {me} == set(world.takers[begun:])
                assert [1, 1] == totals


@virtual_time
async def test_an_asker_that_takes_in_what_comes_is_told_that_the_peer_is_down() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            await world.lend()
            world.network.cut["b"] = None
            with pytest.raises(PeerDown, match="silent"):
                await world.counter.ask(Add(1), Total)


@virtual_time
async def test_an_asker_that_takes_in_what_comes_waits_no_longer_than_it_said() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            await world.lend()
            begun = trio.current_time()
            with pytest.raises(trio.TooSlowError, match=r"within 0\.2 s"):
                await world.sleeper.ask(Nap(5.0), Total, within_s=0.2)
            assert 0.2 <= trio.current_time() - begun < 0.3
            assert Total(1) == await world.counter.ask(Add(1), Total), "and others are heard again"


@virtual_time
async def test_an_asker_that_is_cancelled_gives_the_transport_back() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world:
            await world.lend()
            with trio.move_on_after(0.1) as scope:
                await world.sleeper.ask(Nap(0.5), Total)
            assert scope.cancelled_caught
            assert Total(1) == await world.b.ref("a", "here").ask(Add(1), Total)
            await trio.sleep(1)
            assert 1 == world.b.statistics().late_replies


@virtual_time
async def test_a_transport_that_is_closed_meanwhile_leaves_its_node_unheard() -> None:
    """The question is in doubt, as any other."""
    with pytest.MonkeyPatch.context() as patch:
        async with lent(patch) as world, trio.open_nursery() as nursery:

            async def close() -> None:
                await trio.sleep(0.1)
                world.transport.close()

            await world.lend()
            nursery.start_soon(close)
            with pytest.raises(PeerDown, match="silent"):
                await world.sleeper.ask(Nap(0.5), Total)


@virtual_time
async def test_an_asker_takes_nothing_in_for_a_node_that_has_crashed() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with trio.open_nursery() as outside:
            async with lent(patch) as world:
                is_lent = trio.Event()

                async def ask() -> None:
                    await world.lend()
                    is_lent.set()
                    await world.sleeper.ask(Nap(0.5), Total)

                outside.start_soon(ask)
                await is_lent.wait()
                await trio.sleep(0.1)
                before = list(world.takers)
                world.a.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)
                assert before == world.takers
            outside.cancel_scope.cancel()
