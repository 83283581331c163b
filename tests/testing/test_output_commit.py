"""What the judges say of what came out, and of flows that have ended."""

import attrs
import pytest

from nfactor.testing.checkers import Conditions, check
from nfactor.testing.lineage import Death, End, Ended, Step, following
from nfactor.testing.pasts import Final
from nfactor.testing.violation import Violation
from tests.testing.histories import END, STRICT, run_of


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
