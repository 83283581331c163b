"""The task of an async actor ends when the actor has been idle, and begins again with the next message."""

import trio

from nfactor.actors import Actor, handles
from nfactor.actors.rests import REST_AFTER_S
from tests.actors.samples import Add, Total, virtual_time
from tests.actors.worlds import one_node


class Adder(Actor[Add]):
    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    async def add(self, message: Add) -> Total:
        await trio.sleep(0.01)
        self.total += message.number
        return Total(self.total)


@virtual_time
async def test_an_idle_actor_has_no_task_and_forgets_nothing() -> None:
    """Its fields and its mailbox stay; one that works now and then keeps its task meanwhile."""
    async with one_node() as (_, supervisor):
        before = len(supervisor.nursery.child_tasks)
        idle, busy = await supervisor.start(Adder), await supervisor.start(Adder)
        assert before == len(supervisor.nursery.child_tasks)
        await idle.ask(Add(1), Total)
        for _ in range(10):
            await busy.ask(Add(1), Total)
            await trio.sleep(REST_AFTER_S / 2)
        assert before + 1 == len(supervisor.nursery.child_tasks)
        assert Total(3) == await idle.ask(Add(2), Total)
        assert before + 2 == len(supervisor.nursery.child_tasks)
        await trio.sleep(3 * REST_AFTER_S)
        assert before == len(supervisor.nursery.child_tasks)


@virtual_time
async def test_a_message_in_the_instant_of_the_rest_is_handled_once() -> None:
    """Whether it comes just before, at the same moment, or just after."""
    async with one_node() as (_, supervisor):
        before = len(supervisor.nursery.child_tasks)
        adder = await supervisor.start(Adder)
        count = 0
        for step in range(-20, 20):
            count += 1
            assert Total(count) == await adder.ask(Add(1), Total)
            await trio.sleep(2 * REST_AFTER_S + step * 0.001)
            adder.tell_nowait(Add(1))
            await trio.lowlevel.checkpoint()
            adder.tell_nowait(Add(1))
            count += 2
            await trio.sleep(0.05)
            assert 1 == len(supervisor.nursery.child_tasks) - before
        assert Total(count) == await adder.ask(Add(0), Total)


@virtual_time
async def test_an_actor_that_rests_stops_like_any_other() -> None:
    """Nothing waits for a task that is not there."""
    async with one_node() as (_, supervisor):
        adder = await supervisor.start(Adder)
        await adder.ask(Add(1), Total)
        await trio.sleep(5 * REST_AFTER_S)
        with trio.fail_after(1):
            await supervisor.stop(adder)
