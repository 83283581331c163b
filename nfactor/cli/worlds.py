"""The worlds that the command line can build: today the memory world, seeded and on a virtual clock.

Concrete backends are named only by the command line, by ``nfactor.testing`` and by users; everything below takes what
it is given.
"""

from collections import Counter

from nfactor.backends.base import Port, Transport
from nfactor.backends.memory import MemoryNetwork

DATA_LATENCY_S = 100e-6
"""Virtual time that a burst takes over one link: what keeps packets in flight while control messages travel."""
CONTROL_LATENCY_S = 30e-6
"""The same for a control message."""


class MemoryWorld:
    """A ``nfactor.cluster.plan.World`` on one memory network."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.network = network
        self._lives: Counter[str] = Counter()

    def transport(self, node: str) -> Transport:
        """See ``World``."""
        return self.network.transport(node)

    def port(self, node: str, address: bytes) -> Port:
        """See ``World``."""
        return self.network.port(address, node=node)

    def incarnation(self, node: str) -> int:
        """See ``World``: counted."""
        self._lives[node] += 1
        return self._lives[node]

    def cut(self, node: str) -> None:
        """See ``World``."""
        self.network.cut(node)
