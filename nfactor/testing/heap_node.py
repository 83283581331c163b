"""What a role finds around it on the event heap: the node on which it lives, its host, and the ports."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from nfactor.backends.base import Port, PortStatistics
from nfactor.packet.burst import Burst

if TYPE_CHECKING:
    from nfactor.cluster.role import Role
    from nfactor.testing.heap import HeapNetwork


class HeapNode:
    """One life of a node. ``after`` is called when it has handled something (there may be room for packets now)."""

    def __init__(self, name: str, life: int) -> None:
        self.name = name
        self.life = life
        self.roles: dict[str, Role] = {}
        self.alive = True
        self.paused = False
        self.backlog: deque[Callable[[], None]] = deque()
        self.settle: Callable[[], None] = lambda: None


class HeapHost:
    """The surroundings of a role here (``nfactor.cluster.host.Host``)."""

    def __init__(self, network: "HeapNetwork", node: HeapNode, actor: str) -> None:
        self._network = network
        self._node = node
        self.node = node.name
        self.actor = actor
        self.life = node.life

    def now(self) -> float:
        """See ``Host``."""
        return self._network.clock_of(self.node).at(self._network.now_us)

    def tell(self, node: str, actor: str, message: object) -> None:
        """See ``Host``."""
        if self._node.alive:
            self._network.send(self._node, node, actor, message)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """See ``Host``."""
        after_us = self._network.clock_of(self.node).us(seconds)
        self._network.at(self._network.now_us + after_us, lambda: self._network.run_on(self._node, call))


class HeapPort(Port):
    """A port; ``take`` is called with what arrives."""

    def __init__(self, network: "HeapNetwork", node: HeapNode, address: bytes) -> None:
        self._network = network
        self.node = node
        self.address = address
        self.mtu = 1 << 16
        self.take: Callable[[Burst], object] = lambda burst: None
        self.sent = self.received = self.lost = 0

    def send(self, burst: Burst) -> int:
        """See ``Port``; everything is taken, by a live node."""
        if not self.node.alive or not len(burst):
            return 0
        self.sent += len(burst)
        self._network.carry(self, burst)
        return len(burst)

    def receive(self) -> Burst | None:
        """Packets are pushed here, not fetched."""
        return None

    async def wait_readable(self) -> None:
        """Packets are pushed here, not fetched."""
        raise NotImplementedError

    def statistics(self) -> PortStatistics:
        """See ``Port``."""
        return PortStatistics(self.sent, 0, self.received, self.lost, 0)

    def close(self) -> None:
        """See ``Port``."""
