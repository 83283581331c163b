"""The cluster that stories of mutants are about: flows that are all at one of three runtimes, and what is asked of it
in the end."""

from collections.abc import Callable, Sequence
from random import Random

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, runtime_name, switch_name
from nfactor.dataplane.owners import owner_number
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import Conditions, included_came_out, outside_is_included
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.judged import finals_of
from nfactor.testing.pasts import pasts_of
from nfactor.testing.rest import owners_agree, probes_came
from nfactor.testing.violation import Violation

SOURCE, TARGET, REPLICA = map(runtime_name, range(3))
DOMAINS = "here", "here", "there"
"""Source and target would fail together, so that what both have is replicated to the third, and nobody else has
anything to claim."""
SWITCHES = tuple(map(switch_name, range(2)))
DEAD_S = 1.6
"""So long after its death everybody knows of it."""


class Story:
    """Flows of both switches that are at ``SOURCE``, and nothing under way."""

    def __init__(self, mode: str = "strict") -> None:
        self.cluster = HeapCluster(Random(1), runtimes=3, switches=2, mode=Mode.parse(mode), domains=DOMAINS)
        self.network = self.cluster.network
        for flow in range(12):
            self.cluster.feed(flow)
            self.run(0.01)
        here = list(self.cluster.runtimes[SOURCE].engine.keys())
        self.flows = [self.cluster.flow_of_key[key] for key in here]
        assert {0, 1} == {owner_number(key, 2) for key in here}, "each switch owns some of them"

    def run(self, seconds: float) -> None:
        self.network.run(self.network.now_us + round(seconds * 1e6))

    def cut(self, *ways: tuple[str, str]) -> None:
        self.network.cuts.update(ways)

    def mend(self, *ways: tuple[str, str]) -> None:
        self.network.cuts.difference_update(ways)
        self.run(0.4)  # what was lost comes again

    def move(self) -> None:
        order = SetMigrationTarget(TARGET, len(self.flows))
        self.cluster.coordinator.ask(SOURCE, LIAISON, order, Migrating, lambda _: None)

    def target_dies(self, then_cut: Sequence[tuple[str, str]] = ()) -> None:
        """When the switches have been asked; go on when everybody knows, and the step has come in which sources take
        back. ``then_cut``: from now on."""
        self.run(0.005)
        self.cluster.kill(TARGET)
        self.cut(*then_cut)
        self.run(DEAD_S)

    def at_first(self, kind: str, receiver: str, strike: Callable[[Delivery], None]) -> None:
        """Do that before the first such message from now on."""

        def look(delivery: Delivery) -> None:
            if (delivery.kind, delivery.receiver) == (kind, receiver):
                self.network.before = lambda _: None
                strike(delivery)

        self.network.before = look

    def what_is_included_came_out(self) -> None:
        """No state goes on that includes what nobody has seen."""
        history = self.cluster.history
        included_came_out(history, pasts_of(history, finals_of(self.cluster)), certain=True)

    def nothing_is_forgotten(self) -> None:
        """What was seen is in the past of the states that there are."""
        history = self.cluster.history
        pasts = pasts_of(history, finals_of(self.cluster))
        outside_is_included(history, pasts, Conditions(strict=True, replicated=True))

    def end(self) -> None:
        """All is well, though the target is dead."""
        self.network.cuts.clear()
        self.run(4.0)
        left = self.cluster.runtimes[SOURCE].liaison.migrations_open
        if left:
            raise Violation(f"(i) liveness: {left} migrations of {SOURCE} never ended")
        owners_agree(self.cluster)
        first = len(self.cluster.history.flow_of) + 1
        for flow in self.flows:
            self.cluster.feed(flow)
        self.run(0.3)
        marks = range(first, first + len(self.flows))
        probes_came(self.cluster, dict(zip(self.flows, marks, strict=True)), quiet_s=4.0, limited=False)
