"""What all tests share: Hypothesis profiles, and a loud word where the captures that tests replay are absent."""

import os
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# `make test` draws the same examples each time, so that what is red is red for everyone; `make nightly` looks further.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=50, database=None)
hypothesis.settings.register_profile(
    "nightly", deadline=None, max_examples=2_000, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def captures_folder() -> Path:
    """Where the captures are expected, whether or not they are there."""
    return Path(os.environ.get("NFACTOR_CAPTURES") or REPOSITORY.parent / "shared" / "captures")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what a run without the captures has not tested."""
    folder = captures_folder()
    if folder.is_dir():
        return
    terminalreporter.section("CAPTURES ABSENT", sep="!", red=True, bold=True)
    terminalreporter.line(f"There is no folder {folder}: the tests that replay real captures were SKIPPED.")
    terminalreporter.line("Nothing below says that nfactor agrees with other tools on real traffic.")
    terminalreporter.line("Set NFACTOR_CAPTURES to the folder of captures to run them.")
