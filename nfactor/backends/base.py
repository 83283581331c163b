"""The two interfaces to swap: a transport for messages, a port for packets.

Both are narrow on purpose (httpcore's backends, quinn's runtime): ``send`` never waits and refuses what it cannot take,
``receive`` takes what is there, and one ``await`` says that something may be there. Everything that promises more than
this (order, acknowledgement, fragments) is built above, once, in ``nfactor.actors.link``. A backend is an object that
the caller passes; there is no registry and nothing is sniffed.
"""

from abc import ABC, abstractmethod

import attrs

from nfactor.packet.burst import Burst, concatenate

JOINED_PACKETS_MAX = 4096
"""Packets that wait at a port and are taken as one burst: no more bursts are joined once there are so many."""
JOINED_OCTETS_MAX = 8 << 20
"""The same in octets of their frames."""
LARGE_PACKETS = 512
"""A burst of so many packets is worth being dealt with by itself."""


@attrs.frozen
class TransportStatistics:
    """Counts since the transport was opened."""

    sent: int
    """Datagrams taken by ``send``."""
    refused: int
    """Datagrams that ``send`` did not take (queue full, unknown peer, over the MTU)."""
    received: int
    """Datagrams handed out by ``receive``."""


class Transport(ABC):
    """Datagrams to named peers. May lose, duplicate and reorder; never corrupts silently what it delivers in memory."""

    name: str
    """This end's own name: what a peer passes as ``peer`` to reach it."""
    mtu: int
    """The largest datagram, in octets."""
    is_live: bool = False
    """Datagrams may come while no other task runs, so that it can be worth to ask again and again."""

    @abstractmethod
    def send(self, peer: str, datagram: bytes) -> bool:
        """Hand over one datagram; never waits. False: not taken, and counted as refused."""

    @abstractmethod
    def receive(self) -> tuple[str, bytes] | None:
        """The next ``(peer, datagram)`` that has arrived, or None."""

    @abstractmethod
    async def wait_readable(self) -> None:
        """Return when ``receive`` may have something (perhaps at once, perhaps in vain). Another task may call
        ``receive`` meanwhile; once that has given None, what comes next wakes who waits here."""

    @abstractmethod
    def interrupt(self) -> None:
        """Let whoever waits in ``wait_readable`` return, in vain. Nobody waits: nothing happens, or the next wait is in
        vain. It is how a node gets back a task of its user's that waits there."""

    @abstractmethod
    def statistics(self) -> TransportStatistics:
        """Counts so far."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; idempotent. Sends are refused from now on, ``wait_readable`` raises
        ``trio.ClosedResourceError``."""


@attrs.frozen
class PortStatistics:
    """Counts of packets since the port was opened."""

    sent: int
    """Packets taken by ``send``."""
    refused: int
    """Packets that ``send`` did not take; they are still the caller's."""
    received: int
    """Packets handed out by ``receive``."""
    lost: int
    """Packets that this port took or that came for it, and that it then dropped (receive queue full, no such
    target)."""
    queued: int
    """Packets that have arrived and wait for ``receive``."""


class Port(ABC):
    """Bursts of Ethernet frames. May lose, never duplicates; first in, first out between two queues."""

    address: bytes
    """This port's MAC address, 6 octets."""
    mtu: int
    """The largest frame, in octets, Ethernet header included."""

    @abstractmethod
    def send(self, burst: Burst) -> int:
        """Hand over frames, which go where their target address says; never waits.

        Returns how many were taken, counted from the front; the rest was refused, counted, and stays the caller's.
        Frames that were taken must not be touched any more.
        """

    @abstractmethod
    def receive(self) -> Burst | None:
        """The next frames that have arrived, at most ``BURST_PACKETS_MAX``, or None. They belong to the caller."""

    def receive_joined(self, *, large: bool) -> Burst | None:
        """The same, but bursts that have arrived are joined until there are ``JOINED_PACKETS_MAX`` packets or more, or
        ``JOINED_OCTETS_MAX`` octets: what is done once per burst costs less under load, and where nothing has arrived
        nobody waits for it. Behind one that has ``LARGE_PACKETS`` or more the next is only joined if ``large``: it
        costs a copy."""
        bursts: list[Burst] = []
        packets = octets = 0
        while (burst := self.receive()) is not None:
            bursts.append(burst)
            packets, octets = packets + len(burst), octets + int(burst.lengths.sum())
            is_alone = len(burst) >= LARGE_PACKETS and not large
            if is_alone or packets >= JOINED_PACKETS_MAX or octets >= JOINED_OCTETS_MAX:
                break
        return concatenate(bursts) if bursts else None

    @abstractmethod
    async def wait_readable(self) -> None:
        """Return when ``receive`` may have something (perhaps at once, perhaps in vain)."""

    @abstractmethod
    def statistics(self) -> PortStatistics:
        """Counts so far."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; idempotent. Sends are refused from now on, ``wait_readable`` raises
        ``trio.ClosedResourceError``."""
