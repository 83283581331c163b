"""Listens to what the nodes of a cluster on the heap say to each other, for tests that count messages and octets."""

from typing import Any

import attrs

from nfactor.cluster.call_messages import Answer, Call, ControlCall
from nfactor.cluster.codec import MESSAGES
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_node import HeapNode
from nfactor.testing.limits import Limits
from nfactor.testing.trace import UNTOLD

ROOM = Limits(flows=2_048, switch_flows=4_096)
"""Tables for more flows than schedules have."""


@attrs.frozen
class Sent:
    """A message on its way."""

    kind: str
    """Its class; of a question or an answer, the class of what is inside."""
    octets: int
    """Encoded, with the question or answer around it, without what the link adds."""
    sender: str
    receiver: str
    inside: Any = attrs.field(eq=False)


def fed(cluster: HeapCluster, flows: int) -> None:
    """So many flows, which the switches deal to the runtimes in turn; all is still again."""
    for flow in range(flows):
        cluster.feed(flow)
    cluster.network.run(cluster.network.now_us + 1_000_000)


def listen(cluster: HeapCluster) -> list[Sent]:
    """What is sent from now on, without signs of life."""
    network, sent = cluster.network, list[Sent]()
    send = network.send

    def note(sender: HeapNode, receiver: str, actor: str, message: Any) -> None:
        inside = MESSAGES.decode(message.body) if isinstance(message, Call | ControlCall | Answer) else message
        kind = type(inside).__name__
        if kind not in UNTOLD:
            sent.append(Sent(kind, len(MESSAGES.encode(message)), sender.name, receiver, inside))
        send(sender, receiver, actor, message)

    network.send = note  # type: ignore[method-assign]
    return sent
