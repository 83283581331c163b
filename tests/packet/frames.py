"""Frames for tests, built field by field: a few functions that nest."""

import struct

from nfactor.packet.cluster_frame import header
from nfactor.packet.fields import TCP, UDP, Packet
from nfactor.packet.headers import parse

CLIENT, SERVER = bytes((10, 0, 0, 1)), bytes((192, 0, 2, 9))
CLIENT6, SERVER6 = bytes((0x20, 1)) + bytes(13) + b"\x01", bytes((0x20, 1)) + bytes(13) + b"\x02"
CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def tcp(source: int = 1234, target: int = 80, payload: bytes = b"", flags: int = 0x10, options: bytes = b"") -> bytes:
    """A TCP segment."""
    offset_flags = (20 + len(options)) // 4 << 12 | flags
    return struct.pack(">HHIIHHHH", source, target, 1, 2, offset_flags, 512, 0, 0) + options + payload


def udp(source: int = 1234, target: int = 53, payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def ipv4(
    payload: bytes,
    protocol: int = TCP,
    source: bytes = CLIENT,
    target: bytes = SERVER,
    *,
    fragment: int = 0,
    identifier: int = 7,
    options: bytes = b"",
    total: int | None = None,
) -> bytes:
    """An IPv4 packet; ``fragment`` is the field of flags and offset, ``total`` a false total length."""
    octets = 20 + len(options) + len(payload) if total is None else total
    first = 0x40 | (20 + len(options)) // 4
    head = struct.pack(">BBHHHBBH", first, 0, octets, identifier, fragment, 64, protocol, 0)
    return head + source + target + options + payload


def ipv6(payload: bytes, following: int = TCP, source: bytes = CLIENT6, target: bytes = SERVER6) -> bytes:
    """An IPv6 packet, whose payload may begin with extension headers."""
    return struct.pack(">IHBB", 6 << 28, len(payload), following, 64) + source + target + payload


def ethernet(payload: bytes, ethertype: int = 0x0800, vlans: tuple[int, ...] = ()) -> bytes:
    """An Ethernet frame from the client to the server, with VLAN tags."""
    tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
    return SERVER_MAC + CLIENT_MAC + tags + struct.pack(">H", ethertype) + payload


def vxlan(frame: bytes, vni: int, flags: int = 8) -> bytes:
    """An Ethernet frame in VXLAN in UDP in IPv4."""
    return ipv4(udp(40000, 4789, struct.pack(">BxxxI", flags, vni << 8) + frame), UDP)


def quotation(quoted: bytes, kind: int = 3) -> bytes:
    """An ICMP message that quotes a packet."""
    return struct.pack(">BBHI", kind, 1, 0, 0) + quoted


def parsed(frame: bytes, linktype: int = 1, *, length: int | None = None, before: bytes = b"") -> Packet:
    """The frame, behind our header and followed by other octets, as ``parse`` reads it."""
    framed = before + header(linktype) + frame
    packet = Packet(framed + bytes(range(64)))
    parse(packet, len(before), len(framed), len(frame) if length is None else length)
    return packet


def swapped(frame: bytes) -> bytes:
    """An untagged Ethernet frame of plain IPv4 TCP or UDP, or of plain IPv6, going the other way."""
    if frame[12:14] == b"\x08\x00":
        ends = frame[30:34] + frame[26:30] + frame[36:38] + frame[34:36]
        return frame[6:12] + frame[:6] + frame[12:26] + ends + frame[38:]
    ends = frame[38:54] + frame[22:38] + frame[56:58] + frame[54:56]
    return frame[6:12] + frame[:6] + frame[12:22] + ends + frame[58:]
