"""One frame's headers, read into a ``Packet``: a fast way for the plain case and a general way for every other.

Nearly every packet is IPv4 without options, TCP or UDP, in Ethernet behind our header, so its fields stand at fixed
places: one ``struct`` call reads them all, and a handful of comparisons prove that it is such a packet. Anything else,
malformed packets too, goes the general way, from layer to layer (``link``, ``internet``). Both give the same fields; a
Hypothesis test holds them together.

The outermost IP header is the packet's; ``tunnels`` looks further in.
"""

import struct

from nfactor.packet.cluster_frame import ETHERTYPE_PACKET, HEADER_OCTETS, LINKTYPE_ETHERNET, unwrap
from nfactor.packet.fields import TCP, UDP, Packet
from nfactor.packet.internet import read_layer3
from nfactor.packet.link import find_layer3

__all__ = ["Packet", "parse", "parse_frame", "parse_slowly"]

# Our header: EtherType and link type. Ethernet: EtherType. IPv4: version and length, total length, flags and fragment
# offset, protocol, both addresses with both ports behind them. Then what stands at a fixed place in TCP or UDP: the UDP
# length, the TCP data offset and flags.
_PLAIN = struct.Struct(">12xI12xHBxH2xHxB2x12sH6xBB")
_OUR_ETHERNET = ETHERTYPE_PACKET << 16 | LINKTYPE_ETHERNET
_ETHERNET_OCTETS = 14
_L3 = HEADER_OCTETS + _ETHERNET_OCTETS
_L4 = _L3 + 20


def parse(packet: Packet, offset: int, end: int, length: int) -> None:
    """Read the frame at ``packet.data[offset:end]``, whose wire length (without any header of ours) is ``length``.

    Raises only ``MalformedPacket``, for headers that cannot be; the fields then hold what was understood before.
    """
    try:
        types, ethertype, version, total, fragment, protocol, endpoints, udp_length, tcp_offset, flags = (
            _PLAIN.unpack_from(packet.data, offset)
        )
    except struct.error:  # the last frame in the buffer, and shorter than this
        parse_slowly(packet, offset, end, length)
        return
    if protocol == TCP:
        header = (tcp_offset >> 4) * 4
        plain = header >= 20
    else:
        header, flags = 8, 0
        plain = protocol == UDP and (udp_length >= 8 or udp_length == 0)
    payload, payload_end = offset + _L4 + header, offset + _L3 + total
    if not (
        plain
        and types == _OUR_ETHERNET
        and ethertype == 0x0800
        and version == 0x45
        and not fragment & 0x3FFF
        and payload <= payload_end <= end
    ):
        parse_slowly(packet, offset, end, length)
        return
    if not packet.endpoints:  # the frame before was not plain: what all plain ones have in common is not there yet
        packet.linktype = LINKTYPE_ETHERNET
        packet.ethertype = 0x0800
        packet.vlan = packet.inner_vlan = packet.fragment_id = 0
        packet.version = 4
        packet.fragment = packet.more_fragments = False
    packet.start = offset + HEADER_OCTETS
    packet.end = end
    packet.length = length
    packet.l3 = offset + _L3
    packet.l4 = offset + _L4
    packet.protocol = protocol
    packet.tcp_flags = flags
    packet.payload = payload
    packet.payload_end = payload_end
    packet.endpoints = endpoints
    packet.foreign = False
    packet.label = None


def parse_slowly(packet: Packet, offset: int, end: int, length: int) -> None:
    """What ``parse`` does, the general way; it alone leaves ``endpoints`` empty, for they are the fast way's own."""
    start, linktype, label = unwrap(packet.data, offset, end)
    parse_frame(packet, start, end, length, linktype)
    packet.label = label


def parse_frame(packet: Packet, start: int, end: int, length: int, linktype: int) -> None:
    """Read a frame of that link type which stands at ``start``, without our header: an inner frame, or a quoted one."""
    packet.reset(start, end, length, linktype)
    at = find_layer3(packet)
    if at >= 0:
        read_layer3(packet, at)
