"""IPv4 and IPv6 with the transport header behind them: from layer 3 to the payload.

Lenient, as a box in the middle must be: a header is malformed only when it contradicts itself or is not there. A header
that the snap length or the end of a first fragment cut off is not the sender's fault, so it leaves the packet without
what the header would have said, and the packet passes.
"""

import struct

from nfactor.errors import MalformedPacket
from nfactor.packet.fields import ETHERTYPE_IPV4, ETHERTYPE_IPV6, TCP, TRANSPORT_HEADERS, UDP, Packet

FRAGMENT_HEADER = 44
AUTHENTICATION_HEADER = 51
_EXTENSIONS = frozenset((0, 43, FRAGMENT_HEADER, AUTHENTICATION_HEADER, 60))
"""IPv6: hop-by-hop options, routing, fragment, authentication, destination options."""

_IPV4 = struct.Struct(">BxHHHxB")
_IPV6 = struct.Struct(">B3xHB")
_FRAGMENT = struct.Struct(">BxHI")
_PORTS = struct.Struct(">HH")


def read_layer3(packet: Packet, at: int) -> None:
    """Fill in what layer 3 and 4 say, beginning at ``at`` with a header of ``packet.ethertype``."""
    packet.l3 = packet.payload = at
    if packet.ethertype == ETHERTYPE_IPV4:
        _ipv4(packet, at)
    elif packet.ethertype == ETHERTYPE_IPV6:
        _ipv6(packet, at)


def _ipv4(packet: Packet, at: int) -> None:
    if not packet.has(at, 20, "ipv4_header"):
        packet.l3 = -1
        return
    version_length, total, identifier, fragment, protocol = _IPV4.unpack_from(packet.data, at)
    header = (version_length & 0x0F) * 4
    # A total length of 0 is what a host leaves to its network card when that cuts the segments (TSO).
    if version_length >> 4 != 4 or header < 20 or 0 < total < header:
        raise MalformedPacket("ipv4_header")
    packet.version, packet.protocol = 4, protocol
    if total:
        packet.payload_end = min(packet.end, at + total)
    if fragment & 0x3FFF:
        packet.fragment = bool(fragment & 0x1FFF)
        packet.more_fragments = bool(fragment & 0x2000)
        packet.fragment_id = identifier
    if packet.has(at, header, "ipv4_header"):
        _transport(packet, at + header)
    else:
        packet.payload = packet.payload_end


def _ipv6(packet: Packet, at: int) -> None:
    if not packet.has(at, 40, "ipv6_header"):
        packet.l3 = -1
        return
    version, octets, following = _IPV6.unpack_from(packet.data, at)
    if version >> 4 != 6:
        raise MalformedPacket("ipv6_header")
    packet.version = 6
    if octets:  # else a jumbogram, or a segment that the network card will cut
        packet.payload_end = min(packet.end, at + 40 + octets)
    at += 40
    while following in _EXTENSIONS and not packet.fragment:
        if not _extension_is_here(packet, at, 8):
            return
        if following == FRAGMENT_HEADER:
            following, octets = _fragment_header(packet, at), 8
        elif following == AUTHENTICATION_HEADER:
            following, octets = packet.data[at], (packet.data[at + 1] + 2) * 4
        else:
            following, octets = packet.data[at], (packet.data[at + 1] + 1) * 8
        if not _extension_is_here(packet, at, octets):
            return
        at += octets
    packet.protocol = following
    _transport(packet, at)


def _extension_is_here(packet: Packet, at: int, octets: int) -> bool:
    """Whether the extension header is whole; if not, the protocol stays unknown, and an uncut packet is malformed."""
    if at + octets <= packet.payload_end:
        return True
    packet.payload = packet.payload_end
    if packet.snapped or packet.more_fragments:
        return False
    raise MalformedPacket("ipv6_extension")


def _fragment_header(packet: Packet, at: int) -> int:
    """Read it and return the next header. Offset 0 and no more to come ("atomic") is a whole packet."""
    following, offset_more, identifier = _FRAGMENT.unpack_from(packet.data, at)
    packet.fragment = offset_more >= 8
    packet.more_fragments = bool(offset_more & 1)
    if packet.fragment or packet.more_fragments:
        packet.fragment_id = identifier
    return int(following)


def _transport(packet: Packet, at: int) -> None:
    """Ports, flags and payload. The ports are the first four octets and are taken even if the rest is cut off."""
    packet.payload = at
    if packet.fragment:
        return
    known = TRANSPORT_HEADERS.get(packet.protocol)
    if known is None:
        packet.l4 = at
        return
    reason, header = known
    present = packet.payload_end - at
    if present >= 4:
        packet.set_ports(*_PORTS.unpack_from(packet.data, at))
    if present >= header:
        packet.l4 = at
        header = _header_octets(packet, at, header)
    if present >= header:
        packet.payload = at + header
    elif packet.snapped or packet.more_fragments:
        packet.payload = packet.payload_end
    else:
        raise MalformedPacket(reason)


def _header_octets(packet: Packet, at: int, least: int) -> int:
    """The length of the transport header, where it says one; else ``least``."""
    if packet.protocol == TCP:
        packet.tcp_flags = packet.data[at + 13]
        octets = (packet.data[at + 12] >> 4) * 4
        if octets < least:
            raise MalformedPacket("tcp_header")
        return octets
    if packet.protocol == UDP and 0 < packet.u16(at + 4) < least:
        raise MalformedPacket("udp_header")
    return least
