"""A transport over UDP: no threads, and nothing between the node and the kernel.

For hosts on one trusted network, where it is the quickest way: a datagram is one system call. It may be lost, repeated
and reordered, as every transport may. It is not encrypted, and whoever reaches the port may say that he is anybody:
where that matters, ``nfactor.backends.zmq`` has keys.

A packet is the sender's name (one octet of length, then ASCII) and the datagram.

What comes arrives at one socket, which is bound; to each peer leads another, which is connected: the kernel then looks
for the way once and not with each datagram, which is a third of what sending costs.
"""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio

from nfactor.backends.base import Transport, TransportStatistics
from nfactor.backends.sender_names import SenderNames, is_name, prefix_of
from nfactor.errors import CallerError

MTU_LOOPBACK = 60_000
"""On one host there are no fragments to lose."""
MTU_NETWORK = 1400
"""On Ethernet, so that no packet is cut into fragments."""
SOCKET_OCTETS = 4 * 1024 * 1024
"""What is asked of the kernel for each direction; it may give less."""
_NAME_OCTETS_MAX = 100
_UDP_OCTETS_MAX = 65_507

Address = tuple[str, int]


class UdpTransport(Transport):
    """Datagrams to the nodes of ``book``, a mapping of names to ``(host, port)`` that may be changed at any time."""

    is_live = True

    def __init__(self, name: str, sock: socket.socket, book: Mapping[str, Address], mtu: int) -> None:
        self.name = name
        self.mtu = mtu
        self._socket = sock
        self._book = book
        self._prefix = prefix_of(name)
        self._names = SenderNames()
        self._senders: dict[str, tuple[Address, socket.socket]] = {}
        """By peer: the address that the book had for it, and the socket that is connected to it."""
        self._closed = False
        self._sent = self._refused = self._received = 0
        self.malformed = 0
        """Packets that were none of ours."""

    @property
    def address(self) -> Address:
        """Where others reach it, with the port that the system chose for 0."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def send(self, peer: str, datagram: bytes) -> bool:
        address = self._book.get(peer)
        if self._closed or address is None or len(datagram) > self.mtu:
            self._refused += 1
            return False
        try:
            sender, packet = self._sender(peer, address), self._prefix + datagram
            try:
                sender.send(packet)
            except ConnectionRefusedError:  # news of an earlier packet that nobody took; this one was not sent
                sender.send(packet)
        except OSError:  # no room, nobody there, no way there: all of it may change
            self._refused += 1
            return False
        self._sent += 1
        return True

    def _sender(self, peer: str, address: Address) -> socket.socket:
        known = self._senders.get(peer)
        if known is not None:
            if known[0] == address:
                return known[1]
            self._senders.pop(peer)[1].close()
        sender = socket.socket(self._socket.family, socket.SOCK_DGRAM)
        try:
            sender.setblocking(False)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_OCTETS)
            sender.connect(address)
        except BaseException:
            sender.close()
            raise
        self._senders[peer] = address, sender
        return sender

    def receive(self) -> tuple[str, bytes] | None:
        names = self._names
        while not self._closed:
            try:
                packet = self._socket.recv(_UDP_OCTETS_MAX)
            except BlockingIOError:
                return None
            except OSError:  # news of an earlier packet that nobody took
                continue
            end = 1 + packet[0] if packet else 0
            name = names.known.get(packet[:end]) or names.learn(packet[:end])
            if name is None or len(packet) > end + self.mtu:
                self.malformed += 1
                continue
            self._received += 1
            return name, packet[end:]
        return None

    async def wait_readable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except trio.ClosedResourceError:
            if self._closed:
                raise

    def interrupt(self) -> None:
        if not self._closed:
            trio.lowlevel.notify_closing(self._socket)  # which says what is not true, and wakes whoever waits

    def statistics(self) -> TransportStatistics:
        return TransportStatistics(self._sent, self._refused, self._received)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            for _, sender in self._senders.values():
                sender.close()


@asynccontextmanager
async def open_udp(
    name: str, bind: Address, book: Mapping[str, Address], *, mtu: int = MTU_NETWORK
) -> AsyncIterator[UdpTransport]:
    """The transport of a node for the length of the block. ``mtu``: the largest datagram, in octets; ``MTU_LOOPBACK``
    where all nodes are on one host. Raises CallerError if the address cannot be had or the name is no name."""
    if not is_name(name) or len(name) > _NAME_OCTETS_MAX:
        raise CallerError(f"{name!r}: names of nodes are ASCII on UDP, 1 to {_NAME_OCTETS_MAX} octets")
    if not 0 < mtu <= _UDP_OCTETS_MAX - 1 - len(name):
        raise CallerError(f"an MTU of {mtu} octets does not fit into a packet")
    family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_OCTETS)
        try:
            sock.bind(bind)
        except OSError as error:
            raise CallerError(f"{bind[0]}:{bind[1]}: cannot listen there: {error.strerror or error}") from None
        transport = UdpTransport(name, sock, book, mtu)
        try:
            yield transport
        finally:
            transport.close()
    finally:
        sock.close()
