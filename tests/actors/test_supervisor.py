"""Supervision: who is restarted, when, in which order, and when it is too much."""

from typing import get_args

import pytest
import trio
import trio.testing

from nfactor.actors import Actor, Restart, Strategy, handles, open_node, open_supervisor
from nfactor.errors import ActorDead, CallerError
from tests.actors.samples import MESSAGES, Add, Counter, Fail, Stop, Total, virtual_time
from tests.actors.supervised import Journal, flat, rises, settle, supervised


@virtual_time
async def test_children_start_in_order_and_stop_in_reverse() -> None:
    """``start`` returns when ``started`` has."""
    journal = Journal()
    async with supervised() as (_, supervisor):
        for name in "abc":
            await supervisor.start(journal.child(name), name=name)
            journal.lines.append("next")
        assert ("a", "b", "c") == supervisor.statistics().children
    assert ["+a", "next", "+b", "next", "+c", "next", "-c", "-b", "-a"] == journal.lines


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one-for-one", ["-b", "+b"]),
        ("one-for-all", ["-c", "-b", "-a", "+a", "+b", "+c"]),
        ("rest-for-one", ["-c", "-b", "+b", "+c"]),
    ],
)
@virtual_time
async def test_the_strategy_says_who_is_restarted_along(strategy: Strategy, expected: list[str]) -> None:
    """When the second of three fails."""
    journal = Journal()
    async with supervised(strategy) as (_, supervisor):
        refs = [await supervisor.start(journal.child(name), name=name) for name in "abc"]
        journal.taken()
        await refs[1].tell(Fail("now"))
        await settle()
        assert expected == journal.taken()
        for ref in refs:
            assert Total(1) == await ref.ask(Add(1), Total)
        assert (1, expected.count("+b") and sum(line[0] == "+" for line in expected)) == (
            supervisor.statistics().failures,
            supervisor.statistics().restarts,
        )


@pytest.mark.parametrize(
    ("restart", "after_failure", "after_stop"),
    [("permanent", True, True), ("transient", True, False), ("temporary", False, False)],
)
@virtual_time
async def test_the_restart_kind_says_when(restart: Restart, after_failure: bool, after_stop: bool) -> None:
    """After a failure, after a stop of its own, never."""
    for cause, expected in ((Fail("x"), after_failure), (Stop(), after_stop)):
        async with supervised() as (node, supervisor):
            ref = await supervisor.start(Counter, name="child", restart=restart)
            await ref.tell(cause)
            await settle()
            assert expected == ("child" in node.statistics().mailboxes)
            if expected:
                assert Total(1) == await ref.ask(Add(1), Total)
            else:
                with pytest.raises(ActorDead):
                    await ref.ask(Add(1), Total)


@virtual_time
async def test_a_temporary_child_of_a_restarted_group_is_gone() -> None:
    """It is stopped with the others and not started again."""
    journal = Journal()
    async with supervised("one-for-all") as (_, supervisor):
        a = await supervisor.start(journal.child("a"), name="a")
        await supervisor.start(journal.child("b"), name="b", restart="temporary")
        await a.tell(Fail("now"))
        await settle()
        assert ["+a", "+b", "-b", "-a", "+a"] == journal.taken()
        assert ("a",) == supervisor.statistics().children


@virtual_time
async def test_messages_that_wait_survive_a_restart() -> None:
    """Only the one whose handler raised is gone; the state is new, and refs stay valid."""
    async with supervised() as (_, supervisor):
        ref = await supervisor.start(Counter)
        for message in (Add(1), Fail("now"), Add(2), Add(3)):
            ref.tell_nowait(message)
        assert Total(9) == await ref.ask(Add(4), Total)


@virtual_time
async def test_more_failures_than_allowed_rise_into_the_parent() -> None:
    """As the exception of the last; the children have stopped, in reverse order."""
    journal = Journal()
    with rises("ValueError('2')"):
        async with supervised(restarts_max=2) as (_, supervisor):
            await supervisor.start(journal.child("a"))
            ref = await supervisor.start(journal.child("b"))
            for number in range(3):
                await ref.tell(Fail(str(number)))
                await settle()
            await trio.sleep_forever()
    assert ["-b", "-a"] == journal.lines[-2:]


@virtual_time
async def test_failures_that_are_far_apart_may_go_on_for_ever() -> None:
    """Only those within ``within_s`` count."""
    async with supervised(restarts_max=1, within_s=5.0) as (_, supervisor):
        ref = await supervisor.start(Counter)
        for _ in range(5):
            await ref.tell(Fail(""))
            await trio.sleep(6)
        assert 5 == supervisor.statistics().restarts


@virtual_time
async def test_a_permanent_child_that_always_stops_is_too_much_as_well() -> None:
    """There is no exception of its own to raise."""
    with rises("ActorDead('<Ref here/quitter> stops again and again although it is permanent')"):
        async with supervised(restarts_max=0) as (_, supervisor):
            await (await supervisor.start(Counter, name="quitter")).tell(Stop())
            await trio.sleep_forever()


@virtual_time
async def test_backoff_doubles() -> None:
    """Messages wait meanwhile."""
    async with supervised(restarts_max=9, within_s=60.0, backoff_s=1.0) as (_, supervisor):
        ref = await supervisor.start(Counter)
        for expected in (1, 3, 7):
            await ref.tell(Fail(""))
            await ref.ask(Add(1), Total)
            assert expected == trio.current_time()


class Shaky(Counter):
    """Fails to start as often as it is told to."""

    def __init__(self, failures: list[str]) -> None:
        super().__init__()
        self.failures = failures

    async def started(self) -> None:
        if self.failures:
            raise OSError(self.failures.pop())


@virtual_time
async def test_a_first_start_that_fails_is_the_starters_to_handle() -> None:
    """It raises in ``start``, and nothing of it is left."""
    async with supervised() as (node, supervisor):
        with pytest.raises(OSError, match="no"):
            await supervisor.start(lambda: Shaky(["no"]), name="shaky")
        assert {} == node.statistics().mailboxes
        assert () == supervisor.statistics().children
        assert Total(1) == await (await supervisor.start(lambda: Shaky([]), name="shaky")).ask(Add(1), Total)


@virtual_time
async def test_a_restart_that_fails_counts_as_a_failure_and_is_tried_again() -> None:
    """Within the same intensity; of a group, only those that still have to start do."""
    failures: list[str] = []
    journal = Journal()
    async with supervised("rest-for-one") as (_, supervisor):
        a = await supervisor.start(journal.child("a"))
        ref = await supervisor.start(lambda: Shaky(failures))
        await supervisor.start(journal.child("c"))
        journal.taken()
        failures.extend(["one", "two"])
        await a.tell(Fail(""))
        assert Total(1) == await ref.ask(Add(1), Total)
        await settle()
        assert ["-c", "-a", "+a", "+c"] == journal.taken()
        assert 3 == supervisor.statistics().failures


@virtual_time
async def test_restarts_that_fail_again_and_again_rise() -> None:
    """With the error of the last start."""
    failures: list[str] = []
    with rises("OSError('3')"):
        async with supervised() as (_, supervisor):
            ref = await supervisor.start(lambda: Shaky(failures))
            failures.extend("87654321")
            await ref.tell(Fail(""))
            await trio.sleep_forever()


@virtual_time
async def test_a_task_that_fails_before_the_actor_has_started_fails_the_start() -> None:
    """``start`` raises what the task raised, and does not wait for ``started``."""

    class Doomed(Actor):
        async def started(self) -> None:
            self.context.start_soon(self.fail)
            await trio.sleep_forever()

        async def fail(self) -> None:
            raise ValueError("early")

    async with supervised() as (_, supervisor):
        with pytest.raises(ValueError, match="early"):
            await supervisor.start(Doomed)


@virtual_time
async def test_supervisors_nest_as_blocks_do() -> None:
    """An error that rises out of the inner one ends the outer one's block."""

    class Lonely(Actor):
        @handles(Fail)
        async def fail(self, message: Fail) -> None:
            raise ValueError(message.text)

    journal = Journal()
    with rises("ValueError('up')"):
        async with supervised() as (node, outer):
            await outer.start(journal.child("outer"))
            async with open_supervisor(node, restarts_max=0) as inner:
                await (await inner.start(Lonely)).tell(Fail("up"))
                await trio.sleep_forever()
    assert ["+outer", "-outer"] == journal.lines


@virtual_time
async def test_wrong_options_are_the_callers_errors() -> None:
    """With what to use instead."""
    assert ("one-for-one", "one-for-all", "rest-for-one") == get_args(Strategy)
    async with open_node("here", None, MESSAGES) as node:
        for options in ({"strategy": "all"}, {"restarts_max": -1}, {"within_s": 0}, {"backoff_s": -1}):
            with pytest.raises(ExceptionGroup) as caught:
                async with open_supervisor(node, **options):
                    pass
            assert "CallerError" in str(flat(caught.value))
        async with open_supervisor(node) as supervisor:
            with pytest.raises(CallerError, match="permanent, transient, temporary"):
                await supervisor.start(Counter, restart="sometimes")  # type: ignore[arg-type]
