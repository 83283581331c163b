"""Runs: tells of one class to one actor that come one after the other, gathered as bare values and packed in one go.

A run is opened by the second such tell, is the last thing that waits on its lane, and ends when it is full, when
anything else is sent on the lane, or with the pass. What it may hold was allowed in advance (credit, room, a datagram),
so that a tell that joins it is one comparison and one note of its values (``Ref.tell_nowait``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfactor.actors.flat import Flat
    from nfactor.actors.peer import Peer

RUN_MESSAGES_MAX = 256
"""A run that is as long is sent before the pass ends: the other node works on it meanwhile."""


class Run:
    """Tells that wait to be packed together."""

    __slots__ = ("actor_name", "cls", "end", "flat", "note", "values")

    def __init__(self, actor_name: str, cls: type | None, flat: "Flat | None", messages_max: int) -> None:
        self.actor_name = actor_name
        self.cls = cls
        self.flat = flat
        self.values: list[Any] = []
        self.end = 0
        """So many values are all that it may hold."""
        if flat is not None:
            self.note = flat.note
            self.end = messages_max * flat.width

    @property
    def count(self) -> int:
        """Messages in it."""
        return 0 if self.flat is None else len(self.values) // self.flat.width


NO_RUN = Run("", None, None, 0)
"""No message joins it."""


class Route:
    """The way to an actor on another node: the lanes of its peer, how an envelope for it begins, and the run that is
    open for it."""

    __slots__ = ("lanes", "prefix", "run")

    def __init__(self, peer: "Peer", prefix: bytes) -> None:
        self.lanes = peer.user, peer.system
        self.prefix = prefix
        self.run = NO_RUN
