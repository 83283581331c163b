"""What a packet carries: the frame inside VXLAN or GRE, and the packet that an ICMP error quotes.

Each function fills a second ``Packet`` over the same octets and leaves the first alone. Other tunnels (Teredo, GTP,
Geneve, IP in IP) are not looked into: their flow is the outer one. A further kind of tunnel is one more function here
and one more line in ``inner``.
"""

from nfactor.errors import MalformedPacket
from nfactor.packet.cluster_frame import LINKTYPE_ETHERNET
from nfactor.packet.fields import GRE, ICMP, ICMPV6, LENGTH_UNKNOWN, UDP, Packet
from nfactor.packet.flow_key import GRE as KIND_GRE, VXLAN as KIND_VXLAN
from nfactor.packet.headers import parse_frame

VXLAN_PORT = 4789
_VXLAN_VNI_VALID = 0x08
_RAW_IP = 101
_GRE_CONTENTS = {0x0800: _RAW_IP, 0x86DD: _RAW_IP, 0x6558: LINKTYPE_ETHERNET}
_GRE_CHECKSUM, _GRE_ROUTING, _GRE_KEY, _GRE_SEQUENCE, _GRE_VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0007
_ICMP_ERRORS = {ICMP: frozenset((3, 4, 5, 11, 12)), ICMPV6: frozenset((1, 2, 3, 4))}


def inner(packet: Packet, into: Packet) -> tuple[int, int] | None:
    """Read the frame that ``packet`` tunnels into ``into``; returns the kind of flow key and the VNI.

    None if it is no tunnel, or one whose content is not a well-formed packet.
    """
    if packet.l4 < 0 or packet.fragment or packet.more_fragments:
        return None
    if packet.protocol == UDP and packet.target_port == VXLAN_PORT:
        return _inside_vxlan(packet, into)
    return _inside_gre(packet, into) if packet.protocol == GRE else None


def quoted(packet: Packet, into: Packet) -> bool:
    """Read the packet that an ICMP error quotes into ``into``; False if this is no error or quotes nothing readable.

    A quotation is nearly always cut off, so it is read as a snapped packet: ports if they are there.
    """
    errors = _ICMP_ERRORS.get(packet.protocol)
    at = packet.l4 + 8
    if errors is None or packet.l4 < 0 or at >= packet.payload_end or packet.data[packet.l4] not in errors:
        return False
    return _read(into, at, packet.payload_end, LENGTH_UNKNOWN, _RAW_IP, packet.data)


def _inside_vxlan(packet: Packet, into: Packet) -> tuple[int, int] | None:
    at = packet.payload
    if at + 8 > packet.payload_end or not packet.data[at] & _VXLAN_VNI_VALID:
        return None
    vni = int.from_bytes(packet.data[at + 4 : at + 7], "big")
    return (KIND_VXLAN, vni) if _read_inner(packet, at + 8, into, LINKTYPE_ETHERNET) else None


def _inside_gre(packet: Packet, into: Packet) -> tuple[int, int] | None:
    """GRE of RFC 2784 and 2890; PPTP (version 1) and source routing stay outside."""
    at = packet.l4
    if at + 4 > packet.payload_end:
        return None
    flags, linktype = packet.u16(at), _GRE_CONTENTS.get(packet.u16(at + 2))
    if linktype is None or flags & (_GRE_ROUTING | _GRE_VERSION):
        return None
    at += 8 if flags & _GRE_CHECKSUM else 4
    key = 0
    if flags & _GRE_KEY:
        key = int.from_bytes(packet.data[at : min(at + 4, packet.payload_end)], "big")
        at += 4
    if flags & _GRE_SEQUENCE:
        at += 4
    return (KIND_GRE, key) if _read_inner(packet, at, into, linktype) else None


def _read_inner(packet: Packet, at: int, into: Packet, linktype: int) -> bool:
    """The inner frame ends where the payload does, unless the capture was cut off first."""
    if at >= packet.payload_end:
        return False
    length = LENGTH_UNKNOWN if packet.snapped else packet.payload_end - at
    return _read(into, at, packet.payload_end, length, linktype, packet.data)


def _read(into: Packet, at: int, end: int, length: int, linktype: int, data: memoryview) -> bool:
    """Whether it is a well-formed frame, and where IP must stand, IP."""
    into.data = data
    try:
        parse_frame(into, at, end, length, linktype)
    except MalformedPacket:
        return False
    return linktype != _RAW_IP or into.version > 0
