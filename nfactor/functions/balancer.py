"""Load balancer, MAC mode: gives each connection to a service one backend, and addresses its packets to that one.

The backends of a service share its IP address and answer the clients themselves (direct server return), so only the
Ethernet target of what goes *to* the service is rewritten. Services are text::

    # service ADDRESS PROTOCOL PORT: the lines below it are its backends
    service 10.0.0.100 tcp 80
      backend 02:00:00:00:00:0a
      backend 02:00:00:00:00:0b
    service 2001:db8::100 udp 53
      backend 02:00:00:00:00:0c

Which backend it is follows from the client's address and port alone (rendezvous hashing), so any runtime comes to the
same answer, and taking a backend away moves only the connections that it had. The answer is kept in the flow's state:
a connection stays where it is although the services change. Whatever is not for a service passes as it is.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from nfactor.dataplane import nf
from nfactor.errors import RuleError
from nfactor.functions.words import address_words, port_number, protocol_number

BACKENDS_MAX = 4096
"""Backends of one service, at most."""

_MAC_OCTETS: Final = 6
_ETHERNET: Final = 1


@attrs.frozen
class Service:
    """What clients address, and who answers. Addresses are two 64-bit halves; IPv4 lies in the lower 32 bits."""

    version: int
    high: int
    low: int
    protocol: int
    port: int
    backends: tuple[tuple[int, ...], ...]
    """MAC addresses, six octets each."""


@nf.record
class ServiceRow:
    """A service as the NF looks it up."""

    high: nf.u64
    low: nf.u64
    version: nf.u8
    protocol: nf.u8
    port: nf.u16
    first: nf.u32
    """Where its backends begin among those of all services."""
    count: nf.u32


@nf.record
class BackendRow:
    """A backend: its MAC address as a number, the first octet highest."""

    mac: nf.u64


@nf.state
class BalancerState:
    """The choice for this flow."""

    chosen: nf.u32
    """0 none (yet), else 1 + index into all backends of all services, in order."""
    to_service: nf.u8
    """The direction (0 or 1) of the packets that go to the service."""
    asked: nf.u8
    """Bits 1 and 2: packets of that direction are for no service."""


class Balancer(nf.NF):
    """Always forwards; without services it changes nothing."""

    State = BalancerState

    def __init__(self, services: Sequence[Service] = ()) -> None:
        self.services: nf.Table[ServiceRow] = nf.Table(ServiceRow)
        self.backends: nf.Table[BackendRow] = nf.Table(BackendRow)
        self.configure(services)

    def configure(self, services: Sequence[Service]) -> None:
        """These services from now on. Connections keep the backend that they have by its place in the list."""
        rows: list[ServiceRow] = []
        macs: list[BackendRow] = []
        for service in services:
            ends = (service.version, service.protocol, service.port, len(macs), len(service.backends))
            rows.append(ServiceRow(service.high, service.low, *ends))
            macs += [BackendRow(int.from_bytes(bytes(mac), "big")) for mac in service.backends]
        self.services.replace(rows)
        self.backends.replace(macs)

    def process_pkt(self, pkt: nf.Packet, fs: BalancerState) -> int:
        """Rewrite the Ethernet target of packets to a service; FORWARD."""
        if fs.chosen == 0 and not fs.asked >> pkt.direction & 1 and not pkt.foreign:
            fs.chosen = self._choose(pkt)
            fs.to_service = pkt.direction
            fs.asked |= 1 << pkt.direction
        if fs.chosen and pkt.direction == fs.to_service and pkt.linktype == _ETHERNET:
            mac = self.backends[fs.chosen - 1].mac
            for index in range(_MAC_OCTETS):
                pkt.data[pkt.start + index] = mac >> (40 - 8 * index) & 0xFF
        return nf.FORWARD

    def _choose(self, pkt: nf.Packet) -> int:
        """1 + the backend for the client that sent this packet, or 0 if it is for no service."""
        for service in self.services:
            if (
                service.protocol == pkt.protocol
                and service.port == pkt.target_port
                and service.version == pkt.version
                and service.high == pkt.target_high
                and service.low == pkt.target_low
            ):
                return 1 + self._highest(service.first, service.count, pkt)
        return 0

    def _highest(self, first: int, count: int, pkt: nf.Packet) -> int:
        """Rendezvous hashing: of all backends the one whose hash with the client is the highest."""
        client = _mix(pkt.source_high ^ _mix(pkt.source_low ^ _mix(pkt.source_port)))
        best, best_score = first, 0
        for index in range(first, first + count):
            score = _mix(client ^ _mix(self.backends[index].mac))
            if score > best_score:
                best, best_score = index, score
        return best


def _mix(number: int) -> int:
    """A 64-bit finaliser (the constants are those of MurmurHash3, which is in the public domain)."""
    number = (number ^ number >> 33) * 0xFF51AFD7ED558CCD & nf.MASK_64
    number = (number ^ number >> 33) * 0xC4CEB9FE1A85EC53 & nf.MASK_64
    return number ^ number >> 33


def parse_services(lines: Iterable[str], file: str = "services") -> list[Service]:
    """Read a service file's lines. Raises ``RuleError`` naming file, line and what is wrong; nothing is half-read."""
    found: list[tuple[int, Service]] = []
    for number, text in enumerate(lines, 1):
        words = text.split("#", 1)[0].split()
        if not words:
            continue
        try:
            if words[0] == "service":
                found.append((number, _service(words)))
            elif words[0] == "backend":
                if not found:
                    raise ValueError("a backend before any service")
                found[-1] = (found[-1][0], _with_backend(found[-1][1], words))
            else:
                raise ValueError(f"{words[0]!r}: a line is `service ADDRESS PROTOCOL PORT` or `backend MAC`")
        except ValueError as error:
            raise RuleError(file, number, str(error)) from None
    for number, service in found:
        if not service.backends:
            raise RuleError(file, number, "this service has no backend")
    return [service for _, service in found]


def _service(words: Sequence[str]) -> Service:
    if len(words) != 4:
        raise ValueError("a service is `service ADDRESS PROTOCOL PORT`")
    version, high, low = address_words(words[1])
    protocol = protocol_number(words[2], with_ports=True)
    return Service(version, high, low, protocol, port_number(words[3]), ())


def _with_backend(service: Service, words: Sequence[str]) -> Service:
    if len(words) != 2:
        raise ValueError("a backend is `backend MAC`")
    parts = words[1].split(":")
    if len(parts) != _MAC_OCTETS or not all(len(part) == 2 and part.isascii() for part in parts):
        raise ValueError(f"{words[1]!r} is no MAC address; write six octets like 02:00:00:00:00:0a")
    try:
        mac = tuple(int(part, 16) for part in parts)
    except ValueError:
        raise ValueError(f"{words[1]!r} is no MAC address; write six octets like 02:00:00:00:00:0a") from None
    if mac in service.backends:
        raise ValueError(f"backend {words[1]} stands twice in this service")
    if len(service.backends) == BACKENDS_MAX:
        raise ValueError(f"more than {BACKENDS_MAX} backends")
    return attrs.evolve(service, backends=(*service.backends, mac))
