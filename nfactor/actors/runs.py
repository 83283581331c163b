"""Runs: tells of one class to one actor that come one after the other, gathered as bare values and packed in one go;
and so questions to one actor, and answers to a peer, each with its number.

A run of tells is opened by the second such tell, one of questions by the first that is asked while others are under
way, one of answers by the first that has something to travel with. A run is the last thing that waits on its lane, and
ends when it is full, when anything else is sent on the lane, or with the pass. What a run of tells may hold was allowed
in advance (credit, room, a datagram), so that a tell that joins it is one comparison and one note of its values
(``Ref.tell_nowait``).
"""

from itertools import compress
from typing import TYPE_CHECKING, Any

from nfactor.actors.envelope import RUN

if TYPE_CHECKING:
    from nfactor.actors.flat import Flat
    from nfactor.actors.parking import Answer
    from nfactor.actors.peer import Peer

RUN_MESSAGES_MAX = 256
"""A run that is as long is sent before the pass ends: the other node works on it meanwhile."""


class Run:
    """Messages that wait to be packed together."""

    __slots__ = ("actor_name", "answers", "cls", "end", "flat", "kind", "note", "numbers", "values")

    def __init__(self, kind: int, actor_name: str, cls: type | None, flat: "Flat | None", messages_max: int) -> None:
        self.kind = kind
        """Of its envelope: tells, asks, or replies (then there is no name of an actor)."""
        self.actor_name = actor_name
        self.cls = cls
        self.flat = flat
        self.values: list[Any] = []
        self.numbers: list[int] = []
        """Of its questions or answers; tells have none."""
        self.answers: list[Answer] = []
        """What waits for those to its questions."""
        self.end = 0
        """So many values are all that it may hold."""
        if flat is not None:
            self.note = flat.note
            self.end = messages_max * flat.width

    @property
    def count(self) -> int:
        """Messages in it."""
        return 0 if self.flat is None else len(self.values) // self.flat.width

    def drop(self, places: list[bool]) -> list[int]:
        """Leave out the questions at these places; their numbers."""
        if self.flat is None or not any(places):
            return []
        dropped, stay = list(compress(self.numbers, places)), [not place for place in places]
        self.values[:] = compress(self.values, [each for each in stay for _ in range(self.flat.width)])
        self.numbers[:] = compress(self.numbers, stay)
        self.answers[:] = compress(self.answers, stay)
        return dropped


NO_RUN = Run(RUN, "", None, None, 0)
"""No message joins it."""


class Route:
    """The way to an actor on another node: the lanes of its peer, how an envelope for it begins, and the run that is
    open for it."""

    __slots__ = ("lanes", "prefix", "run")

    def __init__(self, peer: "Peer", prefix: bytes) -> None:
        self.lanes = peer.user, peer.system
        self.prefix = prefix
        self.run = NO_RUN
