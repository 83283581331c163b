"""Timers of actors: once, again and again, cancelled, and gone with the life that set them."""

import pytest
import trio

from nfactor.actors import Actor, Timer, handles
from nfactor.errors import CallerError
from tests.actors.samples import Add, Fail, Stop, virtual_time
from tests.actors.worlds import one_node


class Clock(Actor):
    def __init__(self, log: list[tuple[float, int]]) -> None:
        self.log = log
        self.timers: list[Timer] = []

    async def started(self) -> None:
        self.timers.append(self.context.tell_after(1, Add(1)))
        self.timers.append(self.context.tell_every(2, Add(2)))

    @handles(Add)
    def tick(self, message: Add) -> None:
        self.log.append((trio.current_time(), message.number))

    @handles(Stop)
    def cancel(self, message: Stop) -> None:
        for timer in self.timers:
            timer.cancel()

    @handles(Fail)
    def fail(self, message: Fail) -> None:
        raise ValueError


@virtual_time
async def test_a_timer_comes_at_its_time_until_it_is_cancelled() -> None:
    log: list[tuple[float, int]] = []
    async with one_node() as (_, supervisor):
        ref = await supervisor.start(lambda: Clock(log))
        await trio.sleep(6.5)
        assert [(1, 1), (2, 2), (4, 2), (6, 2)] == log
        await ref.ask(Stop())
        await trio.sleep(10)
        assert 4 == len(log)


@virtual_time
async def test_a_timer_ends_with_the_life_that_set_it() -> None:
    log: list[tuple[float, int]] = []
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(lambda: Clock(log))
        await trio.sleep(0.5)
        ref.tell_nowait(Fail("again"))
        await trio.sleep(3)
        assert [(1.5, 1), (2.5, 2)] == log
        await supervisor.stop(ref)
        await trio.sleep(10)
        assert 2 == len(log)
        assert {} == node.statistics().dead_letters


@virtual_time
async def test_a_timer_may_tell_somebody_else_and_a_full_mailbox_is_counted() -> None:
    class Setter(Actor):
        async def started(self) -> None:
            for _ in range(3):
                self.context.tell_after(1, Add(7), to=target)

    class Slow(Actor):
        @handles(Add)
        async def add(self, message: Add) -> None:
            seen.append(message.number)
            await trio.sleep(100)

    seen: list[int] = []
    async with one_node() as (node, supervisor):
        target = await supervisor.start(Slow, mailbox_size_max=1)
        await supervisor.start(Setter)
        await trio.sleep(2)
        assert [7] == seen
        assert 1 <= node.statistics().timers_refused <= 2


@virtual_time
async def test_a_timer_that_never_ends_or_belongs_to_nobody_is_the_callers_error() -> None:
    contexts = []

    class Keeps(Actor):
        async def started(self) -> None:
            contexts.append(self.context)
            with pytest.raises(CallerError, match="more than 0"):
                self.context.tell_every(0, Add(1))

    async with one_node() as (_, supervisor):
        await supervisor.stop(await supervisor.start(Keeps))
        with pytest.raises(CallerError, match="not running"):
            contexts[0].tell_after(1, Add(1))


@virtual_time
async def test_time_outs_that_were_not_needed_do_not_pile_up() -> None:
    class Slow(Actor):
        @handles(Add)
        async def add(self, message: Add) -> None:
            await trio.lowlevel.checkpoint()

    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Slow)
        for number in range(1000):
            await ref.ask(Add(number), within_s=1000)
        assert len(node.timers._heap) <= 130
