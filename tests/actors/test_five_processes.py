"""Five processes over ZeroMQ under load, killed and started again at random: what each message became is known."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.actors import chaos_program
from tests.actors.chaos_program import NAMES

SECONDS = 8.0
KILLS = 8


def start(name: str, folder: Path, seed: int, seconds: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, chaos_program.__file__, name, str(folder), str(seconds), str(seed)]
    return subprocess.Popen(command)


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
    rng = random.Random(5)
    until = time.monotonic() + SECONDS
    running = {name: start(name, tmp_path, index, SECONDS) for index, name in enumerate(NAMES)}
    killed: list[str] = []
    try:
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.3, 0.9))
            name = rng.choice(NAMES[1:])  # the first lives through it all
            running[name].kill()
            running[name].wait()
            killed.append(name)
            running[name] = start(name, tmp_path, 100 + kill, max(1.0, until - time.monotonic()))
        assert [process.wait(30) for process in running.values()] == [0] * len(NAMES)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
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
    assert len(lives) >= len(NAMES) + len(set(killed)) - 1
