"""The UDP transport: the promises of every transport, actors over it, and junk from the network."""

import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from nfactor.actors import open_node, open_supervisor
from nfactor.backends.udp import MTU_LOOPBACK, Address, UdpTransport, open_udp
from nfactor.errors import CallerError, RemoteError
from nfactor.testing import check_transport
from tests.actors.samples import MESSAGES, Add, Counter, Fail, Total

ANY = ("127.0.0.1", 0)


@asynccontextmanager
async def two_transports(mtu: int = MTU_LOOPBACK) -> AsyncIterator[tuple[UdpTransport, UdpTransport]]:
    book: dict[str, Address] = {}
    async with open_udp("left", ANY, book, mtu=mtu) as left, open_udp("right", ANY, book, mtu=mtu) as right:
        book.update(left=left.address, right=right.address)
        yield left, right


@pytest.mark.parametrize("mtu", [MTU_LOOPBACK, 1400])
def test_transports_keep_every_promise(mtu: int) -> None:
    trio.run(check_transport, lambda: two_transports(mtu))


@pytest.mark.parametrize("busy_poll_s", [0.0, 0.01])
def test_actors_talk_over_it(busy_poll_s: float) -> None:
    async def main() -> None:
        async with (
            two_transports() as (left, right),
            open_node("left", left, MESSAGES, busy_poll_s=busy_poll_s) as here,
            open_node("right", right, MESSAGES, busy_poll_s=busy_poll_s) as there,
            open_supervisor(there) as supervisor,
        ):
            await supervisor.start(Counter, name="counter")
            counter = here.ref("right", "counter")
            with trio.fail_after(10):
                for _ in range(5000):
                    await counter.tell(Add(1))
                assert Total(5001) == await counter.ask(Add(1), Total)

    trio.run(main)


def test_who_polls_gets_the_answer_in_its_own_task() -> None:
    """The other node runs in a thread of its own, for here nobody else runs meanwhile."""
    book: dict[str, Address] = {}
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        async with (
            open_udp("right", ANY, book) as end,
            open_node("right", end, MESSAGES, busy_poll_s=0.01) as node,
            open_supervisor(node) as supervisor,
        ):
            await supervisor.start(Counter, name="counter")
            with trio.move_on_after(20) as scope:
                token = trio.lowlevel.current_trio_token()
                stop.append(lambda: token.run_sync_soon(scope.cancel))
                book["right"] = end.address
                await trio.sleep_forever()

    async def main() -> None:
        async with open_udp("left", ANY, book) as end, open_node("left", end, MESSAGES, busy_poll_s=0.01) as node:
            book["left"] = end.address
            while "right" not in book:  # noqa: ASYNC110 - another thread makes it
                await trio.sleep(0.01)
            counter = node.ref("right", "counter")
            with trio.fail_after(10):
                for number in range(1, 501):
                    assert Total(number) == await counter.ask(Add(1), Total)
                with pytest.raises(RemoteError, match="why"):
                    await counter.ask(Fail("why"))

    server = threading.Thread(target=trio.run, args=(serve,), daemon=True)
    server.start()
    try:
        trio.run(main)
    finally:
        for end in stop:
            end()
        server.join(20)


def test_junk_is_counted_and_nothing_else() -> None:
    async def main() -> None:
        async with two_transports() as (left, right):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for packet in (b"", b"\0", b"\5ab", b"\2\xff\xffx", bytes([200]) * 100):
                    stranger.sendto(packet, left.address)
            right.send("left", b"hello")
            with trio.fail_after(5):
                while left.receive() != ("right", b"hello"):
                    await left.wait_readable()
            assert 5 == left.malformed
            assert 1 == left.statistics().received

    trio.run(main)


def test_what_is_no_frame_makes_no_peer() -> None:
    """Whoever's name is in front of it; or a stranger could have a node remember as many as he likes."""

    async def main() -> None:
        async with two_transports() as (left, _), open_node("left", left, MESSAGES) as node:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for number in range(200):
                    name = b"stranger-%d" % number
                    stranger.sendto(bytes([len(name)]) + name + bytes(number % 40), left.address)
                with trio.fail_after(5):
                    while node.statistics().strangers < 200:  # noqa: ASYNC110 - the node tells nobody
                        await trio.sleep(0.01)
            assert node.peers == {}

    trio.run(main)


def test_a_peer_may_move_and_may_be_away_for_a_while() -> None:
    """What is sent to it then goes where the book says at that time; and an earlier packet that nobody took does not
    cost a later one."""

    async def heard(end: UdpTransport) -> object:
        with trio.fail_after(5):
            while (arrived := end.receive()) is None:
                await end.wait_readable()
        return arrived

    async def main() -> None:
        book: dict[str, Address] = {}
        async with open_udp("left", ANY, book) as left:
            assert not left.send("right", b"nowhere yet")
            book["right"] = ("no such host.invalid", 1)
            assert not left.send("right", b"no way there")
            async with open_udp("right", ANY, book) as right:
                book["right"] = right.address
                assert left.send("right", b"first")
                assert ("left", b"first") == await heard(right)
            for _ in range(3):
                left.send("right", b"away")
            async with open_udp("right", book["right"], book) as right:
                assert left.send("right", b"second")
                assert ("left", b"second") == await heard(right)
                async with open_udp("right", ANY, book) as elsewhere:
                    book["right"] = elsewhere.address
                    assert left.send("right", b"third")
                    assert ("left", b"third") == await heard(elsewhere)

    trio.run(main)


def test_a_callers_mistakes_are_named() -> None:
    async def main() -> None:
        async with open_udp("one", ANY, {}) as one:
            for wrong, text in (
                (("é", ANY), "ASCII"),
                (("", ANY), "ASCII"),
                (("x", one.address), "cannot listen there"),
            ):
                with pytest.raises(CallerError, match=text):
                    async with open_udp(*wrong, {}):
                        pass
            with pytest.raises(CallerError, match="MTU"):
                async with open_udp("x", ANY, {}, mtu=70_000):
                    pass

    trio.run(main)


class Forgetful(UdpTransport):
    """Who waits in it is forgotten when somebody else finds nothing there."""

    _is_forgotten = False

    def receive(self) -> tuple[str, bytes] | None:
        got = super().receive()
        self._is_forgotten = self._is_forgotten or got is None
        return got

    async def wait_readable(self) -> None:
        self._is_forgotten = False
        await super().wait_readable()
        if self._is_forgotten:
            await trio.sleep_forever()


def test_a_transport_that_forgets_who_waits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes rely on it: who waits for an answer asks the transport while the node's own task sleeps there."""
    monkeypatch.setattr("nfactor.backends.udp.UdpTransport", Forgetful)
    monkeypatch.setattr("nfactor.testing.conformance.ARRIVAL_WITHIN_S", 0.3)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, of which the leaf is looked at
        trio.run(check_transport, lambda: two_transports(1400))
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert "after another task had received" in str(error)
