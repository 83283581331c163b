"""From every link type and through every tag to layer 3."""

import struct

import pytest

from nfactor.packet.fields import UDP
from tests.packet.frames import CLIENT_MAC, ethernet, ipv4, ipv6, parsed, tcp, udp

IPV4 = ipv4(udp(7, 8), UDP)
IPV6 = ipv6(tcp(7, 8))


@pytest.mark.parametrize(
    ("linktype", "front", "behind"),
    [
        (0, struct.pack("<I", 2), IPV4),
        (0, struct.pack(">I", 2), IPV4),
        (0, struct.pack("<I", 30), IPV6),
        (108, struct.pack(">I", 24), IPV6),
        (1, ethernet(b""), IPV4),
        (1, ethernet(b"", 0x86DD), IPV6),
        (1, CLIENT_MAC * 2 + bytes.fromhex("0030 aaaa03000000 0800"), IPV4),
        (9, bytes.fromhex("ff030021"), IPV4),
        (9, bytes.fromhex("0057"), IPV6),
        (9, bytes.fromhex("21"), IPV4),
        (50, bytes.fromhex("ff030021"), IPV4),
        (50, bytes.fromhex("0f000800"), IPV4),
        (9, bytes.fromhex("0281 00010140"), IPV4),
        (12, b"", IPV4),
        (14, b"", IPV6),
        (101, b"", IPV6),
        (104, bytes.fromhex("8f0086dd"), IPV6),
        (113, bytes(14) + bytes.fromhex("0800"), IPV4),
        (228, b"", IPV4),
        (229, b"", IPV6),
        (276, bytes.fromhex("86dd") + bytes(18), IPV6),
        (1, ethernet(b"", 0x8847) + bytes.fromhex("00010040 00011140"), IPV6),
        (1, ethernet(b"", 0x8864) + bytes.fromhex("110000010000 0021"), IPV4),
        (1, ethernet(b"", 0x8864, (5,)) + bytes.fromhex("110000010000 57"), IPV6),
    ],
)
def test_ip_is_found(linktype: int, front: bytes, behind: bytes) -> None:
    """Behind each kind of link header, the same IP packet."""
    packet = parsed(front + behind, linktype)
    assert (packet.start + len(front), behind[0] >> 4) == (packet.l3, packet.version)
    assert (0x0800 if packet.version == 4 else 0x86DD) == packet.ethertype
    assert (7, 8) == (packet.source_port, packet.target_port)


@pytest.mark.parametrize(
    ("linktype", "frame"),
    [
        (127, IPV4),
        (0, struct.pack("<I", 7) + IPV4),
        (1, CLIENT_MAC * 2 + bytes.fromhex("0026 424203") + bytes(35)),
        (9, bytes.fromhex("c021") + IPV4),
        (12, b"\x50" + IPV4[1:]),
        (113, bytes(14) + bytes.fromhex("0004") + IPV4),
        (276, bytes.fromhex("0001") + bytes(18) + IPV4),
        (1, ethernet(b"", 0x8847) + bytes.fromhex("00011140 00000000") + IPV4),
        (1, ethernet(b"", 0x8847) + bytes.fromhex("00011140")),
        (1, ethernet(b"", 0x8864) + bytes.fromhex("110900010000 0021") + IPV4),
    ],
)
def test_what_is_not_understood_passes_as_other(linktype: int, frame: bytes) -> None:
    """Unknown links, spanning tree, PPP's own control, pseudo-wires, PPPoE discovery."""
    packet = parsed(frame, linktype)
    assert (0, -1, -1, b"") == (packet.version, packet.l3, packet.l4, packet.source)
    assert (packet.start, packet.end) == (packet.payload, packet.payload_end)


@pytest.mark.parametrize(
    ("vlans", "expected"), [((), (0, 0)), ((5,), (5, 0)), ((5, 6), (5, 6)), ((5, 6, 7), (5, 6)), ((0, 6), (6, 0))]
)
def test_two_vlans_are_kept(vlans: tuple[int, ...], expected: tuple[int, int]) -> None:
    """The outermost two; identifier 0 only carries a priority."""
    packet = parsed(ethernet(IPV4, vlans=vlans))
    assert expected == (packet.vlan, packet.inner_vlan)
    assert UDP == packet.protocol
