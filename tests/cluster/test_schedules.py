"""Schedules of faults, drawn from seeds, through whole clusters on an event heap: every promise is kept."""

import os

import pytest

from nfactor.cli.main import main
from nfactor.testing.draws import SCENARIOS

SCHEDULES = int(os.environ.get("NFACTOR_SCHEDULES", "340"))
"""Of each scenario."""


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_schedule_breaks_a_promise(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In as many processes as there are cores."""
    status = main(["simulate", scenario, "--seeds", f"0:{SCHEDULES}"])
    shown = capsys.readouterr().out
    assert 0 == status, shown
    assert shown.startswith(f"{scenario}: {SCHEDULES:,} schedules, 0 violations, ")
