"""The header of an IDS rule: sets of addresses and ports, and the flat tables that a packet is compared with.

A set is ``any``, an address, a prefix, a port, a range of ports (``1024:``, ``:1023``, ``20:25``), a variable
(``$HOME_NET``), a list of these in brackets, or any of them negated by ``!``. Whatever the nesting, a set comes down to
entries that let in and entries that keep out: a packet is in the set if some entry lets it in (or none is given) and no
entry keeps it out. In the tables all entries of all rules lie behind one another, and a rule holds bounds: numbers and
indices alone, as compiled code needs them.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

import attrs
import numpy as np

from nfactor.dataplane import nf

T = TypeVar("T")

PORTS_MAX: Final = 0xFFFF
NESTING_MAX: Final = 16
"""Brackets and variables inside one another; more is refused (a variable may name itself)."""

VARIABLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("HOME_NET", "EXTERNAL_NET", "HTTP_SERVERS", "SMTP_SERVERS", "SQL_SERVERS", "DNS_SERVERS"),
            *("TELNET_SERVERS", "AIM_SERVERS", "DC_SERVERS", "DNP3_SERVER", "DNP3_CLIENT", "MODBUS_CLIENT"),
            *("MODBUS_SERVER", "ENIP_CLIENT", "ENIP_SERVER"),
        ),
        "any",
    ),
    "HTTP_PORTS": "80",
    "SHELLCODE_PORTS": "!80",
    "ORACLE_PORTS": "1521",
    "SSH_PORTS": "22",
    "DNP3_PORTS": "20000",
    "MODBUS_PORTS": "502",
    "FILE_DATA_PORTS": "[$HTTP_PORTS,110,143]",
    "FTP_PORTS": "21",
    "GENEVE_PORTS": "6081",
    "VXLAN_PORTS": "4789",
    "TEREDO_PORTS": "3544",
}
"""What a variable stands for unless told otherwise: Suricata's default port groups; every address group is ``any``, as
an IDS that is moved about has no home of its own."""

PortRange: TypeAlias = tuple[int, int]


@attrs.frozen
class Network:
    """An address prefix as two 64-bit halves; an IPv4 address lies in the lower 32 bits of ``low``."""

    version: int
    high: int
    high_mask: int
    low: int
    low_mask: int


@attrs.frozen
class Endpoint:
    """One side of a rule: entries that let in (none: all do) and entries that keep out."""

    networks: tuple[Network, ...] = ()
    networks_not: tuple[Network, ...] = ()
    ports: tuple[PortRange, ...] = ()
    ports_not: tuple[PortRange, ...] = ()


ANYWHERE: Final = Endpoint()


def parse_endpoint(addresses: str, ports: str, variables: Mapping[str, str]) -> Endpoint:
    """One side of a rule from its two words; ``ValueError`` says what is wrong with them."""
    networks, networks_not = _flatten(addresses, variables, "address")
    ranges, ranges_not = _flatten(ports, variables, "port")
    return Endpoint(
        tuple(map(_network, networks)),
        tuple(map(_network, networks_not)),
        tuple(map(_port_range, ranges)),
        tuple(map(_port_range, ranges_not)),
    )


def _flatten(text: str, variables: Mapping[str, str], kind: str, depth: int = 0) -> tuple[list[str], list[str]]:
    """The words that let in and the words that keep out; both empty for ``any``."""
    if depth > NESTING_MAX:
        raise ValueError(f"more than {NESTING_MAX} {kind} lists inside one another")
    text = text.strip()
    if text.startswith("!"):
        into, out = _flatten(text[1:], variables, kind, depth + 1)
        if out:
            raise ValueError(f"{kind} {text!r}: a negation inside what is negated is not supported")
        if not into:
            raise ValueError(f"{kind} {text!r} matches nothing")
        return [], into
    if text.startswith("$"):
        if text[1:] not in variables:
            raise ValueError(f"the variable {text} is not defined")
        return _flatten(variables[text[1:]], variables, kind, depth + 1)
    if text.startswith("["):
        return _flatten_list(text, variables, kind, depth)
    return ([], []) if text == "any" else ([text], [])


def _flatten_list(text: str, variables: Mapping[str, str], kind: str, depth: int) -> tuple[list[str], list[str]]:
    if not text.endswith("]"):
        raise ValueError(f"{kind} {text!r}: a bracket is not closed")
    let_in: list[str] = []
    keep_out: list[str] = []
    all_in = False
    for part in _split(text[1:-1]):
        into, out = _flatten(part, variables, kind, depth + 1)
        if out and into:
            raise ValueError(f"{kind} {text!r}: a negation in a list inside a list is not supported")
        all_in |= not into and not out
        let_in += into
        keep_out += out
    return ([] if all_in else let_in), keep_out


def _split(text: str) -> list[str]:
    """At the commas that stand in no inner bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _network(word: str) -> Network:
    if "%" in word:
        raise ValueError(f"{word!r} is no address")
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"{word!r} is no address") from None
    address, mask = int(network.network_address), int(network.netmask)
    low = (1 << 64) - 1
    return Network(network.version, address >> 64, mask >> 64, address & low, mask & low)


def _port_range(word: str) -> PortRange:
    first, colon, last = (part.strip() for part in word.partition(":"))
    low, high = _port(first or "0" * bool(colon), word), _port(last or (str(PORTS_MAX) if colon else first), word)
    if low > high:
        raise ValueError(f"ports {word!r} are no range")
    return low, high


def _port(text: str, word: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= PORTS_MAX):
        raise ValueError(f"{word!r} is no port or range of ports")
    return int(text)


_BOUNDS: Final = 12  # per rule: for source and target the bounds of networks, networks_not, ports, ports_not


class HeaderTables:
    """The endpoints of all rules, as numbers. Views rather than arrays, so that Python reads plain ints off them."""

    def __init__(self, sides: Sequence[tuple[Endpoint, Endpoint]]) -> None:
        networks: list[Network] = []
        ports: list[PortRange] = []
        bounds: list[int] = []
        for end in (end for pair in sides for end in pair):
            bounds += _append(networks, end.networks, end.networks_not)
            bounds += _append(ports, end.ports, end.ports_not)
        columns = np.array([attrs.astuple(network) for network in networks], np.uint64).reshape(-1, 5)
        self.version, self.high, self.high_mask, self.low, self.low_mask = (
            np.ascontiguousarray(column).data for column in columns.T
        )
        ranges = np.array(ports, np.uint32).reshape(-1, 2)
        self.port_min, self.port_max = (np.ascontiguousarray(column).data for column in ranges.T)
        self.bounds = np.array(bounds, np.uint32).data


def _append(entries: list[T], let_in: Sequence[T], keep_out: Sequence[T]) -> tuple[int, int, int]:
    start = len(entries)
    entries += [*let_in, *keep_out]
    return start, start + len(let_in), len(entries)


def header_matches(tables: HeaderTables, rule: int, pkt: nf.Packet, *, turned: bool) -> bool:
    """Whether the packet goes from the rule's source to its target (``turned``: the other way)."""
    source, target = pkt.l3 + (12 if pkt.version == 4 else 8), pkt.l3 + (16 if pkt.version == 4 else 24)
    first, second = rule * _BOUNDS, rule * _BOUNDS + 6
    if turned:
        first, second = second, first
    return (
        _port_in(tables, first + 3, pkt.source_port, pkt.fragment)
        and _port_in(tables, second + 3, pkt.target_port, pkt.fragment)
        and _address_in(tables, first, pkt, source)
        and _address_in(tables, second, pkt, target)
    )


def _port_in(tables: HeaderTables, at: int, port: int, fragment: bool) -> bool:
    """A later fragment has no ports, so only ``any`` lets it in."""
    bounds = tables.bounds
    start, middle, end = bounds[at], bounds[at + 1], bounds[at + 2]
    if start == end:
        return True
    if fragment:
        return False
    for index in range(middle, end):
        if tables.port_min[index] <= port <= tables.port_max[index]:
            return False
    for index in range(start, middle):
        if tables.port_min[index] <= port <= tables.port_max[index]:
            return True
    return start == middle


def _address_in(tables: HeaderTables, at: int, pkt: nf.Packet, address: int) -> bool:
    bounds = tables.bounds
    start, middle, end = bounds[at], bounds[at + 1], bounds[at + 2]
    if start == end:
        return True
    high = 0 if pkt.version == 4 else _number(pkt, address, 8)
    low = _number(pkt, address, 4) if pkt.version == 4 else _number(pkt, address + 8, 8)
    for index in range(middle, end):
        if _is_in(tables, index, pkt.version, high, low):
            return False
    for index in range(start, middle):
        if _is_in(tables, index, pkt.version, high, low):
            return True
    return start == middle


def _is_in(tables: HeaderTables, index: int, version: int, high: int, low: int) -> bool:
    return (
        tables.version[index] == version
        and high & tables.high_mask[index] == tables.high[index]
        and low & tables.low_mask[index] == tables.low[index]
    )


def _number(pkt: nf.Packet, at: int, octets: int) -> int:
    """The big-endian number of so many octets."""
    number = 0
    for index in range(at, at + octets):
        number = number << 8 | pkt.data[index]
    return number
