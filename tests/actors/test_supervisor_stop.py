"""Supervisors that stop: in order, in the middle of things, and without losing an error."""

import pytest
import trio
import trio.testing

from nfactor.actors import Actor, Ref, open_node, open_supervisor
from nfactor.errors import ActorDead
from tests.actors.samples import MESSAGES, Add, Counter, Fail, Stop, Total, Watcher, virtual_time
from tests.actors.supervised import Journal, rises, settle, supervised


@virtual_time
async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    """The name is free, the tasks are gone."""
    ended: list[bool] = []

    class Slow(Actor):
        async def started(self) -> None:
            self.context.start_soon(self.work)
            await trio.sleep_forever()

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(True)

    async with supervised() as (node, supervisor):
        with trio.move_on_after(1):
            await supervisor.start(Slow, name="slow")
        await settle()
        assert [True] == ended
        assert {} == node.statistics().mailboxes


@virtual_time
async def test_a_block_that_ends_stops_a_child_that_is_still_starting() -> None:
    """The one who starts it gets ActorDead."""

    class Slow(Actor):
        async def started(self) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery, open_node("here", None, MESSAGES) as node:
        async with open_supervisor(node) as supervisor:

            @nursery.start_soon
            async def start() -> None:
                with pytest.raises(ActorDead, match="before it had started"):
                    await supervisor.start(Slow)

            await settle()
        assert {} == node.statistics().mailboxes


@virtual_time
async def test_an_actor_that_asks_to_stop_in_started_stops_when_it_has_started() -> None:
    """For work that is done at once."""

    class Brief(Actor):
        async def started(self) -> None:
            self.context.stop()

    async with supervised() as (node, supervisor):
        await supervisor.start(Brief, restart="transient")
        await settle()
        assert {} == node.statistics().mailboxes


@virtual_time
async def test_stop_ends_a_child_for_good() -> None:
    """Even a permanent one; a second time raises."""
    journal = Journal()
    async with supervised() as (_, supervisor):
        ref = await supervisor.start(journal.child("a"))
        await supervisor.stop(ref)
        assert ["+a", "-a"] == journal.taken()
        with pytest.raises(ActorDead):
            await supervisor.stop(ref)
        assert () == supervisor.statistics().children
    assert [] == journal.lines


@virtual_time
async def test_a_child_that_fails_along_with_the_group_is_restarted_once() -> None:
    """Its own failure is of the life that the group's restart has ended."""
    journal = Journal()
    async with supervised("one-for-all") as (_, supervisor):
        refs = [await supervisor.start(journal.child(name), name=name) for name in "ab"]
        journal.taken()
        for ref in refs:
            ref.tell_nowait(Fail("both"))
        await settle()
        assert ["-b", "-a", "+a", "+b"] == journal.taken()


@virtual_time
async def test_a_block_that_ends_does_not_wait_for_a_restart() -> None:
    """Which is abandoned."""
    naps = [0.0, 1000.0]

    class Slow(Counter):
        async def started(self) -> None:
            await trio.sleep(naps.pop(0))

    async with supervised() as (_, supervisor):
        ref = await supervisor.start(Slow)
        await ref.tell(Fail(""))
        await trio.sleep(1)
    assert 1 == trio.current_time()
    with pytest.raises(ActorDead, match="stopping"):
        await supervisor.stop(ref)


@virtual_time
async def test_a_handler_that_asks_to_stop_and_then_raises_has_failed() -> None:
    """What it raised counts."""

    class Torn(Counter):
        def stop(self, message: Stop) -> None:
            self.context.stop()
            raise ValueError("torn")

    watcher = Watcher()
    async with supervised(instruments=(watcher,)) as (_, supervisor):
        ref = await supervisor.start(Torn, name="torn", restart="transient")
        await ref.tell(Stop())
        assert Total(1) == await ref.ask(Add(1), Total)
        assert [("torn", "ValueError('torn')")] == watcher.failures
        assert ["torn"] == watcher.restarts


@virtual_time
async def test_a_crash_while_somebody_waits_for_a_stop() -> None:
    """It raises ActorDead there."""

    class Clinging(Counter):
        async def stopping(self) -> None:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery, open_node("here", None, MESSAGES) as node:
        with trio.CancelScope() as scope:
            async with open_supervisor(node) as supervisor:
                refs = [await supervisor.start(Clinging) for _ in range(2)]
                for ref in refs:

                    @nursery.start_soon
                    async def stop(ref: Ref = ref) -> None:
                        with pytest.raises(ActorDead, match="supervisor"):
                            await supervisor.stop(ref)

                await settle()
                scope.cancel()
                await trio.sleep_forever()


@virtual_time
async def test_several_errors_of_stopping_rise_together() -> None:
    """In the order in which they came."""

    class Bad(Counter):
        async def stopping(self) -> None:
            raise ValueError(self.context.name)

    with rises("ValueError('b')", "ValueError('a')"):
        async with supervised() as (_, supervisor):
            for name in "ab":
                await supervisor.start(Bad, name=name)


@virtual_time
async def test_what_stopping_raises_is_not_lost() -> None:
    """At the end of the block, after the others were stopped; or at once, when nothing else is ending."""

    class Bad(Counter):
        async def stopping(self) -> None:
            raise ValueError("stopping")

    journal = Journal()
    for ending in ("block", "stop", "restart"):
        with rises("ValueError('stopping')"):
            async with supervised() as (_, supervisor):
                await supervisor.start(journal.child("a"))
                ref = await supervisor.start(Bad)
                await supervisor.start(journal.child("c"))
                if ending == "stop":
                    await supervisor.stop(ref)
                elif ending == "restart":
                    await ref.tell(Fail(""))
                if ending != "block":
                    await trio.sleep_forever()
        assert ["+a", "+c", "-c", "-a"] == journal.taken()


@virtual_time
async def test_a_task_that_fails_while_it_is_cancelled_is_not_lost() -> None:
    """Its exception comes out where the actor is stopped."""

    class Bad(Actor):
        async def started(self) -> None:
            self.context.start_soon(self.work)

        async def work(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("clean-up")

    with rises("ValueError('clean-up')"):
        async with supervised() as (_, supervisor):
            await supervisor.start(Bad)
            await settle()


@virtual_time
async def test_an_exception_in_the_block_stops_the_children_in_order() -> None:
    """And goes on."""
    journal = Journal()
    with rises("KeyError('block')"):
        async with supervised() as (_, supervisor):
            for name in "ab":
                await supervisor.start(journal.child(name))
            raise KeyError("block")
    assert ["+a", "+b", "-b", "-a"] == journal.lines


@virtual_time
async def test_a_cancelled_block_ends_without_stopping_hooks() -> None:
    """That is a crash."""
    journal = Journal()
    async with open_node("here", None, MESSAGES) as node:
        with trio.CancelScope() as scope:
            async with open_supervisor(node) as supervisor:
                ref = await supervisor.start(journal.child("a"))
                scope.cancel()
                await trio.sleep_forever()
        assert ["+a"] == journal.lines
        with pytest.raises(ActorDead):
            await ref.ask(Add(1), Total)
