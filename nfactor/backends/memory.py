"""An in-memory network that joins the transports and ports of one trio run: seeded, virtual, and faulty when told.

Datagrams go by node name, bursts by the target address in each frame, all through one fabric (``backends.fabric`` says
what it promises). Here are the ends: what they take, how they split a burst, and what they hand out.
"""

import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import numpy as np
import numpy.typing as npt
import trio

from nfactor.backends.base import Port, PortStatistics, Transport, TransportStatistics
from nfactor.backends.fabric import End, Fabric, Link, key_of
from nfactor.backends.faulty import LinkRule as LinkRule
from nfactor.errors import CallerError
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst

TRANSPORT_MTU = 1400
PORT_MTU = 262_144 + 16
"""The largest record that libpcap writes, behind our header: in memory nothing needs to be cut up."""
QUEUE_PACKETS_MAX = 4096
QUEUE_DATAGRAMS_MAX = 4096
FRAME_OCTETS_MIN = 14
"""An Ethernet header; anything shorter has no address to go by."""


class MemoryTransport(End, Transport):
    """Datagrams by node name; in order, once and without loss unless a rule says otherwise."""

    def __init__(self, network: "MemoryNetwork", name: str, mtu: int, queue_max: int) -> None:
        super().__init__(network, network._datagrams, name, name, queue_max)
        self.name = name
        self.mtu = mtu

    def send(self, peer: str, datagram: bytes) -> bool:
        link = self._link(peer)
        target = link.target
        if self._closed or self._cut or target is None or len(datagram) > self.mtu or target._room() < 1:
            self._refuse(1)
            return False
        self._sent += 1
        self._ledger.sent += 1
        rng, rule = self._network._rng, link.rule
        if target._cut:
            self._lose(1, "cut")
        elif rule.cut or (rule.loss and rng.random() < rule.loss):
            self._lose(1, "link")
        else:
            item = (self.name, bytes(datagram))
            held = bool(rule.reorder) and rng.random() < rule.reorder
            self._network._carry(link, target, item, 1, held=held)
            if rule.duplicate and target._room() and rng.random() < rule.duplicate:
                self._ledger.duplicated += 1
                self._network._carry(link, target, item, 1, held=True)
        return True

    def receive(self) -> tuple[str, bytes] | None:
        if not self._queue:
            return None
        self._take(1)
        item: tuple[str, bytes] = self._queue.popleft()
        return item

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(self._sent, self._refused, self._received)


class MemoryPort(End, Port):
    """Bursts by the address in each frame's first 6 octets; a burst that arrives whole is handed on, not copied."""

    def __init__(self, network: "MemoryNetwork", address: bytes, mtu: int, queue_max: int, node: str) -> None:
        super().__init__(network, network._packets, key_of(address), node, queue_max)
        self.address = address
        self.mtu = mtu

    def send(self, burst: Burst) -> int:
        count = len(burst)
        if self._closed or self._cut or count == 0:
            self._refuse(count)
            return 0
        key = _common_key(burst, self.mtu)
        if key is None:
            taken = self._send_mixed(burst)
        else:
            link = self._link(key)
            taken = count if link.target is None else max(0, min(count, link.target._room()))
            self._send_to(link, burst if taken == count else burst.slice(0, taken))
        self._sent += taken
        self._ledger.sent += taken
        if taken < count:
            self._refuse(count - taken)
        return taken

    def _send_mixed(self, burst: Burst) -> int:
        """Split by target, order kept; what is taken ends before the first frame whose target has no room."""
        taken = len(burst)
        legal = _legal(burst, self.mtu)
        places = np.flatnonzero(legal)
        keys = _keys(burst.offsets[places], burst)
        shares: list[tuple[Link, npt.NDArray[np.intp]]] = []
        while len(keys):
            key = keys[0]
            mine = keys == key
            link, share = self._link(int(key)), places[mine]
            if link.target is not None and len(share) > (room := link.target._room()):
                taken = min(taken, int(share[max(0, room)]))
            shares.append((link, share))
            keys, places = keys[~mine], places[~mine]
        if illegal := taken - int(legal[:taken].sum()):
            self._lose(illegal, "size")
        for link, share in shares:
            self._send_to(link, burst.select(share[: int(np.searchsorted(share, taken))]))
        return taken

    def _send_to(self, link: Link, burst: Burst) -> None:
        """Carry a burst for which its one target has room."""
        rule, target = link.rule, link.target
        if target is None:
            self._lose(len(burst), "no_such_target")
        elif target._cut:
            self._lose(len(burst), "cut")
        elif rule.cut:
            self._lose(len(burst), "link")
        else:
            if rule.loss:
                rng, count = self._network._rng, len(burst)
                burst = burst.select(np.array([i for i in range(count) if rng.random() >= rule.loss], np.intp))
                if count > len(burst):
                    self._lose(count - len(burst), "link")
            if len(burst):
                self._network._carry(link, target, burst, len(burst), held=False)

    def receive(self) -> Burst | None:
        if not self._queue:
            return None
        burst: Burst = self._queue.popleft()
        if len(burst) > BURST_PACKETS_MAX:
            self._queue.appendleft(burst.slice(BURST_PACKETS_MAX, len(burst)))
            burst = burst.slice(0, BURST_PACKETS_MAX)
        self._take(len(burst))
        return burst

    def statistics(self) -> PortStatistics:
        return PortStatistics(self._sent, self._refused, self._received, self._lost, self._queued)


class MemoryNetwork(Fabric):
    """The fabric with a way to join it; ``run`` is its pump (see ``open_memory_network``)."""

    def transport(
        self, name: str, *, mtu: int = TRANSPORT_MTU, queue_datagrams_max: int = QUEUE_DATAGRAMS_MAX
    ) -> MemoryTransport:
        """Open the transport of node ``name``. One that was cut is closed and replaced: a restarted node is new."""
        transport = MemoryTransport(self, name, mtu, queue_datagrams_max)
        self._join(transport, name)
        return transport

    def port(
        self,
        address: bytes,
        *,
        queue_packets_max: int = QUEUE_PACKETS_MAX,
        mtu: int = PORT_MTU,
        node: str = "",
    ) -> MemoryPort:
        """Open a port; ``node`` is the name by which ``cut`` and rules know it besides its address."""
        if len(address) != 6:
            raise CallerError(f"a port address has 6 octets, not {len(address)}: {address.hex(':')}")
        port = MemoryPort(self, bytes(address), mtu, queue_packets_max, node)
        self._join(port, address.hex(":"))
        return port


@asynccontextmanager
async def open_memory_network(
    *,
    rng: random.Random,
    data_latency_s: float = 0.0,
    control_latency_s: float = 0.0,
    data_jitter_s: float = 0.0,
    control_jitter_s: float = 0.0,
    data_bits_per_s: float = 0.0,
    control_bits_per_s: float = 0.0,
    rules: Iterable[LinkRule] = (),
) -> AsyncIterator[MemoryNetwork]:
    """A network whose pump runs as long as the block; what the block raises comes out as it is, in no group."""
    network = MemoryNetwork(
        rng=rng,
        data_latency_s=data_latency_s,
        control_latency_s=control_latency_s,
        data_jitter_s=data_jitter_s,
        control_jitter_s=control_jitter_s,
        data_bits_per_s=data_bits_per_s,
        control_bits_per_s=control_bits_per_s,
        rules=rules,
    )
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        try:
            yield network
        except BaseException as error:  # raised again outside the nursery, which would wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


# Addresses are compared as 48-bit integers, read by one gather of 8 octets per frame from an overlapping view: a sixth
# of the cost of gathering 6 single octets. A legal frame has 14 octets or more, so the gather never leaves the buffer.
_KEY_DTYPE = np.dtype("<u8")
_KEY_MASK = np.uint64(0xFFFF_FFFF_FFFF)


def _keys(offsets: npt.NDArray[np.int64], burst: Burst) -> npt.NDArray[np.uint64]:
    if not len(offsets):
        return np.zeros(0, np.uint64)
    overlapping: npt.NDArray[np.uint64] = np.ndarray((burst.data.size - 7,), _KEY_DTYPE, burst.data, 0, (1,))
    keys = overlapping[offsets]
    keys &= _KEY_MASK
    return keys


def _legal(burst: Burst, mtu: int) -> npt.NDArray[np.bool_]:
    """Which frames have a header and fit: one comparison, because what is too short wraps round to something large."""
    return burst.lengths - np.uint32(FRAME_OCTETS_MIN) <= np.uint32(mtu - FRAME_OCTETS_MIN)


def _common_key(burst: Burst, mtu: int) -> int | None:
    """The target of all frames, or None if there are several or a frame is not legal."""
    if not _legal(burst, mtu).all():
        return None
    keys = _keys(burst.offsets, burst)
    key = keys[0]
    return int(key) if (keys == key).all() else None
