"""Actors on one node: messages, mailboxes, asks."""

import pytest
import trio
import trio.testing

from nfactor.actors import (
    Actor,
    ActorTable,
    Messages,
    Ref,
    handles,
    handles_keyed,
    open_node,
)
from nfactor.actors.parking import Answer
from nfactor.errors import ActorDead, CallerError, CodecError, MailboxFull, ProtocolError, RemoteError
from tests.actors.samples import (
    Add,
    Counter,
    Fail,
    Here,
    Nap,
    Refuse,
    Sleeper,
    Total,
    Unknown,
    Urgent,
    Watcher,
    virtual_time,
)
from tests.actors.worlds import one_node


@pytest.mark.parametrize("encode_local", [False, True])
@virtual_time
async def test_told_messages_are_handled_in_order_and_an_ask_returns_the_reply(encode_local: bool) -> None:
    """With and without the codec in between."""
    async with one_node(encode_local=encode_local) as (_, supervisor):
        ref = await supervisor.start(Counter, name="counter")
        ref.tell_nowait(Add(1))
        await ref.tell(Add(2))
        assert Total(6) == await ref.ask(Add(3), Total)


@virtual_time
async def test_a_handler_that_returns_nothing_answers_with_none() -> None:
    """Which is what ``ask`` without a class of reply expects."""
    async with one_node() as (_, supervisor):
        ref = await supervisor.start(Sleeper)
        assert (await ref.ask(Add(1))) is None  # type: ignore[func-returns-value]


@virtual_time
async def test_another_reply_than_expected_is_a_protocol_error() -> None:
    """It names both."""
    async with one_node() as (_, supervisor):
        ref = await supervisor.start(Counter)
        with pytest.raises(ProtocolError, match="Total; expected was Here"):
            await ref.ask(Add(1), Here)
        with pytest.raises(ProtocolError, match="Total; expected was nothing"):
            await ref.ask(Add(1))


@virtual_time
async def test_an_async_actor_handles_one_message_at_a_time_and_holds_up_nobody_else() -> None:
    """Its handler waits; the others go on."""
    async with one_node() as (_, supervisor):
        slow = await supervisor.start(Sleeper)
        quick = await supervisor.start(Counter)
        slow.tell_nowait(Nap(1))
        assert Total(1) == await quick.ask(Add(1), Total)
        assert 0 == trio.current_time()
        assert Total(2) == await slow.ask(Nap(1), Total)
        assert 2 == trio.current_time()


@virtual_time
async def test_the_system_lane_goes_first() -> None:
    """In a mailbox that holds both."""
    actors: list[Sleeper] = []

    def make() -> Sleeper:
        actors.append(Sleeper())
        return actors[-1]

    async with one_node() as (_, supervisor):
        ref = await supervisor.start(make)
        for message in (Nap(1), Add(1), Urgent(1), Add(2), Urgent(2)):
            ref.tell_nowait(message)
        await ref.ask(Nap(0), Total)
    assert [Urgent(1), Urgent(2), Nap(1), Add(1), Add(2), Nap(0)] == actors[0].seen


@virtual_time
async def test_a_full_mailbox_refuses_and_counts() -> None:
    """``tell_nowait`` and ``ask`` raise at once."""
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Sleeper, name="full", mailbox_size_max=2)
        await ref.tell(Nap(1))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            ref.tell_nowait(Add(1))
        with pytest.raises(MailboxFull, match="here/full"):
            ref.tell_nowait(Add(1))
        with pytest.raises(MailboxFull):
            await ref.ask(Add(1))
        mailbox = node.statistics().mailboxes["full"]
        assert (3, 1, 2, 2) == (mailbox.received, mailbox.handled, mailbox.refused, mailbox.queued)


@virtual_time
async def test_tell_waits_for_room_in_order_and_nothing_overtakes() -> None:
    """A message sent later without waiting is refused while others stand in line."""
    actor = Sleeper()
    async with one_node() as (node, supervisor), trio.open_nursery() as nursery:
        ref = await supervisor.start(lambda: actor, name="busy", mailbox_size_max=1)
        await ref.tell(Nap(1))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Add(0))
        for number in range(1, 4):
            nursery.start_soon(ref.tell, Add(number))
            await trio.testing.wait_all_tasks_blocked()
        assert 3 == node.statistics().mailboxes["busy"].senders_waiting
        with pytest.raises(MailboxFull):
            ref.tell_nowait(Add(9))
        await trio.sleep(2)
        assert [Nap(1), Add(0), Add(1), Add(2), Add(3)] == actor.seen


@virtual_time
async def test_a_cancelled_tell_was_not_sent() -> None:
    """It takes its message out of the line."""
    actor = Sleeper()
    async with one_node() as (_, supervisor):
        ref = await supervisor.start(lambda: actor, mailbox_size_max=1)
        await ref.tell(Nap(5))
        await trio.testing.wait_all_tasks_blocked()
        await ref.tell(Add(1))
        with trio.move_on_after(1) as scope:
            await ref.tell(Add(2))
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert [Nap(5), Add(1)] == actor.seen


@virtual_time
async def test_a_cancelled_ask_leaves_a_late_reply_that_is_dropped_and_counted() -> None:
    """The time-out is trio's."""
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Sleeper)
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await ref.ask(Nap(2), Total)
        assert Total(2) == await ref.ask(Nap(2), Total)
        quick = await supervisor.start(Counter)
        with trio.CancelScope() as scope:
            scope.cancel()
            await quick.ask(Add(1), Total)
        assert Total(1) == await quick.ask(Add(1), Total), "who is cancelled asks nothing"
        assert 1 == node.statistics().late_replies


@virtual_time
async def test_a_question_whose_asker_is_gone_is_taken_back_if_nobody_has_begun_with_it() -> None:
    async with one_node() as (node, supervisor):
        actor = Sleeper()
        ref = await supervisor.start(lambda: actor, name="sleeper", mailbox_size_max=2)
        ref.tell_nowait(Nap(5))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await ref.ask(Nap(6), Total)
        with pytest.raises(trio.TooSlowError, match="has not answered within 1 s"):
            await ref.ask(Nap(7), Total, within_s=1)
        async with trio.open_nursery() as nursery:
            ref.tell_nowait(Add(1))
            nursery.start_soon(ref.ask, Nap(1), Total)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ref.tell, Add(2))  # which waits for the room that the question takes up
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.deadline = trio.current_time() + 1
            await trio.sleep_forever()
        await trio.sleep(10)
        assert [Nap(5), Add(1)] == actor.seen
        mailbox = node.statistics().mailboxes["sleeper"]
        assert (0, 3, 0) == (mailbox.queued, mailbox.withdrawn, node.statistics().late_replies)


@virtual_time
async def test_a_time_out_in_time_costs_nothing_and_a_late_reply_is_counted() -> None:
    async with one_node() as (node, supervisor):
        ref = await supervisor.start(Sleeper)
        assert Total(1) == await ref.ask(Nap(1), Total, within_s=2)
        with pytest.raises(trio.TooSlowError):
            await ref.ask(Nap(2), Total, within_s=1)
        await trio.sleep(5)
        assert 1 == node.statistics().late_replies


@virtual_time
async def test_an_answer_that_is_there_already_is_a_checkpoint() -> None:
    """Given once; a second one is late."""
    answer = Answer()
    assert answer.reply(1)
    assert not answer.fail(ValueError())
    with trio.testing.assert_checkpoints():
        await answer.wait()
        assert answer.take() == 1


@virtual_time
async def test_telling_nobody_is_a_dead_letter_and_asking_nobody_raises() -> None:
    """A ref promises nothing about its actor."""
    watcher = Watcher()
    async with one_node(instruments=[watcher]) as (node, _):
        ref = node.ref("here", "nobody")
        ref.tell_nowait(Add(1))
        await ref.tell(Add(2))
        with pytest.raises(ActorDead, match="nobody"):
            await ref.ask(Add(3))
        assert {"no-actor": 2} == node.statistics().dead_letters
        assert [("no-actor", "nobody", Add(1)), ("no-actor", "nobody", Add(2))] == [
            (letter.reason, letter.actor, letter.message) for letter in watcher.letters
        ]


@virtual_time
async def test_a_message_without_a_handler_is_a_dead_letter_or_a_remote_error() -> None:
    """The actor is none the worse."""
    async with one_node() as (node, supervisor):
        for actor in (Counter, Sleeper):
            ref = await supervisor.start(actor)
            ref.tell_nowait(Unknown())
            with pytest.raises(RemoteError, match="UnhandledMessage") as caught:
                await ref.ask(Unknown())
            assert "UnhandledMessage" == caught.value.kind
        assert {"unhandled": 2} == node.statistics().dead_letters


@virtual_time
async def test_the_asker_learns_what_the_handler_raised() -> None:
    """By the name of the exception and its text; the actor has failed and was restarted."""
    watcher = Watcher()
    async with one_node(instruments=[watcher]) as (_, supervisor):
        for actor in (Counter, Sleeper):
            ref = await supervisor.start(actor, name=actor.__name__)
            with pytest.raises(RemoteError, match="ValueError: broken") as caught:
                await ref.ask(Fail("broken"))
            assert ("ValueError", "broken") == (caught.value.kind, caught.value.text)
            await trio.testing.wait_all_tasks_blocked()
        assert [("Counter", "ValueError('broken')"), ("Sleeper", "ValueError('broken')")] == watcher.failures
        assert ["Counter", "Sleeper"] == watcher.restarts


@virtual_time
async def test_a_handler_refuses_an_ask_with_remote_error_and_lives_on() -> None:
    """After a tell the same is a failure, as nobody would hear of it."""
    watcher = Watcher()
    async with one_node(instruments=[watcher]) as (_, supervisor):
        ref = await supervisor.start(Counter, name="counter")
        ref.tell_nowait(Add(1))
        with pytest.raises(RemoteError, match="refused: not now"):
            await ref.ask(Refuse("not now"))
        assert Total(2) == await ref.ask(Add(1), Total)
        ref.tell_nowait(Refuse("unheard"))
        assert Total(1) == await ref.ask(Add(1), Total)
        assert ["counter"] == watcher.restarts


@virtual_time
async def test_a_reply_that_cannot_be_encoded_is_the_handlers_failure() -> None:
    """In the test mode this shows on one node already."""

    class Wrong(Actor):
        @handles(Add)
        def add(self, message: Add) -> object:
            return object()

    async with one_node(encode_local=True) as (_, supervisor):
        ref = await supervisor.start(Wrong)
        with pytest.raises(RemoteError, match="CodecError"):
            await ref.ask(Add(1), Total)
        with pytest.raises(CodecError):
            ref.tell_nowait(Add("1"))  # type: ignore[arg-type]
        with pytest.raises(CodecError):
            await ref.tell(object())


@virtual_time
async def test_an_async_actor_with_a_long_queue_lets_others_run() -> None:
    """Its handlers need not wait for anything."""

    class Eager(Actor):
        @handles(Add)
        async def add(self, message: Add) -> Total:
            return Total(message.number)

    async with one_node() as (_, supervisor):
        ref = await supervisor.start(Eager)
        for number in range(200):
            ref.tell_nowait(Add(number))
        await trio.lowlevel.checkpoint()
        assert Total(1) == await ref.ask(Add(1), Total)


@virtual_time
async def test_many_messages_do_not_keep_other_tasks_from_running() -> None:
    """Two actors that tell each other for ever, and a clock that still goes on."""

    class Pong(Actor):
        def __init__(self, other: list[Ref]) -> None:
            self.other = other

        @handles(Add)
        def add(self, message: Add) -> None:
            self.other[0].tell_nowait(message)

    class Restless(Pong):
        @handles(Urgent)
        async def urgent(self, message: Urgent) -> None: ...

    async with one_node() as (_, supervisor):
        for actor in (Pong, Restless):
            refs: list[Ref] = []
            refs.append(await supervisor.start(lambda actor=actor, refs=refs: actor(refs)))  # type: ignore[misc]
            refs[0].tell_nowait(Add(1))
            for _ in range(5):
                await trio.lowlevel.checkpoint()


@virtual_time
async def test_a_subclass_overrides_a_handler() -> None:
    """With or without marking it again."""

    class Double(Counter):
        def add(self, message: Add) -> Total:
            self.total += 2 * message.number
            return Total(self.total)

    async with one_node() as (_, supervisor):
        ref = await supervisor.start(Double)
        assert Total(6) == await ref.ask(Add(3), Total)


def test_refs_are_values() -> None:
    """Comparable, hashable, ordered, and bound to who uses them."""
    ref = Ref("node", "actor")
    assert ref == Ref("node", "actor")
    assert ref != ref.at(b"")
    assert ref != "node/actor"
    assert 2 == len({ref: 1, Ref("node", "actor"): 2, ref.at(b"k"): 3})
    assert [ref, ref.at(b""), ref.at(b"k"), Ref("other", "a")] == sorted(
        [Ref("other", "a"), ref.at(b"k"), ref.at(b""), ref]
    )
    assert "<Ref node/actor[6b]>" == repr(ref.at(b"k"))
    with pytest.raises(CallerError, match="bound to no node"):
        ref.tell_nowait(Add(1))


def test_handlers_are_checked_when_the_class_is_made() -> None:
    """Not when the first message comes."""
    with pytest.raises(CallerError, match="no message class"):
        handles(int)(lambda self, message: None)
    with pytest.raises(CallerError, match="two handlers for Add"):

        class Twice(Actor):
            @handles(Add)
            def one(self, message: Add) -> None: ...
            @handles(Add)
            def two(self, message: Add) -> None: ...

    with pytest.raises(CallerError, match="plain functions"):

        class Waiting(ActorTable[int]):
            @handles_keyed(Add)
            async def add(self, key: bytes, message: Add) -> None: ...


@pytest.mark.parametrize("start", [0, -1])
@virtual_time
async def test_a_mailbox_needs_room(start: int) -> None:
    """For one message at least."""
    async with one_node() as (_, supervisor):
        with pytest.raises(CallerError, match="mailbox_size_max"):
            await supervisor.start(Counter, mailbox_size_max=start)


@virtual_time
async def test_messages_of_several_parts_of_a_program_go_together() -> None:
    """A node's codec is a value; nothing is global."""
    async with open_node("a", None, Messages(Add), encode_local=True) as node:
        node.ref("a", "x").tell_nowait(Add(1))
        with pytest.raises(CodecError):
            node.ref("a", "x").tell_nowait(Total(1))
