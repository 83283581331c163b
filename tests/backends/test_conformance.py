"""The backends of this package keep the promises of ``backends.base``; broken ones are found out."""

import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

from nfactor.backends.base import Port, Transport
from nfactor.backends.faulty import FaultyPort, FaultyTransport
from nfactor.backends.memory import MemoryPort, MemoryTransport, open_memory_network
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst, concatenate
from nfactor.testing import Simulation, check_port, check_transport, simulate

LEFT, RIGHT = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
LINKS: dict[str, dict[str, Any]] = {
    "instant": {},
    "slow": {"data_latency_s": 1e-4, "control_latency_s": 1e-4},
    "jitter": {"data_latency_s": 1e-5, "data_jitter_s": 1e-3, "control_jitter_s": 1e-3},
}

Wrap = Callable[[Any, random.Random], Any]


def transports(links: dict[str, Any], wrap: Wrap) -> Callable[[], AbstractAsyncContextManager[tuple[Any, Any]]]:
    @asynccontextmanager
    async def make_pair() -> AsyncIterator[tuple[Transport, Transport]]:
        rng = random.Random(1)
        async with open_memory_network(rng=rng, **links) as network:
            yield wrap(network.transport("left"), rng), wrap(network.transport("right"), rng)

    return make_pair


def ports(links: dict[str, Any], wrap: Wrap) -> Callable[[], AbstractAsyncContextManager[tuple[Any, Any]]]:
    @asynccontextmanager
    async def make_pair() -> AsyncIterator[tuple[Port, Port]]:
        rng = random.Random(1)
        async with open_memory_network(rng=rng, **links) as network:
            yield wrap(network.port(LEFT), rng), wrap(network.port(RIGHT), rng)

    return make_pair


def bare(end: Any, _: random.Random) -> Any:
    return end


@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("wrap", [bare, lambda end, rng: FaultyTransport(end, rng=rng)], ids=["memory", "faulty"])
def test_transport(links: dict[str, Any], wrap: Wrap) -> None:
    """Memory transports, and faulty ones without faults, keep every promise."""

    async def main(sim: Simulation) -> None:
        await check_transport(transports(links, wrap))

    simulate(main)


@pytest.mark.parametrize("links", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("wrap", [bare, lambda end, rng: FaultyPort(end, rng=rng)], ids=["memory", "faulty"])
def test_port(links: dict[str, Any], wrap: Wrap) -> None:
    """Memory ports, and faulty ones without faults, keep every promise."""

    async def main(sim: Simulation) -> None:
        await check_port(ports(links, wrap))

    simulate(main)


def test_port_on_a_real_clock() -> None:
    """The suites do not depend on a jumping clock."""
    trio.run(check_port, ports({}, bare))


class PeculiarPort(MemoryPort):
    """Wakes in vain every 10 ms, and merges bursts: both are allowed."""

    async def wait_readable(self) -> None:
        with trio.move_on_after(0.01):
            await super().wait_readable()

    def receive(self) -> Burst | None:
        bursts: list[Burst] = []
        while self._queue and sum(map(len, bursts)) + len(self._queue[0]) <= BURST_PACKETS_MAX:
            bursts += filter(None, [super().receive()])
        return concatenate(bursts) if bursts else super().receive()


def test_peculiar_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``backends.base`` leaves open is not demanded."""
    monkeypatch.setattr("nfactor.backends.memory.MemoryPort", PeculiarPort)

    async def main(sim: Simulation) -> None:
        await check_port(ports({}, bare))

    simulate(main)


class RepeatingPort(MemoryPort):
    """Hands every burst out twice."""

    _again: Burst | None = None

    def receive(self) -> Burst | None:
        if self._again is not None:
            again, self._again = self._again, None
            return again
        self._again = super().receive()
        return self._again


class StackPort(MemoryPort):
    """Last in, first out."""

    def receive(self) -> Burst | None:
        self._queue.reverse()
        try:
            return super().receive()
        finally:
            self._queue.reverse()


class GreedyPort(MemoryPort):
    """Claims to have taken all."""

    def send(self, burst: Burst) -> int:
        super().send(burst)
        return len(burst)


class SleepyPort(MemoryPort):
    """Wakes nobody who waits already."""

    def _arrive(self, item: Any, count: int) -> None:
        waiting, self._waiting = self._waiting, type(self._waiting)()
        super()._arrive(item, count)
        self._waiting = waiting


class CrampedPort(MemoryPort):
    """Loses what comes while something is queued, unless very much comes."""

    def _arrive(self, item: Any, count: int) -> None:
        super()._arrive(item, count)
        if len(self._queue) in (2, 3):
            self._queued -= len(self._queue.pop())


class InsomniacPort(MemoryPort):
    """Wakes whoever waits when it closes, but lets the next one wait in vain."""

    async def wait_readable(self) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
        else:
            await super().wait_readable()


class ImmortalPort(MemoryPort):
    """Does not close."""

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (RepeatingPort, "arrived twice"),
        (StackPort, "not first in, first out"),
        (GreedyPort, "statistics say"),
        (SleepyPort, "wait_readable did not wake for what came during|nothing arrived"),
        (CrampedPort, "wait_readable did not wake for what came last of three"),
        (InsomniacPort, "wait_readable of a closed end did not raise"),
        (ImmortalPort, "did not raise trio.ClosedResourceError"),
    ],
)
def test_broken_port_is_found(broken: type[MemoryPort], complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broken promise of a port is found, and named."""
    monkeypatch.setattr("nfactor.backends.memory.MemoryPort", broken)

    async def main(sim: Simulation) -> None:
        await check_port(ports({}, bare))

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, of which the leaf is looked at
        simulate(main)
    _assert_complains(caught.value, complaint)


class CarelessTransport(MemoryTransport):
    """Takes what is too large and cuts it off."""

    def send(self, peer: str, datagram: bytes) -> bool:
        return super().send(peer, datagram[: self.mtu])


class ForgetfulTransport(MemoryTransport):
    """Forgets what a cancelled wait found."""

    async def wait_readable(self) -> None:
        try:
            await super().wait_readable()
        finally:
            self._waiting = type(self._waiting)()
            if self._queue:
                self._queue = deque(list(self._queue)[1:])


class StubbornTransport(MemoryTransport):
    """Keeps who waits in it."""

    def interrupt(self) -> None:
        pass


class BreakableTransport(MemoryTransport):
    """Does not hear any more once it was interrupted."""

    _is_broken = False

    def interrupt(self) -> None:
        super().interrupt()
        self._is_broken = True

    def _arrive(self, item: Any, count: int) -> None:
        if not self._is_broken:
            super()._arrive(item, count)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (CarelessTransport, "over the MTU was taken"),
        (ForgetfulTransport, "nothing arrived|did not wake"),
        (StubbornTransport, "interrupt did not wake"),
        (BreakableTransport, "nothing arrived"),
    ],
)
def test_broken_transport_is_found(
    broken: type[MemoryTransport], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each broken promise of a transport is found, and named."""
    monkeypatch.setattr("nfactor.backends.memory.MemoryTransport", broken)

    async def main(sim: Simulation) -> None:
        await check_transport(transports({}, bare))

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - a group, of which the leaf is looked at
        simulate(main)
    _assert_complains(caught.value, complaint)


def _assert_complains(error: BaseException, complaint: str) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AssertionError)
    with pytest.raises(AssertionError, match=complaint):
        raise error
