"""A flow key: the 48 octets that both directions of one flow have in common.

In messages keys are the rows of a ``uint8[n, 48]`` array, in Python they are ``bytes``, in compiled code twelve words;
all are the same octets, numbers big-endian::

    0          16         32      34      36    37    38    40     42    46    47  48
    +----------+----------+-------+-------+-----+-----+-----+------+-----+-----+---+
    | a        | b        | port  | port  | IP  | ver | VLAN| inner| VNI | kind| 0 |
    | address  | address  | of a  | of b  | prot|     |     | VLAN |     |     |   |
    +----------+----------+-------+-------+-----+-----+-----+------+-----+-----+---+

Of both ends the one with the smaller (address, port) is ``a``, and a packet's direction is 0 if it goes from ``a``. An
IPv4 address fills the first four octets of its field. Ports are 0 for protocols that have none. A frame that is not IP
has version 0, its MAC addresses as addresses (zeros where the link has none) and its EtherType as *both* ports, where
it cannot disturb the order. ``VNI`` is the VXLAN network or the GRE key. ``kind`` says in bits what else sets a flow
apart: it is inside a tunnel, or a packet of a protocol with ports does not tell them and may share no row with port 0.

``five_tuple`` makes the key of the outermost header alone; ``classifier`` makes the key that follows fragments,
tunnels and ICMP errors.
"""

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.packet import fields
from nfactor.packet.burst import Octets
from nfactor.packet.cluster_frame import KEY_OCTETS, LINKTYPE_ETHERNET
from nfactor.packet.fields import TRANSPORT_HEADERS, Packet

KEY_PROTOCOL = 36
"""Where the IP protocol stands in a key."""

PLAIN = 0
FRAGMENT = 1
"""Kind: the ports are not told (a later fragment, or a header that was cut off)."""
VXLAN = 2
"""Kind: the flow runs inside VXLAN; the VNI is the network."""
GRE = 4
"""Kind: the flow runs inside GRE; the VNI is the GRE key, or 0."""

_KEY = struct.Struct(">16s16sHHBBHHIBx")
_PROTOCOLS = {
    fields.ICMP: "icmp",
    2: "igmp",
    fields.TCP: "tcp",
    fields.UDP: "udp",
    fields.DCCP: "dccp",
    fields.GRE: "gre",
    50: "esp",
    51: "ah",
    fields.ICMPV6: "icmpv6",
    89: "ospf",
    fields.SCTP: "sctp",
    fields.UDP_LITE: "udplite",
}
_ETHERTYPES = {0x0806: "arp", 0: "non-ip"}


def five_tuple(packet: Packet) -> tuple[bytes, int]:
    """The key by the outermost header, without VLANs, and the packet's direction: a flow as other tools count it."""
    return key_of(packet, 0, 0, 0, PLAIN)


def key_of(packet: Packet, vlan: int, inner_vlan: int, vni: int, kind: int) -> tuple[bytes, int]:
    """The key by the headers that ``packet`` tells, in that surrounding, and the packet's direction."""
    version, protocol = packet.version, packet.protocol
    if version:
        a, b = packet.source, packet.target
        a_port, b_port = packet.source_port, packet.target_port
        if protocol in TRANSPORT_HEADERS and packet.l4 < 0 and not (a_port or b_port):
            kind |= FRAGMENT
    else:
        a, b = _mac_addresses(packet)
        a_port = b_port = packet.ethertype
    if (a, a_port) <= (b, b_port):
        return _KEY.pack(a, b, a_port, b_port, protocol, version, vlan, inner_vlan, vni, kind), 0
    return _KEY.pack(b, a, b_port, a_port, protocol, version, vlan, inner_vlan, vni, kind), 1


def with_end(key: bytes, end: int, address: bytes, port: int) -> tuple[bytes, int]:
    """The key with another address and port at one of its ends (0: ``a``, 1: ``b``); and 1 if that turns it round, so
    that what went from ``a`` to ``b`` goes from ``b`` to ``a``, else 0."""
    *ends, a_port, b_port, protocol, version, vlan, inner_vlan, vni, kind = _KEY.unpack(key)
    ends = [(ends[0], a_port), (ends[1], b_port)]
    ends[end] = address.ljust(16, b"\0"), port
    turn = int(ends[0] > ends[1])
    (a, a_port), (b, b_port) = ends[turn], ends[1 - turn]
    return _KEY.pack(a, b, a_port, b_port, protocol, version, vlan, inner_vlan, vni, kind), turn


def _mac_addresses(packet: Packet) -> tuple[bytes, bytes]:
    """Source and target address of an Ethernet frame; empty for other links and for stumps."""
    start = packet.start
    if packet.linktype != LINKTYPE_ETHERNET or packet.end - start < 12:
        return b"", b""
    return packet.data[start + 6 : start + 12].tobytes(), packet.data[start : start + 6].tobytes()


@attrs.frozen
class FlowKey:
    """A flow key for people: names and text instead of numbers and octets."""

    protocol: str
    """``tcp``, ``udp``, ``icmp`` ... or the IP protocol's number; ``tcp-fragment`` where ports are not told; ``arp`` or
    ``ethertype-0x88cc`` for what is not IP."""
    a: str
    a_port: int
    b: str
    b_port: int
    vlan: int = 0
    inner_vlan: int = 0
    vni: int = 0
    tunnel: str = ""
    """``vxlan`` or ``gre`` if the flow runs inside one."""

    @classmethod
    def decode(cls, key: bytes) -> "FlowKey":
        """What the 48 octets say."""
        assert len(key) == KEY_OCTETS
        a, b, a_port, b_port, protocol, version, vlan, inner_vlan, vni, kind = _KEY.unpack(key)
        if version:
            name = _PROTOCOLS.get(protocol, str(protocol)) + ("-fragment" if kind & FRAGMENT else "")
        else:
            name = _ETHERTYPES.get(a_port, f"ethertype-0x{a_port:04x}")
            a_port = b_port = 0
        tunnel = "vxlan" if kind & VXLAN else "gre" if kind & GRE else ""
        ends = (_address(a, version), a_port, _address(b, version), b_port)
        return cls(name, *ends, vlan, inner_vlan, vni, tunnel)


def _address(field: bytes, version: int) -> str:
    if version == 4:
        return str(ipaddress.IPv4Address(field[:4]))
    return str(ipaddress.IPv6Address(field)) if version == 6 else field[:6].hex(":")


class FlowKeys(Sequence[bytes]):
    """Flow keys in an array, which are ``bytes`` to who looks at one: sets of flows are handed on without an object
    for each."""

    __slots__ = ("array",)

    def __init__(self, array: Octets) -> None:
        self.array = array
        """``uint8[n, 48]``, C-contiguous."""

    @classmethod
    def of(cls, keys: Iterable[bytes]) -> "FlowKeys":
        """Copies of these keys."""
        return cls.of_octets(b"".join(keys))

    @classmethod
    def of_octets(cls, octets: bytes) -> "FlowKeys":
        """The keys that lie one behind the other in ``octets``, which is not copied."""
        return cls(np.frombuffer(octets, np.uint8).reshape(-1, KEY_OCTETS))

    def octets(self) -> bytes:
        """A copy of the keys, one behind the other."""
        return self.array.tobytes()

    def where(self, wanted: npt.NDArray[np.bool_]) -> "FlowKeys":
        """Those keys."""
        return self if wanted.all() else self.at(np.flatnonzero(wanted))

    def at(self, places: npt.NDArray[np.intp]) -> "FlowKeys":
        """Those at these places, copied. (To index rows of octets takes numpy ten times as long.)"""
        return FlowKeys(self.array.take(places, axis=0))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "FlowKeys": ...
    def __getitem__(self, index: int | slice) -> "bytes | FlowKeys":
        found = self.array[index]
        return FlowKeys(np.ascontiguousarray(found)) if isinstance(index, slice) else found.tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return iter(keys_list(self.array))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FlowKeys):
            return len(self) == len(other) and self.octets() == other.octets()
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"FlowKeys({list(self)!r})"


def keys_array(keys: Sequence[bytes]) -> Octets:
    """The keys as rows of a ``uint8[n, 48]`` array; that of ``FlowKeys`` itself."""
    if isinstance(keys, FlowKeys):
        return keys.array
    return np.frombuffer(bytearray().join(keys), np.uint8).reshape(-1, KEY_OCTETS)


def keys_list(keys: Octets | bytes) -> list[bytes]:
    """The rows of an array of keys, or of its octets, as ``bytes``."""
    octets = keys if isinstance(keys, bytes) else keys.tobytes()
    assert len(octets) % KEY_OCTETS == 0
    return [octets[start : start + KEY_OCTETS] for start in range(0, len(octets), KEY_OCTETS)]


def places_of(keys: FlowKeys, among: FlowKeys) -> npt.NDArray[np.intp]:
    """Where in ``among``, all of which differ, each of the keys is; -1 for one that is not."""
    wanted, known = (some.array.view(f"S{KEY_OCTETS}").reshape(-1) for some in (keys, among))
    if not len(known):
        return np.full(len(wanted), -1, np.intp)
    order = np.argsort(known)
    places: npt.NDArray[np.intp] = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    return np.where(known[places] == wanted, places, -1)
