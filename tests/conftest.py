"""What all tests share: Hypothesis profiles, and a loud word where the captures that tests replay are absent."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

# `make test` draws the same examples each time, so that what is red is red for everyone; `make nightly` looks further.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=50, database=None)
hypothesis.settings.register_profile(
    "nightly", deadline=None, max_examples=2_000, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Compiled chains are kept beside the tests, and not where the user keeps them.
os.environ.setdefault("NFACTOR_CACHE", str(Path(__file__).resolve().parent.parent / ".nfactor_cache"))

# A shell that starts a job in the background has it ignore Ctrl-C, which everything started from there inherits: the
# tests that send one need it to be heard.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """The command line says where a process's log goes; here many commands share one process."""
    yield
    structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what a run without the captures has not tested."""
    from tests.captures import ABSENT, captures_root

    if captures_root() is None:
        terminalreporter.section("CAPTURES ABSENT", sep="!", red=True, bold=True)
        terminalreporter.line(f"The tests that replay real captures were SKIPPED: {ABSENT}.")
        terminalreporter.line("So nothing here says that nfactor agrees with other tools on real traffic.")
