"""Transports and ports over ZeroMQ: for clusters of ordinary processes, on one host or several.

An end *binds* one PULL socket, on which everything for it arrives, and has a PUSH socket for each peer that it has sent
to. Sockets that are read are never written and the other way round, for ZeroMQ's descriptor is edge-triggered: it tells
of a change once, and any call on the socket may swallow it. So whoever waits looks at ``EVENTS`` first, unless the last
call found nothing there: what comes later, the descriptor tells. Whoever receives looks too, unless the descriptor has
just told of something: an exception of a receive that finds nothing costs five times as much. trio waits for the
descriptor itself; there are no threads but ZeroMQ's own.

ZeroMQ queues, connects and connects again by itself, and loses what it had queued when a peer dies or its high-water
mark is reached. That is what ``Transport`` and ``Port`` allow: what must arrive is the business of the link above."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import attrs
import numpy as np
import trio
import zmq

from nfactor.backends.base import Port, PortStatistics, Transport, TransportStatistics
from nfactor.backends.sender_names import NAME_OCTETS_MAX, SenderNames, is_name, prefix_of
from nfactor.backends.zmq_curve import Keys, answer_zap, has_input, protect_client, protect_server, user_of
from nfactor.errors import CallerError, ProtocolError
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst
from nfactor.packet.burst_codec import pack_burst, unpack_burst

TRANSPORT_MTU = 65_000
"""ZeroMQ has no limit of its own; this bounds what one datagram costs a receiver."""
PORT_MTU = 262_144 + 16
"""The largest record that libpcap writes, behind our header."""
DATAGRAMS_MAX = 4096
"""High-water mark of a transport's sockets: datagrams that wait at either end of a connection."""
BURSTS_MAX = 64
"""The same for ports, in bursts."""
LINGER_MS = 200
"""For so long what was sent before the end still tries to leave."""
FRAME_OCTETS_MIN = 14
_MAC_OCTETS = 6
_DONTWAIT = int(zmq.DONTWAIT)


class ZmqPeer(NamedTuple):
    """Where another end is bound, and its public key where connections are encrypted."""

    endpoint: str
    """``tcp://HOST:PORT`` or ``ipc://PATH``."""
    public_key: bytes = b""


@attrs.define
class AddressBook:
    """Who is where. Entries may be added and changed at any time; an end looks up each peer when it first sends to it,
    and again when the entry has changed."""

    nodes: dict[str, ZmqPeer] = attrs.field(factory=dict)
    """Transports, by the name of their node."""
    ports: dict[bytes, ZmqPeer] = attrs.field(factory=dict)
    """Ports, by MAC address."""


class _End:
    """What transports and ports share: the socket that receives, and those that send."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", bind: str, queue_max: int, keys: Keys | None) -> None:
        self._context = context
        self._queue_max = queue_max
        self._keys = keys
        self._closed = False
        self._senders: dict[ZmqPeer, Callable[[bytes, int], object]] = {}
        """By peer, what sends to it."""
        self._pushing: list[zmq.Socket[bytes]] = []
        self._receiver = context.socket(zmq.PULL)
        self._receiver.set(zmq.RCVHWM, queue_max)
        if keys is not None:
            protect_server(self._receiver, keys)
        try:
            self._receiver.bind(bind)
        except zmq.ZMQError as error:
            self._receiver.close(0)
            raise CallerError(f"{bind}: cannot listen there: {error.strerror}") from None
        self._descriptor = int(self._receiver.get(zmq.FD))
        self._is_drained = False
        """The last call on the receiving socket found nothing there."""
        self._is_woken = False
        """The descriptor has told of something that was not yet looked for."""
        self.malformed = 0
        """Messages that were none of ours, or from somebody who is not who he says."""

    @property
    def endpoint(self) -> str:
        """Where this end is bound, with the port that the system chose for ``tcp://HOST:*``."""
        endpoint = self._receiver.get(zmq.LAST_ENDPOINT)
        return endpoint.rstrip(b"\0").decode() if isinstance(endpoint, bytes) else str(endpoint)

    def _push(self, peer: ZmqPeer, message: bytes) -> bool:
        """Queue a message for a peer; False: its queue is full."""
        send = self._senders.get(peer) or self._connect(peer)
        try:
            send(message, _DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _connect(self, peer: ZmqPeer) -> Callable[[bytes, int], object]:
        socket = self._context.socket(zmq.PUSH)
        try:
            socket.set(zmq.SNDHWM, self._queue_max)
            if self._keys is not None:
                protect_client(socket, self._keys, peer.public_key)
            socket.connect(peer.endpoint)
        except zmq.ZMQError as error:
            socket.close(0)
            raise CallerError(f"{peer.endpoint}: cannot be connected to: {error.strerror}") from None
        except CallerError:
            socket.close(0)
            raise
        self._pushing.append(socket)
        # The method of pyzmq's core, without the one around it, which is for messages with a route or a group.
        send: Callable[[bytes, int], object] = super(zmq.Socket, socket).send
        self._senders[peer] = send
        return send

    def _pull(self) -> zmq.Frame | bytes | None:
        """The next message; where connections are encrypted as a frame, which knows its connection. Messages of ours
        have one part; others are taken for several, none of which is ours."""
        if self._closed:
            return None
        if not self._is_woken and not has_input(self._receiver):
            self._is_drained = True
            return None
        self._is_drained = self._is_woken = False
        try:
            message: zmq.Frame | bytes = self._receiver.recv(_DONTWAIT, copy=self._keys is None)
        except zmq.Again:
            self._is_drained = True
            return None
        return message

    async def wait_readable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if not self._is_drained and has_input(self._receiver):
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise trio.ClosedResourceError
        else:
            try:
                await trio.lowlevel.wait_readable(self._descriptor)
            except trio.ClosedResourceError:
                if self._closed:
                    raise
                return
            self._is_drained, self._is_woken = False, True

    def interrupt(self) -> None:
        if not self._closed:
            trio.lowlevel.notify_closing(self._descriptor)  # which says what is not true, and wakes whoever waits

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._descriptor)
            self._receiver.close(0)
            for socket in self._pushing:
                socket.close(LINGER_MS)


class ZmqTransport(_End, Transport):
    """Datagrams to the nodes of the address book. A message is the sender's name (one octet of length, then ASCII) and
    the datagram."""

    is_live = True

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        name: str,
        bind: str,
        book: AddressBook,
        *,
        mtu: int,
        datagrams_max: int,
        keys: Keys | None,
    ) -> None:
        super().__init__(context, bind, datagrams_max, keys)
        self.name = name
        self.mtu = mtu
        self._prefix = prefix_of(name)
        self._names = SenderNames()
        self._book = book
        self._sent = self._refused = self._received = 0

    def send(self, peer: str, datagram: bytes) -> bool:
        known = self._book.nodes.get(peer)
        taken = (
            not self._closed
            and known is not None
            and len(datagram) <= self.mtu
            and self._push(known, self._prefix + datagram)
        )
        self._sent += taken
        self._refused += not taken
        return taken

    def receive(self) -> tuple[str, bytes] | None:
        names = self._names
        while (message := self._pull()) is not None:
            user, packet = (None, message) if isinstance(message, bytes) else (user_of(message), message.bytes)
            end = 1 + packet[0] if packet else 0
            name = names.known.get(packet[:end]) or names.learn(packet[:end])
            if name is None or len(packet) > end + self.mtu or (user is not None and user != packet[1:end]):
                self.malformed += 1
                continue
            self._received += 1
            return name, packet[end:]
        return None

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(self._sent, self._refused, self._received)


class ZmqPort(_End, Port):
    """Bursts to the ports of the address book. A message is one packed burst, for one port."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: bytes,
        bind: str,
        book: AddressBook,
        *,
        mtu: int,
        bursts_max: int,
        keys: Keys | None,
    ) -> None:
        super().__init__(context, bind, bursts_max, keys)
        self.address = address
        self.mtu = mtu
        self._book = book
        self._sent = self._refused = self._received = self._lost = 0

    def send(self, burst: Burst) -> int:
        """Runs of frames for one target go as one message; the first that is refused ends what is taken."""
        taken = 0
        while taken < len(burst) and not self._closed:
            stop = _run(burst, taken)
            if not self._send_run(burst.slice(taken, stop)):
                break
            taken = stop
        self._sent += taken
        self._refused += len(burst) - taken
        return taken

    def _send_run(self, run: Burst) -> bool:
        legal = (run.lengths >= FRAME_OCTETS_MIN) & (run.lengths <= self.mtu)
        if not legal.all():
            self._lost += int((~legal).sum())
            run = run.select(np.flatnonzero(legal))
        peer = self._book.ports.get(_target(run, 0)) if len(run) else None
        if peer is None:
            self._lost += len(run)
            return True
        return self._push(peer, pack_burst(run))

    def receive(self) -> Burst | None:
        while (message := self._pull()) is not None:
            try:
                burst = unpack_burst(message if isinstance(message, bytes) else message.bytes)
            except ProtocolError:
                self.malformed += 1
                continue
            if 0 < len(burst) <= BURST_PACKETS_MAX and burst.lengths.max() <= self.mtu:
                self._received += len(burst)
                return burst
            self.malformed += 1
        return None

    def statistics(self) -> PortStatistics:
        """``queued`` is 0: what ZeroMQ holds it does not tell."""
        return PortStatistics(self._sent, self._refused, self._received, self._lost, 0)


def _target(burst: Burst, index: int) -> bytes:
    start = int(burst.offsets[index])
    return burst.data[start : start + _MAC_OCTETS].tobytes()


def _run(burst: Burst, start: int) -> int:
    """Where the frames end that go to the same target as the one at ``start``."""
    stop = min(len(burst), start + BURST_PACKETS_MAX)
    offsets = burst.offsets[start:stop]
    whole = burst.lengths[start:stop] >= _MAC_OCTETS
    if not whole[0]:
        return start + 1  # too short to have a target
    inside = np.where(whole, offsets, offsets[0])[:, None] + np.arange(_MAC_OCTETS)
    targets = burst.data[inside]
    other = np.flatnonzero((targets != targets[0]).any(axis=1) | ~whole)
    return start + int(other[0]) if len(other) else stop


class ZmqNetwork:
    """Opens ends on one ZeroMQ context; made by ``open_zmq``."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", book: AddressBook, keys: Keys | None, allowed: dict[bytes, str]
    ) -> None:
        self._context = context
        self._keys = keys
        self._ends: list[_End] = []
        self.book = book
        self.allowed = allowed
        """Public keys and the names that they prove, where connections are encrypted; may be added to at any time."""

    def transport(
        self, name: str, bind: str, *, mtu: int = TRANSPORT_MTU, datagrams_max: int = DATAGRAMS_MAX
    ) -> ZmqTransport:
        """Open the transport of a node (an ASCII name of at most 255 octets). ``bind`` is where others reach it
        (``tcp://0.0.0.0:7001``)."""
        if not is_name(name):
            raise CallerError(f"{name!r}: names of nodes are ASCII on ZeroMQ, 1 to {NAME_OCTETS_MAX} octets")
        transport = ZmqTransport(
            self._context, name, bind, self.book, mtu=mtu, datagrams_max=datagrams_max, keys=self._keys
        )
        self._ends.append(transport)
        return transport

    def port(self, address: bytes, bind: str, *, mtu: int = PORT_MTU, bursts_max: int = BURSTS_MAX) -> ZmqPort:
        """Open a port with that MAC address."""
        if len(address) != _MAC_OCTETS:
            raise CallerError(f"a port address has 6 octets, not {len(address)}: {address.hex(':')}")
        port = ZmqPort(self._context, address, bind, self.book, mtu=mtu, bursts_max=bursts_max, keys=self._keys)
        self._ends.append(port)
        return port

    def close(self) -> None:
        """Close every end."""
        for end in self._ends:
            end.close()


@asynccontextmanager
async def open_zmq(
    book: AddressBook, *, keys: Keys | None = None, allowed: dict[bytes, str] | None = None
) -> AsyncIterator[ZmqNetwork]:
    """Ends over ZeroMQ for the length of the block. With ``keys``, every connection is encrypted and authenticated
    (CURVE): peers in the book need their public keys, and only the keys of ``allowed`` may connect, each for the name
    that it stands for."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    network = ZmqNetwork(context, book, keys, allowed if allowed is not None else {})
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            if keys is not None:
                await nursery.start(answer_zap, context, network.allowed)
            try:
                yield network
            except BaseException as error:  # raised again outside the nursery, which would wrap it in a group
                failure = error
            network.close()
            nursery.cancel_scope.cancel()
    finally:
        network.close()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.term)
    if failure is not None:
        raise failure
