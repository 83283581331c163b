"""Actors on two nodes: the same promises as on one."""

import math

import attrs
import pytest
import trio
import trio.testing

from nfactor.actors import Actor, LinkLimits, Messages, Ref, handles, open_node, open_supervisor
from nfactor.actors.link import Link
from nfactor.errors import ActorDead, CallerError, MailboxFull, ProtocolError, RemoteError
from tests.actors.network import Faults, Network
from tests.actors.samples import (
    MESSAGES,
    Add,
    Counter,
    Fail,
    Here,
    Nap,
    Refuse,
    Sleeper,
    Stop,
    Total,
    Unknown,
    Urgent,
    Who,
    virtual_time,
)
from tests.actors.worlds import peer, two_nodes


@virtual_time
async def test_tell_and_ask_reach_an_actor_elsewhere() -> None:
    """In order."""
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        ref = world.a.ref("b", "counter")
        ref.tell_nowait(Add(1))
        await ref.tell(Add(2))
        assert Total(6) == await ref.ask(Add(3), Total)
        assert {} == world.a.statistics().dead_letters


@virtual_time
async def test_what_one_pass_sends_travels_together() -> None:
    """A hundred messages are not a hundred datagrams."""
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        ref = world.a.ref("b", "counter")
        await ref.ask(Add(0), Total)
        before = world.network.datagrams
        for _ in range(100):
            ref.tell_nowait(Add(1))
        assert Total(100) == await ref.ask(Add(0), Total)
        await trio.sleep(0.1)
        assert world.network.datagrams - before <= 6


HEADER_OCTETS_MAX = 25
"""What a message by itself may cost on the wire, besides the name of the actor and its own octets."""


@virtual_time
async def test_a_message_by_itself_costs_25_octets_of_header() -> None:
    """A tell, a question, and its reply, each alone in its datagram, once the session is open; a hundred messages
    together cost 6 octets each."""
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        ref, sizes, name = world.a.ref("b", "counter"), world.network.sizes, len("counter")
        await ref.ask(Add(0), Total)
        await trio.sleep(1)

        def costs(before: int) -> int:
            return max(sizes[before:]) - len(MESSAGES.encode(Add(1)))

        before = len(sizes)
        await ref.tell(Add(1))
        await trio.sleep(1)
        assert costs(before) - name <= HEADER_OCTETS_MAX
        before = len(sizes)
        await ref.ask(Add(1), Total)
        assert costs(before) - name <= HEADER_OCTETS_MAX + 1  # its number
        assert sizes[-1] - len(MESSAGES.encode(Total(1))) <= HEADER_OCTETS_MAX
        before = len(sizes)
        for _ in range(100):
            await ref.tell(Add(1))
        await trio.sleep(1)
        assert (sum(sizes[before:]) / 100) - name - len(MESSAGES.encode(Add(1))) <= 6


@virtual_time
async def test_a_ref_in_a_message_is_bound_where_it_arrives() -> None:
    """So an actor can be handed on, and asked by whoever was told."""
    async with two_nodes() as world, open_supervisor(world.a) as local:
        home = await local.start(Counter, name="home")
        await world.supervisor.start(Counter, name="counter")
        got = await world.a.ref("b", "counter").ask(Who(), Here)
        assert world.a.ref("b", "counter") == got.ref
        assert Total(1) == await got.ref.ask(Add(1), Total)

        class Caller(Actor):
            @handles(Here)
            async def call(self, message: Here) -> Total:
                return await message.ref.ask(Add(5), Total)

        await world.supervisor.start(Caller, name="caller")
        assert Total(5) == await world.a.ref("b", "caller").ask(Here(home), Total)
        assert Total(6) == await home.ask(Add(1), Total)
        assert home == home.bound_to(world.b)
        assert Total(7) == await home.bound_to(world.b).ask(Add(1), Total)


@virtual_time
async def test_an_ask_raises_what_went_wrong_at_the_other_end() -> None:
    """Each in its own class."""
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        ref = world.a.ref("b", "counter")
        with pytest.raises(RemoteError, match="ValueError: broken"):
            await ref.ask(Fail("broken"))
        with pytest.raises(RemoteError, match="refused: no"):
            await ref.ask(Refuse("no"))
        with pytest.raises(RemoteError, match="UnhandledMessage"):
            await ref.ask(Unknown())
        with pytest.raises(ActorDead, match="nobody"):
            await world.a.ref("b", "nobody").ask(Add(1), Total)
        with pytest.raises(ProtocolError, match="expected was Here"):
            await ref.ask(Add(1), Here)


@virtual_time
async def test_the_asker_is_told_when_the_actor_stops_first() -> None:
    """In the handler, or before it."""
    async with two_nodes() as world, trio.open_nursery() as nursery:
        sleeper = await world.supervisor.start(Sleeper, name="sleeper")
        for _ in range(2):

            @nursery.start_soon
            async def ask() -> None:
                with pytest.raises(ActorDead):
                    await world.a.ref("b", "sleeper").ask(Nap(math.inf), Total)

        await trio.sleep(0.1)
        await world.supervisor.stop(sleeper)


@virtual_time
async def test_a_full_mailbox_elsewhere_bounces_and_does_not_stall_the_lane() -> None:
    """An ask raises, a tell is a dead letter at the sender, and other actors still get their messages."""
    async with two_nodes() as world:
        await world.supervisor.start(Sleeper, name="full", mailbox_size_max=1)
        await world.supervisor.start(Counter, name="free")
        full, free = world.a.ref("b", "full"), world.a.ref("b", "free")
        await full.tell(Nap(60))
        await trio.sleep(0.1)
        for _ in range(3):
            await full.tell(Add(1))
        with pytest.raises(MailboxFull):
            await full.ask(Add(1))
        assert Total(1) == await free.ask(Add(1), Total)
        assert {"bounced": 2} == world.a.statistics().dead_letters
        assert ("bounced", "b", "full") == attrs.astuple(world.watcher.letters[0])[:3]


@virtual_time
async def test_a_tell_to_nobody_elsewhere_is_a_dead_letter_here() -> None:
    """Only the sender can do something about it."""
    async with two_nodes() as world:
        await world.a.ref("b", "nobody").tell(Add(1))
        await trio.sleep(0.1)
        assert {"no-remote-actor": 1} == world.a.statistics().dead_letters
        assert {} == world.b.statistics().dead_letters


@virtual_time
async def test_a_full_link_makes_tell_wait_and_refuses_the_rest() -> None:
    """Nobody overtakes those who wait; a cancelled one takes its message back."""
    limits = LinkLimits(give_up_s=60.0, in_flight_max=1, queue_max=1)
    async with two_nodes(limits=limits) as world, trio.open_nursery() as nursery:
        actor = Sleeper()
        await world.supervisor.start(lambda: actor, name="sleeper")
        ref = world.a.ref("b", "sleeper")
        world.network.cut["b"] = None
        ref.tell_nowait(Add(0))
        await trio.testing.wait_all_tasks_blocked()
        ref.tell_nowait(Add(1))
        with pytest.raises(MailboxFull, match="user lane to b"):
            ref.tell_nowait(Add(9))
        with pytest.raises(MailboxFull):
            await ref.ask(Add(9))
        nursery.start_soon(ref.tell, Add(2))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await ref.tell(Add(9))
        assert scope.cancelled_caught
        nursery.start_soon(ref.tell, Add(3))
        await trio.testing.wait_all_tasks_blocked()
        assert 2 == peer(world.a, "b").senders_waiting
        world.network.cut.clear()
        await trio.sleep(5)
        assert [Add(number) for number in range(4)] == actor.seen


@virtual_time
async def test_a_transport_that_raises_leaves_no_question_under_way() -> None:
    """Its address book may be wrong; who asks is told, and nothing else is."""
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        counter = world.a.ref("b", "counter")
        await counter.ask(Add(1), Total)

        def refuse(*_: object) -> bool:
            raise CallerError("tcp://: cannot be connected to")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.network.transports["a"], "send", refuse)
            with pytest.raises(CallerError, match="cannot be connected to"):
                await counter.ask(Add(1), Total)
        assert peer(world.a, "b").asks_waiting == 0
        assert not world.a.peers["b"].user.link.expects_answer, "or it would probe for ever"
        assert await counter.ask(Add(1), Total) in (Total(2), Total(3))


@virtual_time
async def test_questions_under_way_are_bounded() -> None:
    """So that answers are."""
    async with two_nodes(asks_max=1) as world, trio.open_nursery() as nursery:
        await world.supervisor.start(Sleeper, name="sleeper")
        ref = world.a.ref("b", "sleeper")
        nursery.start_soon(ref.ask, Nap(1), Total)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(MailboxFull):
            await ref.ask(Nap(1), Total)


@virtual_time
async def test_the_system_lane_does_not_queue_behind_the_user_lane() -> None:
    """Not in the mailbox, and not on the link."""
    limits = LinkLimits(in_flight_max=1)
    async with two_nodes(limits=limits) as world:
        actor = Sleeper()
        await world.supervisor.start(lambda: actor, name="sleeper")
        ref = world.a.ref("b", "sleeper")
        await ref.ask(Add(0))
        for number in range(1, 500):
            ref.tell_nowait(Add(2**40 + number))  # nine octets each: four datagrams, one after the other
        await ref.ask(Urgent(1))
        assert len(actor.seen) < 300
        assert "open" == peer(world.a, "b").system.link.state


@virtual_time
async def test_a_cancelled_ask_leaves_nothing_behind() -> None:
    """At neither end: the question is taken back, or its reply dropped there and counted."""
    async with two_nodes() as world:
        await world.supervisor.start(Sleeper, name="sleeper")
        ref = world.a.ref("b", "sleeper")
        for message, patience_s in ((Nap(1), 0.1), (Nap(2), 0.0001)):
            with trio.move_on_after(patience_s):
                await ref.ask(message, Total)
        with pytest.raises(trio.TooSlowError):
            await ref.ask(Nap(3), Total, within_s=0.0001)
        assert 0 == peer(world.a, "b").asks_waiting
        await trio.sleep(0.1)
        assert (0, 2) == (world.b.statistics().mailboxes["sleeper"].queued, peer(world.b, "a").questions_withdrawn)
        await trio.sleep(2)
        assert (0, 1) == (peer(world.b, "a").questions_open, world.b.statistics().late_replies)
        assert 0 == peer(world.a, "b").late_replies


@virtual_time
async def test_a_bounce_that_finds_no_room_is_a_dead_letter_where_it_bounced() -> None:
    """Nothing is lost without a count."""
    async with two_nodes(limits=LinkLimits(queue_max=1)) as world:
        ref = world.a.ref("b", "nobody")
        await ref.tell(Add(0))
        await trio.sleep(1)
        for number in range(1, 4):
            await ref.tell(Add(number))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert {"no-remote-actor": 2} == world.a.statistics().dead_letters
        assert {"no-remote-actor": 2} == world.b.statistics().dead_letters
        for _ in range(LinkLimits().credit_max):  # and the credit was given back all the same
            await ref.tell(Add(0))
            await trio.sleep(0.01)


@virtual_time
async def test_a_node_and_its_transport_have_one_name() -> None:
    """Or nobody's refs would find it."""
    with pytest.raises(CallerError, match="same name"):
        async with open_node("a", Network().transport("b"), MESSAGES):
            pass


@virtual_time
async def test_nodes_with_different_messages_say_so() -> None:
    """The asker gets an error; a tell is counted; the nodes live on."""
    network = Network()
    async with (
        open_node("a", network.transport("a"), MESSAGES) as a,
        open_node("b", network.transport("b"), Messages(Add, Stop, Nap, Here)) as b,
        open_supervisor(b) as supervisor,
    ):

        class Odd(Actor):
            @handles(Stop)
            def stop(self, message: Stop) -> object:
                return Total(1)

            @handles(Nap)
            def nap(self, message: Nap) -> None: ...

        await supervisor.start(Odd, name="odd")
        ref = a.ref("b", "odd")
        with pytest.raises(RemoteError, match=r"ProtocolError.*unknown tag 2"):
            await ref.ask(Total(1))
        await ref.tell(Total(1))
        with pytest.raises(RemoteError, match=r"CodecError.*Total is not among"):
            await ref.ask(Stop(), Total)
        assert (await ref.ask(Nap(0))) is None  # type: ignore[func-returns-value]
        assert 2 == peer(b, "a").undecodable


@virtual_time
async def test_a_reply_that_the_asker_does_not_know_is_a_protocol_error() -> None:
    """It is an answer nevertheless."""
    network = Network()
    async with (
        open_node("a", network.transport("a"), Messages(Add)) as a,
        open_node("b", network.transport("b"), MESSAGES) as b,
        open_supervisor(b) as supervisor,
    ):
        await supervisor.start(Counter, name="counter")
        with pytest.raises(ProtocolError, match="unknown tag 2"):
            await a.ref("b", "counter").ask(Add(1), Total)
        assert 1 == peer(a, "b").undecodable


ENVELOPES: list[list[object]] = [[], [9], ["0"], [0, "counter", None], [0, "counter", "key", []], [3, 1, "kind", None]]


@pytest.mark.parametrize("envelope", ENVELOPES)
@virtual_time
async def test_envelopes_that_are_none_are_counted(envelope: list[object]) -> None:
    """And nothing else happens."""
    network = Network()
    transport = network.transport("x")
    async with open_node("b", network.transport("b"), MESSAGES) as b:
        link = Link(1, 1400, lane=1)
        link.send(MESSAGES.pack(envelope), trio.current_time())
        for _ in range(5):
            for datagram in link.poll(trio.current_time()):
                transport.send("b", datagram)
            await trio.sleep(0.1)
            while (arrived := transport.receive()) is not None:
                link.receive(arrived[1], trio.current_time())
        assert link.idle
        assert 1 == peer(b, "x").undecodable
        transport.send("b", b"no frame")
        transport.send("b", b"")
        await trio.sleep(0.1)
        counts = peer(b, "x").system.link
        assert 2 == counts.malformed + counts.corrupt


@virtual_time
async def test_more_datagrams_than_one_turn_takes() -> None:
    """Others run in between."""
    async with two_nodes(Network(faults=Faults(delay_s=0.0)), LinkLimits(in_flight_max=4000)) as world:
        await world.supervisor.start(Counter, name="counter", mailbox_size_max=10_000)
        ref = world.a.ref("b", "counter")
        large = Here(Ref("x" * 1200, "nobody handles it"))
        for _ in range(500):
            ref.tell_nowait(large)
        assert Total(1) == await ref.ask(Add(1), Total)
        assert {"unhandled": 500} == world.b.statistics().dead_letters
