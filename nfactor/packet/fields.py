"""The fields of one frame: what network functions and flow keys read, as a flyweight that is used again and again.

A ``Packet`` copies nothing: it stands over the octets of a burst and holds offsets into them. The engine keeps one and
has ``headers.parse`` point it at frame after frame; an object per packet would cost more than the whole parse. Offsets
count from the beginning of ``data``, never from the frame. What is absent is -1 (offsets), 0 (numbers) or b"".
"""

import struct
import sys

from nfactor.errors import MalformedPacket

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD

ICMP = 1
TCP = 6
UDP = 17
DCCP = 33
GRE = 47
ICMPV6 = 58
SCTP = 132
UDP_LITE = 136

TRANSPORT_HEADERS = {TCP: ("tcp_header", 20), UDP: ("udp_header", 8), SCTP: ("sctp_header", 12)} | {
    DCCP: ("dccp_header", 12),
    UDP_LITE: ("udp_lite_header", 8),
}
"""The protocols with ports: why a packet of theirs is malformed when it is too short, and the octets that it needs."""

MALFORMED_REASONS = (
    "link_header",
    "vlan_header",
    "mpls_header",
    "ppp_header",
    "pppoe_header",
    "ipv4_header",
    "ipv6_header",
    "ipv6_extension",
    *(reason for reason, _ in TRANSPORT_HEADERS.values()),
)
"""Every reason that a ``MalformedPacket`` may give."""

LENGTH_UNKNOWN = sys.maxsize
"""The ``length`` of a packet known to be cut off, such as one that an ICMP error quotes: never malformed for it."""

_FRAME_FIELDS = (
    "data",
    "start",
    "end",
    "linktype",
    "length",
    "time",
    "mark",
    "direction",
    "foreign",
    "label",
    "records",
    "flow",
)
_LINK_FIELDS = ("ethertype", "vlan", "inner_vlan", "l3")
_NETWORK_FIELDS = ("version", "protocol", "fragment", "more_fragments", "fragment_id")
_TRANSPORT_FIELDS = ("l4", "_source_port", "_target_port", "tcp_flags", "payload", "payload_end", "endpoints")


class Packet:
    """One frame and what its headers say. What is not set by someone else, as noted below, is set by ``parse``."""

    __slots__ = _FRAME_FIELDS + _LINK_FIELDS + _NETWORK_FIELDS + _TRANSPORT_FIELDS

    data: memoryview
    """The octets of the whole burst (``memoryview(burst.data)``); set by the engine."""
    start: int
    """Where the frame begins, behind our own header."""
    end: int
    """Where the octets end that were captured of it."""
    linktype: int
    """The pcap link type of the frame."""
    length: int
    """Octets that the frame had on the wire; more than ``end - start`` when the capture was snapped."""
    time: int
    """Nanoseconds since the epoch; set by the engine."""
    mark: int
    """The opaque mark of the packet; set by the engine."""
    direction: int
    """0 if it goes from the key's ``a`` to its ``b``, else 1; set by the engine."""
    foreign: bool
    """The flow key is not of this packet's own header but of one that it carries (tunnel, ICMP error) or that went
    before (fragment); set by the classifier. The packet's own header may then differ from packet to packet."""
    records: list[tuple[bytes | None, object]]
    """What network functions emitted with packets, each with the key of its flow, until the engine takes it."""
    flow: bytes | None
    """The key of its flow; None while it has none; set by the engine."""
    label: tuple[bytes, int] | None
    """The flow key and the bits (``cluster_frame``) that a switch has found for it, where the packet came labelled."""

    ethertype: int
    """The EtherType of layer 3, below any tags and labels; 0 for what is none (802.3 with LLC, unknown links)."""
    vlan: int
    """The outermost VLAN identifier, 0 if there is none."""
    inner_vlan: int
    """The second VLAN identifier, 0 if there is none."""
    l3: int
    """Where layer 3 begins, or -1."""

    version: int
    """4 or 6; 0 if the frame is not IP, or the IP header was cut off by the snap length."""
    protocol: int
    """The IP protocol behind any IPv6 extension headers, 0 if there is none."""
    fragment: bool
    """A fragment other than the first: no transport header, no ports."""
    more_fragments: bool
    """Fragments of the same datagram follow this one."""
    fragment_id: int
    """What the fragments of a datagram have in common, 0 for a whole one."""

    l4: int
    """Where a transport header begins whose fixed part is wholly here, or -1 (the ports may be known even so)."""
    tcp_flags: int
    """The eight flag bits of TCP, from CWR (0x80) to FIN (0x01)."""
    payload: int
    """Where the octets behind the headers that were understood begin."""
    payload_end: int
    """Where they end, by the IP header's total length: Ethernet padding is no payload."""
    endpoints: bytes
    """For plain IPv4 TCP and UDP the 12 octets of addresses and ports, as they lie in the frame; else b"".

    Plain means Ethernet behind our header, no tags, no options, no fragment: then these octets and the protocol
    determine the flow.
    """

    def __init__(self, data: memoryview | bytes | bytearray = b"") -> None:
        self.data = memoryview(data)
        self.time = self.mark = self.direction = 0
        self.records, self.flow = [], None
        self.reset(0, len(self.data), len(self.data), 0)

    def reset(self, start: int, end: int, length: int, linktype: int) -> None:
        """Point at another frame, of which nothing is known yet: the state "other"."""
        self.start, self.end, self.length, self.linktype = start, end, length, linktype
        self.ethertype = self.vlan = self.inner_vlan = 0
        self.l3 = self.l4 = -1
        self.version = self.protocol = self.fragment_id = 0
        self.fragment = self.more_fragments = False
        self._source_port = self._target_port = self.tcp_flags = 0
        self.payload, self.payload_end = start, end
        self.endpoints = b""
        self.foreign = False
        self.label = None

    @property
    def snapped(self) -> bool:
        """Whether the capture kept less than the whole frame."""
        return self.end - self.start < self.length

    def emit(self, record: object) -> None:
        """Send a record (an instance of one of the NF's ``records`` classes) out of the engine with this packet."""
        self.records.append((self.flow, record))

    @property
    def source_port(self) -> int:
        """The source port of TCP, UDP, SCTP, DCCP and UDP-Lite; 0 where there is none or it is not told."""
        return int.from_bytes(self.endpoints[8:10], "big") if self.endpoints else self._source_port

    @property
    def target_port(self) -> int:
        """The destination port, likewise."""
        return int.from_bytes(self.endpoints[10:12], "big") if self.endpoints else self._target_port

    def set_ports(self, source: int, target: int) -> None:
        """For the general way of parsing; the fast way leaves them in ``endpoints``, where they cost nothing."""
        self._source_port, self._target_port = source, target

    @property
    def source(self) -> bytes:
        """The source address as it stands in the frame now: 4 or 16 octets, or b"" if this is not IP."""
        if self.version == 4:
            return self.data[self.l3 + 12 : self.l3 + 16].tobytes()
        return self.data[self.l3 + 8 : self.l3 + 24].tobytes() if self.version == 6 else b""

    @property
    def target(self) -> bytes:
        """The destination address as it stands in the frame now: 4 or 16 octets, or b"" if this is not IP."""
        if self.version == 4:
            return self.data[self.l3 + 16 : self.l3 + 20].tobytes()
        return self.data[self.l3 + 24 : self.l3 + 40].tobytes() if self.version == 6 else b""

    @property
    def source_high(self) -> int:
        """The upper 64 bits of the source address as a number; 0 for IPv4, and if this is not IP."""
        return int.from_bytes(self.source[:-8], "big")

    @property
    def source_low(self) -> int:
        """The lower 64 bits of the source address as a number; all 32 of an IPv4 address."""
        return int.from_bytes(self.source[-8:], "big")

    @property
    def target_high(self) -> int:
        """The upper 64 bits of the destination address, likewise."""
        return int.from_bytes(self.target[:-8], "big")

    @property
    def target_low(self) -> int:
        """The lower 64 bits of the destination address, likewise."""
        return int.from_bytes(self.target[-8:], "big")

    def has(self, at: int, octets: int, reason: str) -> bool:
        """Whether so many octets were captured at ``at``. If not, only a snapped frame is excused from ``reason``."""
        if at + octets <= self.end:
            return True
        if self.snapped:
            return False
        raise MalformedPacket(reason)

    def u16(self, at: int) -> int:
        """The two octets at ``at``, big-endian. Raises where the burst does not have them."""
        number: int = _U16.unpack_from(self.data, at)[0]
        return number

    def u32(self, at: int) -> int:
        """The four octets at ``at``, likewise."""
        number: int = _U32.unpack_from(self.data, at)[0]
        return number

    def u64(self, at: int) -> int:
        """The eight octets at ``at``, likewise."""
        number: int = _U64.unpack_from(self.data, at)[0]
        return number


_U16, _U32, _U64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q")
