"""Stories that no schedule which is surveyed comes to: rare things at once, told step by step, for mutants that nothing
else would catch."""

from collections.abc import Callable, Sequence
from random import Random

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, runtime_name, switch_name
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.owners import owner_number
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import (
    Chain,
    Conditions,
    Final,
    Violation,
    at_most_once,
    included_came_out,
    protected_survive,
)
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.rest import owners_agree

SOURCE, TARGET, REPLICA = map(runtime_name, range(3))
DOMAINS = "here", "here", "there"
"""Source and target would fail together, so that what both have is replicated to the third, and nobody else has
anything to claim."""
SWITCHES = tuple(map(switch_name, range(2)))
DEAD_S = 1.6
"""So long after its death everybody knows of it."""


class _Story:
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

    def finals(self) -> dict[int, Final]:
        """The state of each flow where it is."""
        found = {}
        for runtime in self.cluster.living():
            for key in list(runtime.engine.keys()):
                state = self.cluster.state_of(runtime, key)
                final = Final(runtime.node.name, state.born, state.count, state.digest)
                found[self.cluster.flow_of_key[key]] = final
        return found

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


def the_switches_are_asked_when_the_target_is_dead() -> None:
    """They have not heard of the migration before, and turn nothing: ``REFUSED`` in ``DOOMED``."""
    story = _Story()
    story.cut(*_QUESTIONS)
    story.move()
    story.target_dies()
    story.mend(*_QUESTIONS)
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


def who_is_declared_dead_wakes_while_its_commits_go_out_through_another() -> None:
    """The replica stood still with commits that had come to it. It was declared dead, its primary gave them to another
    replica, and the recovery was held up. Then it wakes, which knows nothing of all this, and releases them."""
    story = _Story()
    network = story.network
    story.cluster.pause(REPLICA, deadly=True)
    for flow in story.flows:
        story.cluster.feed(flow)

    def hold_up(delivery: Delivery) -> None:
        if delivery.kind == "Recover":
            story.cut((delivery.sender, delivery.receiver))

    network.before = hold_up
    story.run(DEAD_S)
    network.resume(REPLICA)
    story.run(0.1)
    network.before = lambda _: None
    network.cuts.clear()
    story.run(1.0)
    at_most_once(story.cluster.history)


def a_source_dies_whose_last_packet_is_not_stored() -> None:
    """It never came to its replica. So no flow has left: no state goes on that includes it."""
    story = _Story()
    story.cut((SOURCE, REPLICA))
    story.cluster.feed(story.flows[0])
    story.run(0.002)
    story.move()
    story.run(0.005)
    story.cluster.kill(SOURCE)
    story.network.cuts.clear()
    story.run(4.0)
    history, log = story.cluster.history, Chain(story.cluster.history.processed)
    chains = {flow: log.of(final.born, final.count, final.digest) or [] for flow, final in story.finals().items()}
    included_came_out(history, chains, certain=True)


def an_owner_dies_a_while_after_the_last_packets_of_its_flows() -> None:
    """Under ``every``: they were too few to be told at once, and the time has passed after which they are."""
    story = _Story("every=4")
    for count in (4, 2):
        for flow in story.flows:
            story.cluster.feed(flow, count)
        story.run(0.15)
    story.cluster.kill(SOURCE)
    story.run(4.0)
    lags = Conditions(strict=False, replicated=True, lag_packets_max=4, lag_us_max=100_000)
    protected_survive(story.cluster.history, story.finals(), lags)


def a_runtime_dies_whose_flow_has_ended_with_anothers_number() -> None:
    """It had told that end to nobody but the switch, so its replica says it once more, and gives the number back. If it
    had given it back already, a flow would have it by now."""
    outs, mode = TimeOuts(udp_idle_s=2.0), Mode.parse("strict")
    cluster = NatCluster(
        Random(1), runtimes=3, mode=mode, ports=3, block=1, time_outs=outs, packet_step_s=1.0, domains=DOMAINS
    )  # fmt: skip
    network = cluster.network
    network.rng.random = lambda: 1.0  # type: ignore[method-assign]  # the server is silent

    def feed(*flows: int) -> None:
        for flow in flows:
            cluster.feed(flow)
            network.run(network.now_us + 50_000)

    def at(name: str) -> list[int]:
        return [cluster.flow_of_key[key] for key in list(cluster.runtimes[name].engine.keys())]

    feed(0, 1)
    (flow,), (other,) = at(SOURCE), at(TARGET)
    cluster.coordinator.ask(SOURCE, LIAISON, SetMigrationTarget(TARGET, 1), Migrating, lambda _: None)
    network.run(network.now_us + 2_500_000)  # what has just moved does not end
    assert flow in at(TARGET)
    network.cuts.add((TARGET, REPLICA))
    feed(*[other] * 8)
    assert flow not in at(TARGET)
    feed(2, 3, 4)
    assert at(SOURCE), "one of them began there"
    cluster.kill(TARGET)
    network.cuts.clear()
    network.run(network.now_us + 4_000_000)
    cluster.check_over(flows_end=True)


_QUESTIONS = [(SOURCE, switch) for switch in SWITCHES]
_ANSWERS = [(switch, SOURCE) for switch in SWITCHES]

STORIES: dict[str, Callable[[], None]] = {
    story.__name__.replace("_", " "): story
    for story in (
        a_marker_comes_when_the_target_is_known_to_be_dead,
        one_of_two_switches_answers_when_the_target_is_known_to_be_dead,
        the_switches_are_asked_when_the_target_is_dead,
        a_marker_comes_when_the_flows_are_claimed_back,
        who_is_declared_dead_wakes_while_its_commits_go_out_through_another,
        a_source_dies_whose_last_packet_is_not_stored,
        an_owner_dies_a_while_after_the_last_packets_of_its_flows,
        a_runtime_dies_whose_flow_has_ended_with_anothers_number,
    )
}
"""By name, as if each were a scenario of one schedule."""
