"""Which flow a packet belongs to, where the outermost header alone does not say."""

import struct

import pytest
from hypothesis import given, strategies as st

from nfactor.packet.classifier import ClassifierStatistics, FlowClassifier, FlowKeyMode
from nfactor.packet.fields import GRE, ICMP, ICMPV6, SCTP, UDP, Packet
from nfactor.packet.flow_key import FlowKey, five_tuple
from tests.packet.frames import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    ethernet,
    ipv4,
    ipv6,
    parsed,
    quotation,
    swapped,
    tcp,
    udp,
    vxlan,
)

FLOW = ethernet(ipv4(tcp(5, 6)))
FLOW_KEY = five_tuple(parsed(FLOW))[0]
WORDS = FlowKey("tcp", "10.0.0.1", 5, "192.0.2.9", 6)
ROUTER = bytes((172, 16, 0, 1))


def classified(frame: bytes, mode: FlowKeyMode = "auto", *, length: int | None = None) -> tuple[FlowKey, int]:
    """The frame's flow in words, and its direction."""
    key, direction = FlowClassifier(mode).classify(parsed(frame, length=length))
    return FlowKey.decode(key), direction


def gre(content: bytes, ethertype: int, flags: int = 0, options: bytes = b"") -> bytes:
    """Something in GRE in IPv4."""
    return ethernet(ipv4(struct.pack(">HH", flags, ethertype) + options + content, GRE))


@pytest.mark.parametrize("mode", ["auto", "five-tuple"])
def test_both_directions_of_a_plain_flow(mode: FlowKeyMode) -> None:
    """Seen for the first time or out of the cache, a direction has the same answer."""
    classifier = FlowClassifier(mode)
    for _ in range(3):
        assert (FLOW_KEY, 0) == classifier.classify(parsed(FLOW))
        assert (FLOW_KEY, 1) == classifier.classify(parsed(swapped(FLOW)))
    assert ClassifierStatistics(0, 0, 0) == classifier.statistics()


def test_the_cache_tells_tcp_from_udp() -> None:
    """The same octets of addresses and ports under another protocol are another flow."""
    classifier = FlowClassifier("auto")
    protocols = [
        FlowKey.decode(classifier.classify(parsed(ethernet(frame)))[0]).protocol
        for frame in (ipv4(tcp(5, 6)), ipv4(udp(5, 6), UDP), ipv4(tcp(5, 6)))
    ]
    assert ["tcp", "udp", "tcp"] == protocols


def test_a_full_cache_is_emptied_and_counted() -> None:
    """Its limit costs time, never a wrong answer."""
    classifier = FlowClassifier("five-tuple", cache_flows_max=2)
    for port in (1, 2, 3, 1, 2):
        packet = parsed(ethernet(ipv4(tcp(port, 80))))
        assert five_tuple(packet) == classifier.classify(packet)
    assert 2 == classifier.statistics().cache_emptied


def test_vlans_set_flows_apart() -> None:
    """In ``auto`` alone."""
    tagged = ethernet(ipv4(tcp(5, 6)), vlans=(7, 8))
    assert (FlowKey("tcp", "10.0.0.1", 5, "192.0.2.9", 6, 7, 8), 0) == classified(tagged)
    assert (WORDS, 0) == classified(tagged, "five-tuple")


def test_the_flow_inside_vxlan() -> None:
    """The inner 5-tuple with the network's number; both directions, whatever the outer ports."""
    expected = FlowKey("tcp", "10.0.0.1", 5, "192.0.2.9", 6, 0, 0, 42, "vxlan")
    assert (expected, 0) == classified(ethernet(vxlan(FLOW, 42)))
    assert (expected, 1) == classified(ethernet(vxlan(swapped(FLOW), 42)))
    assert "udp" == classified(ethernet(vxlan(FLOW, 42)), "five-tuple")[0].protocol


def test_vxlan_is_never_cached() -> None:
    """Two inner flows with the same outer 5-tuple stay two."""
    classifier = FlowClassifier("auto")
    frames = [ethernet(vxlan(ethernet(ipv4(tcp(port, 80))), 42)) for port in (1, 2, 1)]
    keys = [classifier.classify(parsed(frame))[0] for frame in frames]
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(vxlan(FLOW, 42, flags=0)),
        ethernet(vxlan(b"", 42)),
        ethernet(ipv4(udp(40000, 4789, b"short"), UDP)),
        ethernet(vxlan(b"stump", 42)),
    ],
)
def test_what_only_looks_like_vxlan_is_its_outer_flow(frame: bytes) -> None:
    """No valid network number, no content, or content that is malformed."""
    assert "" == classified(frame)[0].tunnel
    assert "udp" == classified(frame)[0].protocol


@pytest.mark.parametrize(
    ("frame", "vni"),
    [
        (gre(ipv4(tcp(5, 6)), 0x0800), 0),
        (gre(FLOW, 0x6558), 0),
        (gre(ipv4(tcp(5, 6)), 0x0800, 0xB000, bytes(4) + bytes((0, 0, 0, 9)) + bytes(4)), 9),
        (gre(ethernet(vxlan(FLOW, 42)), 0x6558), 42),
    ],
)
def test_the_flow_inside_gre(frame: bytes, vni: int) -> None:
    """IP or Ethernet, with checksum, key and sequence number, and a tunnel in a tunnel."""
    expected = FlowKey("tcp", "10.0.0.1", 5, "192.0.2.9", 6, 0, 0, vni, "vxlan" if vni == 42 else "gre")
    assert (expected, 0) == classified(frame)


@pytest.mark.parametrize(
    "frame",
    [
        gre(ipv4(tcp(5, 6)), 0x0800, 0x4000),
        gre(ipv4(tcp(5, 6)), 0x880B, 0x0001),
        gre(b"", 0x0800),
        ethernet(ipv4(b"\x20\x00\x08", GRE)),
        gre(b"\x55" + bytes(30), 0x86DD),
    ],
)
def test_gre_that_is_not_looked_into_is_its_outer_flow(frame: bytes) -> None:
    """Source routing, PPTP, nothing inside, no whole header, no IP where IP must be."""
    assert "gre" == classified(frame)[0].protocol


def test_a_snapped_tunnel_has_its_inner_flow() -> None:
    """What was cut off inside makes the inner packet no worse than it is."""
    frame = ethernet(vxlan(ethernet(ipv4(tcp(5, 6, payload=bytes(100)))), 42))
    assert 5 == classified(frame[:-90], length=len(frame))[0].a_port


def test_tunnels_within_tunnels_end_somewhere() -> None:
    """After ``TUNNELS_MAX`` the flow is the innermost one that was reached."""
    frame = ipv4(tcp(5, 6))
    for _ in range(6):
        frame = ipv4(struct.pack(">HH", 0, 0x0800) + frame, GRE)
    key, _ = classified(ethernet(frame))
    assert ("gre", "gre") == (key.protocol, key.tunnel)


@pytest.mark.parametrize("kept", [8, 20])
def test_an_icmp_error_goes_to_the_flow_that_it_quotes(kept: int) -> None:
    """It travels against the packet that it quotes, of which it may keep no more than eight octets behind IP."""
    error = ethernet(ipv4(quotation(ipv4(tcp(5, 6))[: 20 + kept]), ICMP, ROUTER, CLIENT))
    assert (WORDS, 1) == classified(error)
    assert "icmp" == classified(error, "five-tuple")[0].protocol


def test_an_icmpv6_error_goes_to_the_flow_that_it_quotes() -> None:
    """IPv6 has its own numbers for it."""
    error = ethernet(ipv6(quotation(ipv6(udp(5, 6), UDP), 1), ICMPV6, SERVER6, CLIENT6), 0x86DD)
    assert (FlowKey("udp", "2001::1", 5, "2001::2", 6), 1) == classified(error)


@pytest.mark.parametrize(
    "message",
    [
        quotation(ipv4(tcp(5, 6)), kind=8),
        quotation(b""),
        quotation(ipv4(tcp(5, 6))[:19]),
        quotation(b"\x00" * 40),
        quotation(b"\x41" * 40),
        b"\x03",
    ],
)
def test_icmp_that_quotes_nothing_readable_is_its_own_flow(message: bytes) -> None:
    """Echo, no quotation, a stump, no IP, malformed IP, no whole ICMP header."""
    assert "icmp" == classified(ethernet(ipv4(message, ICMP)))[0].protocol


def test_fragments_follow_their_first() -> None:
    """Once the first was seen, the later ones of that datagram, and of no other, have its key."""
    classifier = FlowClassifier("auto")
    first = parsed(ethernet(ipv4(udp(5, 6), UDP, fragment=0x2000)))
    later = parsed(ethernet(ipv4(b"more", UDP, fragment=0x2001)))
    other = parsed(ethernet(ipv4(b"more", UDP, fragment=0x2001, identifier=8)))
    early, _ = classifier.classify(parsed(ethernet(ipv4(b"more", UDP, fragment=0x2001))))
    key, direction = classifier.classify(first)
    assert "udp-fragment" == FlowKey.decode(early).protocol
    assert FlowKey("udp", "10.0.0.1", 5, "192.0.2.9", 6) == FlowKey.decode(key)
    assert (key, direction) == classifier.classify(later) == later.label
    assert first.label is None, "the first fragment tells its flow itself"
    assert (key, direction) == FlowClassifier("auto").classify(later), "a label is believed by who has seen nothing"
    assert early == classifier.classify(other)[0]
    assert ClassifierStatistics(0, 0, 2) == classifier.statistics()


def test_ipv6_fragments_follow_their_first() -> None:
    """Even if options stand between the fragment header and the transport header of the first."""
    classifier = FlowClassifier("auto")
    options = bytes((UDP, 0)) + bytes(6)
    first = parsed(ethernet(ipv6(struct.pack(">BxHI", 60, 1, 9) + options + udp(5, 6), 44), 0x86DD))
    later = parsed(ethernet(ipv6(struct.pack(">BxHI", 60, 16, 9) + b"more", 44), 0x86DD))
    key = classifier.classify(first)
    assert key == classifier.classify(later)
    assert 5 == FlowKey.decode(key[0]).a_port


def test_five_tuples_keep_fragments_apart() -> None:
    """As other tools count: only the first fragment belongs to the flow."""
    classifier = FlowClassifier("five-tuple")
    first = parsed(ethernet(ipv4(udp(5, 6), UDP, fragment=0x2000)))
    later = parsed(ethernet(ipv4(b"more", UDP, fragment=1)))
    protocols = [FlowKey.decode(classifier.classify(packet)[0]).protocol for packet in (first, later)]
    assert ["udp", "udp-fragment"] == protocols


def test_the_oldest_datagram_is_forgotten_for_the_newest() -> None:
    """The limit is kept and counted; a repeated first fragment is young again."""
    classifier = FlowClassifier("auto", fragments_max=2)
    for identifier in (1, 2, 1, 3):
        classifier.classify(parsed(ethernet(ipv4(udp(5, 6), UDP, fragment=0x2000, identifier=identifier))))
    assert 1 == classifier.statistics().fragments_forgotten
    known = [
        FlowKey.decode(classifier.classify(parsed(ethernet(ipv4(b"-", UDP, fragment=1, identifier=identifier))))[0])
        for identifier in (1, 2, 3)
    ]
    assert ["udp", "udp-fragment", "udp"] == [key.protocol for key in known]


def test_a_key_that_is_not_of_the_packets_own_header_is_said_to_be_foreign() -> None:
    """Tunnels, ICMP errors and later fragments; not plain packets, tagged or not."""
    classifier = FlowClassifier("auto")
    frames = {
        FLOW: False,
        ethernet(ipv4(tcp(5, 6)), vlans=(7,)): False,
        ethernet(vxlan(FLOW, 42)): True,
        ethernet(ipv4(quotation(ipv4(tcp(5, 6))), ICMP)): True,
        ethernet(ipv4(udp(5, 6), UDP, fragment=0x2000)): False,
        ethernet(ipv4(b"more", UDP, fragment=1)): True,
    }
    for frame, foreign in frames.items():
        packet = parsed(frame)
        classifier.classify(packet)
        assert foreign == packet.foreign


@given(content=st.binary(max_size=60), protocol=st.sampled_from([ICMP, GRE, SCTP]), flags=st.integers(0, 0xFFFF))
def test_every_packet_has_a_flow(content: bytes, protocol: int, flags: int) -> None:
    """Whatever stands inside, ``classify`` raises nothing."""
    classifier = FlowClassifier("auto")
    inside = struct.pack(">HH", flags, 0x6558) + content
    for packet in (ipv4(inside.ljust(12, b"\0"), protocol), vxlan(content, 1), ipv4(quotation(content), ICMP)):
        key, direction = classifier.classify(parsed(ethernet(packet)))
        assert (48, True) == (len(key), direction in (0, 1))


def test_a_classifier_leaves_the_packet_alone() -> None:
    """Looking into a tunnel does not move the packet."""
    packet = parsed(ethernet(vxlan(FLOW, 42)))
    names = [name for name in Packet.__slots__ if name != "foreign"]
    before = [getattr(packet, name) for name in names]
    FlowClassifier("auto").classify(packet)
    assert before == [getattr(packet, name) for name in names]
    assert (CLIENT, SERVER) == (packet.source, packet.target)
