"""Stories that no schedule which is surveyed comes to, or one of hundreds: rare things at once, told step by step, for
mutants that nothing else would catch soon."""

from collections.abc import Callable
from random import Random

import numpy as np

from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.call_messages import Call
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.messages import Migrating, PrepareFlows, SetMigrationTarget, pack_u32
from nfactor.cluster.names import LIAISON, OUTSIDE
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import Conditions, at_most_once, protected_survive
from nfactor.testing.heap import Delivery
from nfactor.testing.judged import finals_of
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.pasts import pasts_of
from nfactor.testing.rest import nothing_is_half_done
from nfactor.testing.setback import set_back_within_bound
from tests.cluster.test_read_a_fourth_time import the_numbers_are_with_one_flow
from tests.mutants.story import DEAD_S, DOMAINS, REPLICA, SOURCE, SWITCHES, TARGET, Story


def a_marker_comes_when_the_target_is_known_to_be_dead() -> None:
    """The switches have turned the flows, and their source hears of neither: their answers are lost, and their markers
    wait behind packets that are not stored. Its target dies. Then the packets are stored, with both answers missing:
    ``MARKER`` in ``DOOMED``."""
    story = Story()
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
    story = Story()
    story.cut(*_ANSWERS)
    story.move()
    story.target_dies()
    story.mend(_ANSWERS[0])
    story.end()


def the_switches_are_asked_when_the_target_is_dead() -> None:
    """They have not heard of the migration before, and turn nothing: ``REFUSED`` in ``DOOMED``."""
    story = Story()
    story.cut(*_QUESTIONS)
    story.move()
    story.target_dies()
    story.mend(*_QUESTIONS)
    story.end()


def a_marker_comes_when_the_flows_are_claimed_back() -> None:
    """Both markers are lost. One comes when it is asked for; the other switch is not heard, and the target dies. What
    is asked for then comes before either switch has answered the claims: ``MARKER`` in ``RETURNING``."""
    story = Story()
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


def what_a_dead_replica_has_released_comes_when_it_has_gone_out_through_another() -> None:
    """Its frames were slow, and its primary had not heard of them either. The switch was asked how far it had come, and
    had seen none, so that the commits were given to another replica. Then, before the recovery is over, they come."""
    story = Story()
    network = story.network
    story.cut((REPLICA, SOURCE))
    for number in range(len(SWITCHES)):
        way = address(Kind.RUNTIME, 2, 1), address(Kind.SWITCH_INSIDE, number, 1)
        network._free_us[way] = network.now_us + 2_000_000
    for flow in story.flows:
        story.cluster.feed(flow)
    story.run(0.05)
    story.cluster.kill(REPLICA)

    def hold_up(delivery: Delivery) -> None:
        if delivery.kind == "Recover":
            story.cut((delivery.sender, delivery.receiver))

    network.before = hold_up
    story.run(2.1)
    network.before = lambda _: None
    network.cuts.clear()
    story.run(1.0)
    at_most_once(story.cluster.history)


def who_is_declared_dead_wakes_and_tells_what_has_been_told_through_another() -> None:
    """The outside has not heard it before. It is asked how far it had come, and the commits are given to another
    replica. Then it wakes, which knows nothing of all this, and tells once more."""
    story = Story()
    story.cut((REPLICA, OUTSIDE))
    for flow in story.flows:
        story.cluster.feed(flow, 4)
    story.run(0.05)
    story.cluster.pause(REPLICA, deadly=True)
    story.run(DEAD_S)
    story.network.resume(REPLICA)
    story.mend((REPLICA, OUTSIDE))
    at_most_once(story.cluster.history)


def a_replica_wakes_that_its_primary_does_not_know_to_be_dead() -> None:
    """It slept, and was declared dead: the switch and the outside drop what it releases of what came meanwhile. If it
    confirmed that, its primary would never send the packets again."""
    story = Story()
    story.cluster.pause(REPLICA, deadly=True)
    story.run(0.5)
    for flow in story.flows:
        story.cluster.feed(flow)

    def wake(delivery: Delivery) -> None:
        story.network.end_session(delivery.sender, delivery.receiver)
        story.network.resume(REPLICA)

    story.at_first("NotifyClusterCfg", SOURCE, wake)
    story.run(5.0)
    story.what_is_included_came_out()


def a_question_comes_that_a_dead_life_of_a_target_was_asked() -> None:
    """A link had kept it. Its asker has heard that who was asked is dead, and will send nothing."""
    story = Story()
    story.cluster.kill(TARGET)
    story.run(0.01)
    story.cluster.restart(TARGET)
    story.run(3.0)
    question = PrepareFlows(7, SOURCE, bytes(48), pack_u32(np.array([2], np.uint32)))
    story.cluster.runtimes[TARGET].flows.called(Call(SOURCE, LIAISON, 1, 1, 1000, 1, MESSAGES.encode(question)))
    story.run(3.0)
    nothing_is_half_done(story.cluster, serves=True)


def a_source_dies_that_was_to_take_back() -> None:
    """Its flows were on their way to a target that died, and not all know yet that the source is dead too."""
    story = Story()
    for flow in story.flows:
        story.cluster.feed(flow)
    story.run(0.1)

    def die(_: Delivery) -> None:
        story.cluster.kill(TARGET)
        story.at_first("TakeBack", SOURCE, lambda _: story.cluster.kill(SOURCE))

    story.at_first("InstallFlows", TARGET, die)
    story.network.keep_messages = False
    story.move()
    story.run(6.0)
    story.nothing_is_forgotten()


def a_source_dies_whose_flows_are_on_their_way() -> None:
    """Their states never came to the target. So the replica has them still."""
    story = Story()
    story.at_first("InstallFlows", TARGET, lambda lost: story.network.end_session(lost.sender, lost.receiver))
    story.move()
    story.run(0.05)
    story.cluster.kill(SOURCE)
    story.run(4.0)
    story.nothing_is_forgotten()


def a_target_dies_whose_replica_has_not_stored_what_came() -> None:
    """It has not answered, so that the source takes its flows back."""
    story = Story()
    story.cut((TARGET, REPLICA))
    story.move()
    story.run(0.05)
    story.cluster.kill(TARGET)
    story.run(4.0)
    story.nothing_is_forgotten()


def a_source_dies_whose_last_packet_is_not_stored() -> None:
    """It never came to its replica. So neither it nor any flow has left: no state goes on that includes it."""
    story = Story()
    story.cut((SOURCE, REPLICA))
    story.cluster.feed(story.flows[0])
    story.run(0.002)
    story.move()
    story.run(0.005)
    story.cluster.kill(SOURCE)
    story.network.cuts.clear()
    story.run(4.0)
    story.what_is_included_came_out()
    story.nothing_is_forgotten()


def a_source_dies_that_the_outside_has_not_heard() -> None:
    """What it has to tell of packets is told by its replica."""
    story = Story()
    story.cut((SOURCE, OUTSIDE))
    for flow in story.flows:
        story.cluster.feed(flow, 8)
    story.run(0.05)
    story.cluster.kill(SOURCE)
    story.network.cuts.clear()
    story.run(4.0)
    story.what_is_included_came_out()


def an_owner_dies_a_while_after_the_last_packets_of_its_flows() -> None:
    """Under ``every``: they were too few to be told at once, and the time has passed after which they are."""
    story = Story("every=4")
    for count in (4, 2):
        for flow in story.flows:
            story.cluster.feed(flow, count)
        story.run(0.15)
    story.cluster.kill(SOURCE)
    story.run(4.0)
    lags = Conditions(strict=False, replicated=True, lag_packets_max=4, lag_us_max=100_000)
    protected_survive(story.cluster.history, finals_of(story.cluster), lags)


def an_owner_dies_whose_flows_lag_and_they_go_on() -> None:
    """Under ``every``, with one packet more than may be lost. Each has had more packets in the end than it had lost."""
    story = Story("every=4")
    story.run(0.15)
    for _ in range(5):
        for flow in story.flows:
            story.cluster.feed(flow)
        story.run(0.002)
    story.cluster.kill(SOURCE)
    story.run(4.0)
    for flow in story.flows:
        story.cluster.feed(flow, 8)
    story.run(0.15)
    history, within = story.cluster.history, Conditions(strict=False, replicated=True, lag_packets_max=4)
    judged = set_back_within_bound(history, pasts_of(history, finals_of(story.cluster)), within)
    assert len(story.flows) == judged


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


def a_source_takes_back_a_flow_that_has_ended_at_its_target() -> None:
    """It has not heard that the flow arrived, and brings it back with its number when the target dies. If the target
    had given the number back, a flow would have it by now."""
    the_numbers_are_with_one_flow("none", 2, 0)


_QUESTIONS = [(SOURCE, switch) for switch in SWITCHES]
_ANSWERS = [(switch, SOURCE) for switch in SWITCHES]

STORIES: dict[str, Callable[[], None]] = {
    story.__name__.replace("_", " "): story
    for story in (
        a_marker_comes_when_the_target_is_known_to_be_dead,
        one_of_two_switches_answers_when_the_target_is_known_to_be_dead,
        the_switches_are_asked_when_the_target_is_dead,
        a_marker_comes_when_the_flows_are_claimed_back,
        what_a_dead_replica_has_released_comes_when_it_has_gone_out_through_another,
        who_is_declared_dead_wakes_and_tells_what_has_been_told_through_another,
        a_replica_wakes_that_its_primary_does_not_know_to_be_dead,
        a_question_comes_that_a_dead_life_of_a_target_was_asked,
        a_source_dies_that_was_to_take_back,
        a_source_dies_whose_flows_are_on_their_way,
        a_target_dies_whose_replica_has_not_stored_what_came,
        a_source_dies_whose_last_packet_is_not_stored,
        a_source_dies_that_the_outside_has_not_heard,
        an_owner_dies_whose_flows_lag_and_they_go_on,
        an_owner_dies_a_while_after_the_last_packets_of_its_flows,
        a_runtime_dies_whose_flow_has_ended_with_anothers_number,
        a_source_takes_back_a_flow_that_has_ended_at_its_target,
    )
}
"""By name, as if each were a scenario of one schedule."""
