"""Which flow a packet belongs to: the flow key with everything that needs more than the outermost header.

In mode ``five-tuple`` a flow is the outermost 5-tuple. In mode ``auto`` VLANs set flows apart, the inner flow of VXLAN
and GRE is the flow, an ICMP error goes to the flow that it quotes (against the quoted packet's direction), and later
fragments follow the first.

In front stands an exact-match cache, the idea of Open vSwitch: twelve octets of a plain packet determine its key, so
that the second packet of a flow costs one look-up instead of a key. Packets whose flow depends on more than those
octets never enter it. It is emptied when full: flows that still run are back after one packet each, and nothing has to
be kept in order per packet, as it would be for evicting the oldest.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from nfactor.packet.cluster_frame import ALIAS, DIRECTION
from nfactor.packet.fields import TCP, UDP, Packet
from nfactor.packet.flow_key import PLAIN, five_tuple, key_of
from nfactor.packet.tunnels import VXLAN_PORT, inner, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

FlowKeyMode: TypeAlias = Literal["auto", "five-tuple"]
KeyAndDirection: TypeAlias = tuple[bytes, int]

CACHE_FLOWS_MAX = 65536
"""Keys that the exact-match cache holds per protocol and classifier (two directions are two)."""
FRAGMENTS_MAX = 4096
"""Fragmented datagrams whose flow is remembered."""
TUNNELS_MAX = 4
"""Tunnels inside tunnels that are looked into; the flow of the innermost one reached is the packet's."""


@attrs.frozen
class ClassifierStatistics:
    """Counts since the classifier was made."""

    cache_emptied: int
    """Times the exact-match cache was full and was emptied."""
    fragments_forgotten: int
    """Fragmented datagrams that were forgotten because ``fragments_max`` newer ones came."""
    fragments_without_first: int
    """Later fragments that went by addresses and protocol, as their first fragment was not known."""


class FlowClassifier:
    """Keys of packets, in one mode. A packet that came labelled is believed. Needs to see the packets of a flow in
    order only for fragments."""

    def __init__(
        self, mode: FlowKeyMode, *, cache_flows_max: int = CACHE_FLOWS_MAX, fragments_max: int = FRAGMENTS_MAX
    ) -> None:
        assert cache_flows_max > 0
        assert fragments_max > 0
        self.mode: FlowKeyMode = mode
        self._cache_flows_max = cache_flows_max
        self._fragments_max = fragments_max
        self._caches: dict[int, dict[bytes, KeyAndDirection]] = {TCP: {}, UDP: {}}
        self._classify: Callable[[Packet], KeyAndDirection] = five_tuple if mode == "five-tuple" else self._auto
        self._first_fragments: dict[tuple[object, ...], KeyAndDirection] = {}
        self._within = (Packet(), Packet())
        self._cache_emptied = self._fragments_forgotten = self._fragments_without_first = 0

    def classify(self, packet: Packet) -> KeyAndDirection:
        """The packet's flow key, and 0 if it goes from the key's ``a`` to its ``b``, else 1. Never raises."""
        endpoints = packet.endpoints
        if not endpoints:
            if packet.label is not None:
                key, bits = packet.label
                packet.foreign = not bits & ALIAS
                return key, bits & DIRECTION
            return self._classify(packet)
        cache = self._caches[packet.protocol]
        found = cache.get(endpoints)
        if found is None:
            found = self._classify(packet)
            if packet.target_port != VXLAN_PORT or self.mode == "five-tuple":
                self._remember(cache, endpoints, found)
        return found

    def statistics(self) -> ClassifierStatistics:
        """Counts so far."""
        return ClassifierStatistics(self._cache_emptied, self._fragments_forgotten, self._fragments_without_first)

    def _remember(self, cache: dict[bytes, KeyAndDirection], endpoints: bytes, found: KeyAndDirection) -> None:
        if len(cache) >= self._cache_flows_max:
            cache.clear()
            self._cache_emptied += 1
        cache[endpoints] = found

    def _auto(self, packet: Packet) -> KeyAndDirection:
        """From the outermost header inwards. VLANs are the outermost frame's: an inner frame may have its own, but a
        flow is told apart by where the packet was seen."""
        current, kind, vni = packet, PLAIN, 0
        for depth in range(TUNNELS_MAX):
            into = self._within[depth % 2]
            tunnel = inner(current, into)
            if tunnel is None:
                break
            kind, vni = tunnel
            current = into
        surrounding = (packet.vlan, packet.inner_vlan, vni, kind)
        quotation = self._within[0] if current is self._within[1] else self._within[1]
        packet.foreign = current is not packet or packet.fragment
        if quoted(current, quotation):
            packet.foreign = True
            current = quotation
            key, direction = self._of(quotation, surrounding)
            found = key, 1 - direction
        else:
            found = self._of(current, surrounding)
        if current.fragment:
            packet.label = found  # it hangs on what was seen before: whoever looks later is told
        return found

    def _of(self, packet: Packet, surrounding: tuple[int, int, int, int]) -> KeyAndDirection:
        """The key of a packet that carries no other; a later fragment has that of its first."""
        if not packet.fragment_id:
            return key_of(packet, *surrounding)
        protocol = packet.protocol if packet.version == 4 else 0  # IPv6: options may stand before it in the first alone
        datagram = (packet.fragment_id, protocol, packet.source, packet.target, surrounding)
        if not packet.fragment:
            found = key_of(packet, *surrounding)
            self._remember_first(datagram, found)
            return found
        known = self._first_fragments.get(datagram)
        if known is None:
            self._fragments_without_first += 1
            return key_of(packet, *surrounding)
        return known

    def _remember_first(self, datagram: tuple[object, ...], found: KeyAndDirection) -> None:
        """Kept until newer datagrams need the room: fragments may come in any order, so none is known as the last."""
        fragments = self._first_fragments
        fragments.pop(datagram, None)
        if len(fragments) >= self._fragments_max:
            del fragments[next(iter(fragments))]
            self._fragments_forgotten += 1
        fragments[datagram] = found
