"""Lifetimes: what ends with what, and that nothing outlives its block."""

import math

import pytest
import trio
import trio.testing

from nfactor.actors import (
    Actor,
    Node,
    Ref,
    handles,
    open_node,
    open_supervisor,
)
from nfactor.errors import ActorDead, CallerError
from tests.actors.samples import (
    MESSAGES,
    Add,
    Counter,
    Fail,
    Here,
    Nap,
    Sleeper,
    Stop,
    Total,
    Watcher,
    Who,
    virtual_time,
)
from tests.actors.worlds import one_node, two_nodes


@virtual_time
async def test_an_actor_knows_itself_and_its_node() -> None:
    """``context`` is there from ``started`` on."""
    seen: list[object] = []

    class Curious(Actor):
        async def started(self) -> None:
            seen.extend([self.context.name, self.context.node, self.context.ref])

    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Curious, name="curious")
        assert ["curious", node, ref] == seen
        counter = await supervisor.start(Counter)
        assert Here(counter) == await counter.ask(Who(), Here)


@virtual_time
async def test_an_actor_stops_itself_once_its_handler_has_returned() -> None:
    """What waits is not handled: tells become dead letters, askers are told."""
    async with one_node() as (node, supervisor):
        for actor in (Counter, Sleeper):
            ref = await supervisor.start(actor, name="short", restart="transient")
            ref.tell_nowait(Stop())
            ref.tell_nowait(Add(1))
            with pytest.raises(ActorDead):
                await ref.ask(Add(1), Total)
            await trio.testing.wait_all_tasks_blocked()
            assert "short" not in node.statistics().mailboxes
        assert {"stopped": 2} == node.statistics().dead_letters
        assert 1 == trio.current_time()


@virtual_time
async def test_an_actor_stops_itself_from_a_background_task() -> None:
    """At once, as no handler runs."""

    class Timed(Actor):
        async def started(self) -> None:
            self.context.start_soon(self.work)

        async def work(self) -> None:
            await trio.sleep(1)
            self.context.stop()
            await trio.sleep_forever()

    async with one_node() as (node, supervisor):
        await supervisor.start(Timed, restart="transient")
        await trio.sleep(2)
        assert {} == node.statistics().mailboxes


@virtual_time
async def test_those_who_wait_for_room_are_let_go_when_the_actor_stops() -> None:
    """Their messages are dead letters."""
    async with one_node(encode_local=True) as (node, supervisor), trio.open_nursery() as nursery:
        ref = await supervisor.start(Sleeper, mailbox_size_max=1)
        await ref.tell(Nap(math.inf))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            nursery.start_soon(ref.tell, Add(number))
        await trio.testing.wait_all_tasks_blocked()
        await supervisor.stop(ref)
        assert {"stopped": 3} == node.statistics().dead_letters


@virtual_time
async def test_a_node_that_ends_before_its_supervisors_closes_their_actors() -> None:
    """Whoever opened them elsewhere finds them dead."""
    seen: list[Ref] = []

    async def supervise(node: Node) -> None:
        async with open_supervisor(node) as supervisor:
            seen.append(await supervisor.start(Counter))
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        async with open_node("here", None, MESSAGES) as node:
            nursery.start_soon(supervise, node)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ActorDead):
            await seen[0].ask(Add(1), Total)
        assert {} == node.statistics().mailboxes


@virtual_time
async def test_a_stopped_async_actor_tells_the_asker_of_the_handler_it_left() -> None:
    """The handler is cancelled."""
    async with one_node() as (_, supervisor):
        ref = await supervisor.start(Sleeper)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(ActorDead, match="before it had answered"):
                    await ref.ask(Nap(math.inf), Total)

            await trio.testing.wait_all_tasks_blocked()
            await supervisor.stop(ref)


@virtual_time
async def test_background_tasks_belong_to_their_actor() -> None:
    """They are cancelled when it stops, before ``stopping``; an exception in one is the actor's failure."""
    seen: list[str] = []

    class Busy(Actor):
        async def started(self) -> None:
            self.context.start_soon(self.work, "a")

        async def stopping(self) -> None:
            seen.append("stopping")

        async def work(self, name: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                seen.append(f"cancelled {name}")

        async def burst(self) -> None:
            raise ValueError("background")

        @handles(Fail)
        def fail(self, message: Fail) -> None:
            self.context.start_soon(self.burst)

    watcher = Watcher()
    async with one_node(instruments=[watcher]) as (_, supervisor):
        ref = await supervisor.start(Busy, name="busy")
        await ref.tell(Fail(""))
        await trio.testing.wait_all_tasks_blocked()
        assert [("busy", "ValueError('background')")] == watcher.failures
        assert ["cancelled a", "stopping"] == seen
    assert ["cancelled a", "stopping"] * 2 == seen


@virtual_time
async def test_a_stopped_actor_starts_no_tasks() -> None:
    """It would outlive it."""

    class Late(Actor):
        async def stopping(self) -> None:
            with pytest.raises(CallerError, match="not running"):
                self.context.start_soon(trio.sleep, 1)

    async with one_node() as (_, supervisor):
        await supervisor.start(Late)


@virtual_time
async def test_names_are_unique_on_a_node_and_free_again_afterwards() -> None:
    """Whoever the supervisor is."""
    async with one_node() as (node, supervisor), open_supervisor(node) as other:
        ref = await supervisor.start(Counter, name="one")
        with pytest.raises(CallerError, match="unique"):
            await other.start(Counter, name="one")
        await supervisor.stop(ref)
        assert ref == await other.start(Counter, name="one")
        assert "Counter-1" == (await other.start(Counter)).actor_name


@virtual_time
async def test_nothing_outlives_the_node() -> None:
    """Afterwards tells are dead letters and asks raise."""
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Counter)
    ref.tell_nowait(Add(1))
    await ref.tell(Add(1))
    await node.ref("elsewhere", "x").tell(Add(1))
    with pytest.raises(ActorDead, match="closed"):
        await ref.ask(Add(1), Total)
    assert {"node-closed": 3} == node.statistics().dead_letters
    with pytest.raises(CallerError):
        await supervisor.start(Counter)
    async with open_supervisor(node) as late:
        with pytest.raises(CallerError, match="closed"):
            await late.start(Counter)


@virtual_time
async def test_a_crash_runs_no_stopping_hooks() -> None:
    """And the block is left as if nothing had been."""
    seen: list[str] = []

    class Careful(Sleeper):
        async def stopping(self) -> None:
            seen.append("stopping")

    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Careful)
        await ref.tell(Nap(math.inf))
        node.cancel_scope.cancel()
        await trio.sleep_forever()
    assert [] == seen
    assert {} == node.statistics().mailboxes


@pytest.mark.parametrize("count", [1, 300])
@virtual_time
async def test_a_crash_sends_nothing_more(count: int) -> None:
    """Not even what handlers tell while they are cancelled."""

    class Loud(Sleeper):
        @handles(Nap)
        async def nap(self, message: Nap) -> Total:
            there = self.context.node.ref("b", "counter")
            try:
                await trio.sleep_forever()
            finally:
                for _ in range(count):
                    there.tell_nowait(Add(1))

    async with two_nodes() as world, open_supervisor(world.a) as mine:
        counter = Counter()
        await world.supervisor.start(lambda: counter, name="counter")
        loud = await mine.start(Loud)
        await world.a.ref("b", "counter").ask(Add(0), Total)
        await loud.tell(Nap(math.inf))
        await trio.sleep(0.1)
        sent = world.network.datagrams
        world.a.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)
            assert counter.total == 0
            assert world.network.datagrams == sent
