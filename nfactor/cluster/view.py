"""What a node knows of the cluster: who is in it, and questions to others that end when they are declared dead."""

from collections.abc import Sequence
from typing import TypeVar

import trio

from nfactor.actors import Ref
from nfactor.cluster.messages import Member, NotifyClusterCfg, Released
from nfactor.cluster.recovery_messages import SetReplicas
from nfactor.errors import PeerDown
from nfactor.protocols.replication import Watermark

R = TypeVar("R")


class View:
    """The latest view that this node was given; before the first one nobody is known."""

    def __init__(self) -> None:
        self.term = 0
        self.members: tuple[Member, ...] = ()
        self._asking: dict[trio.CancelScope, str] = {}

    def take(self, message: NotifyClusterCfg) -> bool:
        """Take a view, unless a newer one is known. Questions to those who are in it no more end."""
        if message.term <= self.term:
            return False
        self.term, self.members = message.term, message.members
        for scope, node in self._asking.items():
            if node not in self:
                scope.cancel()
        return True

    def __contains__(self, node: str) -> bool:
        return any(member.name == node for member in self.members)

    def of_kind(self, kind: str) -> list[Member]:
        """The members that are ``runtime`` or ``switch``, in the order in which they joined."""
        return [member for member in self.members if member.kind == kind]

    async def ask(self, ref: Ref, message: object, reply: type[R]) -> R:
        """``ref.ask``, which raises ``PeerDown`` as soon as the other node is declared dead."""
        with trio.CancelScope() as scope:
            self._asking[scope] = ref.node_name
            try:
                return await ref.ask(message, reply)
            finally:
                del self._asking[scope]
        raise PeerDown(f"{ref.node_name} was declared dead")


def watermarks(message: SetReplicas, primary: str) -> dict[str, Watermark]:
    """How far each dead replica came with this primary's commits."""
    packets, outcomes = (_of(primary, told) for told in (message.packets, message.outcomes))
    return {
        replica: Watermark(packets.get(replica, 0), outcomes.get(replica, 0))
        for replica in packets.keys() | outcomes.keys()
    }


def _of(primary: str, told: Sequence[Released]) -> dict[str, int]:
    return {released.replica: released.sequence for released in told if released.primary == primary}
