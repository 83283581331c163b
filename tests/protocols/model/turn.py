"""One handler's turn: what its node becomes, and what it sends. Handlers are functions of a turn, and never wait."""

from typing import Any, Generic, TypeVar

import attrs

from tests.protocols.model.parts import CONTROL, DATA, RUNTIMES, Coordinator, Runtime, Sent, Switch, Wait

N = TypeVar("N", Runtime, Switch, Coordinator)


class Turn(Generic[N]):
    """``place`` says which of its possible replicas a runtime takes, ``fresh`` where a new flow goes. ``variation``
    names a mistake that the protocol makes; ''  is none."""

    def __init__(self, node: N, *, place: int = 0, fresh: str = RUNTIMES[0], variation: str = "") -> None:
        self.node: N = node
        self.place = place
        self.fresh = fresh
        self.variation = variation
        self.sent: list[Sent] = []
        self.due: list[Wait] = []
        """What had waited until something was stored, and is to be done now."""

    @property
    def name(self) -> str:
        """Whose turn it is."""
        name: str = self.node.name
        return name

    def be(self, **changes: Any) -> None:
        """The node is this from now on."""
        self.node = attrs.evolve(self.node, **changes)

    def say(self, to: str, message: object) -> None:
        """By control message."""
        self.sent.append((CONTROL, to, message))

    def put(self, to: str, item: object) -> None:
        """By the data path."""
        self.sent.append((DATA, to, item))
