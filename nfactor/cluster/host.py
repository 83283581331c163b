"""What a role has around it: a clock, timers, and a way to send. Two exist: an actor's surroundings, and an event heap.

Roles (flow table, liaison, replica table, switch, membership, …) hold all that the nodes of a cluster do, and none of
them waits: a role is told something, does what follows from it, and is done. So the same objects run as actors on trio
(``nfactor.cluster.actor_host``), and by the thousand a second on a heap of events (``nfactor.testing.heap``).
"""

from collections.abc import Callable
from typing import Protocol


class Host(Protocol):
    """The surroundings of one role."""

    node: str
    """The node's name."""
    actor: str
    """The role's name on it."""
    life: int
    """Higher for each life of the node."""

    def now(self) -> float:
        """Seconds, on a clock that does not go back."""

    def tell(self, node: str, actor: str, message: object) -> None:
        """Send a message to a role on any node. What one role tells another arrives in order and once, or not at all if
        a session of the link ends."""

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call that after so long, while the node lives."""
