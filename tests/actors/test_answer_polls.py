"""Who waits for the only answer under way looks for it some dozens of times before it sleeps."""

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio

from nfactor.actors import Actor, Node, Ref, handles, open_node, open_supervisor
from nfactor.actors.parking import Answer
from nfactor.actors.reception import Reception
from nfactor.backends.base import Transport
from nfactor.backends.udp import open_udp
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq
from nfactor.errors import ActorDead
from tests.actors.network import Faults, MemoryTransport, Network
from tests.actors.samples import MESSAGES, Add, Counter, Nap, Sleeper, Total, Urgent, virtual_time
from tests.actors.worlds import LIMITS

LATE_S = 0.001
"""What comes from elsewhere takes so long; longer than anybody polls, for the clock stands meanwhile."""


@asynccontextmanager
async def two_nodes(polls: bool = True, answer_polls_max: int = 100) -> AsyncIterator[tuple[Node, Ref, Ref]]:
    """A node whose transport is said to bring something while no task runs, and two actors elsewhere."""
    network = Network(faults=Faults(delay_s=LATE_S))
    transport = network.transport("a")
    transport.is_live = polls
    async with (
        open_node("b", network.transport("b"), MESSAGES, limits=LIMITS) as b,
        open_supervisor(b) as supervisor,
        open_node("a", transport, MESSAGES, limits=LIMITS, answer_polls_max=answer_polls_max) as a,
    ):
        await supervisor.start(Counter, name="counter")
        await supervisor.start(Sleeper, name="sleeper")
        yield a, a.ref("b", "counter"), a.ref("b", "sleeper")


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each time that somebody polled: how many questions had been asked."""
    calls: list[int] = []
    poll_for = Reception.poll_for

    def note(reception: Reception, answer: Answer) -> None:
        calls.append(reception._node.asks_sent)
        poll_for(reception, answer)

    monkeypatch.setattr(Reception, "poll_for", note)
    return calls


def test_who_polled_in_vain_sleeps_at_once_the_next_times(polled: list[int]) -> None:
    @virtual_time
    async def main() -> None:
        async with two_nodes() as (a, counter, _):
            for number in range(1, 101):
                assert Total(number) == await counter.ask(Add(1), Total)
            assert a.statistics().polls_in_vain == 6

    main()
    assert polled == [1, 3, 7, 15, 31, 63]


def test_who_gets_its_core_back_late_sleeps(polled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Others work on the core that it offered them, and its node must not be held up for a hundred of their turns."""
    turns: list[None] = []

    def yield_to_others() -> None:
        turns.append(None)
        time.sleep(0.001)

    monkeypatch.setattr(os, "sched_yield", yield_to_others)

    @virtual_time
    async def main() -> None:
        async with two_nodes() as (_, counter, _):
            await counter.ask(Add(1), Total)

    main()
    assert (len(polled), len(turns)) == (1, 1)


def test_who_is_not_alone_sleeps_at_once(polled: list[int]) -> None:
    """All ask before the last of them looks for its answer."""

    @virtual_time
    async def main() -> None:
        async with two_nodes() as (_, counter, sleeper), trio.open_nursery() as nursery:
            nursery.start_soon(counter.ask, Add(1), Total)
            nursery.start_soon(sleeper.ask, Nap(0.1), Total)

    main()
    assert set(polled) <= {2}


@pytest.mark.parametrize("options", [{"answer_polls_max": 0}, {"polls": False}])
def test_nobody_polls_where_it_is_of_no_use(options: dict[str, Any], polled: list[int]) -> None:
    @virtual_time
    async def main() -> None:
        async with two_nodes(**options) as (_, counter, _):
            for number in range(1, 11):
                assert Total(number) == await counter.ask(Add(1), Total)

    main()
    assert polled == []


def test_who_is_cancelled_before_it_polls_has_its_question_taken_back(
    polled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    @virtual_time
    async def main() -> None:
        async with two_nodes() as (a, counter, _):
            with trio.CancelScope() as scope:
                monkeypatch.setattr(Reception, "expects_soon", lambda _: scope.cancel() is None)
                await counter.ask(Add(1), Total)
            assert scope.cancelled_caught
            assert a.statistics().peers["b"].asks_waiting == 0
            monkeypatch.setattr(Reception, "expects_soon", lambda _: False)
            assert await counter.ask(Add(1), Total) in (Total(1), Total(2))

    main()
    assert polled == []


def test_a_node_that_has_crashed_takes_in_nothing_for_who_polls(
    polled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take_in = Reception._take_in

    def note(reception: Reception, datagrams_max: int) -> int:
        if reception._node.name == "a":
            taken.append(datagrams_max)
        return take_in(reception, datagrams_max)

    @virtual_time
    async def main() -> None:
        async with two_nodes() as (a, counter, _):
            monkeypatch.setattr(Reception, "expects_soon", lambda _: a.cancel_scope.cancel() is None)
            monkeypatch.setattr(Reception, "_take_in", note)
            with trio.CancelScope(shield=True), trio.move_on_after(1.0):
                await counter.ask(Add(1), Total)

    main()
    assert polled == [1]
    assert taken == []


def test_what_an_onlooker_raises_to_who_polls_leaves_the_node_able_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a reviewer: the node took itself for being in the middle of a pass for ever after, and sent nothing."""

    @virtual_time
    async def main() -> None:
        async with two_nodes() as (a, counter, _):
            await counter.ask(Add(1), Total)

            def cannot_see(*_: object) -> None:
                raise ValueError("it cannot see")

            transport = a._transport
            assert isinstance(transport, MemoryTransport)
            await counter.ask(Add(1), Total)  # sleeps; the next one polls
            monkeypatch.setattr(os, "sched_yield", lambda: transport.arrive(trio.current_time(), "b", b"anything"))
            with monkeypatch.context() as patch:
                patch.setattr(a.peers["b"], "receive", cannot_see)
                with pytest.raises(ValueError, match="cannot see"):
                    await counter.ask(Add(1), Total)
            assert not a.departures.in_pass

    main()


# ---------------------------------------------------------------- with a node in another thread


class Teller(Actor[Add]):
    """Answers, and says something more a moment later, three times."""

    def __init__(self, listener: Ref) -> None:
        self._listener = listener

    async def _later(self) -> None:
        for number in range(3):
            await trio.sleep(0.003)
            self._listener.tell_nowait(Urgent(number))

    @handles(Add)
    def add(self, message: Add) -> Total:
        trio.lowlevel.spawn_system_task(self._later)
        return Total(message.number)


class Listener(Actor[Urgent]):
    """Hears what is said later, to the end."""

    def __init__(self) -> None:
        self.heard = trio.Event()

    @handles(Urgent)
    def urgent(self, message: Urgent) -> None:
        if message.number == 2:
            self.heard.set()
            self.heard = trio.Event()


OpenEnd = Callable[[str], AbstractAsyncContextManager[Transport]]


def over_udp() -> OpenEnd:
    book: dict[str, tuple[str, int]] = {}

    @asynccontextmanager
    async def open_end(name: str) -> AsyncIterator[Transport]:
        async with open_udp(name, ("127.0.0.1", 0), book) as end:
            book[name] = end.address
            yield end

    return open_end


def over_zmq() -> OpenEnd:
    book = AddressBook()

    @asynccontextmanager
    async def open_end(name: str) -> AsyncIterator[Transport]:
        async with open_zmq(book) as network:
            end = network.transport(name, "tcp://127.0.0.1:*")
            book.nodes[name] = ZmqPeer(end.endpoint)
            yield end

    return open_end


@contextmanager
def teller_in_a_thread(open_end: OpenEnd) -> Iterator[None]:
    """A node ``right`` that runs in parallel, with the actor ``teller``."""
    ready = threading.Event()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        async with (
            open_end("right") as end,
            open_node("right", end, MESSAGES) as node,
            open_supervisor(node) as supervisor,
        ):
            await supervisor.start(lambda: Teller(node.ref("left", "listener")), name="teller")
            with trio.move_on_after(60) as scope:
                token = trio.lowlevel.current_trio_token()
                stop.append(lambda: token.run_sync_soon(scope.cancel))
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        for call in stop:
            call()
        thread.join()


@pytest.mark.parametrize("datagrams_max", [256, 1])
@pytest.mark.parametrize("busy_poll_s", [0.0, 0.01])
@pytest.mark.parametrize("over", [over_udp, over_zmq])
def test_what_came_behind_the_answer_is_noticed(
    over: Callable[[], OpenEnd], busy_poll_s: float, datagrams_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found over ZeroMQ, which tells of an arrival once: who polled took the answer, and what else had come was not
    heard of before the next question."""
    monkeypatch.setattr("nfactor.actors.reception._DATAGRAMS_MAX", datagrams_max)
    monkeypatch.setattr("nfactor.actors.reception._POLL_S_MAX", 20.0)
    pauses_s = [0.002]
    monkeypatch.setattr(os, "sched_yield", lambda: time.sleep(pauses_s[0]))
    open_end = over()

    async def main() -> None:
        async with (
            open_end("left") as end,
            open_node("left", end, MESSAGES, busy_poll_s=busy_poll_s) as node,
            open_supervisor(node) as supervisor,
        ):
            listener = Listener()
            await supervisor.start(lambda: listener, name="listener")
            teller = node.ref("right", "teller")
            for pause_s in (0.002, 0.03, 0.03, 0.03):
                pauses_s[0] = pause_s
                heard = listener.heard
                with trio.fail_after(20):
                    assert Total(7) == await teller.ask(Add(7), Total)
                pauses_s[0] = 0.0
                with trio.fail_after(1.5):
                    await heard.wait()
                await trio.sleep(0.05)  # so that the node's own task sleeps when the next is asked

    with teller_in_a_thread(open_end):
        trio.run(main)


@pytest.mark.parametrize("over", [over_udp, over_zmq])
def test_an_answer_that_comes_soon_wakes_nobody(over: Callable[[], OpenEnd], monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[object] = []
    turns: list[None] = []
    wait = Reception.wait

    async def note(reception: Reception, answer: Answer) -> None:
        slept.append(answer)
        await wait(reception, answer)

    monkeypatch.setattr(Reception, "wait", note)
    monkeypatch.setattr("nfactor.actors.reception._POLL_S_MAX", 20.0)

    def yield_to_others() -> None:
        turns.append(None)
        time.sleep(0.002)

    monkeypatch.setattr(os, "sched_yield", yield_to_others)
    open_end = over()

    async def main() -> None:
        async with open_end("left") as end, open_node("left", end, MESSAGES) as node:
            teller = node.ref("right", "teller")
            await teller.ask(Add(0), Total)
            with pytest.raises(ActorDead):
                await node.ref("right", "nobody").ask(Add(0), Total)
            slept.clear()
            assert node.reception is not None
            node.reception._pause = 15
            with trio.fail_after(20):
                for number in range(30):
                    assert Total(number) == await teller.ask(Add(number), Total)
                turns.clear()
                with pytest.raises(ActorDead):
                    await node.ref("right", "nobody").ask(Add(0), Total)
                assert len(turns) < 20, "an error is an answer as well"
            assert node.reception._pause == 0, "it was not in vain, again and again"

    with teller_in_a_thread(open_end):
        trio.run(main)
    assert slept == []
