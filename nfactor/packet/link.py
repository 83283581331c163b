"""From the link layer to layer 3: link types, VLAN tags, MPLS labels and PPPoE.

Each link type has one function, and so has each tag between link and network layer. A function is given where its
header begins, sets ``packet.ethertype`` to what follows, and returns where that begins, or -1 when it does not know:
then the frame is "other" and passes. New link types and tags are a function and a row in a table.
"""

from collections.abc import Callable

from nfactor.packet.fields import ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet

Step = Callable[[Packet, int], int]

ETHERTYPE_MIN = 0x0600
"""Smaller values in the type field are the length of an IEEE 802.3 frame."""
UNKNOWN = -1

_PPP_PROTOCOLS = {0x0021: ETHERTYPE_IPV4, 0x0057: ETHERTYPE_IPV6, 0x0281: 0x8847, 0x0283: 0x8848}
_IP_FAMILIES = {2: ETHERTYPE_IPV4} | dict.fromkeys((10, 24, 28, 30), ETHERTYPE_IPV6)
"""AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD and macOS: a loopback header holds the capturing host's number."""
_SNAP = b"\xaa\xaa\x03\x00\x00\x00"


def find_layer3(packet: Packet) -> int:
    """Where layer 3 of the outermost frame begins, or -1; ``ethertype`` and the VLANs are set on the way."""
    link = _LINKS.get(packet.linktype)
    at = UNKNOWN if link is None else link(packet, packet.start)
    while at != UNKNOWN and (step := _TAGS.get(packet.ethertype)):
        at = step(packet, at)  # each tag is some octets further on, and must be there: the loop ends
    return at


def _type_field(packet: Packet, at: int) -> int:
    """The type in an Ethernet header: an EtherType, or a length in front of LLC (of which only SNAP is read)."""
    kind = packet.u16(at)
    if kind >= ETHERTYPE_MIN:
        packet.ethertype = kind
        return at + 2
    if at + 10 <= packet.end and packet.data[at + 2 : at + 8] == _SNAP:
        packet.ethertype = packet.u16(at + 8)
        return at + 10
    return UNKNOWN


def _ethernet(packet: Packet, at: int) -> int:
    return _type_field(packet, at + 12) if packet.has(at, 14, "link_header") else UNKNOWN


def _raw_ip(packet: Packet, at: int) -> int:
    """No link header at all; the version nibble tells."""
    return _by_nibble(packet, at) if packet.has(at, 1, "link_header") else UNKNOWN


def _by_nibble(packet: Packet, at: int) -> int:
    version = packet.data[at] >> 4
    if version not in (4, 6):
        return UNKNOWN
    packet.ethertype = ETHERTYPE_IPV4 if version == 4 else ETHERTYPE_IPV6
    return at


def _raw_ipv4(packet: Packet, at: int) -> int:
    packet.ethertype = ETHERTYPE_IPV4
    return at


def _raw_ipv6(packet: Packet, at: int) -> int:
    packet.ethertype = ETHERTYPE_IPV6
    return at


def _loopback(packet: Packet, at: int) -> int:
    """BSD loopback: an address family in four octets, in the byte order of whichever host captured it."""
    if not packet.has(at, 4, "link_header"):
        return UNKNOWN
    family = int.from_bytes(packet.data[at : at + 4], "big")
    if family >= 1 << 16:
        family = int.from_bytes(packet.data[at : at + 4], "little")
    return _known(packet, _IP_FAMILIES.get(family), at + 4)


def _linux_cooked(packet: Packet, at: int) -> int:
    """Linux SLL: packet type, ARPHRD, an address, and the EtherType at the end of 16 octets."""
    return _type_field(packet, at + 14) if packet.has(at, 16, "link_header") else UNKNOWN


def _linux_cooked_2(packet: Packet, at: int) -> int:
    """Linux SLL2: the EtherType first, 20 octets in all."""
    if not packet.has(at, 20, "link_header"):
        return UNKNOWN
    kind = packet.u16(at)
    return _known(packet, kind if kind >= ETHERTYPE_MIN else None, at + 20)


def _ppp(packet: Packet, at: int) -> int:
    """PPP, with or without the address and control octets of HDLC framing; Cisco's framing holds an EtherType."""
    if packet.has(at, 2, "link_header"):
        start = packet.u16(at)
        if start == 0xFF03:
            return _ppp_protocol(packet, at + 2)
        return _cisco_hdlc(packet, at) if start in (0x0F00, 0x8F00) else _ppp_protocol(packet, at)
    return UNKNOWN


def _ppp_protocol(packet: Packet, at: int) -> int:
    """A PPP protocol number: one octet if its last bit is set (compressed), else two."""
    if not packet.has(at, 1, "ppp_header"):
        return UNKNOWN
    if packet.data[at] & 1:
        return _known(packet, _PPP_PROTOCOLS.get(packet.data[at]), at + 1)
    return _known(packet, _PPP_PROTOCOLS.get(packet.u16(at)), at + 2) if packet.has(at, 2, "ppp_header") else UNKNOWN


def _cisco_hdlc(packet: Packet, at: int) -> int:
    return _type_field(packet, at + 2) if packet.has(at, 4, "link_header") else UNKNOWN


def _known(packet: Packet, ethertype: int | None, at: int) -> int:
    if ethertype is None:
        return UNKNOWN
    packet.ethertype = ethertype
    return at


def _vlan(packet: Packet, at: int) -> int:
    """An 802.1Q or 802.1ad tag; the first two identifiers are kept. Identifier 0 (priority only) is no VLAN."""
    if not packet.has(at, 4, "vlan_header"):
        packet.ethertype = 0
        return UNKNOWN
    identifier = packet.u16(at) & 0x0FFF
    if not packet.vlan:
        packet.vlan = identifier
    elif not packet.inner_vlan:
        packet.inner_vlan = identifier
    packet.ethertype = 0
    return _type_field(packet, at + 2)


def _mpls(packet: Packet, at: int) -> int:
    """A stack of labels. It does not say what it carries: the nibble below the bottom label does, as in routers."""
    while packet.has(at, 4, "mpls_header"):
        bottom = packet.data[at + 2] & 1
        at += 4
        if bottom:
            return _by_nibble(packet, at) if at < packet.end else UNKNOWN
    return UNKNOWN


def _pppoe(packet: Packet, at: int) -> int:
    """A PPPoE session: six octets, then PPP; code 0 is data."""
    if packet.has(at, 6, "pppoe_header") and packet.data[at + 1] == 0:
        return _ppp_protocol(packet, at + 6)
    return UNKNOWN


_LINKS: dict[int, Step] = {
    0: _loopback,
    1: _ethernet,
    9: _ppp,
    12: _raw_ip,
    14: _raw_ip,
    50: _ppp,
    101: _raw_ip,
    104: _cisco_hdlc,
    108: _loopback,
    113: _linux_cooked,
    228: _raw_ipv4,
    229: _raw_ipv6,
    276: _linux_cooked_2,
}
_TAGS: dict[int, Step] = {
    0x8100: _vlan,
    0x88A8: _vlan,
    0x9100: _vlan,
    0x8847: _mpls,
    0x8848: _mpls,
    0x8864: _pppoe,
}
