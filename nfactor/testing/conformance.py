"""The suites that make a backend finished: what ``backends.base`` promises, tried on a pair of connected ends.

    async def test_mine() -> None:
        await check_port(open_my_pair)          # a function; open_my_pair() is an async context manager of two ends

Each check opens a fresh pair on a quiet network. There what is sent alone must arrive, if not at the first try while
links come up; of a flood any part may be lost; and what must not happen (order broken, a packet twice, a byte changed)
must never happen. A failure is an ``AssertionError`` that says which promise was broken. Works on a real clock and on a
jumping one.
"""

import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

import trio
from trio.testing import assert_checkpoints

from nfactor.backends.base import Port, Transport
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst

T = TypeVar("T")
MakeTransports: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Transport, Transport]]]
MakePorts: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Port, Port]]]

ARRIVAL_WITHIN_S = 5.0
"""How long an arrival may take before it counts as lost."""
QUIET_S = 0.05
"""How long to listen for what must not come."""
SENDS_MAX = 20
"""How often to send again what a lossy backend lost."""
FLOOD = 5_000
"""Datagrams or packets sent without once letting another task run."""
FRAME_OCTETS = 64
_HEADER_OCTETS = 14
_NOBODY = bytes.fromhex("0200deadbeef")


async def check_transport(make_pair: MakeTransports) -> None:
    """Check that the transports which ``make_pair()`` opens keep every promise of ``Transport``."""
    for check in (
        _transport_delivers_both_ways,
        _transport_keeps_to_its_mtu,
        _transport_refuses_unknown_peers,
        _transport_never_waits_and_counts,
        _transport_wakes_for_each_arrival,
        _transport_lets_go_of_who_waits,
        _transport_wakes_who_waits_behind_who_takes,
        _transport_closes,
    ):
        async with make_pair() as (left, right):
            await check(left, right)


async def check_port(make_pair: MakePorts) -> None:
    """Check that the ports which ``make_pair()`` opens keep every promise of ``Port``."""
    for check in (
        _port_delivers_both_ways,
        _port_keeps_order_and_never_repeats,
        _port_takes_a_prefix,
        _port_drops_what_is_too_large,
        _port_splits_by_target,
        _port_wakes_for_each_arrival,
        _port_closes,
    ):
        async with make_pair() as (left, right):
            await check(left, right)


# Transports


async def _transport_delivers_both_ways(left: Transport, right: Transport) -> None:
    assert left.name != right.name, f"both ends are called {left.name!r}"
    for source, target in ((left, right), (right, left)):
        for size in (1, source.mtu // 2, source.mtu):
            datagram = bytes(index * 7 % 256 for index in range(size))
            peer, arrived = await _until_one_arrives(source, target, datagram)
            assert peer == source.name, f"a datagram from {source.name!r} arrived as one from {peer!r}"
            assert arrived == datagram, f"a datagram of {size} octets arrived changed"
            assert isinstance(arrived, bytes), f"receive handed out {type(arrived).__name__}, not bytes"
            await _drain(target)


async def _transport_keeps_to_its_mtu(left: Transport, right: Transport) -> None:
    before = left.statistics()
    assert left.send(right.name, bytes(left.mtu + 1)) is False, "a datagram over the MTU was taken"
    after = left.statistics()
    assert after.refused == before.refused + 1, "a datagram over the MTU was not counted as refused"
    assert after.sent == before.sent, "a refused datagram was counted as sent"
    assert await _drain(right) == [], "a refused datagram arrived"


async def _transport_refuses_unknown_peers(left: Transport, right: Transport) -> None:
    before = left.statistics().refused
    assert left.send("nobody-of-that-name", b"x") is False, "a datagram to an unknown peer was taken"
    assert left.statistics().refused == before + 1, "a datagram to an unknown peer was not counted as refused"
    await _until_one_arrives(left, right, b"still alive")


async def _transport_never_waits_and_counts(left: Transport, right: Transport) -> None:
    taken = [index for index in range(FLOOD) if left.send(right.name, b"%d" % index)]
    sent = left.statistics()
    assert sent.sent == len(taken), f"send said True {len(taken)} times, statistics say {sent.sent}"
    assert sent.refused == FLOOD - len(taken), f"send refused {FLOOD - len(taken)}, statistics say {sent.refused}"
    arrived = await _drain(right)
    assert arrived, f"of {len(taken)} datagrams sent at once none arrived"
    strangers = {datagram for _, datagram in arrived} - {b"%d" % index for index in taken}
    assert not strangers, f"datagrams arrived that were never taken: {sorted(strangers)[:3]}"
    received = right.statistics().received
    assert received == len(arrived), f"receive handed out {len(arrived)}, statistics say {received}"
    await _until_one_arrives(left, right, b"the flood is over")


async def _transport_wakes_for_each_arrival(left: Transport, right: Transport) -> None:
    def send(number: int) -> bool:
        return left.send(right.name, b"%d" % number)

    await _check_waiting(right, send, lambda: None if (got := right.receive()) is None else int(got[1]))


async def _transport_lets_go_of_who_waits(left: Transport, right: Transport) -> None:
    await _drain(left)
    returned: list[bool] = []

    async def wait() -> None:
        await left.wait_readable()
        returned.append(True)

    await _do_while_waiting(wait, left.interrupt)
    assert returned, "interrupt did not wake who waited in wait_readable"
    assert left.receive() is None, "interrupt made something arrive"
    await _until_one_arrives(right, left, b"after an interrupt")
    left.interrupt()  # nobody waits
    await _drain(left)
    await _until_one_arrives(right, left, b"after one for nobody")


async def _transport_wakes_who_waits_behind_who_takes(left: Transport, right: Transport) -> None:
    if not right.is_live:
        return  # nothing comes while somebody asks again and again
    await _until_one_arrives(left, right, b"to begin with")
    await _drain(right)

    async def wait() -> None:
        while right.receive() is None:
            await right.wait_readable()

    with trio.move_on_after(2 * ARRIVAL_WITHIN_S) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(QUIET_S)
            assert left.send(right.name, b"for who asks"), "on a quiet network send refused"
            until = time.perf_counter() + ARRIVAL_WITHIN_S
            while (taken := right.receive()) is None and time.perf_counter() < until:
                pass
            assert taken is not None, "is_live, but nothing came while no other task ran"
            assert right.receive() is None, "something arrived that nobody sent"
            assert left.send(right.name, b"for who waits"), "on a quiet network send refused"
    assert not scope.cancelled_caught, "wait_readable did not wake for what came after another task had received"


async def _transport_closes(left: Transport, right: Transport) -> None:
    await _check_closing(left)
    before = left.statistics()
    assert left.send(right.name, b"x") is False, "a closed transport took a datagram"
    assert left.statistics().refused == before.refused + 1, "a closed transport did not count what it refused"
    right.send(left.name, b"x")  # refused or lost, but not an error: peers die


# Ports


async def _port_delivers_both_ways(left: Port, right: Port) -> None:
    for port in (left, right):
        assert len(port.address) == 6, f"an address has 6 octets, this one {len(port.address)}"
        assert port.send(_numbered(left, right, ())) == 0, "of no packets, some were taken"
        assert port.statistics().refused == 0, "of no packets, some were refused"
    assert left.address != right.address, "both ends have the same address"
    for source, target in ((left, right), (right, left)):
        for size in (FRAME_OCTETS, min(source.mtu, 1514)):
            frames = _numbered(source, target, range(1), size).frames()
            arrived = (await _until_one_arrives(source, target, frames[0])).frames()
            assert arrived[0][:size] == frames[0], f"a frame of {size} octets arrived changed"
            await _drain(target)


async def _port_keeps_order_and_never_repeats(left: Port, right: Port) -> None:
    """First in, first out, once: what arrives is a strictly rising series, whatever the sizes of the bursts."""
    rng, number, arrived = random.Random(1), 0, list[int]()
    for _ in range(100):
        stop = number + rng.choice((1, 2, 3, 17, 64, BURST_PACKETS_MAX, 3 * BURST_PACKETS_MAX))
        number += left.send(_numbered(left, right, range(number, stop)))
        if rng.random() < 0.5:
            await trio.lowlevel.checkpoint()
        arrived += _receive_numbers(right)
    for burst in await _drain(right):
        arrived += _numbers(burst)
    assert arrived, f"of {number} packets none arrived"
    _assert_rising(arrived, number)


async def _port_takes_a_prefix(left: Port, right: Port) -> None:
    """What send takes is counted from the front; the rest is the caller's, and never arrives unless sent again."""
    number = refused = 0
    for _ in range(FLOOD // 50):
        taken = left.send(_numbered(left, right, range(number, number + 50)))
        assert 0 <= taken <= 50, f"of 50 packets {taken} were taken"
        number, refused = number + taken, refused + 50 - taken
    statistics = left.statistics()
    assert statistics.sent == number, f"send took {number}, statistics say {statistics.sent}"
    assert statistics.refused == refused, f"send refused {refused}, statistics say {statistics.refused}"
    arrived = [index for burst in await _drain(right) for index in _numbers(burst)]
    assert arrived, f"of {number} packets sent at once none arrived"
    _assert_rising(arrived, number)
    statistics = right.statistics()
    assert statistics.received == len(arrived), f"{len(arrived)} were handed out, statistics say {statistics.received}"
    assert statistics.queued == 0, f"nothing is left to receive, statistics say {statistics.queued}"
    await _until_one_arrives(left, right, _numbered(left, right, range(number, number + 1)).frame(0))


async def _port_drops_what_is_too_large(left: Port, right: Port) -> None:
    """A frame over the MTU never arrives and is counted, as lost or as refused; it blocks nothing for ever."""
    large = Burst.from_frames([_frame(left, right, 0, left.mtu + 1)])
    taken = left.send(large)
    statistics = left.statistics()
    assert statistics.lost + statistics.refused == 1, "a frame over the MTU was counted neither as lost nor as refused"
    assert statistics.sent == taken, f"send took {taken}, statistics say {statistics.sent}"
    assert await _drain(right) == [], "a frame over the MTU arrived"
    await _until_one_arrives(left, right, _frame(left, right, 1))


async def _port_splits_by_target(left: Port, right: Port) -> None:
    """Frames for somebody else do not arrive here, and do not disturb their neighbours."""
    frames = [_frame(left, right, number) for number in range(30)]
    frames[1::3] = [_NOBODY + frame[6:] for frame in frames[1::3]]
    await _until_one_arrives(left, right, frames[0])
    await _drain(right)
    left.send(Burst.from_frames(frames))
    arrived = [number for burst in await _drain(right) for number in _numbers(burst)]
    assert arrived, "of a burst for several targets nothing arrived"
    assert not [number for number in arrived if number % 3 == 1], "a frame arrived at an address that it is not for"
    _assert_rising(arrived, 30)


async def _port_wakes_for_each_arrival(left: Port, right: Port) -> None:
    waiting: list[int] = []

    def receive() -> int | None:
        if not waiting:
            waiting.extend(_receive_numbers(right, bursts=1))
        return waiting.pop(0) if waiting else None

    await _check_waiting(right, lambda number: bool(left.send(_numbered(left, right, [number]))), receive)


async def _port_closes(left: Port, right: Port) -> None:
    await _check_closing(left)
    before = left.statistics()
    assert left.send(_numbered(left, right, range(3))) == 0, "a closed port took packets"
    assert left.statistics().refused == before.refused + 3, "a closed port did not count what it refused"
    right.send(_numbered(right, left, range(3)))  # refused or lost, but not an error: peers die


# What transports and ports share


async def _check_waiting(end: Transport | Port, send: Callable[[int], bool], receive: Callable[[], int | None]) -> None:
    """Whoever drains after each ``wait_readable`` misses nothing, in whatever order arrivals and waits come."""

    async def arrives(number: int, pattern: str) -> None:
        with trio.move_on_after(ARRIVAL_WITHIN_S):
            while True:
                while (got := receive()) is not None:
                    if got == number:
                        return
                await end.wait_readable()
        raise AssertionError(f"wait_readable did not wake for what came {pattern}")

    assert send(1), "on a quiet network send refused"
    await trio.sleep(QUIET_S)
    with assert_checkpoints(), trio.move_on_after(ARRIVAL_WITHIN_S) as scope:
        await end.wait_readable()
    assert not scope.cancelled_caught, "wait_readable did not return although something was there"
    await arrives(1, "before the wait")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(arrives, 2, "during the wait")
        await trio.sleep(QUIET_S)
        assert send(2), "on a quiet network send refused"

    with trio.move_on_after(QUIET_S):
        while True:
            await end.wait_readable()
            assert receive() is None, "something arrived that nobody sent"
    assert send(3), "on a quiet network send refused"
    await arrives(3, "after a wait that was cancelled")

    for number in (4, 5, 6):
        assert send(number), "on a quiet network send refused"
    await trio.sleep(QUIET_S)
    await arrives(4, "first of three at once")
    await arrives(6, "last of three at once, the first having been received")


async def _do_while_waiting(wait: Callable[[], Awaitable[None]], do: Callable[[], None]) -> None:
    """Let a task wait, do something, and give it some time to end."""
    with trio.move_on_after(ARRIVAL_WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(QUIET_S)
            do()


async def _check_closing(end: Transport | Port) -> None:
    woken: list[bool] = []

    async def wait() -> None:
        try:
            while True:
                await end.wait_readable()
                end.receive()
        except trio.ClosedResourceError:
            woken.append(True)

    await _do_while_waiting(wait, end.close)
    assert woken, "wait_readable did not raise trio.ClosedResourceError when the end was closed"
    end.close()
    try:
        with trio.move_on_after(QUIET_S):
            await end.wait_readable()
    except trio.ClosedResourceError:
        pass
    else:
        raise AssertionError("wait_readable of a closed end did not raise trio.ClosedResourceError")
    assert end.receive() is None, "a closed end handed something out"


async def _until_one_arrives(source: Any, target: Any, content: bytes) -> Any:
    """Send until something arrives, and return it: a backend may lose, but not everything."""
    for _ in range(SENDS_MAX):
        if isinstance(source, Transport):
            source.send(target.name, content)
        else:
            source.send(Burst.from_frames([content]))
        with trio.move_on_after(ARRIVAL_WITHIN_S):
            while (got := target.receive()) is None:
                await target.wait_readable()
            return got
        assert target.receive() is None, "wait_readable did not wake for what came during the wait"
    raise AssertionError(f"of {SENDS_MAX} sends of {len(content)} octets nothing arrived")


async def _drain(end: Any) -> list[Any]:
    """All that arrives until it has been quiet for a while; waking in vain is no noise."""
    arrived: list[Any] = []
    with trio.move_on_after(QUIET_S) as quiet:
        while True:
            while (got := end.receive()) is not None:
                arrived.append(got)
                quiet.deadline = trio.current_time() + QUIET_S
            await end.wait_readable()
    return arrived


def _frame(source: Port, target: Port, number: int, octets: int = FRAME_OCTETS) -> bytes:
    """A frame of an experimental EtherType that says its number."""
    start = target.address + source.address + b"\x88\xb5" + number.to_bytes(4, "big")
    return start + bytes(octets - len(start))


def _numbered(source: Port, target: Port, numbers: Any, octets: int = FRAME_OCTETS) -> Burst:
    return Burst.from_frames([_frame(source, target, number, octets) for number in numbers])


def _numbers(burst: Burst) -> Iterator[int]:
    assert 0 < len(burst) <= BURST_PACKETS_MAX, f"receive handed out {len(burst)} packets at once"
    for frame in burst.frames():
        yield int.from_bytes(frame[_HEADER_OCTETS : _HEADER_OCTETS + 4], "big")


def _receive_numbers(port: Port, bursts: int | None = None) -> list[int]:
    numbers: list[int] = []
    while bursts != 0 and (burst := port.receive()) is not None:
        numbers += _numbers(burst)
        bursts = None if bursts is None else bursts - 1
    return numbers


def _assert_rising(arrived: list[int], sent: int) -> None:
    repeated = [number for number, times in Counter(arrived).items() if times > 1]
    assert not repeated, f"packet {repeated[0]} arrived twice"
    for earlier, later in itertools.pairwise(arrived):
        assert earlier < later, f"packet {earlier} arrived before packet {later}: not first in, first out"
    assert not arrived or arrived[-1] < sent, f"packet {arrived[-1]} arrived although only {sent} were taken"
