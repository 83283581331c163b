"""What most messages take a shorter way for is what the longer way would give."""

from collections.abc import Callable

import pytest
import trio

from nfactor.actors import LinkLimits
from nfactor.actors.quick_link import QuickLink
from nfactor.errors import ActorDead
from tests.actors.links import LIMITS, exchange, open_pair
from tests.actors.samples import Add, Counter, Stop, Total, virtual_time
from tests.actors.worlds import two_nodes


def test_a_message_in_one_datagram_over_the_limit_is_found_too() -> None:
    """Once the session is open, where most messages take a shorter way."""
    a, b = QuickLink(1, 200, limits=LIMITS), QuickLink(1, 200, limits=LinkLimits(message_octets_max=50))
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
    assert QuickLink(1, 200).send_at_once(b"hello", 1.0) is None, "there is no session"
    b.send(b"waits", 1.0)
    assert b.send_at_once(b"behind it", 1.0) is None


def test_what_is_received_at_once_is_what_take_would_give() -> None:
    """And what it says besides counts as well. What does not come next, or behind what waits, is not taken."""
    a, b = open_pair()
    question = a.send_at_once(b"question", 1.0)
    assert question is not None
    assert QuickLink(1, 200).receive_at_once(question, 1.0) is None, "there is no session"
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


WINDOW_OF_ONE = LinkLimits(give_up_s=1.0, in_flight_max=1)


def answered() -> tuple[QuickLink, QuickLink]:
    """A question and its answer have come at once; what the answer acknowledges was not looked at."""
    a, b = open_pair(limits=WINDOW_OF_ONE)
    question = a.send_at_once(b"question", 1.0)
    assert question is not None
    assert b"question" == b.receive_at_once(question, 1.0)
    answer = b.send_at_once(b"answer", 1.1)
    assert answer is not None
    assert b"answer" == a.receive_at_once(answer, 1.2)
    return a, b


@pytest.mark.parametrize(
    "look",
    [
        lambda link: link.idle,
        lambda link: link.has_window,
        lambda link: link.statistics(),
        lambda link: link.next_time(),
        lambda link: link.poll(3.0),
        lambda link: (link.poll(3.0), link.state, link.ended()),
        lambda link: (link.send(b"next", 1.3), link.is_due, link.poll(1.3), link.next_time()),
        lambda link: (link.receive(b"", 1.3), link.poll(1.3), link.statistics()),
        lambda link: (link.note_incarnation(2), link.ended()),
    ],
)
def test_an_acknowledgement_that_was_left_for_later_is_looked_at_before_it_matters(
    look: Callable[[QuickLink], object],
) -> None:
    """Whatever is asked then, the answer is as if it had been looked at when it came."""
    late, early = answered()[0], answered()[0]
    early.settle()
    assert look(early) == look(late)
    assert late.statistics().acknowledged == 2
    assert late.statistics().in_doubt == 0


def test_what_is_sent_before_an_acknowledgement_is_looked_at_leaves_all_the_same() -> None:
    """As long as the window has room, and nothing is overdue."""
    a, b = open_pair()
    for number in range(20):
        now = 1.0 + number / 1000
        question = a.send_at_once(b"question", now)
        assert question is not None
        assert b"question" == b.receive_at_once(question, now)
        answer = b.send_at_once(b"answer", now)
        assert answer is not None
        assert b"answer" == a.receive_at_once(answer, now)
    assert a.idle
    assert a.statistics().resent == b.statistics().resent == 0
    assert (a.statistics().acknowledged, b.statistics().acknowledged) == (21, 19)


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
