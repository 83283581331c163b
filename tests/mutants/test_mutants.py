"""The judges are able to fail: each mutant of the protocols is caught within a stated number of schedules.

A written mutant says which judge is to catch it, and each judge has one. ``make test`` hunts those that are caught
soon; with ``NFACTOR_MUTANTS=all``, as in ``make nightly``, it is all of them, rows led to every other state included,
and conditions in roles.
Those that survive, and why, are in ``tests/mutants/survivors.py``.
"""

import os

import attrs
import pytest

from nfactor.cluster.flow_table import FlowTable
from nfactor.protocols.migration import TABLE, State
from tests.mutants import (
    guards,
    lag_faults,
    loss_faults,
    migration_faults,
    pool_faults,
    recovery_faults,
    replication_faults,
    role_guards,
    rows,
)
from tests.mutants.mutant import CRASH, JUDGES, Crashed, Mutant, Runs, hunt, patched, play, within
from tests.mutants.stories import STORIES
from tests.mutants.survivors import SURVIVORS

ALL = os.environ.get("NFACTOR_MUTANTS") == "all"
SOON = 20
"""Schedules that it took to catch a mutant which ``make test`` hunts, at most."""
SURVEYED = 200 if ALL else 30
"""Seeds of each scenario that are looked through for uses of the rows of a table."""

WRITTEN = [
    *migration_faults.MUTANTS,
    *replication_faults.MUTANTS,
    *lag_faults.MUTANTS,
    *loss_faults.MUTANTS,
    *recovery_faults.MUTANTS,
    *pool_faults.MUTANTS,
]

pytestmark = pytest.mark.slow


def hunted(mutants: list[Mutant]) -> list[Mutant]:
    """Those that are not known to survive, and that are to be caught soon unless all are hunted."""
    soon = [mutant for mutant in mutants if ALL or len(mutant.runs) <= within(SOON)]
    return [mutant for mutant in soon if mutant.name not in SURVIVORS]


def test_there_are_mutants_of_each_kind() -> None:
    assert len(WRITTEN) >= 20 + len([mutant for mutant in WRITTEN if mutant.name in SURVIVORS])
    assert len([mutant for mutant in guards.mutants() if mutant.by != CRASH and mutant.name not in SURVIVORS]) > 50
    crash = guards.CRASHES | role_guards.CRASHES
    assert set() == crash - {mutant.name for mutant in (*guards.mutants(), *role_guards.mutants())}


@pytest.mark.parametrize("letter", JUDGES)
def test_each_promise_has_a_mutant_that_its_judge_catches(letter: str) -> None:
    """Before all others, and soon: in ``make test``."""
    assert [mutant.name for mutant in hunted(WRITTEN) if mutant.by == letter and len(mutant.runs) <= within(SOON)]


def test_every_written_mutant_says_who_is_to_catch_it() -> None:
    assert [] == [mutant.name for mutant in WRITTEN if mutant.by in ("", CRASH) and mutant.name not in SURVIVORS]


def test_a_mutant_that_has_a_mistake_of_its_own_is_not_caught() -> None:
    """As one whose signature went stale."""
    stale = Mutant("stale", lambda: patched(FlowTable, bury=lambda self, keys: None), (("migration", 0),), "i")
    with pytest.raises(Crashed, match="stale: migration 0"):
        hunt(stale)


def test_what_another_judge_says_of_a_mutant_is_passed_by() -> None:
    (never_buried,) = [mutant for mutant in WRITTEN if mutant.name == "tombstones are never buried"]
    assert "i" == never_buried.by
    assert hunt(attrs.evolve(never_buried, runs=never_buried.runs[:1])) is not None
    assert hunt(attrs.evolve(never_buried, runs=never_buried.runs[:1], by="a")) is None


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well_without_a_mutant(name: str) -> None:
    play(name, 0)


def test_every_survivor_is_a_mutant() -> None:
    """Who is caught, or gone, is no survivor."""
    uses: dict[rows.Row, Runs] = dict.fromkeys(TABLE, ())
    of_rows = [*rows.passed_over(uses), *rows.sent_elsewhere(uses, every=True)]
    made = [*WRITTEN, *guards.mutants(), *role_guards.mutants(), *rows.skipped(), *rows.left_out(), *of_rows]
    assert set() == SURVIVORS.keys() - {mutant.name for mutant in made}


@pytest.mark.parametrize("mutant", hunted(WRITTEN), ids=lambda mutant: mutant.name)
def test_a_written_mutant_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


INVERTED = [*guards.mutants(), *(role_guards.mutants() if ALL else ())]


@pytest.mark.parametrize("mutant", hunted(INVERTED), ids=lambda mutant: mutant.name)
def test_a_machine_whose_condition_is_inverted_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


STEPS = [*rows.skipped(), *rows.left_out()]


@pytest.mark.parametrize("mutant", hunted(STEPS), ids=lambda mutant: mutant.name)
def test_a_recovery_whose_steps_are_others_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


def test_every_row_is_used_by_a_schedule_that_is_looked_through() -> None:
    """A row that none uses has no mutant that could be seen. If one is missing, ``rows.RARE`` wants another seed."""
    assert [] == [row for row, runs in rows.uses(SURVEYED).items() if not runs]


def test_a_table_without_one_of_its_rows_is_caught_by_the_first_schedule_that_uses_it() -> None:
    """By the machine itself: what has no row is an error."""
    assert [] == [mutant.name for mutant in rows.dropped(rows.uses(SURVEYED)) if hunt(mutant) is None]


def test_a_row_that_is_passed_over_is_caught_by_a_judge() -> None:
    """Where it would be no error."""
    mutants = [mutant for mutant in rows.passed_over(rows.uses(SURVEYED)) if mutant.name not in SURVIVORS]
    assert [] == [mutant.name for mutant in mutants if hunt(mutant) is None]


@pytest.mark.parametrize("state", dict.fromkeys(state for state, _ in TABLE), ids=lambda state: state.name)
def test_a_row_that_leads_to_another_state_is_caught_by_a_judge(state: State) -> None:
    """The same. A state at a time: all at once take minutes."""
    uses = {row: runs for row, runs in rows.uses(SURVEYED).items() if row[0] is state}
    mutants = [mutant for mutant in rows.sent_elsewhere(uses, every=ALL) if mutant.name not in SURVIVORS]
    assert [] == [mutant.name for mutant in mutants if hunt(mutant) is None]
