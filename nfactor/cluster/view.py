"""What a node knows of the cluster: who is in it, and whom to tell when somebody is declared dead."""

from collections.abc import Callable

import attrs
import numpy as np

from nfactor.cluster.messages import Member, NotifyClusterCfg
from nfactor.cluster.recovery_messages import KnownState, SetReplicas, StoreCommit
from nfactor.protocols.replication import Watermark


class View:
    """The latest view that this node was given; before the first one nobody is known. All roles of a node share it;
    each whose questions are to end with a node's death ``watch``es."""

    def __init__(self) -> None:
        self.term = 0
        self.members: tuple[Member, ...] = ()
        self.known: dict[str, Member] = {}
        """Everybody who is or was in it, as last seen."""
        self.unfinished: dict[str, None] = {}
        """Nodes that are dead, and whose recovery is not over."""
        self._names: frozenset[str] = frozenset()
        self._watchers: list[Callable[[str], None]] = []
        self.when_finished: Callable[[str], None] = lambda node: None
        """Called with the name of each node whose recovery is over."""

    def watch(self, watcher: Callable[[str], None]) -> None:
        """Be called with the name of each node that leaves."""
        self._watchers.append(watcher)

    def take(self, message: NotifyClusterCfg) -> bool:
        """Take a view, unless a newer one is known."""
        if message.term <= self.term:
            return False
        earlier = [member.name for member in self.members]
        self.term, self.members = message.term, message.members
        self._names = frozenset(member.name for member in message.members)
        self.known.update({member.name: member for member in message.members})
        gone = [name for name in earlier if name not in self._names]
        self.unfinished.update(dict.fromkeys(gone))
        for name in gone:
            for watcher in self._watchers:
                watcher(name)
        return True

    def is_life(self, node: str, address: bytes) -> bool:
        """Whether that is the life of the node that is in the cluster."""
        return node in self._names and self.known[node].address == address

    def at(self, address: bytes) -> str | None:
        """Who has that address in the present view, if anybody has."""
        return next((member.name for member in self.members if member.address == address), None)

    def addressed(self, node: str, commit: object) -> object:
        """The commit as it is for the life of that node which is known. Where there is none it is for nobody, and comes
        again; what is no commit is as it was."""
        if not isinstance(commit, StoreCommit) or node not in self.known:
            return commit
        return attrs.evolve(commit, to=self.known[node].address)  # type: ignore[misc]

    def finish(self, node: str) -> None:
        """The recovery of that node is over."""
        self.unfinished.pop(node, None)
        self.when_finished(node)

    def state(self) -> KnownState:
        """What is known, for a coordinator that has begun again."""
        gone = tuple(member for name, member in self.known.items() if name not in self._names)
        return KnownState(self.term, self.members, tuple(self.unfinished), gone)

    def was_declared_dead(self, member: Member) -> bool:
        """Whether that very life was in the cluster, and is not any more."""
        return self.is_dead(member.name) and self.known[member.name].address == member.address

    def is_dead(self, node: str) -> bool:
        """Whether it was in the cluster and is not any more."""
        return node in self.known and node not in self._names

    def __contains__(self, node: str) -> bool:
        return node in self._names

    def of_kind(self, kind: str) -> list[Member]:
        """The members that are ``runtime`` or ``switch``, in the order in which they joined."""
        return [member for member in self.members if member.kind == kind]

    def names(self, kind: str) -> list[str]:
        """Their names."""
        return [member.name for member in self.members if member.kind == kind]


def watermarks(message: SetReplicas, primary: bytes) -> dict[str, Watermark]:
    """How far each dead replica came with the commits of the primary at this address."""
    found: dict[str, Watermark] = {}
    for told in message.packets:
        watermark = found.setdefault(told.replica, Watermark())
        if told.primary == primary:
            watermark.packets[told.switch] = told.sequence
        watermark.marks.update(np.frombuffer(told.marks, "<u8").tolist())
    for told in message.outcomes:
        watermark = found.setdefault(told.replica, Watermark())
        if told.primary == primary:
            watermark.outcomes = told.sequence
        watermark.marks.update(np.frombuffer(told.marks, "<u8").tolist())
    return found
