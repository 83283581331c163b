"""Recovery, the coordinator's side: the steps that follow the death of a runtime, as a table.

::

    FENCING     every switch, and the outside, takes the view without the dead one and drops what it still sends; they
                answer how far it had come with what it released for others
    VIEWING     every runtime takes the view
    REPLACING   every runtime is told its replicas; what the dead one had not released goes out through others
    CLAIMING    every runtime claims the flows whose replicas it has
    RETURNING   flows that were on their way to the dead one, and that nobody has claimed, come back
    CLOSING     the switches forget what is left; runtimes wait no more for flows that were to come from the dead one
    OVER

Each step is an order to some nodes, and ends when each of them has answered or is dead itself. The order matters:
nobody claims before all are fenced (two owners), nobody takes back before replicas have claimed (an old state in place
of a newer one), and nothing is forgotten before all have had their chance."""

from collections.abc import Collection
from enum import Enum
from typing import Final

from nfactor.errors import ProtocolError


class Step(Enum):
    """Where a recovery stands."""

    FENCING = "switches and the outside take the view"
    VIEWING = "runtimes take the view"
    REPLACING = "runtimes are told their replicas"
    CLAIMING = "replicas claim"
    RETURNING = "sources of migrations take back"
    CLOSING = "switches and runtimes let go of what is left"
    OVER = "the flows are served again"


FOLLOWING: Final[dict[Step, Step]] = {
    Step.FENCING: Step.VIEWING,
    Step.VIEWING: Step.REPLACING,
    Step.REPLACING: Step.CLAIMING,
    Step.CLAIMING: Step.RETURNING,
    Step.RETURNING: Step.CLOSING,
    Step.CLOSING: Step.OVER,
}


class Recovery:
    """The recovery of one dead runtime. ``begin`` a step with those who are asked; it is over when ``waiting`` is
    empty."""

    def __init__(self, number: int, dead: str) -> None:
        self.number = number
        self.dead = dead
        self.step = Step.FENCING
        self.flows = 0
        """Flows that were taken over."""
        self.waiting: set[str] = set()
        """Who was asked in this step and has not answered."""

    def begin(self, nodes: Collection[str]) -> None:
        """These are asked in the present step."""
        if self.waiting:
            raise ProtocolError(f"recovery of {self.dead}: {sorted(self.waiting)} have not answered {self.step.name}")
        self.waiting = set(nodes)

    def answered(self, node: str, flows: int = 0) -> None:
        """A node has done its part of the step; an answer that nobody waits for says nothing."""
        if node in self.waiting:
            self.waiting.discard(node)
            self.flows += flows

    def died(self, node: str) -> None:
        """A node will not answer any more."""
        self.waiting.discard(node)

    def proceed(self) -> Step:
        """The next step; raises ``ProtocolError`` while somebody has not answered, or when it is over."""
        if self.waiting or self.step is Step.OVER:
            raise ProtocolError(f"recovery of {self.dead} cannot go on from {self.step.name}: {sorted(self.waiting)}")
        self.step = FOLLOWING[self.step]
        return self.step
