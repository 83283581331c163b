"""The endpoints of a whole burst at once, for who needs to tell plain packets apart and nothing else.

A virtual switch looks at a packet only to find its flow. For a plain packet (see ``headers``) thirteen octets determine
it, and a handful of numpy operations take them out of all packets of a burst for what a parse of two or three costs.
"""

import numpy as np
import numpy.typing as npt

from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import ETHERTYPE_PACKET, HEADER_OCTETS, LINKTYPE_ETHERNET
from nfactor.packet.fields import ETHERTYPE_IPV4, ETHERTYPE_IPV6, TCP, UDP

PEEK_PACKETS_MIN = 32
"""Smaller bursts are parsed faster packet by packet."""

_L3 = HEADER_OCTETS + 14
# What is the same in all plain packets (both EtherTypes, the link type, IPv4 without options), then the fragment field,
# then the protocol and both addresses and ports.
_SAME = [12, 13, 14, 15, HEADER_OCTETS + 12, HEADER_OCTETS + 13, _L3]
_COLUMNS = np.array([*_SAME, _L3 + 6, _L3 + 7, _L3 + 9, *range(_L3 + 12, _L3 + 24)])
_SAME_OCTETS = np.frombuffer(
    ETHERTYPE_PACKET.to_bytes(2, "big")
    + LINKTYPE_ETHERNET.to_bytes(2, "big")
    + ETHERTYPE_IPV4.to_bytes(2, "big")
    + b"\x45",
    np.uint8,
)
_FRAGMENT = len(_SAME)
_PROTOCOL = _FRAGMENT + 2
_OCTETS = 13
_REACH = _L3 + 24


def peek(burst: Burst) -> list[bytes]:
    """For each packet its IP protocol and its two addresses and ports as they stand in the frame, 13 octets; b"" if it
    does not look plain. A packet that looks plain may yet be malformed further on."""
    last = len(burst.data) - _REACH
    if last < 0:
        return [b""] * len(burst)
    octets = burst.data[np.minimum(burst.offsets, last)[:, None] + _COLUMNS]  # a short last frame reads its neighbour
    protocol = octets[:, _PROTOCOL]
    plain = (octets[:, :_FRAGMENT] == _SAME_OCTETS).all(axis=1)
    plain &= (octets[:, _FRAGMENT] & 0x3F | octets[:, _FRAGMENT + 1]) == 0
    plain &= (protocol == TCP) | (protocol == UDP)
    plain &= burst.lengths >= _REACH
    raw = octets[:, _PROTOCOL:].tobytes()
    found = [raw[start : start + _OCTETS] for start in range(0, len(raw), _OCTETS)]
    if not plain.all():
        for index in np.flatnonzero(~plain).tolist():
            found[index] = b""
    return found


def address_pairs(burst: Burst) -> npt.NDArray[np.uint32]:
    """A number for the two addresses of each packet, whichever is the source: what a router spreads packets by. 0 for
    what is not IP in Ethernet behind our header, or has a tag."""
    sums = np.zeros(len(burst), np.uint32)
    for ethertype, first, behind in ((ETHERTYPE_IPV4, 12, 20), (ETHERTYPE_IPV6, 8, 40)):
        high, low = (burst.data[np.minimum(burst.offsets + _L3 - 2 + i, len(burst.data) - 1)] for i in (0, 1))
        theirs = np.flatnonzero((high == ethertype >> 8) & (low == ethertype & 0xFF) & (burst.lengths >= _L3 + behind))
        if len(theirs):
            columns = burst.offsets[theirs][:, None] + np.arange(_L3 + first, _L3 + behind)
            sums[theirs] = burst.data[columns].sum(axis=1, dtype=np.uint32)
    return sums
