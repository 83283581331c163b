"""The judge of how far a crash has set flows back: to one packet, whatever came after it."""

import attrs
import pytest

from nfactor.testing.checkers import Conditions, protected_survive
from nfactor.testing.lineage import Death, History, Processed, following
from nfactor.testing.pasts import Final, pasts_of
from nfactor.testing.setback import set_back_within_bound
from nfactor.testing.violation import Violation

EVERY = Conditions(strict=False, replicated=True, lag_packets_max=2, under_way_us=10)


def set_back_by(lost: int, *, later: int, last_us: int = 0) -> tuple[History, dict[int, Final]]:
    """Ten packets of a flow at A, which dies at 1,000 us; it goes on at B without the last of them, and has others."""
    history, states = History(), [0]
    for mark in range(1, 11):
        states.append(following(states[-1], mark))
        time_us = last_us if mark == 10 else 0
        history.processed.append(Processed("A", 1, mark, 1, mark, states[mark], time_us))
    history.deaths.append(Death("A", 1_000, {0: (1, 10, states[10])}, {}, overlaps=False))
    digest, count = states[10 - lost], 10 - lost
    for mark in range(11, 11 + later):
        digest, count = following(digest, mark), count + 1
        history.processed.append(Processed("B", 1, mark, 1, count, digest, 2_000))
    history.flow_of = dict.fromkeys(range(1, 11 + later), 0)
    return history, {0: Final("B", 1, count, digest)}


def judge(history: History, finals: dict[int, Final], conditions: Conditions = EVERY) -> int:
    return set_back_within_bound(history, pasts_of(history, finals), conditions)


@pytest.mark.parametrize("later", [0, 1, 50])
def test_packets_that_come_later_do_not_hide_what_was_lost(later: int) -> None:
    assert 1 == judge(*set_back_by(2, later=later))
    history, finals = set_back_by(3, later=later)
    with pytest.raises(Violation, match=r"\(g\) .* of 10 packets that flow 0 had when A died 7 .* and 8 were to be"):
        judge(history, finals)
    if later:
        protected_survive(history, finals, EVERY)


def test_what_may_have_been_under_way_is_not_within_the_bound() -> None:
    assert 1 == judge(*set_back_by(3, later=1, last_us=990))
    with pytest.raises(Violation, match=r"\(g\)"):
        judge(*set_back_by(3, later=1, last_us=989))
    with pytest.raises(Violation, match=r"\(g\)"):
        judge(*set_back_by(4, later=1, last_us=990))


@pytest.mark.parametrize(
    "conditions",
    [
        attrs.evolve(EVERY, lag_packets_max=None),
        attrs.evolve(EVERY, strict=True),
        attrs.evolve(EVERY, overlapping=True),
        attrs.evolve(EVERY, drops_ahead=True),
    ],
)
def test_where_there_is_no_bound_nothing_is_judged(conditions: Conditions) -> None:
    assert 0 == judge(*set_back_by(9, later=1), conditions)


def test_a_flow_that_has_begun_anew_is_another_judges_affair() -> None:
    history, _ = set_back_by(9, later=0)
    assert 0 == judge(history, {})
