"""ZeroMQ under trio: the promises of every backend, no lost wake-up, refusals counted, and who may speak for whom."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import trio

from nfactor.backends.zmq import AddressBook, ZmqPeer, ZmqPort, ZmqTransport, open_zmq
from nfactor.backends.zmq_curve import Keys
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst
from nfactor.testing import check_port, check_transport

LOCAL = "tcp://127.0.0.1:*"
LEFT, RIGHT = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


@asynccontextmanager
async def two_transports(keys: bool = False) -> AsyncIterator[tuple[ZmqTransport, ZmqTransport]]:
    book = AddressBook()
    pairs = {"left": Keys.generate(), "right": Keys.generate()}
    allowed = {pair.public: name for name, pair in pairs.items()}
    async with (
        open_zmq(book, keys=pairs["left"] if keys else None, allowed=allowed) as one,
        open_zmq(book, keys=pairs["right"] if keys else None, allowed=allowed) as other,
    ):
        left, right = one.transport("left", LOCAL), other.transport("right", LOCAL)
        for end in (left, right):
            book.nodes[end.name] = ZmqPeer(end.endpoint, pairs[end.name].public if keys else b"")
        yield left, right


@asynccontextmanager
async def two_ports() -> AsyncIterator[tuple[ZmqPort, ZmqPort]]:
    book = AddressBook()
    async with open_zmq(book) as one, open_zmq(book) as other:
        left, right = one.port(LEFT, LOCAL), other.port(RIGHT, LOCAL)
        for end in (left, right):
            book.ports[end.address] = ZmqPeer(end.endpoint)
        yield left, right


def test_transports_keep_every_promise() -> None:
    trio.run(check_transport, two_transports)


def test_transports_that_encrypt_keep_every_promise() -> None:
    trio.run(check_transport, lambda: two_transports(keys=True))


def test_ports_keep_every_promise() -> None:
    trio.run(check_port, two_ports)


async def _take(end: ZmqTransport, count: int) -> list[bytes]:
    got: list[bytes] = []
    with trio.fail_after(10):
        while len(got) < count:
            while len(got) < count and (item := end.receive()) is not None:
                got.append(item[1])
            if len(got) < count:
                await end.wait_readable()
    return got


def test_one_receive_for_each_wake_up_loses_none() -> None:
    """The descriptor tells of the first arrival only; the others are there all the same."""

    async def main() -> None:
        async with two_transports() as (left, right):
            for turn in range(50):
                for number in range(5):
                    assert left.send("right", b"%d" % number)
                got = []
                with trio.fail_after(10):
                    for _ in range(5):
                        while (item := right.receive()) is None:
                            await right.wait_readable()
                        got.append(item[1])
                        await right.wait_readable() if len(got) < 5 else None
                assert got == [b"%d" % number for number in range(5)], f"turn {turn}"

    trio.run(main)


def test_sends_of_a_reader_swallow_no_arrival() -> None:
    async def main() -> None:
        async with two_transports() as (left, right), trio.open_nursery() as nursery:
            nursery.start_soon(_take, right, 300)
            nursery.start_soon(_take, left, 300)
            for number in range(300):
                assert right.send("left", b"%d" % number)
                assert left.send("right", b"%d" % number)
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()

    trio.run(main)


def test_what_arrives_between_a_look_and_the_wait_wakes_the_wait() -> None:
    async def main() -> None:
        async with two_transports() as (left, right):
            for number in range(200):
                assert right.receive() is None
                assert left.send("right", b"%d" % number)
                assert await _take(right, 1) == [b"%d" % number]

    trio.run(main)


def test_a_full_queue_refuses_and_counts() -> None:
    async def main() -> None:
        book = AddressBook(nodes={"nobody": ZmqPeer("tcp://127.0.0.1:9")})  # nobody listens there
        async with open_zmq(book) as network:
            transport = network.transport("left", LOCAL, datagrams_max=10)
            taken = sum(transport.send("nobody", b"x") for _ in range(100))
            statistics = transport.statistics()
            assert 10 <= taken < 100
            assert (taken, 100 - taken) == (statistics.sent, statistics.refused)

    trio.run(main)


def test_a_peer_that_moves_is_found_again_through_the_book() -> None:
    async def main() -> None:
        async with two_transports() as (left, right), open_zmq(AddressBook()) as third:
            left.send("right", b"before")
            await _take(right, 1)
            right.close()
            again = third.transport("right", LOCAL)
            left._book.nodes["right"] = ZmqPeer(again.endpoint)
            left.send("right", b"after")
            assert await _take(again, 1) == [b"after"]

    trio.run(main)


async def _is_deaf(end: ZmqTransport) -> bool:
    with trio.move_on_after(0.3):
        while end.receive() is None:
            await end.wait_readable()
        return False
    return True


def test_who_has_no_key_that_is_known_gets_nothing_in() -> None:
    async def main() -> None:
        mine, stranger, book = Keys.generate(), Keys.generate(), AddressBook()
        async with (
            open_zmq(book, keys=mine, allowed={}) as network,
            open_zmq(book, keys=stranger) as other,
            open_zmq(AddressBook()) as plain,
        ):
            end = network.transport("server", LOCAL)
            book.nodes["server"] = ZmqPeer(end.endpoint, mine.public)
            plain.book.nodes["server"] = ZmqPeer(end.endpoint)
            other.transport("client", LOCAL).send("server", b"let me in")
            plain.transport("client", LOCAL).send("server", b"let me in")
            assert await _is_deaf(end)
            network.allowed[stranger.public] = "client"
            late = Keys.generate()
            network.allowed[late.public] = "late"
            async with open_zmq(book, keys=late) as third:
                third.transport("late", LOCAL).send("server", b"hello")
                assert await _take(end, 1) == [b"hello"]

    trio.run(main)


def test_nobody_speaks_for_another() -> None:
    async def main() -> None:
        mine, thief, book = Keys.generate(), Keys.generate(), AddressBook()
        async with (
            open_zmq(book, keys=mine, allowed={thief.public: "thief"}) as network,
            open_zmq(book, keys=thief) as other,
        ):
            end = network.transport("server", LOCAL)
            book.nodes["server"] = ZmqPeer(end.endpoint, mine.public)
            other.transport("client", LOCAL).send("server", b"I am the client")
            assert await _is_deaf(end)
            assert end.malformed == 1

    trio.run(main)


def test_junk_on_a_port_is_counted_and_nothing_else() -> None:
    async def main() -> None:
        async with two_ports() as (left, right):
            peer = left._book.ports[RIGHT]
            left._push(peer, b"\xff" * 30)
            left._pushing[0].send_multipart([b"two", b"parts"])
            burst = Burst.from_frames([RIGHT + LEFT + b"\x88\xb5good"])
            assert left.send(burst) == 1
            with trio.fail_after(10):
                while (got := right.receive()) is None:
                    await right.wait_readable()
            assert got.frames() == burst.frames()
            assert right.malformed == 3, "each part is one"

    trio.run(main)


def test_junk_on_a_transport_is_counted_and_nothing_else() -> None:
    """No octets, a name longer than the packet, a name that is none, a datagram over the MTU."""

    async def main() -> None:
        async with two_transports() as (left, right):
            peer = left._book.nodes["right"]
            for junk in (b"", b"\x05name", b"\x01\xff", b"\x04left" + bytes(right.mtu + 1)):
                assert left._push(peer, junk)
            assert left.send("right", b"good")
            assert await _take(right, 1) == [b"good"]
            assert right.malformed == 4

    trio.run(main)


def test_a_name_that_cannot_travel_is_refused() -> None:
    async def main() -> None:
        async with open_zmq(AddressBook()) as network:
            for name in ("näme", "n" * 256):
                with pytest.raises(CallerError, match="names of nodes are ASCII"):
                    network.transport(name, LOCAL)

    trio.run(main)


def test_columns_travel_with_the_frames() -> None:
    async def main() -> None:
        async with two_ports() as (left, right):
            frames = [RIGHT + LEFT + b"\x88\xb5" + bytes([index]) for index in range(3)]
            burst = Burst.from_frames(frames, times=[1, 2, 3], marks=[7, 8, 9], wire_lengths=[100, 200, 300])
            left.send(burst.select(np.array([2, 0])))
            with trio.fail_after(10):
                while (got := right.receive()) is None:
                    await right.wait_readable()
            assert ([3, 1], [9, 7], [300, 100]) == (
                got.times.tolist(),
                got.marks.tolist(),
                got.wire_lengths.tolist(),
            )

    trio.run(main)


def test_a_callers_mistakes_are_named() -> None:
    async def main() -> None:
        async with open_zmq(AddressBook()) as network:
            with pytest.raises(CallerError, match="names of nodes are ASCII"):
                network.transport("näme", LOCAL)
            with pytest.raises(CallerError, match="cannot listen there"):
                network.transport("left", "tcp://256.0.0.1:1")
            with pytest.raises(CallerError, match="6 octets, not 2"):
                network.port(b"ab", LOCAL)
        with pytest.raises(CallerError, match="40 characters"):
            Keys(b"short", b"short")
        async with open_zmq(AddressBook(nodes={"x": ZmqPeer("tcp://127.0.0.1:9")}), keys=Keys.generate()) as network:
            with pytest.raises(CallerError, match="no public key for this peer"):
                network.transport("left", LOCAL).send("x", b"")

    trio.run(main)
