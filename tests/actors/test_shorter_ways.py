"""What most messages take a shorter way for is what the longer way would give."""

import pytest
import trio

from nfactor.actors import Link, LinkLimits
from nfactor.errors import ActorDead
from tests.actors.links import LIMITS, exchange, open_pair
from tests.actors.samples import Add, Counter, Stop, Total, virtual_time
from tests.actors.worlds import two_nodes


def test_a_message_in_one_datagram_over_the_limit_is_found_too() -> None:
    """Once the session is open, where most messages take a shorter way."""
    a, b = Link(1, 200, limits=LIMITS), Link(1, 200, limits=LinkLimits(message_octets_max=50))
    a.send(b"first", 0.0)
    exchange(a, b)
    assert [b"first"] == b.take()
    assert b.send_at_once(bytes(51), 0.0) is None
    datagram = a.send_at_once(bytes(51), 0.0)
    assert datagram is not None
    assert b.receive_at_once(datagram, 0.0) is None
    b.receive(datagram, 0.0)
    assert [] == b.take()
    assert ["oversized"] == [ended.reason for ended in b.ended()]


def test_what_is_sent_at_once_is_what_poll_would_send() -> None:
    """And acknowledges what has come. What cannot leave at once is not taken."""
    a, b = open_pair()
    c, d = open_pair()
    for one, other in ((a, b), (c, d)):
        one.send(b"question", 1.0)
        other.receive(one.poll(1.0)[0], 1.0)
    d.send(b"answer", 1.0)
    datagram = b.send_at_once(b"answer", 1.0)
    assert [datagram] == d.poll(1.0)
    assert datagram is not None
    a.receive(datagram, 1.0)
    assert [b"answer"] == a.take()
    assert a.idle
    assert b.send_at_once(bytes(500), 1.0) is None, "it takes several segments"
    assert Link(1, 200).send_at_once(b"hello", 1.0) is None, "there is no session"
    b.send(b"waits", 1.0)
    assert b.send_at_once(b"behind it", 1.0) is None


def test_what_is_received_at_once_is_what_take_would_give() -> None:
    """And what it says besides counts as well. What does not come next, or behind what waits, is not taken."""
    a, b = open_pair()
    question = a.send_at_once(b"question", 1.0)
    assert question is not None
    assert Link(1, 200).receive_at_once(question, 1.0) is None, "there is no session"
    assert b"question" == b.receive_at_once(question, 1.0)
    assert b.receive_at_once(question, 1.0) is None, "it has come already"
    answer = b.send_at_once(b"answer", 1.1)
    assert answer is not None
    assert b"answer" == a.receive_at_once(answer, 1.2)
    assert a.idle
    assert [] == a.take()
    first, second, third = (a.send_at_once(name, 1.3) for name in (b"first", b"second", b"third"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert b.receive_at_once(second, 1.4) is None, "one is missing before it"
    b.receive(first, 1.4)
    assert b.receive_at_once(second, 1.4) is None, "one before it was not taken out"
    assert [b"first"] == b.take()
    assert b"second" == b.receive_at_once(second, 1.4)
    assert b.receive_at_once(third[:-1], 1.4) is None, "it is no frame"


@virtual_time
async def test_many_who_ask_at_once_get_each_their_own_answer() -> None:
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter")
        ref, totals = world.a.ref("b", "counter"), []
        before = world.network.datagrams

        async def ask() -> None:
            totals.append((await ref.ask(Add(1), Total)).number)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        assert list(range(1, 101)) == sorted(totals)
        assert world.network.datagrams - before <= 20


@virtual_time
async def test_a_question_may_stop_its_actor_and_is_answered() -> None:
    async with two_nodes() as world:
        await world.supervisor.start(Counter, name="counter", restart="temporary")
        ref = world.a.ref("b", "counter")
        await ref.ask(Stop())
        with pytest.raises(ActorDead):
            await ref.ask(Add(1), Total)
