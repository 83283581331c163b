"""What the judges of a run let pass, and what not."""

from collections.abc import Callable

import attrs
import pytest

from nfactor.testing.checkers import Conditions, check
from nfactor.testing.lineage import CHOSEN, Came, Death, End, Ended, History, Processed, Step, following
from nfactor.testing.pasts import Final
from nfactor.testing.violation import Violation

END = Ended(born=1, count=2, digest=following(following(0, 1), 2))
"""Of a flow that has had packets 1 and 2."""


def run_of(marks: list[int]) -> tuple[History, dict[int, Final]]:
    """A flow 1 that had these packets, in that order, all of which came out."""
    history, digest = History(), 0
    for count, mark in enumerate(marks, 1):
        digest = following(digest, mark)
        history.processed.append(Processed("runtime-0", 1, mark, marks[0], count, digest))
        history.out.append(Came(mark, mark, marks[0], count, digest))
        if count % 3 == 0:
            history.records.append(("runtime-0", Step(mark=mark, born=marks[0], count=count, digest=digest)))
    history.flow_of = dict.fromkeys(marks, 1)
    return history, {1: Final("runtime-0", marks[0], len(marks), digest)}


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


STRICT = Conditions(strict=True, replicated=True)


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_came_out_of_a_flow_that_has_ended_is_in_what_it_said_at_its_end(count: int) -> None:
    """(e) Three packets of it came out, and two of them, or none, are in that; or nothing was said."""
    history, finals = run_of([1, 2, 3])
    ends = attrs.evolve(STRICT, flows_end=True)
    state = history.processed[count - 1]
    history.ends = [End("runtime-0", Ended(born=1, count=count, digest=state.digest), 20, 100)]
    if count == 3:
        check(history, {}, ends, [])
        history.ends = []
        with pytest.raises(
            Violation, match=r"^\(e\) output commit: packet 1 is of flow 1 as it began .* nothing is left"
        ):
            check(history, {}, ends, [])
        for may_be_untold in (attrs.evolve(ends, holds=True), attrs.evolve(ends, limited=True, holds=True)):
            check(history, {}, may_be_untold, [])
        check(history, finals, ends, [])
    else:
        with pytest.raises(
            Violation, match=rf"^\(e\) output commit: packet {count + 1} is number {count + 1} of flow 1"
        ):
            check(history, {}, ends, [])


def test_the_state_at_the_end_of_a_flow_is_one_that_its_packets_make() -> None:
    """(f)"""
    history, _ = run_of([1, 2])
    history.ends = [End("runtime-0", Ended(born=1, count=2, digest=7), 20, 100)]
    with pytest.raises(Violation, match=r"^\(f\) transparency: the state of flow 1 told by runtime-0 at its end"):
        check(history, {}, attrs.evolve(STRICT, flows_end=True), [])


@pytest.mark.parametrize("what", ["packet", "the record of packet"])
def test_a_packet_and_its_record_say_what_became_of_the_flow_with_it(what: str) -> None:
    """(f) Of the third packet, or its record, the digest is another."""
    history, finals = run_of([1, 2, 3])
    if what == "packet":
        history.out[2] = attrs.evolve(history.out[2], digest=7)
    else:
        history.records = [("runtime-0", Step(mark=3, born=1, count=3, digest=7))]
    with pytest.raises(
        Violation, match=rf"^\(f\) transparency: {what} 3 of flow 1 is not what its packets so far make"
    ):
        check(history, finals, STRICT, [])


def test_what_came_out_earlier_than_states_may_lag_behind_is_not_lost_with_a_runtime() -> None:
    """(e) under ``every``, whether the flow was called protected or not; and what comes out afterwards never is."""
    history, _ = run_of([1, 2])
    first = {1: Final("runtime-1", 1, 1, following(0, 1))}
    every = Conditions(strict=False, replicated=True, lag_packets_max=None, lag_us_max=100_000, on_the_way_us=5_000)
    history.out[1] = attrs.evolve(history.out[1], time_us=200_000)
    for died_us, lives_until_us, is_kept in ((304_000, 0, True), (195_000, 0, True), (194_000, 0, False),
                                             (306_000, 0, False), (100_000, 195_000, True)):  # fmt: skip
        history.deaths = [Death("runtime-0", died_us, {}, {}, overlaps=False, until_us=lives_until_us)]
        if is_kept:
            check(history, first, every, [])
        else:
            with pytest.raises(Violation, match=r"^\(e\) output commit: packet 2 is number 2 of flow 1, and the surv"):
                check(history, first, every, [])
    check(history, first, attrs.evolve(every, lag_us_max=None), [])
    history.deaths = [Death("runtime-0", 194_000, {}, {}, overlaps=False)]
    with pytest.raises(Violation, match=r"^\(e\) output commit: packet 2 is number 2 of flow 1, and the surviving"):
        check(history, first, attrs.evolve(every, lag_us_max=None), [])


def test_a_death_after_all_that_two_have_taken_back_is_judged() -> None:
    """(h) The third one, long after; of the first two, nothing is said."""
    history, _ = run_of([1, 2])
    history.out = []
    protected = {1: (1, 2, END.digest)}
    history.deaths = [
        Death("runtime-0", 5, protected, {}, overlaps=False),
        Death("runtime-1", 10, protected, {}, overlaps=True),
    ]
    two = attrs.evolve(STRICT, overlapping=True, ports_lose=True)
    check(history, {}, two, [])
    history.deaths.append(Death("runtime-2", 900_000, protected, {1: 9}, overlaps=False))
    check(history, {1: Final("runtime-1", 1, 2, END.digest)}, two, [])  # the nine were taken back before
    with pytest.raises(Violation, match="protection: runtime-2 called flow 1"):
        check(history, {}, two, [])


def test_what_came_out_of_a_flow_as_it_began_is_no_more_where_it_began_anew_or_is_nowhere() -> None:
    """(e) A packet, and the record of a third one. It may be so where flows end, and their ends may be untold."""
    for only_records in (False, True):
        history, finals = run_of([1, 2, 3])
        check(history, finals, STRICT, [])
        anew, _ = run_of([4])
        history.processed += anew.processed
        history.flow_of[4] = 1
        if only_records:
            history.out, history.flow_of = [], {3: 1, 4: 1}
        loses = attrs.evolve(STRICT, ports_lose=True)
        what = "the record of packet 3" if only_records else "packet 1"
        left: dict[int, Final]
        for left in ({}, {1: Final("runtime-1", 4, 1, following(0, 4))}):
            with pytest.raises(
                Violation, match=rf"^\(e\) output commit: {what} is of flow 1 as it began .* nothing is left of that"
            ):
                check(history, left, loses, range(10))
            check(history, left, attrs.evolve(loses, flows_end=True, holds=True), range(10))


def test_a_record_that_was_told_is_of_the_state_that_survives() -> None:
    """(e) The flow went on from before its third packet. That was lost on its way out, but its record had been told."""
    history, finals = run_of([1, 2, 3])
    del history.out[2]
    loses = attrs.evolve(STRICT, ports_lose=True)
    check(history, finals, loses, [3])
    two = {1: Final("runtime-1", 1, 2, following(following(0, 1), 2))}
    with pytest.raises(
        Violation, match=r"^\(e\) output commit: the record of packet 3 is number 3 of flow 1, .* of 2 packets does not"
    ):
        check(history, two, loses, [3])


def test_a_record_that_a_surviving_state_has_made_was_told() -> None:
    """(e) The other way round. Where a state lags behind, it may have died with who had made it."""
    history, finals = run_of([1, 2, 3])
    check(history, finals, STRICT, [])
    history.records = []
    with pytest.raises(
        Violation,
        match=r"^\(e\) output commit: the state of flow 1 includes the record of packet 3 \(number 3\), which",
    ):
        check(history, finals, STRICT, [])
    history.deaths = [Death("runtime-1", 5, {}, {}, overlaps=False)]
    check(history, finals, attrs.evolve(STRICT, strict=False), [])


def test_a_flow_whose_end_was_told_does_not_go_on() -> None:
    """(c) Where states lag behind, a crash may take the end back."""
    history, finals = run_of([1, 2])
    ends = attrs.evolve(STRICT, flows_end=True)
    check(history, finals, ends, [])
    history.ends = [End("runtime-0", END, 20, 100)]
    with pytest.raises(
        Violation, match=r"^\(c\) at most once: the end of flow 1 was told, and it goes on at runtime-0"
    ):
        check(history, finals, ends, [])
    history.deaths = [Death("runtime-1", 5, {}, {}, overlaps=False)]
    check(history, finals, attrs.evolve(ends, strict=False), [])


def test_a_protected_flow_that_has_begun_anew_elsewhere_does_not_live_on() -> None:
    """(h) Its key is there, and what it had become is not."""
    history, finals = run_of([1, 2])
    every = Conditions(strict=False, replicated=True, lag_packets_max=0)
    history.deaths = [Death("runtime-0", 5, {1: (1, 2, finals[1].digest)}, {}, overlaps=False)]
    check(history, finals, every, [])
    anew, other = run_of([3])
    history.processed += anew.processed
    history.out += anew.out
    history.flow_of[3] = 1
    with pytest.raises(
        Violation, match=r"^\(h\) protection: runtime-0 called flow 1 \(born 1\) .* it is on runtime-0, born 3"
    ):
        check(history, other, every, [])


@pytest.mark.parametrize("node", ["runtime-0", "runtime-1", "runtime-2"])
def test_an_end_of_which_nobody_has_heard_died_with_its_runtime_where_states_lag_behind(node: str) -> None:
    """The flow had its packets at the first runtime and was seen at the second last: those two may have ended it."""
    history, _ = run_of([1, 2])
    history.last_at = {1: "runtime-1"}
    history.deaths = [Death(node, 900_000, {}, {}, overlaps=False)]
    every = Conditions(strict=False, replicated=True, flows_end=True, lag_us_max=100_000, ports_lose=True)
    if node == "runtime-2":
        with pytest.raises(Violation, match=r"^\(e\) .* nothing is left of that"):
            check(history, {}, every, [])
    else:
        check(history, {}, every, [])
    with pytest.raises(Violation, match=r"^\(e\) .* nothing is left of that"):
        check(history, {}, attrs.evolve(every, strict=True), [])
