"""Parsing one frame: what is read, what is let pass, what is malformed."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from nfactor.errors import MalformedPacket
from nfactor.packet.cluster_frame import header
from nfactor.packet.fields import ICMP, MALFORMED_REASONS, SCTP, TCP, UDP, Packet
from nfactor.packet.headers import parse, parse_slowly
from tests.packet.frames import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    ethernet,
    ipv4,
    ipv6,
    parsed,
    tcp,
    udp,
)

ENDPOINTS_BEGIN, ENDPOINTS_END = 42, 54


def everything(packet: Packet) -> dict[str, object]:
    """All that a parse tells, but for ``endpoints``, which is the fast way's own."""
    names = [name for name in Packet.__slots__ if name not in ("data", "endpoints") and not name.startswith("_")]
    seen = [*names, "source", "target", "source_port", "target_port", "snapped"]
    return {name: getattr(packet, name) for name in seen}


def outcome(way: Callable[[Packet, int, int, int], None], data: bytes, offset: int, end: int, length: int) -> object:
    """What a way of parsing makes of a frame: its fields, or why it is malformed."""
    packet = Packet(data)
    packet.l3 = packet.vlan = packet.tcp_flags = 77  # left by the frame before
    packet.label = bytes(48), 1
    try:
        way(packet, offset, end, length)
    except MalformedPacket as error:
        return error.reason
    return everything(packet)


def reason_of(packet: Packet, end: int, length: int) -> str:
    """Why the frame that ends there is malformed; empty if it is not."""
    return reason_at(packet, 0, end, length)


def reason_at(packet: Packet, offset: int, end: int, length: int) -> str:
    """The same for a frame that does not stand first."""
    try:
        parse(packet, offset, end, length)
    except MalformedPacket as error:
        return error.reason
    return ""


def test_a_plain_tcp_packet() -> None:
    """Ports, flags, offsets and payload of a TCP segment in IPv4 in Ethernet, with Ethernet's padding left out."""
    frame = ethernet(ipv4(tcp(1234, 80, b"hi", flags=0x18))) + bytes(10)
    packet = parsed(frame, before=b"xyz")
    assert (19, 19 + len(frame), len(frame), 1) == (packet.start, packet.end, packet.length, packet.linktype)
    assert (0x0800, 33, 53) == (packet.ethertype, packet.l3, packet.l4)
    assert (4, TCP, CLIENT, SERVER) == (packet.version, packet.protocol, packet.source, packet.target)
    assert (1234, 80, 0x18) == (packet.source_port, packet.target_port, packet.tcp_flags)
    assert b"hi" == packet.data[packet.payload : packet.payload_end].tobytes()
    assert CLIENT + SERVER + struct.pack(">HH", 1234, 80) == packet.endpoints


def test_a_plain_udp_packet_that_ends_the_buffer() -> None:
    """A short UDP packet at the very end of the buffer is read as anywhere else."""
    framed = header(1) + ethernet(ipv4(udp(5, 53), UDP))
    packet = Packet(framed)
    parse(packet, 0, len(framed), len(framed) - 16)
    assert (UDP, 5, 53, 0) == (packet.protocol, packet.source_port, packet.target_port, packet.tcp_flags)
    assert packet.payload == packet.payload_end == len(framed)


def test_a_frame_without_our_header_is_plain_ethernet() -> None:
    """On a wire where the outer header is the packet's own, that header is read."""
    frame = ethernet(ipv4(udp(), UDP))
    packet = Packet(frame)
    parse(packet, 0, len(frame), len(frame))
    assert (0, 1, UDP, 14) == (packet.start, packet.linktype, packet.protocol, packet.l3)


def test_ip_options_move_the_transport_header() -> None:
    """IPv4 with options is parsed, but is not plain."""
    packet = parsed(ethernet(ipv4(tcp(), options=bytes(8))))
    assert (packet.l3 + 28, 1234, b"") == (packet.l4, packet.source_port, packet.endpoints)


def test_addresses_are_those_in_the_frame_now() -> None:
    """An NF that rewrites the octets sees its own rewriting."""
    packet = Packet(bytearray(header(1) + ethernet(ipv4(tcp())) + bytes(20)))
    parse(packet, 0, 70, 54)
    packet.data[packet.l3 + 12] = 11
    assert b"\x0b" + CLIENT[1:] == packet.source


def test_no_ip_no_addresses() -> None:
    """A frame that is not IP has its EtherType, and nothing else."""
    packet = parsed(ethernet(bytes(28), 0x0806))
    assert (0x0806, 0, -1, b"", b"") == (packet.ethertype, packet.version, packet.l4, packet.source, packet.target)
    assert packet.l3 == packet.payload == packet.start + 14


@pytest.mark.parametrize("total", [0, 2000])
def test_a_false_total_length_lets_the_payload_end_with_the_frame(total: int) -> None:
    """Length 0 is left to the network card (TSO); one past the end has been cut off unnoticed. Both pass."""
    packet = parsed(ethernet(ipv4(tcp(payload=b"hello"), total=total)))
    assert b"hello" == packet.data[packet.payload : packet.payload_end].tobytes()


def test_first_fragment_has_ports_and_later_ones_have_none() -> None:
    """A fragment tells its identifier; only the first has a transport header."""
    first = parsed(ethernet(ipv4(udp(1, 2, b"x"), UDP, fragment=0x2000)))
    later = parsed(ethernet(ipv4(b"some octets", UDP, fragment=1)))
    assert (False, True, 7, 1) == (first.fragment, first.more_fragments, first.fragment_id, first.source_port)
    assert (True, False, 7, 0) == (later.fragment, later.more_fragments, later.fragment_id, later.source_port)
    assert (-1, later.l3 + 20) == (later.l4, later.payload)


def test_a_first_fragment_may_end_within_the_transport_header() -> None:
    """The ports are told, but there is no whole TCP header, and no payload."""
    packet = parsed(ethernet(ipv4(tcp()[:8], fragment=0x2000)))
    assert (1234, 80, -1, packet.payload_end) == (
        packet.source_port,
        packet.target_port,
        packet.l4,
        packet.payload,
    )


def test_sctp_and_protocols_without_ports() -> None:
    """SCTP has ports; ICMP has none, and all behind IP is payload."""
    sctp = parsed(ethernet(ipv4(struct.pack(">HH8x", 5, 6), SCTP)))
    assert (5, 6, sctp.l4 + 12) == (sctp.source_port, sctp.target_port, sctp.payload)
    icmp = parsed(ethernet(ipv4(bytes(8), ICMP)))
    assert (0, 0, icmp.l4) == (icmp.source_port, icmp.target_port, icmp.payload)


def test_ipv6_extension_headers_are_read_through() -> None:
    """Hop-by-hop options, destination options and authentication stand before TCP."""
    extensions = bytes((60, 0)) + bytes(6) + bytes((51, 1)) + bytes(14) + bytes((TCP, 1)) + bytes(10)
    packet = parsed(ethernet(ipv6(extensions + tcp(payload=b"x"), 0), 0x86DD))
    assert (6, TCP, CLIENT6, SERVER6, 1234) == (
        packet.version,
        packet.protocol,
        packet.source,
        packet.target,
        packet.source_port,
    )
    assert b"x" == packet.data[packet.payload : packet.payload_end].tobytes()


@pytest.mark.parametrize(
    ("offset_more", "fragment", "more", "identifier"),
    [(0, False, False, 0), (1, False, True, 9), (8, True, False, 9), (9, True, True, 9)],
)
def test_ipv6_fragments(offset_more: int, fragment: bool, more: bool, identifier: int) -> None:
    """Offset 0 with nothing to come ("atomic") is a whole packet; a later fragment has no ports."""
    packet = parsed(ethernet(ipv6(struct.pack(">BxHI", TCP, offset_more, 9) + tcp(), 44), 0x86DD))
    assert (fragment, more, identifier) == (packet.fragment, packet.more_fragments, packet.fragment_id)
    assert (TCP, 0 if fragment else 1234) == (packet.protocol, packet.source_port)


def test_an_ipv6_payload_length_of_zero_reaches_to_the_end() -> None:
    """A jumbogram, or a segment that the network card will cut."""
    frame = bytearray(ethernet(ipv6(tcp(payload=b"hello")), 0x86DD))
    frame[18:20] = bytes(2)
    packet = parsed(bytes(frame))
    assert b"hello" == packet.data[packet.payload : packet.payload_end].tobytes()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"short", "link_header"),
        (ethernet(b"\x00", 0x8100), "vlan_header"),
        (ethernet(b"\x00\x00\x10\x40", 0x8847), "mpls_header"),
        (ethernet(b"\x11\x00", 0x8864), "pppoe_header"),
        (ethernet(b"\x11\x00\x00\x01\x00\x00", 0x8864), "ppp_header"),
        (ethernet(b"\x11\x00\x00\x01\x00\x00\x00", 0x8864), "ppp_header"),
        (ethernet(ipv4(tcp())[:19]), "ipv4_header"),
        (ethernet(b"\x65" + ipv4(tcp())[1:]), "ipv4_header"),
        (ethernet(b"\x44" + ipv4(tcp())[1:]), "ipv4_header"),
        (ethernet(b"\x4f" + ipv4(udp(), UDP, total=70)[1:]), "ipv4_header"),
        (ethernet(ipv4(tcp(), total=19)), "ipv4_header"),
        (ethernet(ipv6(tcp())[:39], 0x86DD), "ipv6_header"),
        (ethernet(ipv4(tcp()) + bytes(20), 0x86DD), "ipv6_header"),
        (ethernet(ipv6(b"\x06\x00", 60), 0x86DD), "ipv6_extension"),
        (ethernet(ipv6(b"\x06\x09" + tcp(), 60), 0x86DD), "ipv6_extension"),
        (ethernet(ipv4(tcp()[:19])), "tcp_header"),
        (ethernet(ipv4(tcp()[:12] + b"\x40" + tcp()[13:])), "tcp_header"),
        (ethernet(ipv4(tcp()[:12] + b"\x60" + tcp()[13:])), "tcp_header"),
        (ethernet(ipv4(udp()[:7], UDP)), "udp_header"),
        (ethernet(ipv4(struct.pack(">HHHH", 1, 2, 7, 0), UDP)), "udp_header"),
        (ethernet(ipv4(bytes(11), SCTP)), "sctp_header"),
        (ethernet(ipv4(bytes(11), 33)), "dccp_header"),
        (ethernet(ipv4(bytes(7), 136)), "udp_lite_header"),
    ],
)
def test_what_cannot_be_is_malformed(frame: bytes, reason: str) -> None:
    """Headers that contradict themselves, or are not there though nothing was cut off."""
    with pytest.raises(MalformedPacket) as caught:
        parsed(frame)
    assert reason == caught.value.reason
    assert reason in MALFORMED_REASONS


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ipv4(tcp(options=bytes(8), payload=b"some"), options=bytes(4))),
        ethernet(ipv6(bytes((TCP, 1)) + bytes(14) + tcp(), 60), 0x86DD),
        ethernet(ipv4(udp(payload=b"abc"), UDP), vlans=(5, 6)),
        ethernet(bytes((0, 0, 0x10, 0x40, 0, 0, 0x11, 0x40)) + ipv4(udp(), UDP), 0x8847),
        ethernet(bytes.fromhex("110000010000 0021") + ipv4(udp(), UDP), 0x8864),
    ],
)
def test_a_snapped_frame_is_never_malformed_for_being_short(frame: bytes) -> None:
    """Cut anywhere, it passes; what is told is what the whole frame tells, or nothing."""
    whole = parsed(frame)
    for octets in range(len(frame)):
        packet = parsed(frame[:octets], length=len(frame))
        assert packet.snapped
        assert packet.version in (0, whole.version)
        assert packet.protocol in (0, whole.protocol)
        assert packet.source_port in (0, whole.source_port)
        assert packet.l4 in (-1, whole.l4)
        assert packet.start <= packet.payload <= packet.payload_end <= packet.end


def test_a_tcp_header_whose_options_are_cut_off_is_a_header() -> None:
    """Its fixed part is there and is read; there is just no payload."""
    frame = ethernet(ipv4(tcp(options=bytes(8), payload=b"some")))
    packet = parsed(frame[:58], length=len(frame))
    assert (0x10, packet.l3 + 20, packet.end) == (packet.tcp_flags, packet.l4, packet.payload)


field = st.integers(0, 0xFFFF)
segments = st.builds(tcp, field, field, st.binary(max_size=20), st.integers(0, 255), st.sampled_from([b"", bytes(8)]))
datagrams = st.builds(udp, field, field, st.binary(max_size=20))
plain_packets = st.one_of(
    st.builds(ipv4, segments, st.sampled_from([TCP, TCP, SCTP]), fragment=st.sampled_from([0, 0x4000, 0x2000, 3])),
    st.builds(ipv4, datagrams, st.sampled_from([UDP, UDP, ICMP, 136]), options=st.sampled_from([b"", bytes(4)])),
    st.builds(ipv6, segments),
)
frames = st.builds(ethernet, plain_packets, st.sampled_from([0x0800, 0x0800, 0x86DD, 0x0806]))


@given(st.lists(frames, min_size=1, max_size=5))
def test_a_packet_that_is_used_again_shows_nothing_of_the_frames_before(sequence: list[bytes]) -> None:
    """The fast way leaves alone what all plain frames have in common; after any other frame it has to be set again."""
    data = b"".join(header(1) + frame for frame in sequence)
    used, offset = Packet(data), 0
    for frame in sequence:
        end = offset + 16 + len(frame)
        fresh = Packet(data)
        reasons = [reason_at(packet, offset, end, len(frame)) for packet in (used, fresh)]
        assert reasons[0] == reasons[1]
        if not reasons[0]:
            assert everything(fresh) == everything(used)
        offset = end


@given(frame=frames, change=st.tuples(st.integers(0, 79), st.integers(0, 255)), cut=field, after=st.binary(max_size=70))
def test_both_ways_of_parsing_agree(frame: bytes, change: tuple[int, int], cut: int, after: bytes) -> None:
    """A nearly right frame, one octet changed, some cut off, gives the same fields or the same error in both ways."""
    framed = bytearray(header(1) + frame)
    framed[change[0] % len(framed)] = change[1]
    end = len(framed) - (cut % 8 if cut & 0x8000 else 0)
    for length in (end - 16, len(frame), 9000):
        arguments = (bytes(framed[:end]) + after, 0, end, length)
        assert outcome(parse_slowly, *arguments) == outcome(parse, *arguments)


@given(frame=frames)
def test_the_plain_case_takes_the_fast_way(frame: bytes) -> None:
    """``endpoints`` is told just for whole IPv4 TCP and UDP without options, and is what lies in the frame."""
    framed = header(1) + frame + bytes(30)
    packet = Packet(framed)
    try:
        parse(packet, 0, len(framed), len(framed) - 16)
    except MalformedPacket:
        return
    plain = packet.version == 4 and framed[30] == 0x45 and not packet.fragment_id and packet.protocol in (TCP, UDP)
    assert (framed[ENDPOINTS_BEGIN:ENDPOINTS_END] if plain else b"") == packet.endpoints


@given(data=st.binary(max_size=120), linktype=st.sampled_from([0, 1, 9, 12, 50, 104, 108, 113, 127, 228, 229, 276]))
def test_arbitrary_octets_raise_nothing_but_malformed_packet(data: bytes, linktype: int) -> None:
    """Whatever the octets and the link type, the answer is fields within the frame, or a known reason."""
    framed = header(linktype) + data
    for length in (len(data), len(data) + 1):
        packet = Packet(framed)
        reason = reason_of(packet, len(framed), length)
        assert reason in MALFORMED_REASONS or not reason
        assert packet.start <= packet.payload <= packet.payload_end <= packet.end
        assert len(packet.source) == len(packet.target) == {0: 0, 4: 4, 6: 16}[packet.version]
