"""Flow keys: one per flow, the same for both directions, and readable."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.fields import ICMP, TCP, UDP
from nfactor.packet.flow_key import KEY_PROTOCOL, FlowKey, FlowKeys, five_tuple, keys_array, keys_list, places_of
from tests.packet.frames import CLIENT, SERVER, ethernet, ipv4, ipv6, parsed, swapped, tcp, udp


def decoded(frame: bytes, linktype: int = 1, *, length: int | None = None) -> FlowKey:
    """The frame's five-tuple key, in words."""
    return FlowKey.decode(five_tuple(parsed(frame, linktype, length=length))[0])


def test_the_layout_is_as_documented() -> None:
    """Other languages read and write these octets."""
    key, direction = five_tuple(parsed(ethernet(ipv4(tcp(0x1234, 0x50)), vlans=(3,))))
    ends = CLIENT + bytes(12) + SERVER + bytes(12) + bytes.fromhex("1234 0050")
    assert (ends + bytes((6, 4)) + bytes(10), 0) == (key, direction)
    assert (KEY_OCTETS, TCP) == (len(key), key[KEY_PROTOCOL])


addresses, ports = st.binary(min_size=4, max_size=4), st.integers(0, 0xFFFF)


@given(source=addresses, target=addresses, source_port=ports, target_port=ports)
def test_both_directions_have_one_key(source: bytes, target: bytes, source_port: int, target_port: int) -> None:
    """Swapping the ends gives the same key and the other direction (unless the ends are the same)."""
    same = (source, source_port) == (target, target_port)
    for frame in (
        ethernet(ipv4(tcp(source_port, target_port), TCP, source, target)),
        ethernet(ipv4(udp(source_port, target_port), UDP, source, target)),
        ethernet(ipv6(tcp(source_port, target_port), TCP, source * 4, target * 4), 0x86DD),
    ):
        key, direction = five_tuple(parsed(frame))
        assert (key, direction if same else 1 - direction) == five_tuple(parsed(swapped(frame)))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ethernet(ipv4(tcp(5, 6))), FlowKey("tcp", "10.0.0.1", 5, "192.0.2.9", 6)),
        (ethernet(ipv4(udp(5, 6), UDP)), FlowKey("udp", "10.0.0.1", 5, "192.0.2.9", 6)),
        (ethernet(ipv4(bytes(8), ICMP)), FlowKey("icmp", "10.0.0.1", 0, "192.0.2.9", 0)),
        (ethernet(ipv4(bytes(8), 200)), FlowKey("200", "10.0.0.1", 0, "192.0.2.9", 0)),
        (ethernet(ipv4(b"rest", TCP, fragment=9)), FlowKey("tcp-fragment", "10.0.0.1", 0, "192.0.2.9", 0)),
        (ethernet(ipv6(bytes(8), 58), 0x86DD), FlowKey("icmpv6", "2001::1", 0, "2001::2", 0)),
        (ethernet(bytes(28), 0x0806), FlowKey("arp", "02:00:00:00:00:01", 0, "02:00:00:00:00:02", 0)),
        (ethernet(bytes(28), 0x88CC), FlowKey("ethertype-0x88cc", "02:00:00:00:00:01", 0, "02:00:00:00:00:02", 0)),
    ],
)
def test_a_key_says_in_words_what_it_is(frame: bytes, expected: FlowKey) -> None:
    """Names, text addresses, and no ports where there are none."""
    assert expected == decoded(frame)


def test_a_frame_of_an_unknown_link_has_a_key_too() -> None:
    """Without addresses: all such frames are one flow."""
    nowhere = "00:00:00:00:00:00"
    assert FlowKey("non-ip", nowhere, 0, nowhere, 0) == decoded(b"radiotap", 127)
    assert FlowKey("non-ip", nowhere, 0, nowhere, 0) == decoded(b"stump", 1, length=60)


def test_ports_that_are_not_told_are_not_port_zero() -> None:
    """A later fragment never shares a row with a real flow between ports 0."""
    fragment = five_tuple(parsed(ethernet(ipv4(tcp(0, 0), fragment=9))))[0]
    assert fragment != five_tuple(parsed(ethernet(ipv4(tcp(0, 0)))))[0]


def test_the_five_tuple_knows_no_vlan() -> None:
    """As other tools count."""
    assert decoded(ethernet(ipv4(tcp()), vlans=(5, 6))) == decoded(ethernet(ipv4(tcp())))


@given(st.lists(st.binary(min_size=KEY_OCTETS, max_size=KEY_OCTETS)))
def test_keys_travel_as_rows_of_an_array(keys: list[bytes]) -> None:
    """To an array and back, and from the array's octets."""
    array = keys_array(keys)
    assert (len(keys), KEY_OCTETS) == array.shape
    assert np.dtype(np.uint8) == array.dtype
    assert keys == keys_list(array) == keys_list(array.tobytes())


@given(st.lists(st.binary(min_size=48, max_size=48), unique=True, max_size=8), st.lists(st.integers(0, 9), max_size=9))
def test_keys_are_found_among_others(among: list[bytes], wanted: list[int]) -> None:
    keys = [among[place] if place < len(among) else bytes([0x55]) * 48 for place in wanted]
    expected = [among.index(key) if key in among else -1 for key in keys]
    assert places_of(FlowKeys.of(keys), FlowKeys.of(among)).tolist() == expected


@given(st.lists(st.tuples(st.binary(min_size=48, max_size=48), st.booleans()), max_size=8))
def test_some_keys_of_a_set(keys: list[tuple[bytes, bool]]) -> None:
    every, wanted = FlowKeys.of(key for key, _ in keys), np.array([some for _, some in keys], bool)
    chosen = [key for key, some in keys if some]
    assert every.where(wanted) == chosen
    assert every.at(np.flatnonzero(wanted)) == FlowKeys.of(chosen)
    assert (every == FlowKeys.of(chosen)) is bool(wanted.all())
