"""The headers of plain packets: Ethernet with up to two VLAN tags, IPv4 or IPv6, TCP, UDP or what has no ports.

What is not plain (fragments, tunnels, ICMP errors, extension headers, other links, anything malformed) is left to the
parser of the reference engine: it exists once, and what is rare need not be fast. What is read here must be read there
to the same effect; tests hold the two together.
"""

from typing import Final

from nfactor.compiled.layout import (
    FIVE_TUPLE,
    PK_DIRECTION,
    PK_ETHERTYPE,
    PK_KEY,
    PK_KEY_DIRECTION,
    PK_L3,
    PK_LENGTH,
    PK_MARK,
    PK_PAYLOAD,
    PK_READ,
    PK_SOURCE_PORT,
    PK_START,
    PK_TIME,
    PK_VERSION,
)
from nfactor.compiled.machine import (
    below,
    copy_octets,
    inlined,
    ld_fixed,
    ld_u8,
    ld_u16,
    ld_u32,
    ld_u64,
    st_8,
    st_32,
    st_64,
    swap16,
    swap32,
)
from nfactor.packet.cluster_frame import ALIAS, DIRECTION, KEY_OCTETS, LABEL_OCTETS

_OURS: Final = 0xB588  # our EtherType as it is loaded
_ETHERNET: Final = 0x0100
_LABELLED_ETHERNET: Final = 0x0180
_IPV4: Final = 0x0008
_IPV6: Final = 0xDD86
_VLAN: Final = 0x0081
_VLAN_SERVICE: Final = 0xA888
_VLAN_OLD: Final = 0x0091
_TCP, _UDP, _ICMP, _GRE, _ICMPV6 = 6, 17, 1, 47, 58
_VXLAN_PORT: Final = 4789
_FRAGMENT_BITS: Final = 0xFF3F  # offset and "more", as they are loaded
_WITH_PORTS_RARE: Final = 1 << 33 | 1 << 0 | 1 << 43 | 1 << 44 | 1 << 51 | 1 << 60
"""DCCP, and the IPv6 extension headers, as bits; SCTP, UDP-Lite lie beyond."""
_ICMP_ERRORS: Final = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 11 | 1 << 12
_ICMPV6_ERRORS: Final = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4


@inlined
def read(cx: int, pk: int, data: int, start: int, end: int, wire_length: int, time: int, mark: int) -> int:
    """Fill in the packet record for the frame at ``data[start:end]``; 0 if the frame is not plain."""
    st_64(pk + PK_TIME, time)
    st_64(pk + PK_MARK, mark)
    label = 0
    if end - start >= 16 and ld_u16(data + start + 12) == _OURS:
        if ld_u16(data + start + 14) != _ETHERNET:
            label = _label(data + start, end - start)
            if label == 0:
                return 0
            start += LABEL_OCTETS
        start += 16
    if end - start < 14:
        return 0
    kind, at, vlan, inner_vlan = _tags(data, start, end)
    version, protocol, l4, payload_end = _network(data, at, end, kind)
    if version == 0:
        return 0
    payload, flags, source_port, target_port = _transport(cx, data, protocol, l4, payload_end)
    if payload == 0:
        return 0
    # Two or four fields that stand side by side are one store.
    st_64(pk + PK_START, start | end << 32)
    st_64(pk + PK_L3, at | l4 << 32)
    st_64(pk + PK_PAYLOAD, payload | payload_end << 32)
    st_64(pk + PK_LENGTH, wire_length)  # and no fragment identifier
    st_64(pk + PK_ETHERTYPE, swap16(kind) | vlan << 16 | inner_vlan << 32 | 1 << 48)
    st_32(pk + PK_SOURCE_PORT, source_port | target_port << 16)
    # Version, protocol, TCP flags, direction; then foreign, fragment, more fragments, code: none of them.
    st_32(pk + PK_VERSION, version | protocol << 8 | flags << 16)
    st_32(pk + PK_DIRECTION + 1, 0)
    if label != 0:
        copy_octets(pk + PK_KEY, label, KEY_OCTETS)
        st_8(pk + PK_KEY_DIRECTION, ld_u8(label + KEY_OCTETS) & DIRECTION)
    else:
        _key(cx, pk, data + at, version, protocol, source_port, target_port, vlan, inner_vlan)
    st_8(pk + PK_READ, 1)
    return 1


@inlined
def _label(frame: int, octets: int) -> int:
    """The address of the label of an Ethernet frame whose own header is one that its flow also answers to; else 0."""
    if octets < 16 + LABEL_OCTETS or ld_u16(frame + 14) != _LABELLED_ETHERNET:
        return 0
    return frame + 16 if ld_u8(frame + 16 + KEY_OCTETS) & ALIAS else 0


@inlined
def _tags(data: int, start: int, end: int) -> tuple[int, int, int, int]:
    """The EtherType below any tags (0 if that is cut off), where what it says begins, and both VLANs."""
    kind, at, vlan, inner_vlan = ld_u16(data + start + 12), start + 14, 0, 0
    if kind in (_VLAN, _VLAN_SERVICE, _VLAN_OLD):
        if end - at < 8:
            return 0, at, 0, 0
        vlan, kind, at = swap16(ld_u16(data + at)) & 0x0FFF, ld_u16(data + at + 2), at + 4
        if kind in (_VLAN, _VLAN_SERVICE, _VLAN_OLD):
            inner_vlan, kind, at = swap16(ld_u16(data + at)) & 0x0FFF, ld_u16(data + at + 2), at + 4
            if vlan == 0:
                vlan, inner_vlan = inner_vlan, 0
    return kind, at, vlan, inner_vlan


@inlined
def _network(data: int, at: int, end: int, kind: int) -> tuple[int, int, int, int]:
    """IP version (0: not plain), protocol, where it begins, and where the payload ends."""
    ip = data + at
    if kind == _IPV4:
        if end - at < 20:
            return 0, 0, 0, 0
        header, total = (ld_u8(ip) & 0x0F) * 4, swap16(ld_u16(ip + 2))
        if ld_u8(ip) >> 4 != 4 or header < 20 or total < header or end - at < header:
            return 0, 0, 0, 0
        if ld_u16(ip + 6) & _FRAGMENT_BITS:
            return 0, 0, 0, 0
        return 4, ld_u8(ip + 9), at + header, min(at + total, end)
    if kind != _IPV6 or end - at < 40 or ld_u8(ip) >> 4 != 6 or ld_u16(ip + 4) == 0:
        return 0, 0, 0, 0
    return 6, ld_u8(ip + 6), at + 40, min(at + 40 + swap16(ld_u16(ip + 4)), end)


@inlined
def _transport(cx: int, data: int, protocol: int, l4: int, payload_end: int) -> tuple[int, int, int, int]:
    """Where the payload begins (0: not plain), TCP flags, and the ports."""
    if protocol == _TCP:
        if payload_end - l4 < 20:
            return 0, 0, 0, 0
        header = (ld_u8(data + l4 + 12) >> 4) * 4
        if header < 20 or l4 + header > payload_end:
            return 0, 0, 0, 0
        ports = ld_u32(data + l4)
        return l4 + header, ld_u8(data + l4 + 13), swap16(ports & 0xFFFF), swap16(ports >> 16)
    if protocol == _UDP:
        if payload_end - l4 < 8 or below(swap16(ld_u16(data + l4 + 4)) - 1, 7):
            return 0, 0, 0, 0
        ports = ld_u32(data + l4)
        if swap16(ports >> 16) == _VXLAN_PORT and ld_fixed(cx + FIVE_TUPLE) == 0:
            return 0, 0, 0, 0
        return l4 + 8, 0, swap16(ports & 0xFFFF), swap16(ports >> 16)
    if not _portless(cx, data, protocol, l4, payload_end):
        return 0, 0, 0, 0
    return l4, 0, 0, 0


@inlined
def _portless(cx: int, data: int, protocol: int, l4: int, payload_end: int) -> bool:
    """Whether it is one of those that have neither ports nor anything inside that decides about the flow."""
    if protocol in (132, 136) or (protocol < 64 and _WITH_PORTS_RARE >> protocol & 1):
        return False
    if ld_fixed(cx + FIVE_TUPLE) != 0:
        return True
    if protocol in (_ICMP, _ICMPV6):
        errors = _ICMP_ERRORS if protocol == _ICMP else _ICMPV6_ERRORS
        return l4 < payload_end and (ld_u8(data + l4) >= 64 or not errors >> ld_u8(data + l4) & 1)
    return protocol != _GRE


@inlined
def _key(
    cx: int, pk: int, ip: int, version: int, protocol: int, source_port: int, target_port: int, vlan: int, inner: int
) -> None:
    """The flow key, and the direction; see ``packet.flow_key``."""
    key = pk + PK_KEY
    if version == 4:
        source, target = ld_u32(ip + 12), ld_u32(ip + 16)
        turned = (swap32(source) << 16 | source_port) > (swap32(target) << 16 | target_port)
        if turned:
            source, target = target, source
        st_64(key, source)
        st_64(key + 8, 0)
        st_64(key + 16, target)
        st_64(key + 24, 0)
    else:
        a0, a1, b0, b1 = ld_u64(ip + 8), ld_u64(ip + 16), ld_u64(ip + 24), ld_u64(ip + 32)
        turned = _above(ip + 8, ip + 24, source_port, target_port)
        st_64(key, b0 if turned else a0)
        st_64(key + 8, b1 if turned else a1)
        st_64(key + 16, a0 if turned else b0)
        st_64(key + 24, a1 if turned else b1)
    if turned:
        source_port, target_port = target_port, source_port
    if ld_fixed(cx + FIVE_TUPLE) != 0:
        vlan = inner = 0
    st_64(
        key + 32,
        swap16(source_port) | swap16(target_port) << 16 | protocol << 32 | version << 40 | swap16(vlan) << 48,
    )
    st_64(key + 40, swap16(inner))
    st_8(pk + PK_KEY_DIRECTION, 1 if turned else 0)


@inlined
def _above(a: int, b: int, a_port: int, b_port: int) -> bool:
    """Whether one IPv6 address and port come behind another, as octets compare."""
    for at in range(16):
        x, y = ld_u8(a + at), ld_u8(b + at)
        if x != y:
            return x > y
    return a_port > b_port
