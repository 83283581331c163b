"""Stories that no schedule which is surveyed comes to: rare things at once, told step by step, for rows of the table of
a migration that would have no mutant otherwise."""

from collections.abc import Callable, Sequence
from random import Random

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, runtime_name, switch_name
from nfactor.dataplane.owners import owner_number
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import Violation
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree

SOURCE, TARGET, REPLICA = map(runtime_name, range(3))
SWITCHES = tuple(map(switch_name, range(2)))
DEAD_S = 1.6
"""So long after its death everybody knows of it."""


class _Story:
    """Flows of both switches that are at ``SOURCE``, and nothing under way. Source and target would fail together, so
    that what both have is replicated to ``REPLICA``, and nobody else has anything to claim."""

    def __init__(self) -> None:
        mode, domains = Mode.parse("strict"), ("here", "here", "there")
        self.cluster = HeapCluster(Random(1), runtimes=3, switches=2, mode=mode, domains=domains)
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
        seen = {came.mark for came in self.cluster.history.out} | {mark for _, mark in self.cluster.history.dropped}
        for flow, mark in zip(self.flows, range(first, first + len(self.flows)), strict=True):
            if mark not in seen:
                raise Violation(f"(i) liveness: flow {flow} is not served")


def a_marker_comes_when_the_target_is_known_to_be_dead() -> None:
    """The switches have turned the flows, and their source hears of neither: their answers are lost, and their markers
    wait behind packets that are not stored. Its target dies. Then the packets are stored, with both answers missing:
    ``MARKER`` in ``DOOMED``."""
    story = _Story()
    story.cut(*_ANSWERS, (REPLICA, SOURCE))
    for flow in story.flows:
        story.cluster.feed(flow)
    story.run(0.005)
    story.move()
    story.target_dies()
    story.mend((REPLICA, SOURCE))
    story.end()


def one_of_two_switches_answers_when_the_target_is_known_to_be_dead() -> None:
    """The same without packets, so that markers are not held up; then one answer comes: ``ANSWERED`` in ``DOOMED``."""
    story = _Story()
    story.cut(*_ANSWERS)
    story.move()
    story.target_dies()
    story.mend(_ANSWERS[0])
    story.end()


def a_marker_comes_when_the_flows_are_claimed_back() -> None:
    """Both markers are lost. One comes when it is asked for; the other switch is not heard, and the target dies. What
    is asked for then comes before either switch has answered the claims: ``MARKER`` in ``RETURNING``."""
    story = _Story()
    story.network.marker_loss = 1.0
    story.move()
    story.run(0.1)
    story.network.marker_loss = 0.0
    asks = SOURCE, SWITCHES[1]

    def lose(delivery: Delivery) -> None:
        if delivery.kind == "SendMarker" and (delivery.sender, delivery.receiver) == asks:
            story.cut(asks)

    story.network.before, story.network.behind = lose, lambda _: story.network.cuts.discard(asks)
    story.run(0.2)
    story.target_dies(then_cut=_ANSWERS)
    story.network.before = lambda _: None
    story.run(0.4)
    story.end()


_ANSWERS = [(switch, SOURCE) for switch in SWITCHES]

STORIES: dict[str, Callable[[], None]] = {
    story.__name__.replace("_", " "): story
    for story in (
        a_marker_comes_when_the_target_is_known_to_be_dead,
        one_of_two_switches_answers_when_the_target_is_known_to_be_dead,
        a_marker_comes_when_the_flows_are_claimed_back,
    )
}
"""By name, as if each were a scenario of one schedule."""
