"""``nfactor simulate``: what it prints and answers, and that a violation comes with the command that replays it."""

import os
import re
import subprocess
import sys

import pytest

from nfactor.cli.main import main
from nfactor.testing import draws
from nfactor.testing.draws import SCENARIOS
from tests.mutants.migration_faults import what_waited_is_never_processed


def simulate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """The exit status, and the lines on stdout."""
    status = main(["simulate", *words])
    return status, capsys.readouterr().out.splitlines()


def test_schedules_that_are_kept_to_are_one_line_and_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = simulate(capsys, "migration", "--seeds", "0:3", "--jobs", "2")
    assert (0, 1) == (status, len(lines))
    form = r"migration: 3 schedules, 0 violations, \d+\.\d s, [\d,]+ schedules a minute"
    assert re.fullmatch(form, lines[0])


@pytest.mark.slow  # processes have to begin
def test_schedules_are_spread_over_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nfactor.cli.simulating.SEEDS_PER_TASK", 1)
    status, lines = simulate(capsys, "migration", "--seeds", "0:4", "--jobs", "2")
    assert 0 == status
    assert lines[0].startswith("migration: 4 schedules, 0 violations")


def test_all_is_every_scenario_in_turn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "SCENARIOS", ("migration", "replication"))
    status, lines = simulate(capsys, "all", "--seeds", "0:2", "--jobs", "1")
    assert 0 == status
    assert ["migration", "replication"] == [line.split(":")[0] for line in lines]


def test_a_broken_promise_is_a_line_with_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    with what_waited_is_never_processed():
        status, lines = simulate(capsys, "migration", "--seeds", "1:3", "--jobs", "1")
        assert 1 == status
        assert "migration: 2 schedules, 1 violations" in lines[-1]
        command = re.search(r"\[nfactor simulate (.*)\]", lines[0])
        assert command is not None
        status, replayed = simulate(capsys, *command[1].split())
    assert 1 == status
    assert lines[0] in replayed
    assert replayed[0].startswith("Schedule(scenario='migration', seed=")


def test_what_happened_in_the_runs_is_listed_if_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = simulate(capsys, "restarts", "--seeds", "0:4", "--jobs", "1", "--situations")
    assert 0 == status
    assert lines[0].startswith("restarts: 4 schedules, 0 violations")
    listed = [re.fullmatch(r" *([\d,]+)  (\S.*)", line) for line in lines[1:]]
    assert all(listed)
    assert "a runtime dies" in {match[2] for match in listed if match is not None}


def test_a_single_seed_shows_who_told_whom_what_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = simulate(capsys, "recovery", "--seeds", "0:1")
    shown = "\n".join(lines)
    assert 0 == status
    assert re.search(r"^ +\d+\.\d{3} ms  runtime-\d -> outside: Outcomes \(\d+\)$", shown, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d{3} ms  outside => switch-0: packets? \d+", shown, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d{3} ms  runtime-\d dies$", shown, re.MULTILINE)
    assert "Heartbeat" not in shown


def test_any_exception_of_the_code_under_test_is_a_violation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("nfactor.cluster.liaison.Liaison._marker")
    status, lines = simulate(capsys, "migration", "--seeds", "0:1")
    assert 1 == status
    assert re.match(
        r"AttributeError: .*_marker.* \(\w+\.py:\d+\)  \[nfactor simulate migration --seeds 0:1\]", lines[-2]
    )


@pytest.mark.slow
def test_a_seed_of_whole_nodes_shows_what_goes_in_and_out_under_each_engine(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = simulate(capsys, "nodes", "--seeds", "3:4")
    shown = "\n".join(lines)
    assert 0 == status
    assert lines[0].startswith("NodeSchedule(seed=3, ")
    assert re.search(r"^ +\d+\.\d{3} ms  in go packets? \d+", shown, re.MULTILINE)
    assert re.search(r"^ +\d+\.\d{3} ms  out come packets? \d+", shown, re.MULTILINE)
    assert "--- reference engine" in lines
    assert re.match(r"nodes: 1 schedules, 0 violations, ", lines[-2])
    assert lines[-1].startswith("struck: ")


@pytest.mark.slow
def test_a_promise_that_whole_nodes_break_is_a_line_with_the_command_that_replays_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with what_waited_is_never_processed():
        status, lines = simulate(capsys, "nodes", "--seeds", "0:1", "--jobs", "1")
    assert 1 == status
    assert any(line.endswith("  [nfactor simulate nodes --seeds 0:1]") for line in lines)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["simulate", "weather"], "weather is no scenario: there are migration, "),
        (["simulate", "recovery", "--seeds", "7"], "--seeds 7: write A:B"),
        (["simulate", "recovery", "--seeds", "7:7"], "--seeds 7:7: B must be higher than A"),
        (["simulate", "recovery", "--seeds", "7:x"], "--seeds x: must be a whole number"),
        (["simulate", "recovery", "--jobs", "0"], "--jobs 0: must be a whole number from 1"),
    ],
)
def test_a_callers_mistake_is_one_line_and_status_2(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == main(words)
    shown = capsys.readouterr()
    assert "" == shown.out
    assert shown.err.startswith(f"nfactor: {problem}")
    assert 1 == shown.err.count("\n")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_schedule_is_the_same_whatever_the_hash_seed(scenario: str) -> None:
    """A set of names that is gone through in its own order is enough to make it another."""
    command = [sys.executable, "-m", "nfactor", "simulate", scenario, "--seeds", "194:195"]
    shown = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
        for seed in ("0", "1", "4")
    ]
    traces = [run.stdout.rpartition("\n" + scenario)[0] for run in shown]
    assert len(traces[0].splitlines()) > 20
    assert traces[0] == traces[1] == traces[2]
