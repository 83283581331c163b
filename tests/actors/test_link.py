"""The link: in order, at most once, and of every message either known to have arrived or reported in doubt."""

import itertools
import os

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from nfactor.actors import LinkLimits
from nfactor.actors.frame import NOBODY, Frame, Identity, build
from nfactor.actors.link import Link
from nfactor.actors.outbox import RoundTrip
from nfactor.actors.session import STEPS, Effect, Source, State
from nfactor.errors import CallerError
from tests.actors.links import LIMITS, exchange, open_pair
from tests.actors.schedule import Plan, Schedule

SCHEDULES = int(os.environ.get("NFACTOR_LINK_SCHEDULES", "500"))
"""``make nightly`` draws 20,000."""


def check(schedule: Schedule) -> None:
    """What the link promises, of a run that has come to rest."""
    for end in (0, 1):
        delivered = schedule.delivered[end]
        assert len(delivered) == len(set(delivered)), "a message arrived twice"
        for _, names in itertools.groupby(sorted(delivered, key=lambda name: name[1]), key=lambda name: name[1]):
            numbers = [number for _, _, number in names]
            assert sorted(numbers) == numbers, "messages of one node arrived out of order"
        assert schedule.links[end].idle
        counts = schedule.links[end].statistics()
        assert counts.taken == counts.acknowledged + counts.in_doubt
    assert len(schedule.doubtful) == len(set(schedule.doubtful)), "a message was reported in doubt twice"
    arrived = {*schedule.delivered[0], *schedule.delivered[1], *schedule.doubtful}
    for name in itertools.chain(*schedule.taken):
        assert name in arrived, "a message was lost, and nobody was told"


plans = st.builds(
    Plan,
    seed=st.integers(0, 2**32),
    messages=st.integers(1, 60),
    octets_max=st.sampled_from([1, 50, 600]),
    loss=st.sampled_from([0.0, 0.1, 0.4]),
    duplication=st.sampled_from([0.0, 0.3]),
    corruption=st.sampled_from([0.0, 0.1]),
    jitter_s=st.sampled_from([0.0, 0.05, 2.0]),
    cuts=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), max_size=2).map(tuple),
    restarts=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 4)), max_size=3).map(tuple),
    limits=st.sampled_from([LIMITS, LinkLimits(give_up_s=1.0, in_flight_max=3, queue_max=5)]),
)


@pytest.mark.slow
@settings(max_examples=SCHEDULES)
@given(plans)
def test_in_order_at_most_once_and_nothing_is_lost_silently(plan: Plan) -> None:
    """Whatever the network loses, repeats, reorders, delays and damages, and whoever restarts."""
    schedule = Schedule(plan)
    schedule.run()
    check(schedule)


@pytest.mark.slow
@given(plans)
def test_a_network_that_is_merely_bad_loses_nothing(plan: Plan) -> None:
    """Without cuts, restarts or long delays no message is even in doubt."""
    patient = attrs.evolve(plan.limits, give_up_s=60.0)
    schedule = Schedule(attrs.evolve(plan, cuts=(), restarts=(), limits=patient))
    schedule.run()
    check(schedule)
    assert [] == schedule.doubtful
    assert schedule.taken == [schedule.delivered[1], schedule.delivered[0]]


def test_the_table_of_sessions_is_whole_and_sound() -> None:
    """Every state meets every frame; only a frame that names us opens a session or is taken."""
    assert set(STEPS) == set(itertools.product(State, Source, (True, False)))
    for (state, source, names_us), (effects, after) in STEPS.items():
        assert (Effect.TAKE in effects) == (after is State.OPEN and names_us and source is not Source.OLDER)
        assert (Effect.ENTER in effects) == (Effect.TAKE in effects and (state, source) != (State.OPEN, Source.SAME))
        assert (Effect.END in effects) == (state is State.OPEN and source is Source.NEWER)
        assert (Effect.LEARN in effects) == (source is Source.NEWER)
        assert (Effect.DROP in effects) == (source is Source.OLDER)


@pytest.mark.parametrize(("state", "source", "names_us"), list(STEPS))
def test_a_link_follows_the_table(state: State, source: Source, names_us: bool) -> None:
    """Each row of the table, played with real frames."""
    link = Link(5, 200, limits=LIMITS)
    peer = Identity(7, 3)
    mine = Identity(5, 0)
    link.receive(build(Frame(0, False, peer, mine if state is State.OPEN else NOBODY, 0, 0, 0, [])), 0.0)
    if state is State.OPENING:
        link.send(b"waits", 0.0)
    assert state is link.state
    origin = {Source.OLDER: Identity(7, 2), Source.SAME: peer, Source.NEWER: Identity(8, 0)}[source]
    link.receive(build(Frame(0, False, origin, mine if names_us else NOBODY, 0, 0, 0, [(False, b"hello")])), 0.0)
    effects, after = STEPS[state, source, names_us]
    assert after is link.state
    assert ([b"hello"] if Effect.TAKE in effects else []) == link.take()
    assert (Effect.DROP in effects) == link.statistics().stale
    assert (["restarted"] if Effect.END in effects else []) == [ended.reason for ended in link.ended()]


def test_small_messages_share_a_datagram() -> None:
    """What is sent between two polls travels together, as far as the MTU goes."""
    a, b = open_pair(mtu=200)
    for number in range(10):
        a.send(b"message %d" % number, 1.0)
    (datagram,) = a.poll(1.0)
    b.receive(datagram, 1.0)
    assert [b"message %d" % number for number in range(10)] == b.take()


def test_a_large_message_travels_in_fragments() -> None:
    """And arrives as one, in its place."""
    a, b = open_pair(mtu=200)
    large = bytes(range(256)) * 20
    for payload in (b"before", large, b"after"):
        a.send(payload, 1.0)
    exchange(a, b, 1.0)
    assert [b"before", large, b"after"] == b.take()
    assert a.idle


def test_an_acknowledgement_travels_with_an_answer() -> None:
    """No datagram is spent on it."""
    a, b = open_pair()
    a.send(b"question", 1.0)
    for datagram in a.poll(1.0):
        b.receive(datagram, 1.0)
    b.send(b"answer", 1.0)
    (datagram,) = b.poll(1.0)
    a.receive(datagram, 1.0)
    assert [b"answer"] == a.take()
    assert a.idle


def test_an_acknowledgement_waits_a_little_for_something_to_travel_with() -> None:
    """It leaves by itself after ``acknowledge_after_s``; at the second datagram, or a gap, it does not wait."""
    a, b = open_pair()
    b.receive(sent(a, b"one"), 1.0)
    assert [] == b.poll(1.0)
    assert 1.0 + LIMITS.acknowledge_after_s == b.next_time()
    assert [] == b.poll(1.0 + LIMITS.acknowledge_after_s / 2)
    (datagram,) = b.poll(1.0 + LIMITS.acknowledge_after_s)
    assert b.next_time() is None
    a.receive(datagram, 1.1)
    assert a.idle
    b.receive(sent(a, b"two"), 2.0)
    b.receive(sent(a, b"three"), 2.0)
    assert 0.0 == b.next_time()
    assert 1 == len(b.poll(2.0))
    sent(a, b"lost")
    b.receive(sent(a, b"four"), 3.0)
    assert 1 == len(b.poll(3.0))


def sent(link: Link, payload: bytes) -> bytes:
    """The one datagram of a message."""
    link.send(payload, 1.0)
    (datagram,) = link.poll(1.0)
    return datagram


def test_a_lost_segment_is_sent_again_at_once_when_three_later_ones_came() -> None:
    """Only that one, and long before the time-out."""
    a, b = open_pair(mtu=60)
    for number in range(6):
        a.send(b"%d" % number * 20, 1.0)
    lost, *others = a.poll(1.0)
    for datagram in others:
        b.receive(datagram, 1.0)
    assert [] == b.take()
    for datagram in b.poll(1.0):
        a.receive(datagram, 1.0)
    assert [lost] == a.poll(1.0)
    b.receive(lost, 1.0)
    assert [b"%d" % number * 20 for number in range(6)] == b.take()
    assert 1 == a.statistics().resent


def test_a_lost_segment_is_sent_again_after_the_time_out() -> None:
    """``next_time`` says when."""
    a, b = open_pair()
    a.send(b"again", 1.0)
    a.poll(1.0)
    time = a.next_time()
    assert time is not None
    assert [] == a.poll(time - 0.001)
    exchange(a, b, time)
    assert [b"again"] == b.take()


def test_a_silent_peer_is_given_up_and_the_messages_are_in_doubt() -> None:
    """After ``give_up_s`` without progress: what was under way and what was queued, in order."""
    a, _ = open_pair(limits=LinkLimits(give_up_s=1.0, in_flight_max=1))
    a.send(b"one", 1.0)
    a.send(b"two", 1.0)
    a.poll(1.0)
    assert [] == a.ended()
    a.poll(2.0)
    (ended,) = a.ended()
    assert ("silent", [b"one", b"two"]) == (ended.reason, ended.in_doubt)
    assert a.idle
    assert State.CLOSED is a.state


def test_a_peer_that_never_answers_is_unreachable() -> None:
    """The message is reported, although it was never sent."""
    a = Link(1, 200, limits=LIMITS)
    a.send(b"one", 0.0)
    a.poll(0.0)
    a.poll(1.0)
    (ended,) = a.ended()
    assert ("unreachable", [b"one"]) == (ended.reason, ended.in_doubt)
    assert a.next_time() is None


def test_a_restart_of_the_peer_ends_the_session_at_once() -> None:
    """The first frame of a newer incarnation is enough."""
    a, _ = open_pair()
    a.send(b"lost", 1.0)
    a.poll(1.0)
    reborn = Link(2, 200, limits=LIMITS)
    reborn.send(b"back again", 1.1)
    exchange(reborn, a, 1.1)
    (ended,) = a.ended()
    assert ("restarted", [b"lost"]) == (ended.reason, ended.in_doubt)
    assert [b"back again"] == a.take()


def test_a_frame_of_a_dead_incarnation_disturbs_nobody() -> None:
    """It is dropped and counted, even if it asks for a session."""
    a = Link(2, 200, limits=LIMITS)
    ghost = Link(1, 200, limits=LIMITS)
    b = Link(1, 200, limits=LIMITS)
    a.send(b"new", 0.0)
    exchange(a, b)
    b.take()
    ghost.send(b"old", 0.0)
    for datagram in ghost.poll(0.0):
        b.receive(datagram, 0.0)
    assert 1 == b.statistics().stale
    assert [] == b.poll(0.0)
    assert [] == b.ended()


def test_after_giving_up_a_new_session_delivers_nothing_twice() -> None:
    """A frame of the session that this end gave up does not count in the next."""
    a, b = open_pair()
    a.send(b"one", 1.0)
    (late,) = a.poll(1.0)
    a.poll(2.0)
    a.send(b"two", 2.0)
    exchange(a, b, 2.0)
    assert [b"two"] == b.take()
    b.receive(late, 2.0)
    assert [] == b.take()
    assert 1 == b.statistics().stale


def test_a_full_queue_refuses_and_counts() -> None:
    """An answer may go beyond the bound."""
    a = Link(1, 200, limits=LinkLimits(queue_max=2))
    assert [True, True, False] == [a.send(b"x", 0.0) for _ in range(3)]
    assert not a.has_room
    assert a.send(b"answer", 0.0, beyond_queue_max=True)
    assert (3, 1) == (a.statistics().taken, a.statistics().refused)


def test_a_silent_peer_is_probed_while_an_answer_is_awaited() -> None:
    """So that the asker learns of its death; a probe that is acknowledged is the end of it for a while."""
    a, b = open_pair()
    a.expects_answer = True
    time = a.next_time()
    assert time == LIMITS.probe_after_s
    exchange(a, b, time)
    assert [] == b.take()
    assert time + LIMITS.probe_after_s == a.next_time()
    a.poll(time + LIMITS.probe_after_s)
    a.poll(time + LIMITS.probe_after_s + LIMITS.give_up_s)
    assert [("silent", [])] == [(ended.reason, ended.in_doubt) for ended in a.ended()]


def test_a_message_over_the_limit_is_refused_by_both_ends() -> None:
    """The sender raises; a receiver with a lower limit ends the session rather than grow."""
    b = Link(1, 200, limits=LinkLimits(message_octets_max=500))
    with pytest.raises(CallerError, match="message_octets_max=500"):
        b.send(bytes(501), 0.0)
    a = Link(1, 200, limits=LIMITS)
    a.send(bytes(501), 0.0)
    exchange(a, b)
    assert [] == b.take()
    assert ["oversized"] == [ended.reason for ended in b.ended()]


@pytest.mark.parametrize("incarnation", [0, -1, 2**32])
def test_an_impossible_incarnation_is_the_callers_error(incarnation: int) -> None:
    """It would not fit the header, or compare wrongly."""
    with pytest.raises(CallerError, match="incarnation"):
        Link(incarnation, 200)


def test_a_tiny_mtu_is_the_callers_error() -> None:
    """A frame must have room for a segment."""
    with pytest.raises(CallerError, match="MTU"):
        Link(1, 40)


def test_segments_too_far_ahead_of_a_gap_are_dropped() -> None:
    """And come again when it is closed: what a receiver keeps is bounded by its own limit."""
    a = Link(1, 60, limits=LIMITS)
    b = Link(1, 60, limits=LinkLimits(in_flight_max=2))
    for number in range(5):
        a.send(b"%d" % number * 20, 0.0)
    b.receive(a.poll(0.0)[0], 0.0)
    a.receive(b.poll(0.0)[0], 0.0)
    for datagram in a.poll(0.0)[1:]:
        b.receive(datagram, 0.0)
    assert 3 == b.statistics().ahead
    now = 0.0
    while not a.idle:
        now = a.next_time() or now
        exchange(a, b, now)
    assert [b"%d" % number * 20 for number in range(5)] == b.take()


def test_a_message_over_the_limit_is_found_behind_a_gap_too() -> None:
    """When the gap is closed."""
    a = Link(1, 200, limits=LIMITS)
    b = Link(1, 200, limits=LinkLimits(message_octets_max=300))
    a.send(bytes(500), 0.0)
    b.receive(a.poll(0.0)[0], 0.0)
    a.receive(b.poll(0.0)[0], 0.0)
    for datagram in reversed(a.poll(0.0)):
        b.receive(datagram, 0.0)
    assert ["oversized"] == [ended.reason for ended in b.ended()]


def test_what_can_be_sent_is_due_at_once() -> None:
    """Nobody has to know whether the link is open."""
    a, _ = open_pair()
    assert a.next_time() is None
    a.send(b"now", 5.0)
    assert 0.0 == a.next_time()


def test_only_a_greater_incarnation_is_news() -> None:
    """What another lane has heard."""
    a, _ = open_pair()
    a.note_incarnation(1)
    assert "open" == a.statistics().state
    a.note_incarnation(2)
    assert "closed" == a.statistics().state
    assert 2 == a.peer_incarnation
    a.note_incarnation(3)
    assert ["restarted"] == [ended.reason for ended in a.ended()]


def test_a_time_out_is_doubled_each_time_and_short_again_when_something_comes() -> None:
    """Up to its longest."""
    limits = LinkLimits(resend_after_s=0.02, resend_after_max_s=0.5)
    round_trip = RoundTrip(limits)
    short = round_trip.time_out
    for times in (2, 4, 8, 16):
        round_trip.timed_out()
        assert round_trip.time_out == pytest.approx(min(times * short, 0.5))
    for _ in range(10):
        round_trip.timed_out()
    assert round_trip.time_out == 0.5
    round_trip.progress()
    assert round_trip.time_out == short
