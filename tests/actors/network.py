"""A network in memory for the tests of the actors: seeded loss and delay, cuts, no faults unless asked for."""

import math
import random
from collections import deque

import attrs
import trio

from nfactor.backends.base import Transport, TransportStatistics


@attrs.define
class Faults:
    """How bad the network is."""

    loss: float = 0.0
    delay_s: float = 0.001
    jitter_s: float = 0.0


class Network:
    """Carries datagrams between its transports, in one trio run; ``run`` must be started in a nursery."""

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.transports: dict[str, MemoryTransport] = {}
        self.cut: dict[str, None] = {}
        """Names of nodes that nothing reaches and that reach nothing."""
        self.datagrams = 0
        self.sizes: list[int] = []
        """Octets of each datagram that was sent."""

    def transport(self, name: str, mtu: int = 1400) -> "MemoryTransport":
        """A transport; one of the same name takes the place of the last."""
        made = self.transports[name] = MemoryTransport(self, name, mtu)
        return made

    def carry(self, source: str, target: str, datagram: bytes) -> None:
        self.datagrams += 1
        self.sizes.append(len(datagram))
        if source in self.cut or target in self.cut or self.random.random() < self.faults.loss:
            return
        delay = self.faults.delay_s + self.random.random() * self.faults.jitter_s
        transport = self.transports.get(target)
        if transport is not None:
            transport.arrive(trio.current_time() + round(delay, 6), source, datagram)


class MemoryTransport(Transport):
    """One end; datagrams wait in it until their time has come."""

    def __init__(self, network: Network, name: str, mtu: int) -> None:
        self.name = name
        self.mtu = mtu
        self._network = network
        self._waiting: deque[tuple[float, str, bytes]] = deque()
        self._arrived = trio.Event()
        self._is_closed = False
        self._sent = self._refused = self._received = 0

    def send(self, peer: str, datagram: bytes) -> bool:
        if self._is_closed or len(datagram) > self.mtu or peer not in self._network.transports:
            self._refused += 1
            return False
        self._sent += 1
        self._network.carry(self.name, peer, datagram)
        return True

    def arrive(self, time: float, source: str, datagram: bytes) -> None:
        self._waiting.append((time, source, datagram))
        self._waiting = deque(sorted(self._waiting, key=lambda item: item[0]))
        self._arrived.set()
        self._arrived = trio.Event()

    def receive(self) -> tuple[str, bytes] | None:
        if not self._waiting or self._waiting[0][0] > trio.current_time():
            return None
        _, source, datagram = self._waiting.popleft()
        self._received += 1
        return source, datagram

    async def wait_readable(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError
        time = self._waiting[0][0] if self._waiting else math.inf
        if time <= trio.current_time():
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_at(time):
            await self._arrived.wait()
        if self._is_closed:
            raise trio.ClosedResourceError

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(self._sent, self._refused, self._received)

    def interrupt(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    def close(self) -> None:
        self._is_closed = True
        self._arrived.set()
