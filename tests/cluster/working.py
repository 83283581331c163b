"""Nodes on the event heap whose work takes time. Else an event takes none there, and nothing that a node does holds up
what it has to do next; here it takes as long as what is packed and unpacked in it, and everything else waits."""

from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from nfactor.cluster.recovery_messages import StoreCommit
from nfactor.packet.burst import Burst
from nfactor.testing.heap import HeapNetwork
from nfactor.testing.heap_node import HeapNode, HeapPort


class Working:
    """From now on every node of that network does one thing at a time, in the order in which things come, and what it
    sends leaves when it is done. ``octet_us``: so long it takes to pack or unpack an octet of a commit's states;
    ``packet_us``: a packet that it sends; ``event_us``: anything at all."""

    def __init__(self, network: HeapNetwork, *, octet_us: float, packet_us: float, event_us: float) -> None:
        self._network = network
        self._octet_us, self._packet_us, self._event_us = octet_us, packet_us, event_us
        self._tasks: defaultdict[HeapNode, deque[Callable[[], None]]] = defaultdict(deque)
        self._takes_us = 0.0
        """What is being done takes so long, as far as it has come."""
        self._sent: list[Callable[[], None]] | None = None
        """What it sends; None: nothing is being done, and whoever sends something is nobody's node."""
        self._run_on, self._send, self._carry = network.run_on, network.send, network.carry
        network.run_on, network.send, network.carry = self.run_on, self.send, self.carry  # type: ignore[method-assign]

    def run_on(self, node: HeapNode, action: Callable[[], None]) -> None:
        """See ``HeapNetwork``: when it is its turn."""
        tasks = self._tasks[node]
        tasks.append(action)
        if len(tasks) == 1:
            self._do(node)

    def _do(self, node: HeapNode) -> None:
        self._takes_us, self._sent = self._event_us, []
        self._run_on(node, self._tasks[node][0])
        takes_us, sent, self._sent = round(self._takes_us), self._sent, None
        self._network.at(self._network.now_us + takes_us, partial(self._done, node, sent))

    def _done(self, node: HeapNode, sent: list[Callable[[], None]]) -> None:
        for send in sent if node.alive else ():
            send()
        tasks = self._tasks[node]
        tasks.popleft()
        if tasks:
            self._do(node)

    def send(self, sender: HeapNode, receiver: str, actor: str, message: object) -> None:
        """See ``HeapNetwork``. States are packed here, and take as long to unpack there."""
        takes_us = len(message.changes) * self._octet_us if isinstance(message, StoreCommit) else 0.0
        self._put(takes_us, partial(self._send, sender, receiver, actor, message))

    def carry(self, port: HeapPort, burst: Burst) -> None:
        """See ``HeapNetwork``."""
        self._put(len(burst) * self._packet_us, partial(self._carry, port, burst))

    def _put(self, takes_us: float, send: Callable[[], None]) -> None:
        self._takes_us += takes_us
        if self._sent is None:
            send()
        else:
            self._sent.append(send)

    def unpacks(self, message: Any) -> None:
        """A node is given that: see ``HeapNetwork.before``."""
        if isinstance(message, StoreCommit):
            self._takes_us += len(message.changes) * self._octet_us
