"""Actors that ask each other in a circle are told so; those that merely wait for each other's work are not."""

import itertools

import pytest
import trio
import trio.testing

from nfactor.actors import Actor, Messages, Ref, handles, message
from nfactor.errors import AskCycle
from tests.actors.samples import virtual_time
from tests.actors.worlds import many_nodes


@message(tag=20)
class Pass:
    """Ask the first of these with the rest; who is asked with none answers, after a nap."""

    to: tuple[Ref, ...]
    nap_s: float = 0.0


@message(tag=21)
class Passed:
    hops: int


MESSAGES = Messages(Pass, Passed)


class Passer(Actor):
    @handles(Pass)
    async def hand_on(self, message: Pass) -> Passed:
        await trio.sleep(message.nap_s)
        if not message.to:
            return Passed(0)
        answer = await message.to[0].ask(Pass(message.to[1:], message.nap_s), Passed)
        return Passed(answer.hops + 1)


@pytest.mark.parametrize("places", ["aaa", "aba", "abc", "a", "ab"], ids=lambda places: places)
@virtual_time
async def test_a_circle_is_found_wherever_its_actors_are(places: str) -> None:
    async with many_nodes("abc", MESSAGES) as nodes:
        refs = [await nodes[place][1].start(Passer, name=f"p{i}") for i, place in enumerate(places)]
        first = nodes["c"][0].ref(places[0], "p0")
        with trio.fail_after(1), pytest.raises(AskCycle) as caught:
            await first.ask(Pass((*refs[1:], refs[0])), Passed)
        circle = [f"{place}/p{i}" for i, place in enumerate(places)]
        assert " → ".join([circle[-1], *circle]) in str(caught.value)
        # and everybody is there as before, and lives the same life
        assert Passed(len(refs) - 1) == await first.ask(Pass(tuple(refs[1:])), Passed)


@pytest.mark.parametrize("places", list(itertools.product("ab", repeat=2)), ids="".join)
@virtual_time
async def test_two_questions_that_close_a_circle_between_them_are_found(places: tuple[str, str]) -> None:
    """No single chain of questions holds both actors: each was asked by somebody else."""
    async with many_nodes("ab", MESSAGES) as nodes, trio.open_nursery() as nursery:
        one, two = [await nodes[place][1].start(Passer, name=f"p{i}") for i, place in enumerate(places)]
        node = nodes["a"][0]
        outcomes: list[object] = []

        async def ask(first: Ref, second: Ref) -> None:
            try:
                outcomes.append(await first.bound_to(node).ask(Pass((second.bound_to(node),), 0.1), Passed))
            except AskCycle as error:
                outcomes.append(error)

        with trio.fail_after(2):
            async with trio.open_nursery() as asks:
                asks.start_soon(ask, one, two)
                asks.start_soon(ask, two, one)
        assert any(isinstance(outcome, AskCycle) for outcome in outcomes)
        nursery.cancel_scope.cancel()


@virtual_time
async def test_waiting_for_an_actor_that_waits_for_others_is_no_circle() -> None:
    async with many_nodes("ab", MESSAGES) as nodes:
        a1, a2 = [await nodes["a"][1].start(Passer) for _ in range(2)]
        b1, b2 = [await nodes["b"][1].start(Passer) for _ in range(2)]
        paths = [(a1, b1, b2), (a2, b1), (b2,), (b1, b2), (a2, b2), (a1, a2, b1, b2)]
        async with trio.open_nursery() as nursery:
            for path in paths * 5:
                first = path[0].bound_to(nodes["a"][0])
                nursery.start_soon(first.ask, Pass(path[1:], 0.01), Passed)


@virtual_time
async def test_an_actor_may_ask_itself_in_a_task_of_its_own() -> None:
    class Selfish(Passer):
        def __init__(self) -> None:
            self.heard: list[Passed] = []

        async def started(self) -> None:
            self.context.start_soon(self.ask_myself)

        async def ask_myself(self) -> None:
            self.heard.append(await self.context.ref.ask(Pass(()), Passed))

    async with many_nodes("a", MESSAGES) as nodes:
        actor = Selfish()
        await nodes["a"][1].start(lambda: actor)
        await trio.sleep(0.1)
        assert [Passed(0)] == actor.heard


@virtual_time
async def test_an_actor_that_asks_itself_before_it_has_started_is_told_so() -> None:
    class Eager(Passer):
        async def started(self) -> None:
            await self.context.ref.ask(Pass(()), Passed)

    async with many_nodes("a", MESSAGES) as nodes:
        with trio.fail_after(1), pytest.raises(AskCycle, match="a/eager → a/eager"):
            await nodes["a"][1].start(Eager, name="eager")


@virtual_time
async def test_an_answer_that_crosses_the_probe_is_an_answer() -> None:
    """``a`` asks ``b`` again and again while ``b``'s other handlers ask ``a``'s node: never a circle, whatever the
    moment at which a probe comes by."""
    async with many_nodes("ab", MESSAGES) as nodes, trio.open_nursery() as nursery:
        a1, a2 = [await nodes["a"][1].start(Passer, name=name) for name in ("a1", "a2")]
        b1 = await nodes["b"][1].start(Passer, name="b1")

        async def many(path: tuple[Ref, ...], nap_s: float) -> None:
            for _ in range(50):
                await path[0].bound_to(nodes["a"][0]).ask(Pass(path[1:], nap_s), Passed)

        nursery.start_soon(many, (a1, b1), 0.0007)
        nursery.start_soon(many, (b1, a2), 0.0003)
        nursery.start_soon(many, (a2,), 0.0011)
