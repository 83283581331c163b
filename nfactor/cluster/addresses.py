"""MAC addresses inside a cluster: who sent a frame, and in which of its lives.

All are locally administered (IEEE 802 section 8.4): ``02 KIND INDEX(2) INCARNATION(2)``. The incarnation is in the
address so that frames of a runtime that was declared dead can be told from those of its successor (DESIGN section 7).
"""

from enum import IntEnum

_LOCAL = 0x02
_INDEX_MAX = 0xFFFF


class Kind(IntEnum):
    """What stands behind an address."""

    OUTSIDE = 0
    """Where packets come from and go to: a capture, the network."""
    RUNTIME = 1
    SWITCH_OUTSIDE = 2
    """A virtual switch's port towards the outside."""
    SWITCH_INSIDE = 3
    """A virtual switch's port towards the runtimes."""


def address(kind: Kind, index: int, incarnation: int = 1) -> bytes:
    """Six octets. ``index`` and ``incarnation`` are 0 to 65535 (an incarnation is taken modulo 65536)."""
    assert 0 <= index <= _INDEX_MAX, "an index has two octets"
    return bytes((_LOCAL, kind)) + index.to_bytes(2, "big") + (incarnation & 0xFFFF).to_bytes(2, "big")


def life_of(address: bytes) -> int:
    """The incarnation in it, modulo 65536."""
    return int.from_bytes(address[4:6], "big")


def outside_of(inside: bytes) -> bytes:
    """The address of a switch's outside port, from that of its inside port."""
    assert inside[1] == Kind.SWITCH_INSIDE
    return bytes((_LOCAL, Kind.SWITCH_OUTSIDE)) + inside[2:]
