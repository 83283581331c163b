"""Source NAT: hosts inside share addresses outside, a port of which each flow has for as long as it lives.

Rules are text::

    # inside PREFIX: whose TCP and UDP over IPv4 is translated; outside ADDRESS [ports FIRST-LAST]: to what
    inside 10.0.0.0/8
    outside 203.0.113.1
    outside 203.0.113.2 ports 20000-29999

A flow that goes out from inside takes a port, whatever its protocol and target (so a port is never with two flows);
what comes back to that port is translated back, from the flow's own peer alone, as other peers are other flows. Ports
lie in a pool (``nf.Pool``), so that no two runtimes give out the same, through migration and crash; the second key that
the flow has outside is an alias (``nf.Alias``), told until the first answer. Flows between two hosts inside, and what
is neither from inside nor to an address outside, pass as they are.

Ports are those of the first outside address first. Checksums are mended by the difference (RFC 1624); a UDP datagram
without one stays without. Later fragments have their address translated. Dropped and counted are packets that find no
port (``no_port``), packets to an outside address that no flow waits for (``unsolicited``), and what is from inside but
cannot be translated (``untranslatable``): other protocols, tunnels, ICMP errors, packets cut off before their ports.

Put it first in a chain: the NFs behind it then see addresses as they are outside on the way out, and as they are
inside on the way back, and ``pkt.source_port`` and ``pkt.target_port`` as the packet came.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from nfactor.dataplane import nf
from nfactor.errors import RuleError
from nfactor.functions.words import PORTS_MAX, port_number

PORT_MIN: Final = 1024
"""The first port that is given out where a rule does not say."""

_TCP, _UDP = 6, 17
_IP_CHECKSUM: Final = 10
_SOURCE, _TARGET = 12, 16
_TCP_CHECKSUM, _UDP_CHECKSUM = 16, 6


@attrs.frozen
class Outside:
    """An address of IPv4, as a number, and its ports that may be given out."""

    address: int
    first: int = PORT_MIN
    last: int = PORTS_MAX


@attrs.frozen
class NatRules:
    """Whose flows are translated (network and mask, as numbers), and to what."""

    inside: tuple[tuple[int, int], ...]
    outside: tuple[Outside, ...]


@nf.record
class InsideRow:
    """A prefix."""

    network: nf.u32
    mask: nf.u32


@nf.record
class OutsideRow:
    """An address, and where its ports stand in the pool: ``first`` is the number of ``port``."""

    address: nf.u32
    first: nf.u32
    count: nf.u32
    port: nf.u16


@nf.state
class NatState:
    """What a flow has, if anything."""

    number: nf.u32
    """1 + its number in the pool; 0: it is not translated."""
    inside: nf.u32
    outside: nf.u32
    inside_port: nf.u16
    outside_port: nf.u16
    out: nf.u8
    """The direction of packets that go out."""
    answered: nf.u8
    """Whether something has come back: then the switch knows the alias."""


class Nat(nf.NF):
    """See the module."""

    State = NatState
    drop_reasons = ("no_port", "unsolicited", "untranslatable")
    records = (nf.Alias,)

    def __init__(self, rules: NatRules, block: int = 1024) -> None:
        """``block``: how many ports a runtime is leased at once."""
        self.inside: nf.Table[InsideRow] = nf.Table(InsideRow, [InsideRow(*prefix) for prefix in rules.inside])
        self.outside: nf.Table[OutsideRow] = nf.Table(OutsideRow)
        rows, size = [], 0
        for row in rules.outside:
            rows.append(OutsideRow(row.address, size, row.last - row.first + 1, row.first))
            size += row.last - row.first + 1
        self.outside.replace(rows)
        self.ports = nf.Pool(size, block)
        self.flows = nf.Counter()
        self.translated = nf.Counter()

    def process_pkt(self, pkt: nf.Packet, fs: NatState) -> int:
        """Translate the packet, if it is one to be translated."""
        if fs.number == 0:
            if pkt.version != 4:
                return nf.FORWARD
            if not self._is_inside(pkt.source_low):
                return nf.drop(1) if self._is_outside(pkt.target_low) else nf.FORWARD
            if self._is_inside(pkt.target_low):
                return nf.FORWARD
            if not _has_ports(pkt):
                return nf.drop(2)
            number = self.ports.take()
            if number == nf.NONE_LEFT:
                return nf.drop(0)
            self._begin(pkt, fs, number)
        if not (pkt.fragment or _has_ports(pkt)):
            return nf.drop(2)
        return self._outwards(pkt, fs) if pkt.direction == fs.out else self._inwards(pkt, fs)

    def aliases(self, flow: nf.Flow, fs: NatState) -> Iterable[tuple[bytes, int]]:
        """The key of its packets outside."""
        if not fs.number:
            return ()
        return [nf.with_end(flow.key, fs.out ^ flow.initiator, fs.outside.to_bytes(4, "big"), fs.outside_port)]

    def flow_expires(self, flow: nf.Flow, fs: NatState) -> None:
        """The port may be another flow's."""
        if fs.number:
            self.ports.give_back(fs.number - 1)

    def _is_inside(self, address: int) -> bool:
        for row in self.inside:  # noqa: SIM110 - any() cannot be compiled
            if address & row.mask == row.network:
                return True
        return False

    def _is_outside(self, address: int) -> bool:
        for row in self.outside:  # noqa: SIM110
            if address == row.address:
                return True
        return False

    def _begin(self, pkt: nf.Packet, fs: NatState, number: int) -> None:
        for row in self.outside:
            if row.first <= number < row.first + row.count:
                fs.outside, fs.outside_port = row.address, row.port + number - row.first
        fs.number, fs.out = number + 1, pkt.direction
        fs.inside, fs.inside_port = pkt.source_low, pkt.source_port
        self.flows.add()

    def _outwards(self, pkt: nf.Packet, fs: NatState) -> int:
        if pkt.source_low != fs.inside or (pkt.source_port != fs.inside_port and not pkt.fragment):
            return nf.drop(2)
        if not fs.answered:
            pkt.emit(nf.Alias(direction=pkt.direction))
        _rewrite(pkt, _SOURCE, fs.inside, fs.outside, 0, fs.inside_port, fs.outside_port)
        self.translated.add()
        return nf.FORWARD

    def _inwards(self, pkt: nf.Packet, fs: NatState) -> int:
        if pkt.target_low != fs.outside or (pkt.target_port != fs.outside_port and not pkt.fragment):
            return nf.drop(1)
        if not fs.answered:
            fs.answered = 1
        _rewrite(pkt, _TARGET, fs.outside, fs.inside, 2, fs.outside_port, fs.inside_port)
        self.translated.add()
        return nf.FORWARD


def _has_ports(pkt: nf.Packet) -> bool:
    """Whether it is a packet of TCP or UDP whose header is all there, and not one that carries its flow inside."""
    return pkt.l4 >= 0 and pkt.protocol in (_TCP, _UDP) and not pkt.foreign


def _rewrite(pkt: nf.Packet, address_at: int, old: int, new: int, port_at: int, old_port: int, new_port: int) -> None:
    """Put one address and its port in place of another, and mend the checksums. A later fragment has no ports."""
    _put(pkt, pkt.l3 + address_at, new >> 16)
    _put(pkt, pkt.l3 + address_at + 2, new & 0xFFFF)
    _put(pkt, pkt.l3 + _IP_CHECKSUM, _mended(pkt.u16(pkt.l3 + _IP_CHECKSUM), old, new))
    if pkt.fragment:
        return
    _put(pkt, pkt.l4 + port_at, new_port)
    at = pkt.l4 + (_TCP_CHECKSUM if pkt.protocol == _TCP else _UDP_CHECKSUM)
    checksum = pkt.u16(at)
    if pkt.protocol == _TCP or checksum != 0:
        checksum = _mended(_mended(checksum, old, new), old_port, new_port)
        _put(pkt, at, 0xFFFF if pkt.protocol == _UDP and checksum == 0 else checksum)


def _put(pkt: nf.Packet, at: int, number: int) -> None:
    pkt.data[at] = number >> 8
    pkt.data[at + 1] = number & 0xFF


def _mended(checksum: int, old: int, new: int) -> int:
    """The checksum of what has ``new`` in place of ``old``, each of 16 or 32 bits."""
    total = (checksum ^ 0xFFFF) + (old >> 16 ^ 0xFFFF) + (old & 0xFFFF ^ 0xFFFF) + (new >> 16) + (new & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    return ((total & 0xFFFF) + (total >> 16)) ^ 0xFFFF


def parse_rules(lines: Iterable[str], file: str = "nat") -> NatRules:
    """Read a rule file's lines. Raises ``RuleError`` naming file, line and what is wrong; nothing is half-read."""
    inside: list[tuple[int, int]] = []
    outside: list[Outside] = []
    number = 0
    for number, text in enumerate(lines, 1):
        words = text.split("#", 1)[0].split()
        if not words:
            continue
        try:
            if words[0] == "inside":
                inside.append(_inside(words))
            elif words[0] == "outside":
                outside.append(_outside(words, outside))
            else:
                raise ValueError(f"{words[0]!r}: a line is `inside PREFIX` or `outside ADDRESS [ports FIRST-LAST]`")
        except ValueError as error:
            raise RuleError(file, number, str(error)) from None
    for what, found in (("inside PREFIX", inside), ("outside ADDRESS", outside)):
        if not found:
            raise RuleError(file, number, f"no line says `{what}`")
    return NatRules(tuple(inside), tuple(outside))


def _inside(words: Sequence[str]) -> tuple[int, int]:
    if len(words) != 2:
        raise ValueError("a prefix is `inside PREFIX`")
    network = ipaddress.IPv4Network(words[1])
    return int(network.network_address), int(network.netmask)


def _outside(words: Sequence[str], others: Iterable[Outside]) -> Outside:
    if len(words) not in (2, 4) or (len(words) == 4 and words[2] != "ports"):
        raise ValueError("an address is `outside ADDRESS` or `outside ADDRESS ports FIRST-LAST`")
    first, last = PORT_MIN, PORTS_MAX
    if len(words) == 4:
        from_port, _, to_port = words[3].partition("-")
        first, last = port_number(from_port), port_number(to_port)
        if not 0 < first <= last:
            raise ValueError(f"ports {words[3]}: write the lower one first, from 1 on")
    made = Outside(int(ipaddress.IPv4Address(words[1])), first, last)
    if any(made.address == other.address for other in others):
        raise ValueError(f"outside {words[1]} stands twice")
    return made
