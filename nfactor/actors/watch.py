"""Watching: an actor is told when another one is gone for good, wherever that is.

The watcher's node remembers who watches whom, and asks the other node once for each watched actor; that node says when
the actor is gone. If it cannot be heard any more, it is gone as well, as far as anybody here can know.
"""

from typing import TYPE_CHECKING

from nfactor.actors.message import TAG_MAX, message
from nfactor.actors.ref import Ref
from nfactor.errors import CallerError

if TYPE_CHECKING:
    from nfactor.actors.node import Node


@message(tag=TAG_MAX, system=True)
class Terminated:
    """A watched actor is gone for good (a restart is no end). It need not be among a node's Messages."""

    ref: Ref
    reason: str
    """``stopped``: in good order; ``failed``: its last life ended with an error; ``no-actor``: there was none by that
    name; ``peer-down``: its node is not heard any more, so this is what is known."""


class Watches:
    """Who watches whom, on one node."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._watchers: dict[Ref, dict[str, None]] = {}
        """By watched actor, here or elsewhere: the actors of this node that watch it."""
        self._watched_from: dict[str, dict[str, None]] = {}
        """By actor of this node: the other nodes from which it is watched."""

    def add(self, watcher: str, ref: Ref) -> None:
        """An actor of this node watches another."""
        if ref.key is not None:
            raise CallerError(f"{ref!r} is an actor in a table, which lives as long as its record: watch the table")
        is_first = ref not in self._watchers
        self._watchers.setdefault(ref, {})[watcher] = None
        if ref.node_name != self._node.name:
            if is_first:
                self._node.peer(ref.node_name).watch(ref.actor_name, True)
        elif self._node.cells.get(ref.actor_name) is None:
            self._tell(ref, "no-actor")

    def remove(self, watcher: str, ref: Ref) -> None:
        """It does not, any more."""
        watchers = self._watchers.get(ref, {})
        watchers.pop(watcher, None)
        if ref in self._watchers and not watchers:
            del self._watchers[ref]
            if ref.node_name != self._node.name:
                self._node.peer(ref.node_name).watch(ref.actor_name, False)

    def watches(self, node_name: str) -> bool:
        """Somebody here watches an actor of that node."""
        return any(ref.node_name == node_name for ref in self._watchers)

    def add_from(self, node_name: str, actor_name: str) -> bool:
        """Another node watches an actor of this one; False: there is none."""
        if self._node.cells.get(actor_name) is None:
            return False
        self._watched_from.setdefault(actor_name, {})[node_name] = None
        return True

    def remove_from(self, node_name: str, actor_name: str) -> None:
        """It does not, any more."""
        self._watched_from.get(actor_name, {}).pop(node_name, None)

    # ---- ends ----

    def actor_gone(self, actor_name: str, reason: str) -> None:
        """An actor of this node has closed."""
        if self._watchers:
            for ref in [ref for ref, watchers in self._watchers.items() if actor_name in watchers]:
                self.remove(actor_name, ref)
            self._tell(Ref(self._node.name, actor_name), reason)
        for node_name in self._watched_from.pop(actor_name, ()):
            if not self._node.is_closed:
                self._node.peer(node_name).say_gone(actor_name, reason)

    def gone_elsewhere(self, node_name: str, actor_name: str, reason: str) -> None:
        """Another node says that an actor of its is gone."""
        self._tell(Ref(node_name, actor_name), reason)

    def peer_down(self, node_name: str) -> None:
        """Another node is not heard any more."""
        for ref in [ref for ref in self._watchers if ref.node_name == node_name]:
            self._tell(ref, "peer-down")
        for watchers in self._watched_from.values():
            watchers.pop(node_name, None)

    def _tell(self, ref: Ref, reason: str) -> None:
        for watcher in self._watchers.pop(ref, ()):
            cell = self._node.cells.get(watcher)
            if cell is not None:
                cell.force(Terminated(ref.bound_to(self._node), reason))
