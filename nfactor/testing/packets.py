"""Packets for tests: frames built by hand, with right checksums, so that a test shows every octet that matters."""

import ipaddress
import struct
from collections.abc import Sequence

from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst

ETHERNET = bytes.fromhex("0200000000aa 0200000000bb")
"""The addresses of every frame made here: target and source."""

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_TCP, _UDP = 6, 17


def internet_checksum(octets: bytes) -> int:
    """The one's complement checksum of RFC 1071."""
    total: int = sum(struct.unpack(f">{(len(octets) + 1) // 2}H", octets + bytes(len(octets) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    """An Ethernet frame with an IPv4 or IPv6 packet."""
    a, b = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    if len(a) == 4:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + a + b
        header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
        return ETHERNET + b"\x08\x00" + header + payload
    return ETHERNET + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + a + b + payload


def tcp(
    source: str,
    sport: int,
    target: str,
    dport: int,
    payload: bytes = b"",
    *,
    flags: int = ACK,
    seq: int = 0,
    ack: int = 0,
) -> bytes:
    """A TCP segment without options."""
    header = struct.pack(">HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 0xFFFF, 0, 0)
    return ip_packet(source, target, _TCP, _with_checksum(source, target, _TCP, header + payload, 16))


def udp(source: str, sport: int, target: str, dport: int, payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    header = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0)
    return ip_packet(source, target, _UDP, _with_checksum(source, target, _UDP, header + payload, 6))


def _with_checksum(source: str, target: str, protocol: int, segment: bytes, at: int) -> bytes:
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    checksum = internet_checksum(ends + struct.pack(">HH", protocol, len(segment)) + segment) or 0xFFFF
    return segment[:at] + checksum.to_bytes(2, "big") + segment[at + 2 :]


def burst_of(frames: Sequence[bytes], *, first_mark: int = 1, start_s: float = 0.0, step_s: float = 0.0) -> Burst:
    """The frames behind our header; marks count up from ``first_mark``, times from ``start_s`` by ``step_s``."""
    header = cluster_frame.header(cluster_frame.LINKTYPE_ETHERNET)
    return Burst.from_frames(
        [header + frame for frame in frames],
        times=(int((start_s + index * step_s) * 1e9) for index in range(len(frames))),
        marks=range(first_mark, first_mark + len(frames)),
        wire_lengths=map(len, frames),
    )
