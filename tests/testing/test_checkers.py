"""What the judges of a run let pass, and what not."""

from collections.abc import Callable
from contextlib import nullcontext

import attrs
import pytest

from nfactor.testing.checkers import Conditions, check, included_came_out
from nfactor.testing.lineage import CHOSEN, Came, Death, End, History, Processed, following
from nfactor.testing.pasts import Final, pasts_of
from nfactor.testing.violation import Violation
from tests.testing.histories import END, STRICT, run_of


def test_answers_to_a_port_and_to_its_earlier_flow_come_by_two_ways() -> None:
    """Each flow's answers go in at a switch of their own, so that these may overtake those."""
    history, finals = run_of([1, 3, 2])
    conditions = Conditions(strict=True, replicated=True, flows_end=True)
    history.way_of = {2: 1, 3: 1}
    with pytest.raises(Violation, match="processed packet 2 after packet 3"):
        check(history, finals, conditions, [])
    history.flow_of[3] = 0
    check(history, finals, conditions, [])


def test_the_end_of_a_flow_is_told_once_but_for_what_a_second_death_takes_back() -> None:
    """Who had the flow and who had its copy died together, after it had ended: it went on from an older copy."""
    history, _ = run_of([1, 2])
    strict = Conditions(strict=True, replicated=True, flows_end=True)
    history.ends = [End("runtime-0", END, 20, 100), End("runtime-1", END, 20, 90_000)]
    with pytest.raises(Violation, match="the end of the flow born with packet 1 was told 2 times"):
        check(history, {}, strict, [])
    two_deaths = attrs.evolve(strict, overlapping=True)
    history.deaths = [Death("runtime-0", 200, {}, {}, overlaps=False), Death("runtime-1", 300, {}, {}, overlaps=True)]
    check(history, {}, two_deaths, [])
    history.ends.append(End("runtime-2", END, 20, 95_000))
    with pytest.raises(Violation, match="the end of the flow born with packet 1 was told 2 times"):
        check(history, {}, two_deaths, [])


def test_what_an_earlier_death_took_back_is_no_loss_of_a_later_one() -> None:
    """Under ``every`` five packets were processed where the flow had just come, and its owner died before anybody knew:
    it went on from the second, had two more, and then its next owner died."""
    history, _ = run_of([1, 2, 3, 4, 5])
    digest = following(following(0, 1), 2)
    for count, mark in ((3, 6), (4, 7)):
        digest = following(digest, mark)
        history.processed.append(Processed("runtime-1", 1, mark, 1, count, digest))
        history.out.append(Came(mark, mark, 1, count, digest))
        history.flow_of[mark] = 1
    conditions = Conditions(strict=False, replicated=True, lag_packets_max=None, lag_us_max=100_000)
    history.deaths = [
        Death("runtime-0", 5, {}, {}, overlaps=False),
        Death("runtime-1", 2_000_000, {1: (1, 4, digest)}, {}, overlaps=False),
    ]
    check(history, {1: Final("runtime-2", 1, 4, digest)}, conditions, [])
    with pytest.raises(Violation, match="4 packets of flow 1 had come out 105 ms before runtime-1 died"):
        check(history, {1: Final("runtime-2", 1, 2, following(following(0, 1), 2))}, conditions, [])


def test_a_drop_that_a_surviving_state_includes_was_told_unless_two_died_that_could() -> None:
    """It was told by the only runtime that was left, for there was no replica; that one died, and its state did not."""
    history, finals = run_of([11, 12])
    del history.out[0]
    strict = Conditions(strict=True, replicated=True)
    history.deaths = [Death("runtime-1", 5, {}, {}, overlaps=True)]
    with pytest.raises(Violation, match=r"includes packet 11 \(number 1\), which never came out"):
        check(history, finals, strict, [])
    check(history, finals, attrs.evolve(strict, overlapping=True), [])


def test_what_a_runtime_sends_that_was_declared_dead_and_lives_need_not_come_out() -> None:
    """cluster 5369: it slept, woke, and told a replica that had not heard of its death; switches fenced it out."""
    history, finals = run_of([1, 2])
    history.processed = [attrs.evolve(entry, time_us=50) for entry in history.processed]
    history.out.pop()
    cut_off = Death("runtime-0", 40, {}, {}, overlaps=False, until_us=60)
    for death, is_lost in ((cut_off, False), (attrs.evolve(cut_off, until_us=45), True)):
        history.deaths = [death]
        with pytest.raises(Violation, match=r"includes packet 2 \(number 2\)") if is_lost else nullcontext():
            included_came_out(history, pasts_of(history, finals), certain=False)


def test_a_protected_flow_of_few_packets_is_lost_only_behind_a_function_that_drops() -> None:
    """A NAT had dropped what came before: the copy was of the flow as nobody had seen a packet of it."""
    history, _ = run_of([1, 2])
    every = Conditions(strict=False, replicated=True, lag_packets_max=4)
    digest = following(following(0, 1), 2)
    history.deaths = [Death("runtime-0", 5, {1: (1, 2, digest)}, {}, overlaps=False)]
    with pytest.raises(Violation, match="protection: runtime-0 called flow 1"):
        check(history, {}, every, [])
    check(history, {}, attrs.evolve(every, drops_ahead=True), [])
    with pytest.raises(Violation, match="protection: runtime-0 called flow 1"):
        check(history, {}, attrs.evolve(every, drops_ahead=True, lag_packets_max=1), [])


def test_a_packet_that_is_nowhere_is_lost_if_nobody_died_and_no_port_lost_it() -> None:
    """(a) It went in, and neither came out nor was dropped; no state has it, either."""
    history, finals = run_of([1, 2])
    check(history, finals, STRICT, [])
    history.flow_of[3] = 1
    check(history, finals, STRICT, [3])
    with pytest.raises(Violation, match=r"^\(a\) conservation: 1 packets are nowhere, the first is 3"):
        check(history, finals, STRICT, [])
    history.switch_deaths = ["switch-0"]
    check(history, finals, attrs.evolve(STRICT, ports_lose=True), [])


@pytest.mark.parametrize("reason", ["late", "unknown", "fenced", "no_runtime"])
def test_a_packet_that_is_dropped_by_no_function_is_lost(reason: str) -> None:
    """(a) Each has a reason; of these, the last two are some where a node died."""
    history, finals = run_of([1, 2])
    history.flow_of[3] = 1
    history.dropped = [(CHOSEN, 3)]
    check(history, finals, STRICT, [])
    history.dropped = [(reason, 3)]
    with pytest.raises(Violation, match=rf"^\(a\) conservation: packet 3 was dropped as {reason}"):
        check(history, finals, STRICT, [])


def test_an_alias_of_a_flow_is_stale_where_flows_end_if_only_for_want_of_room() -> None:
    """nat 7793: its replica had no room for it, and told its end; an answer to its port came later."""
    history, finals = run_of([1, 2])
    history.flow_of[3] = 1
    history.dropped = [("stale_alias", 3)]
    for conditions in (attrs.evolve(STRICT, flows_end=True), attrs.evolve(STRICT, limited=True)):
        check(history, finals, conditions, [])
    with pytest.raises(Violation, match="dropped as stale_alias"):
        check(history, finals, STRICT, [])


@pytest.mark.parametrize(
    ("what", "happens"),
    [
        ("packet 1 came out 2 times", lambda history: history.out.append(history.out[0])),
        ("packet 4 was dropped 2 times", lambda history: history.dropped.extend([(CHOSEN, 4)] * 2)),
        ("packet 1 came out and was dropped", lambda history: history.dropped.append((CHOSEN, 1))),
        ("the record of packet 3 was told 2 times", lambda history: history.records.append(history.records[0])),
    ],
)
def test_a_packet_that_comes_out_or_is_told_twice_is_twice_there(
    what: str, happens: Callable[[History], object]
) -> None:
    """(c) Packets, drops, records, and a packet that both comes out and is dropped."""
    history, finals = run_of([1, 2, 3])
    check(history, finals, STRICT, [])
    happens(history)
    with pytest.raises(Violation, match=rf"^\(c\) at most once: {what}"):
        check(history, finals, STRICT, [])


def test_one_owner_has_had_each_packet_of_a_state_in_the_order_of_their_marks() -> None:
    """(b)"""
    history, finals = run_of([1, 3, 2])
    with pytest.raises(Violation, match=r"^\(b\) order: flow 1 processed packet 2 after packet 3"):
        check(history, finals, STRICT, [])


@pytest.mark.parametrize("field", ["born", "count", "digest"])
def test_a_state_that_no_packets_make_is_none_of_one_runtime_left_alone(field: str) -> None:
    """(f) Of the final state one number is another. All else is as it was."""
    history, finals = run_of([1, 2, 4])
    check(history, finals, STRICT, [])
    wrong = attrs.evolve(finals[1], **{field: getattr(finals[1], field) + 1})
    with pytest.raises(Violation, match=r"^\(f\) .* state of flow 1 on runtime-0 .* is not what any sequence"):
        check(history, {1: wrong}, STRICT, [])


def test_a_flow_that_ends_before_its_time_is_not_left_alone() -> None:
    """(f) Nine packets of others came in since its last one, and ten make a time-out."""
    history, _ = run_of([1, 2])
    ends = attrs.evolve(STRICT, flows_end=True, idle_marks=10)
    history.ends = [End("runtime-0", END, 12, 100)]
    check(history, {}, ends, [])
    history.ends = [End("runtime-0", END, 11, 100)]
    with pytest.raises(Violation, match=r"^\(f\) transparency: runtime-0 ended the flow born with packet 1 before"):
        check(history, {}, ends, [])


def test_a_crash_sets_a_flow_back_by_no_more_packets_than_was_said() -> None:
    """(g) It had six, and goes on from two: that is one too many where three may be lost, and not where four may."""
    history, _ = run_of([1, 2, 3, 4, 5, 6])
    six = history.processed[-1]
    history.deaths = [Death("runtime-0", 7, {1: (1, 6, six.digest)}, {1: 6}, overlaps=False)]
    two = {1: Final("runtime-1", 1, 2, following(following(0, 1), 2))}
    every = Conditions(strict=False, replicated=True, lag_packets_max=4)
    check(history, two, every, [])
    with pytest.raises(Violation, match=r"^\(g\) loss bound: flow 1 had 6 packets when runtime-0 died, 6 of which"):
        check(history, two, attrs.evolve(every, lag_packets_max=3), [])


def test_what_came_out_is_in_the_state_that_survives() -> None:
    """(e) The flow went on from before its last packet, which was outside."""
    history, _ = run_of([1, 2])
    one = {1: Final("runtime-1", 1, 1, following(0, 1))}
    with pytest.raises(Violation, match=r"^\(e\) output commit: packet 2 is number 2 of flow 1, and the surviving"):
        check(history, one, STRICT, [])


def test_a_protected_flow_behind_a_nat_is_lost_while_nothing_of_it_has_come_out() -> None:
    """Under ``strict`` too: the commit with its first packet that was seen died with its owner, and what came later the
    NAT dropped, for it had no port any more."""
    history, _ = run_of([1, 2])
    history.out, digest = [], following(following(0, 1), 2)
    history.deaths = [Death("runtime-0", 5, {1: (1, 2, digest)}, {}, overlaps=False)]
    strict = Conditions(strict=True, replicated=True, drops_ahead=True, ports_lose=True)
    check(history, {}, strict, [])
    with pytest.raises(Violation, match="protection: runtime-0 called flow 1"):
        check(history, {}, attrs.evolve(strict, drops_ahead=False), [])
    history.deaths[0].released[1] = 1
    with pytest.raises(Violation, match="protection: runtime-0 called flow 1"):
        check(history, {}, strict, [])


def test_a_protected_flow_lives_on_or_has_said_that_it_ended() -> None:
    history, _ = run_of([1, 2])
    history.out, digest = [], following(following(0, 1), 2)
    history.deaths = [Death("runtime-0", 5, {1: (1, 2, digest)}, {}, overlaps=False)]
    strict = Conditions(strict=True, replicated=True, flows_end=True, ports_lose=True)
    with pytest.raises(Violation, match="protection: runtime-0 called flow 1"):
        check(history, {}, strict, [])
    history.ends = [End("runtime-1", END, 20, 100)]
    check(history, {}, strict, [])


def test_a_state_lags_behind_by_k_packets_and_those_of_commits_under_way() -> None:
    """Two of its six packets had been processed when a commit of them could not have arrived yet."""
    history, finals = run_of([1, 2, 3, 4, 5, 6])
    history.out = history.out[:2]
    history.records = []
    late = {5: 900, 6: 950}
    history.processed = [attrs.evolve(entry, time_us=late.get(entry.mark, 10)) for entry in history.processed]
    history.deaths = [Death("runtime-0", 1000, {1: (1, 6, finals[1].digest)}, {1: 2}, overlaps=False)]
    every = Conditions(strict=False, replicated=True, lag_packets_max=2, under_way_us=200, ports_lose=True)
    second, first = following(following(0, 1), 2), following(0, 1)
    check(history, {1: Final("runtime-1", 1, 2, second)}, every, [])
    with pytest.raises(Violation, match=r"loss bound: flow 1 had 6 packets .* it went on from 1"):
        check(history, {1: Final("runtime-1", 1, 1, first)}, every, [])
    with pytest.raises(Violation, match=r"loss bound: flow 1 had 6 packets .* it went on from 2"):
        check(history, {1: Final("runtime-1", 1, 2, second)}, attrs.evolve(every, under_way_us=60), [])
