"""Runs of questions and answers: who asks while others wait gets the same answer or error as one who asks alone."""

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings, strategies as st

from nfactor.actors import Actor, LinkLimits, Messages, handles, message
from nfactor.actors.envelope import ASK_RUN, REPLY_RUN, checked
from nfactor.errors import ActorDead, CodecError, MailboxFull, NfactorError, PeerDown, ProtocolError, RemoteError
from tests.actors.network import Network
from tests.actors.samples import Looker, virtual_time
from tests.actors.worlds import World, peer, two_nodes


@message(tag=21)
class Double:
    """May travel in a run."""

    number: int


@message(tag=22)
class Doubled:
    """And so may its answer."""

    number: int


@message(tag=23)
class Spell:
    """May not: a list can be changed."""

    letters: list[str]


@message(tag=24)
class Spelt:
    """Nor may this."""

    words: list[str]


@message(tag=25)
class Slow:
    """Answered when some time has passed."""

    number: int


@message(tag=26)
class Product:
    """Of two values in a run."""

    left: int
    right: int


MESSAGES = Messages(Double, Doubled, Spell, Spelt, Slow, Product)


class Reckoner(Actor):
    """Answers in several ways."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @handles(Double)
    def double(self, message: Double) -> Doubled | None:
        self.seen.append(message)
        if message.number == 13:
            raise RemoteError("Superstition", "not that one")
        return None if message.number == 0 else Doubled(2 * message.number)

    @handles(Product)
    def product(self, message: Product) -> Doubled:
        self.seen.append(message)
        return Doubled(message.left * message.right)

    @handles(Spell)
    def spell(self, message: Spell) -> Spelt:
        self.seen.append(message)
        return Spelt(["".join(message.letters)])


class Sleeper(Actor):
    """Takes its time."""

    @handles(Slow)
    async def slow(self, message: Slow) -> Doubled | None:
        await trio.sleep(0.1)
        return None if message.number == 0 else Doubled(2 * message.number)


async def all_answers(world: World, questions: list[Any], to: str = "actor") -> list[object]:
    """What they were answered with, each asked by a task of its own: messages, None, and errors."""
    answers: list[object] = [()] * len(questions)

    async def ask(place: int, question: Any) -> None:
        try:
            ref: Any = world.a.ref("b", to)
            kind = Spelt if isinstance(question, Spell) else None if question == Double(0) else Doubled
            answers[place] = await ref.ask(question, kind)
        except NfactorError as error:
            answers[place] = type(error).__name__, str(error)

    async with trio.open_nursery() as nursery:
        for place, question in enumerate(questions):
            nursery.start_soon(ask, place, question)
    return answers


def expected_answer(question: Any) -> object:
    """What each of them is answered with by itself."""
    if isinstance(question, Spell):
        return Spelt(["".join(question.letters)])
    if question.number == 13:
        return "RemoteError", "Superstition: not that one"
    return None if question.number == 0 else Doubled(2 * question.number)


questions = st.one_of(st.integers(0, 14).map(Double), st.just(Double(2**40)), st.just(Spell(["a", "b"])))


@given(st.lists(questions, min_size=1, max_size=80), st.sampled_from([150, 1400]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_each_asker_gets_its_own_answer(asked: list[Any], mtu: int, is_watched: bool) -> None:
    """Whatever others ask meanwhile, however small the datagrams are, and whether or not somebody looks on there."""

    async def main() -> None:
        network = Network()
        async with two_nodes(network, messages=MESSAGES, mtu=mtu) as world:
            if is_watched:
                world.b.add_instrument(Looker())
            reckoner = Reckoner()
            await world.supervisor.start(lambda: reckoner, name="actor")
            assert [expected_answer(question) for question in asked] == await all_answers(world, asked)
            assert sorted(map(repr, asked)) == sorted(map(repr, reckoner.seen))
            assert max(network.sizes, default=0) <= mtu
            there = peer(world.b, "a")
            assert (0, len(asked)) == (there.questions_open, there.user.received)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@virtual_time
async def test_questions_and_answers_cost_little_more_than_their_values() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Reckoner, name="actor")
        await all_answers(world, [Double(1)])
        await trio.sleep(1)
        before = len(world.network.sizes)
        await all_answers(world, [Double(1)] * 81)
        await trio.sleep(1)
        # One octet for the value and up to two for the number, both ways; the first question goes by itself.
        assert sum(world.network.sizes[before:]) <= 2 * 80 * 3 + 10 * 60


@virtual_time
async def test_who_looks_on_sees_the_questions_of_a_run_one_by_one() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        looker, reckoner = Looker(), Reckoner()
        world.b.add_instrument(looker)
        await world.supervisor.start(lambda: reckoner, name="actor")
        await all_answers(world, [Double(number) for number in range(1, 10)])
        assert 9 == len(looker.messages)
        assert reckoner.seen == looker.messages


@virtual_time
async def test_what_a_run_cannot_hold_is_an_error_of_its_asker_alone() -> None:
    """A question that msgpack cannot hold, where it is asked; an answer that it cannot hold, at both ends."""
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Reckoner, name="actor")
        answers = await all_answers(world, [Double(1), Double(2**64), Double(2), Double(2**63), Double(3)])
        errors = [answer[0] for answer in answers if type(answer) is tuple]
        assert [Doubled(2), Doubled(4)] == [answers[0], answers[2]]
        assert [CodecError.__name__, RemoteError.__name__] == errors[:2]


@virtual_time
async def test_an_actor_that_is_not_idle_has_its_questions_put_aside() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Sleeper, name="actor", mailbox_size_max=4)
        answers = await all_answers(world, [Slow(number) for number in range(1, 9)])
        refused = [answer for answer in answers if type(answer) is tuple]
        assert {MailboxFull.__name__} == {kind for kind, _ in refused}
        assert refused
        assert 8 - len(refused) == sum(isinstance(answer, Doubled) for answer in answers)


@virtual_time
async def test_questions_to_nobody_are_answered_so() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        answers: list[Any] = await all_answers(world, [Double(1)] * 5, to="nobody")
        assert [ActorDead.__name__] * 5 == [kind for kind, _ in answers]


@virtual_time
async def test_a_session_that_ends_leaves_each_question_in_doubt() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Reckoner, name="actor")
        await all_answers(world, [Double(1)])
        await trio.sleep(1)
        world.network.cut["b"] = None
        answers: list[Any] = await all_answers(world, [Double(1)] * 5)
        assert [PeerDown.__name__] * 5 == [kind for kind, _ in answers]
        assert [("b", "user", "silent", 5)] == world.watcher.downs


@virtual_time
async def test_a_question_of_a_run_is_taken_back_by_itself() -> None:
    """It is there, and was not begun with."""
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Sleeper, name="actor")
        late: list[object] = []

        async def ask(number: int, seconds: float) -> None:
            with trio.move_on_after(seconds):
                late.append(await world.a.ref("b", "actor").ask(Slow(number), Doubled))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 1, 5)
            await trio.sleep(0.01)
            for number, seconds in ((2, 5), (3, 0.05), (4, 5)):
                nursery.start_soon(ask, number, seconds)
        await trio.sleep(1)
        assert [2, 4, 8] == sorted(one.number for one in late if isinstance(one, Doubled))
        there = peer(world.b, "a")
        assert (0, 1) == (there.questions_open, there.questions_withdrawn)


@pytest.mark.parametrize("count", [3, 24, 25, 70, 400])
@virtual_time
async def test_a_question_that_is_cancelled_before_it_can_leave_never_does(count: int) -> None:
    """However many others ask at the same time, and whichever of them makes the run be sent."""
    async with two_nodes(messages=MESSAGES, asks_max=1000) as world:
        reckoner, answers = Reckoner(), dict[int, int]()
        await world.supervisor.start(lambda: reckoner, name="actor")

        async def ask(number: int) -> None:
            with trio.CancelScope() as scope:
                if number % 3 == 1:
                    scope.cancel()
                answers[number] = (await world.a.ref("b", "actor").ask(Product(number, 7), Doubled)).number

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(ask, number)
        expected = [number for number in range(count) if number % 3 != 1]
        assert answers == {number: 7 * number for number in expected}
        assert sorted(map(repr, reckoner.seen)) == sorted(repr(Product(number, 7)) for number in expected * 3)
        here, there = peer(world.a, "b"), peer(world.b, "a")
        assert (here.asks_waiting, here.user.queued, there.questions_open, there.questions_withdrawn) == (0, 0, 0, 0)
        assert not world.a.peers["b"].user.out._held_back


@virtual_time
async def test_a_run_of_which_every_question_is_cancelled_is_not_sent() -> None:
    network = Network()
    async with two_nodes(network, messages=MESSAGES) as world:
        await world.supervisor.start(Sleeper, name="actor")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.a.ref("b", "actor").ask, Slow(1), Doubled)
            await trio.sleep(0.05)
            before = network.datagrams
            for _ in range(5):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await world.a.ref("b", "actor").ask(Slow(2), Doubled)
            await trio.sleep(0.01)
            assert network.datagrams == before
        assert peer(world.b, "a").user.received == 1


@pytest.mark.parametrize("number", [0, 1])
@virtual_time
async def test_the_answer_to_a_question_that_was_taken_back_does_not_travel(number: int) -> None:
    """It was begun with, and others were not answered yet."""
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Sleeper, name="actor")
        with trio.move_on_after(0.05):
            await all_answers(world, [Slow(number), Slow(number)])
        await trio.sleep(1)
        here, there = peer(world.a, "b"), peer(world.b, "a")
        assert (0, 0) == (here.late_replies, there.questions_open)
        assert 1 == world.b.statistics().late_replies


@virtual_time
async def test_the_bound_of_questions_counts_those_of_runs() -> None:
    async with two_nodes(messages=MESSAGES, asks_max=5) as world:
        await world.supervisor.start(Reckoner, name="actor")
        answers = await all_answers(world, [Double(1)] * 8)
        assert 5 == answers.count(Doubled(2))
        assert 3 == sum(type(answer) is tuple and answer[0] == MailboxFull.__name__ for answer in answers)


@virtual_time
async def test_a_datagram_too_short_for_a_run_has_envelopes() -> None:
    """The actor's name leaves no room for what a run might come to."""
    name = "a" * 20
    async with two_nodes(messages=MESSAGES, mtu=120, limits=LinkLimits(give_up_s=1.0)) as world:
        await world.supervisor.start(Reckoner, name=name)
        assert [Doubled(2)] * 5 == await all_answers(world, [Double(1)] * 5, to=name)


@pytest.mark.parametrize(
    "array",
    [
        [ASK_RUN, "actor", 21, [1, True], [1, 2]],
        [ASK_RUN, "actor", 21, [1], [1, 2]],
        [ASK_RUN, "actor", 99, [1], [1]],
        [REPLY_RUN, 22, ["1"], [1]],
        [REPLY_RUN, 22, [1, 2], [1]],
        [REPLY_RUN, 99, [1], [1]],
    ],
)
def test_a_run_that_is_none_is_a_protocol_error(array: list[Any]) -> None:
    with pytest.raises(ProtocolError, match="run"):
        MESSAGES.singly(checked(array))


@virtual_time
async def test_what_a_peer_says_in_runs_is_counted_if_it_is_wrong() -> None:
    """An answer that nobody waits for is late, in a run as by itself; what is no run is undecodable."""
    async with two_nodes(messages=MESSAGES) as world:
        await world.supervisor.start(Reckoner, name="actor")
        await all_answers(world, [Double(1)])
        lane = world.b.peer("a").user
        lane.put([REPLY_RUN, 22, [98, 99], [1, 2]])
        lane.put([REPLY_RUN, 22, [98, 99], [1]])
        lane.put([REPLY_RUN, 22, [98], ["no int"]])
        lane.put([ASK_RUN, "actor", 21, [98], []])
        await trio.sleep(1)
        here = peer(world.a, "b")
        assert (3, 2) == (here.late_replies, here.undecodable)
