"""The judges are able to fail: each mutant of the protocols is caught within a stated number of schedules.

``make test`` hunts those that are caught soon; with ``NFACTOR_MUTANTS=all``, as in ``make nightly``, it is all of them,
rows led to every other state included. Those that survive, and why, are in ``tests/mutants/survivors.py``.
"""

import os

import pytest

from nfactor.protocols.migration import TABLE
from tests.mutants import guards, migration_faults, recovery_faults, replication_faults, rows
from tests.mutants.mutant import Mutant, Runs, hunt, within
from tests.mutants.survivors import SURVIVORS

ALL = os.environ.get("NFACTOR_MUTANTS") == "all"
SOON = 30
"""Schedules that it took to catch a mutant which ``make test`` hunts, at most."""
SURVEYED = 200 if ALL else 80
"""Seeds of each scenario that are looked through for uses of the rows of a table."""

WRITTEN = [*migration_faults.MUTANTS, *replication_faults.MUTANTS, *recovery_faults.MUTANTS]

pytestmark = pytest.mark.slow


def hunted(mutants: list[Mutant]) -> list[Mutant]:
    """Those that are not known to survive, and that are to be caught soon unless all are hunted."""
    soon = [mutant for mutant in mutants if ALL or len(mutant.runs) <= within(SOON)]
    return [mutant for mutant in soon if mutant.name not in SURVIVORS]


def test_there_are_mutants_of_each_kind() -> None:
    assert len(WRITTEN) >= 20 + len([mutant for mutant in WRITTEN if mutant.name in SURVIVORS])
    assert len(list(guards.mutants())) > 50


def test_every_survivor_is_a_mutant() -> None:
    """Who is caught, or gone, is no survivor."""
    uses: dict[rows.Row, Runs] = dict.fromkeys(TABLE, ())
    made = [*WRITTEN, *guards.mutants(), *rows.skipped(), *rows.dropped(uses), *rows.sent_elsewhere(uses, every=True)]
    assert set() == SURVIVORS.keys() - {mutant.name for mutant in made}


@pytest.mark.parametrize("mutant", hunted(WRITTEN), ids=lambda mutant: mutant.name)
def test_a_written_mutant_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


@pytest.mark.parametrize("mutant", hunted(list(guards.mutants())), ids=lambda mutant: mutant.name)
def test_a_machine_whose_condition_is_inverted_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


@pytest.mark.parametrize("mutant", hunted(list(rows.skipped())), ids=lambda mutant: mutant.name)
def test_a_recovery_without_one_of_its_steps_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant) is not None


def test_a_table_without_one_of_its_rows_is_caught_by_the_first_schedule_that_uses_it() -> None:
    """Rows that no schedule uses have no mutant that could be seen: those are survivors, too."""
    uses = rows.uses(SURVEYED)
    escaped = [mutant.name for mutant in rows.dropped(uses) if mutant.runs and hunt(mutant) is None]
    assert [] == [name for name in escaped if name not in SURVIVORS]
    unused = {mutant.name for mutant in rows.dropped(uses) if not mutant.runs}
    assert set() == (unused - SURVIVORS.keys() if ALL else set())


def test_a_row_that_leads_to_another_state_is_caught() -> None:
    mutants = rows.sent_elsewhere(rows.uses(SURVEYED), every=ALL)
    escaped = [mutant.name for mutant in mutants if mutant.runs and hunt(mutant) is None]
    assert [] == [name for name in escaped if name not in SURVIVORS]
