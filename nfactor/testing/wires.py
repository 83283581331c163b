"""What went over the wires of the event heap: how much, between which lives of nodes, and where each packet was last.

The wires are outside the code under test, so judges compare with them what nodes say of themselves.
"""

from collections import Counter
from typing import TypeAlias

import attrs
import numpy as np

from nfactor.packet.burst import Burst
from nfactor.testing.heap_node import HeapNode

Life: TypeAlias = tuple[str, int]
"""The name of a node, and which of its lives."""


def life_of(node: HeapNode) -> Life:
    """The name and number of a life."""
    return node.name, node.life


@attrs.frozen
class Crossing:
    """The last way that a packet came to its end of."""

    sender: Life
    receiver: Life


class Wires:
    """Counts and crossings; packets are those with marks, frames are markers and receipts as well."""

    def __init__(self) -> None:
        self.sent: Counter[tuple[Life, str]] = Counter()
        """Packets that a life of a node has sent to another node, whatever became of them."""
        self.came: Counter[tuple[str, Life]] = Counter()
        """Packets that a life of a node has been handed, by who sent them."""
        self.frames: Counter[tuple[str, Life]] = Counter()
        """The same in frames."""
        self.last: dict[int, Crossing] = {}
        """By mark. Who has stood still since a packet came, and has not been handed it, counts as who has it."""

    def sends(self, sender: HeapNode, receiver: str, burst: Burst) -> None:
        """A port takes frames. ``receiver``: empty if there is nobody at that address."""
        self.sent[life_of(sender), receiver] += packets_in(burst)

    def reaches(self, sender: HeapNode, receiver: HeapNode, burst: Burst) -> None:
        """Frames are where they were to go."""
        crossing = Crossing(life_of(sender), life_of(receiver))
        self.last.update((mark, crossing) for mark in burst.marks.tolist() if mark)

    def hands(self, sender: HeapNode, receiver: HeapNode, burst: Burst) -> None:
        """And their node is given them now."""
        self.came[sender.name, life_of(receiver)] += packets_in(burst)
        self.frames[sender.name, life_of(receiver)] += len(burst)


def packets_in(burst: Burst) -> int:
    """Frames that are packets."""
    return int(np.count_nonzero(burst.marks))
