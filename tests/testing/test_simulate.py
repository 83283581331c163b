"""simulate: one seed, one run; deadlocks end; nothing of trio's or Python's state stays changed."""

import gc
import os
import random
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio._core._run as trio_run

from nfactor.errors import DeadlockError
from nfactor.testing import Simulation, simulate

PROGRAM = Path(__file__).with_name("digest_program.py")
ROOT = Path(__file__).parents[2]
OTHER_PYTHONS = ["3.12", "3.13"]
IMPORTED = "trio, attrs, numpy, msgpack"


async def dice(sim: Simulation, tasks: int = 8) -> list[int]:
    """Tasks that race and sleep at random; the order of their finish is the value."""
    finished: list[int] = []

    async def racer(number: int) -> None:
        for _ in range(5):
            await trio.sleep(sim.rng.choice((0, 1e-6, 2e-6)))
        finished.append(number)
        sim.note(f"finished {number}")

    async with trio.open_nursery() as nursery:
        for number in range(tasks):
            nursery.start_soon(racer, number)
    return finished


def test_same_seed_same_run() -> None:
    """Digest, value, steps and virtual time are equal for equal seeds, and the digests of 20 seeds all differ."""
    assert simulate(dice, seed=1) == simulate(dice, seed=1)
    assert len({simulate(dice, seed=seed).digest for seed in range(20)}) == 20
    assert simulate(dice, 3, seed=1).value == simulate(dice, 3, seed=1).value


def test_digest_does_not_depend_on_the_heap() -> None:
    """Other heap layouts, and garbage waiting to be collected, change nothing."""
    digests = set()
    for layout in range(4):
        ballast = [[object() for _ in range(layout * 1000)] for _ in range(10)]
        cycle: list[object] = []
        cycle.append(cycle)
        digests.add(simulate(dice, 30, seed=5).digest)
        del ballast[::2]
    assert len(digests) == 1


def test_notes_and_names_are_part_of_the_digest() -> None:
    """The same steps with another note are another run; a string is its UTF-8."""

    async def main(sim: Simulation, *notes: str | bytes) -> None:
        for note in notes:
            sim.note(note)

    assert simulate(main, "ab").digest != simulate(main, "ac").digest
    assert simulate(main, "ab", "c").digest != simulate(main, "a", "bc").digest
    assert simulate(main, "ä").digest == simulate(main, "ä".encode()).digest


def test_digest_off() -> None:
    """Without a digest nothing is hashed or counted, and the run is the same."""
    result = simulate(dice, seed=1, digest=False)
    assert (result.digest, result.steps) == ("", 0)
    assert result.value == simulate(dice, seed=1).value


def run_program(python: Path | str, **environment: str) -> str:
    path = os.pathsep.join([str(ROOT), *environment.pop("EXTRA_PATH", "").split(os.pathsep)])
    return subprocess.run(
        [str(python), str(PROGRAM)],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
def test_digest_does_not_depend_on_the_hash_seed() -> None:
    """Processes with different hash seeds print the same digests."""
    outputs = {run_program(sys.executable, PYTHONHASHSEED=seed) for seed in ("0", "1", "4711")}
    assert len(outputs) == 1
    assert len(set(outputs.pop().split())) == 6


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_digest_does_not_depend_on_the_python(version: str) -> None:
    """Other Pythons print the same digests."""
    python = other_python(version)
    if python is None:
        pytest.skip(f"no Python {version} here that can import {IMPORTED} (set NFACTOR_TEST_PYTHONS)")
    assert run_program(python) == run_program(sys.executable)


def other_python(version: str) -> Path | None:
    """An interpreter of that version that has what the program imports: of the folders of virtual environments in
    NFACTOR_TEST_PYTHONS, and pyenv's."""
    folders = [Path(folder) for folder in os.environ.get("NFACTOR_TEST_PYTHONS", "").split(os.pathsep) if folder]
    for folder in [*folders, Path.home() / ".pyenv" / "versions"]:
        for python in sorted(folder.glob(f"{version}*/bin/python")):
            tried = subprocess.run([str(python), "-c", f"import {IMPORTED}"], capture_output=True, check=False)
            if tried.returncode == 0:
                return python
    return None


def test_random_by_name() -> None:
    """Named generators depend on seed and name alone, and go on where they were."""

    async def main(sim: Simulation, names: str) -> dict[str, float]:
        values = {name: sim.random(name).random() for name in names}
        assert sim.random(names[0]) is sim.random(names[0])
        assert sim.random(names[0]).random() != values[names[0]]
        return values

    first, second = simulate(main, "ab", seed=1).value, simulate(main, "xbya", seed=1).value
    assert (first["a"], first["b"]) == (second["a"], second["b"])
    assert first["a"] != first["b"]
    assert simulate(main, "a", seed=2).value["a"] != first["a"]


def test_virtual_time() -> None:
    """Hours pass in no time, and begin at 0."""

    async def main(sim: Simulation) -> float:
        began = trio.current_time()
        await trio.sleep(3600)
        return began

    result = simulate(main)
    assert (result.value, result.virtual_seconds) == (0.0, 3600.0)


async def stuck(sim: Simulation, *, shield: bool = False) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep(1)
        with trio.CancelScope(shield=shield):
            await trio.Event().wait()


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("shield", [True, False])
def test_deadlock(digest: bool, shield: bool) -> None:
    """A deadlock ends with the names of the parked tasks and the lines at which they wait, shields or not."""

    async def main(sim: Simulation) -> None:
        await stuck(sim, shield=shield)

    with pytest.raises(DeadlockError) as caught:
        simulate(main, seed=7, digest=digest)
    assert "trio.sleep_forever" in str(caught.value)
    assert "in stuck)" in str(caught.value)
    assert "seed=7) failed at 1.000000 virtual seconds" in caught.value.__notes__[0]


def test_deadlock_keeps_what_it_caused() -> None:
    """An error that the tasks raise when the deadlock is cancelled is its cause."""

    async def main(sim: Simulation) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("on the way out")

    with pytest.raises(DeadlockError) as caught:
        simulate(main)
    assert isinstance(caught.value.__cause__, ValueError)


def test_idleness_is_no_deadlock() -> None:
    """Tasks that wait for all others to be blocked, again and again, are healthy."""

    async def main(sim: Simulation) -> int:
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        await trio.testing.wait_all_tasks_blocked()
        return 1

    assert simulate(main).value == 1


def test_error_says_how_to_replay_and_all_is_restored() -> None:
    """An error is main's own with a note; the switch, trio's generator and the collector are as before."""

    async def main(sim: Simulation, argument: int) -> None:
        assert not gc.isenabled()
        assert trio_run._ALLOW_DETERMINISTIC_SCHEDULING
        sim.collect_garbage()
        raise KeyError(argument)

    for was_enabled in (True, False):
        (gc.enable if was_enabled else gc.disable)()
        try:
            before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
            with pytest.raises(KeyError) as caught:
                simulate(main, 5, seed=12)
            assert ".main, 5, seed=12) failed at 0.000000" in caught.value.__notes__[0]
            assert gc.isenabled() is was_enabled
            assert before == (trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate())
        finally:
            gc.enable()


async def fails_with(sim: Simulation, argument: str) -> None:
    raise KeyError(argument, sim.rng.random())


def test_the_command_in_a_failure_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that can be imported is called by Python; what only this test has, by pytest; else by this command."""

    def command(main: Callable[..., Any], *args: object) -> list[str]:
        with pytest.raises(KeyError) as caught:
            simulate(main, *args, seed=12)
        return shlex.split(caught.value.__notes__[0].partition("to replay it: ")[2])

    async def local(sim: Simulation) -> None:
        raise KeyError

    said = command(fails_with, "it's")
    done = subprocess.run([sys.executable, *said[1:]], capture_output=True, text=True, check=False, cwd=ROOT)
    assert repr(("it's", Simulation(12, None).rng.random()))[1:-1] in done.stderr
    here = "tests/testing/test_simulate.py::test_the_command_in_a_failure_replays_it"
    assert command(local) == ["python", "-m", "pytest", here]
    assert command(fails_with, object()) == ["python", "-m", "pytest", here]
    with monkeypatch.context() as patch:
        patch.setattr(fails_with, "__module__", "test_simulate")  # as where tests are no package
        assert command(fails_with, "it's") == ["python", "-m", "pytest", here]
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    assert command(local) == ["python", *sys.argv]


def test_hypothesis_does_not_disturb() -> None:
    """The digest is the same before and after Hypothesis has thrown trio's switch for the whole process."""
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    digests = set()
    for switch in (False, True):
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = switch  # type: ignore[misc]
        digests.add(simulate(dice, seed=3).digest)
        assert switch is trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
    assert len(digests) == 1


def test_keyboard_interrupt_comes_through_as_itself() -> None:
    """Ctrl-C in a busy simulation with nurseries is a plain KeyboardInterrupt without a note."""

    async def main(sim: Simulation) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):
                await trio.sleep(1e-6)

    with pytest.raises(KeyboardInterrupt) as caught:
        simulate(main)
    assert not hasattr(caught.value, "__notes__")


def test_addresses_in_task_names_do_not_matter() -> None:
    """A task of a callable object is named by its repr, whose address is left out."""

    class Job:
        async def __call__(self) -> None:
            await trio.sleep(1)

    async def main(sim: Simulation) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Job())

    keep = []
    digests = set()
    for _ in range(3):
        digests.add(simulate(main).digest)
        keep.append(bytearray(random.randrange(100)))
    assert len(digests) == 1


def test_recorder_flushes_long_runs() -> None:
    """Runs longer than the recorder's buffer have one digest too."""

    async def main(sim: Simulation) -> None:
        for _ in range(2000):
            await trio.sleep(1e-6)

    first = simulate(main)
    assert first == simulate(main)
    assert first.steps > 2000
