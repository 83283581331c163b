"""Schedules of faults, drawn from seeds, through whole clusters on an event heap: every promise is kept."""

import os

import pytest

from nfactor.cli.main import main
from nfactor.testing.draws import SCENARIOS
from nfactor.testing.schedules import run

SCHEDULES = int(os.environ.get("NFACTOR_SCHEDULES", "340"))
"""Of each scenario."""
FOUND = (
    ("nat", 3277), ("nat", 4057), ("nat", 4142), ("nat", 5806), ("nat", 7793), ("nat", 14524), ("restarts", 2922),
    ("recovery", 4785), ("recovery", 13464), ("replication", 3958), ("cluster", 5369), ("cluster", 11274),
    ("cluster", 12054),
)  # fmt: skip
"""Seeds beyond these that found something: in protocols, or in a judge."""


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_breaks_a_promise(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In as many processes as there are cores."""
    status = main(["simulate", scenario, "--seeds", f"0:{SCHEDULES}"])
    shown = capsys.readouterr().out
    assert 0 == status, shown
    assert shown.startswith(f"{scenario}: {SCHEDULES:,} schedules, 0 violations, ")


@pytest.mark.parametrize(("scenario", "seed"), FOUND)
def test_what_a_schedule_has_found_stays_mended(scenario: str, seed: int) -> None:
    run(scenario, seed)
