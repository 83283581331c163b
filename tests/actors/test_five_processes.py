"""Five processes over ZeroMQ under load, killed and started again at random: what each message became is known."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.actors import chaos_program
from tests.actors.chaos_program import NAMES, STOP

KILLS = 8
ACKED_MIN = 20
"""Questions of a process that are answered before it may be killed, or the test ends."""
PATIENCE_S = 120.0
"""On a machine with much else to do, a process takes seconds to start."""


class Process:
    """One life of one of them."""

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self._log = folder / f"{name}.log"
        self._begins = self._log.stat().st_size if self._log.exists() else 0
        self._popen = subprocess.Popen([sys.executable, chaos_program.__file__, name, str(folder), str(seed)])

    def await_work(self, until: float) -> None:
        """Wait until it has been answered often enough. How quick that is says nothing: the machine may be busy."""
        while not self._log.exists() or self._log.read_bytes()[self._begins :].count(b"acked ") < ACKED_MIN:
            assert self._popen.poll() is None, "it ended by itself"
            assert time.monotonic() < until, "it is not answered"
            time.sleep(0.02)

    def wait(self) -> int:
        """Its exit code."""
        return self._popen.wait(PATIENCE_S)

    def kill(self) -> None:
        """It has no time to say anything; idempotent."""
        self._popen.kill()
        self._popen.wait()


def logged(folder: Path) -> dict[str, list[str]]:
    """What was logged, by kind; a line that a kill cut off says nothing."""
    lines: dict[str, list[str]] = {"ask": [], "acked": [], "doubt": [], "refused": [], "got": []}
    for name in NAMES:
        for line in (folder / f"{name}.log").read_text().split("\n")[:-1]:
            what, number = line.split(" ")
            lines[what].append(number)
    return lines


@pytest.mark.slow
def test_every_message_is_acknowledged_or_in_doubt_and_none_comes_twice(tmp_path: Path) -> None:
    rng, until = random.Random(5), time.monotonic() + PATIENCE_S
    running = {name: Process(name, tmp_path, index) for index, name in enumerate(NAMES)}
    try:
        for kill in range(KILLS):
            for process in running.values():
                process.await_work(until)
            time.sleep(rng.uniform(0.0, 0.3))
            name = rng.choice(NAMES[1:])  # the first lives through it all
            running[name].kill()
            running[name] = Process(name, tmp_path, 100 + kill)
        for process in running.values():
            process.await_work(until)
        (tmp_path / STOP).touch()
        assert [process.wait() for process in running.values()] == [0] * len(NAMES)
    finally:
        for process in running.values():
            process.kill()
    lines = logged(tmp_path)
    got, acked, doubt = Counter(lines["got"]), set(lines["acked"]), set(lines["doubt"])
    assert len(lines["acked"]) > 500, "there was a load"
    assert len(doubt) > 0, "somebody was asked who died"
    assert max(got.values()) == 1, "nothing comes twice"
    assert acked <= set(got), "what was acknowledged was there"
    assert acked.isdisjoint(doubt)
    assert set(lines["refused"]).isdisjoint(got), "what was refused was not handled"
    assert set(got) <= set(lines["ask"])
    # Whoever lived to the end knows what became of each, but for those under way when time was up.
    known = {*acked, *doubt, *lines["refused"]}
    lives = {number.rsplit("-", 2)[0] for number in lines["ask"]}
    for life in lives:
        asked = [number for number in lines["ask"] if number.startswith(life + "-")]
        open_ = [number for number in asked if number not in known]
        assert len(open_) <= chaos_program.ASKERS
    assert len(lives) == len(NAMES) + KILLS
