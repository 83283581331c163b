"""Faults of links: rules for the memory network, wrappers around any other transport or port.

A rule is asked by the fabric, which knows both ends of a link. A wrapper is for a backend where there is no fabric to
ask, and mistreats what its own end sends. What a fault loses had been *taken*: the sender sees nothing, as on a real
wire. A wrapper with every probability 0 is the backend that it wraps, and passes the same conformance suite.
"""

import random

import attrs
import numpy as np

from nfactor.backends.base import Port, PortStatistics, Transport, TransportStatistics
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst


@attrs.frozen(kw_only=True)
class LinkRule:
    """What happens on the links from ``source`` to ``target``; of the rules of a network the first that matches wins.

    An end is named by its node's name (its transport and its ports) or by a port's address; None matches every end.
    """

    source: str | bytes | None = None
    target: str | bytes | None = None
    cut: bool = False
    """Everything is lost, this way only: two rules make a partition."""
    loss: float = 0.0
    """Probability that a packet or datagram is lost."""
    delay_s: float = 0.0
    """On top of the network's latency."""
    jitter_s: float = 0.0
    """On top of the network's jitter."""
    bits_per_s: float = 0.0
    """How fast these links are, in place of the network's own rate; 0: as the network."""
    duplicate: float = 0.0
    """Probability that a datagram comes twice; ports never duplicate."""
    reorder: float = 0.0
    """Probability that a datagram is held for up to ``reorder_s`` while others overtake it; ports never reorder."""
    reorder_s: float = 0.001

    def __attrs_post_init__(self) -> None:
        _check_probabilities(loss=self.loss, duplicate=self.duplicate, reorder=self.reorder)
        if min(self.delay_s, self.jitter_s, self.reorder_s, self.bits_per_s) < 0:
            raise CallerError(f"a link cannot be faster than nothing: {self}")


@attrs.define
class FaultCounts:
    """What a faulty transport did so far."""

    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    held: int = 0


class FaultyTransport(Transport):
    """A transport that mistreats what is sent through it; probabilities are per datagram.

    ``reorder`` holds a datagram back until 1 to ``reorder_sends_max`` later ones have gone; if none follows it stays
    held, which is a loss as far as the peer can tell.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        rng: random.Random,
        loss: float = 0.0,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        reorder: float = 0.0,
        reorder_sends_max: int = 4,
    ) -> None:
        _check_probabilities(loss=loss, duplicate=duplicate, corrupt=corrupt, reorder=reorder)
        self.name = transport.name
        self.mtu = transport.mtu
        self.is_live = transport.is_live
        self.faults = FaultCounts()
        self._transport = transport
        self._rng = rng
        self._loss = loss
        self._duplicate = duplicate
        self._corrupt = corrupt
        self._reorder = reorder
        self._reorder_sends_max = reorder_sends_max
        self._held: list[tuple[int, str, bytes]] = []
        self._closed = False
        self._sent = 0
        self._refused = 0

    def send(self, peer: str, datagram: bytes) -> bool:
        taken = not self._closed and len(datagram) <= self.mtu and self._mistreat(peer, datagram)
        self._sent += taken
        self._refused += not taken
        if taken:
            self._release()
        return taken

    def _mistreat(self, peer: str, datagram: bytes) -> bool:
        if self._happens(self._loss):
            self.faults.lost += 1
            return True
        if datagram and self._happens(self._corrupt):
            self.faults.corrupted += 1
            datagram = _flip_one_bit(datagram, self._rng)
        if self._happens(self._reorder):
            self.faults.held += 1
            # One more than chosen, because the send under way counts itself when it releases.
            self._held.append((1 + self._rng.randint(1, self._reorder_sends_max), peer, datagram))
            return True
        taken = self._transport.send(peer, datagram)
        if taken and self._happens(self._duplicate) and self._transport.send(peer, datagram):
            self.faults.duplicated += 1
        return taken

    def _release(self) -> None:
        """Count one send; what has been held long enough goes, in the order in which it came."""
        waiting = [(sends - 1, peer, datagram) for sends, peer, datagram in self._held]
        self._held = [held for held in waiting if held[0] > 0]
        for sends, peer, datagram in waiting:
            if sends == 0 and not self._transport.send(peer, datagram):
                self.faults.lost += 1

    def heal(self) -> None:
        """From now on it is the transport that it wraps; what is held goes at once."""
        self._loss = self._duplicate = self._corrupt = self._reorder = 0.0
        held, self._held = self._held, []
        self.faults.lost += sum(not self._transport.send(peer, datagram) for _, peer, datagram in held)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._rng.random() < probability

    def receive(self) -> tuple[str, bytes] | None:
        return self._transport.receive()

    async def wait_readable(self) -> None:
        await self._transport.wait_readable()

    def interrupt(self) -> None:
        self._transport.interrupt()

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(self._sent, self._refused, self._transport.statistics().received)

    def close(self) -> None:
        self._closed = True
        self.faults.lost += len(self._held)
        self._held.clear()
        self._transport.close()


class FaultyPort(Port):
    """A port that loses packets that are sent through it, each with probability ``loss``; order stays."""

    def __init__(self, port: Port, *, rng: random.Random, loss: float = 0.0) -> None:
        _check_probabilities(loss=loss)
        self.address = port.address
        self.mtu = port.mtu
        self._port = port
        self._rng = rng
        self._loss = loss
        self._closed = False
        self._sent = 0
        self._refused = 0
        self._lost = 0

    def send(self, burst: Burst) -> int:
        count = len(burst)
        if self._closed:
            taken = 0
        elif self._loss:
            taken = self._send_survivors(burst)
        else:
            taken = self._port.send(burst)
        self._sent += taken
        self._refused += count - taken
        return taken

    def _send_survivors(self, burst: Burst) -> int:
        """Taken is all before the first survivor that the port refuses; those behind it get another throw later."""
        rng, count = self._rng, len(burst)
        survivors = [index for index in range(count) if rng.random() >= self._loss]
        passed = self._port.send(burst.select(np.array(survivors, np.intp))) if survivors else 0
        taken = count if passed == len(survivors) else survivors[passed]
        self._lost += taken - passed
        return taken

    def heal(self) -> None:
        """From now on it is the port that it wraps."""
        self._loss = 0.0

    def receive(self) -> Burst | None:
        return self._port.receive()

    async def wait_readable(self) -> None:
        await self._port.wait_readable()

    def statistics(self) -> PortStatistics:
        inner = self._port.statistics()
        return PortStatistics(self._sent, self._refused, inner.received, inner.lost + self._lost, inner.queued)

    def close(self) -> None:
        self._closed = True
        self._port.close()


def _flip_one_bit(datagram: bytes, rng: random.Random) -> bytes:
    bit = rng.randrange(8 * len(datagram))
    spoilt = bytearray(datagram)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def _check_probabilities(**probabilities: float) -> None:
    for name, probability in probabilities.items():
        if not 0 <= probability <= 1:
            raise CallerError(f"{name} is a probability, from 0 to 1, not {probability}")
