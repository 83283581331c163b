"""``--world processes``: real processes, real sockets, a real SIGKILL; and the report that the memory world gives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nfactor.cli.main import main
from nfactor.packet.capture import CaptureWriter, open_capture

DEMO = Path(__file__).resolve().parents[2] / "nfactor" / "cli" / "captures" / "demo.pcap"
CHAIN = ("--chain", "firewall,monitor,http,ids", "--rules", f"ids={DEMO.with_name('demo.ids.rules')}")


def report_of(folder: Path, *options: str, capture: Path = DEMO) -> dict[str, Any]:
    report = folder / "report.json"
    assert main(["replay", str(capture), *CHAIN, "--report", str(report), *options]) == 0
    body: dict[str, Any] = json.loads(report.read_text())
    return body


def seen(report: dict[str, Any]) -> tuple[Any, ...]:
    """What does not hang on where a flow was, or when it moved."""
    rows = [{name: value for name, value in row.items() if name != "runtime"} for row in report["flows"]]
    packets = {name: value for name, value in report["packets"].items() if name != "in"}
    return rows, report["http"], report["alerts"], packets


def children() -> list[str]:
    """Nodes that run now."""
    listing = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout
    mine = [line.split(None, 1) for line in listing.splitlines()]
    return [args for parent, args in mine if "nfactor.cli.node_process" in args and parent == str(os.getpid())]


def test_without_migrations_both_worlds_give_one_report(tmp_path: Path) -> None:
    options = ("--runtimes", "3")
    assert report_of(tmp_path, *options, "--world", "processes") == report_of(tmp_path, *options)
    assert children() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "worker"),
    [
        ("none", "loop"),
        ("strict", "loop"),
        ("every=20", "loop"),
        ("none", "thread"),
        ("strict", "thread"),
        ("every=20", "thread"),
    ],
)
def test_flows_that_migrate_between_processes_show_nothing_of_it(mode: str, worker: str, tmp_path: Path) -> None:
    options = ("--migrate-every", "100", "--replication", mode, "--worker", worker)
    moved = report_of(tmp_path, "--runtimes", "3", "--world", "processes", *options)
    assert seen(moved) == seen(report_of(tmp_path))
    assert moved["migrations"]["completed"] > 20


@pytest.mark.slow
@pytest.mark.parametrize(("kill_at", "worker"), [("500", "loop"), ("4000", "loop"), ("4000", "thread")])
def test_a_process_that_is_killed_costs_what_the_report_lists(kill_at: str, worker: str, tmp_path: Path) -> None:
    recovered = 0
    for _ in range(3):  # on a busy machine, its flows may all have moved on in the moment before it is killed
        crashed = report_of(
            tmp_path, "--runtimes", "3", "--world", "processes", "--migrate-every", "100", "--replication", "strict",
            "--kill-runtime-at", kill_at, "--worker", worker,
        )  # fmt: skip
        ((_, lost),) = crashed["lost_with_node"].items()
        rest = tmp_path / "rest.pcap"
        with open_capture(DEMO) as reader, CaptureWriter(rest) as writer:
            while (burst := reader.read_burst(1024)) is not None:
                writer.write(burst.select(np.flatnonzero(~np.isin(burst.marks, lost))))
        assert seen(report_of(tmp_path, capture=rest)) == seen(crashed)
        recovered += crashed["recoveries"]["flows"]
        if recovered:
            break
    assert recovered > 0


@pytest.mark.slow
def test_nothing_is_left_running_after_ctrl_c(tmp_path: Path) -> None:
    large = tmp_path / "large.pcap"
    content = DEMO.read_bytes()
    large.write_bytes(content + content[24:] * 100)
    command = [sys.executable, "-m", "nfactor", "replay", str(large), "--runtimes", "2", "--world", "processes"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    find = ["pgrep", "-f", f"nfactor.cli.node_process .*{large}"]
    deadline = time.monotonic() + 30
    while len(subprocess.run(find, capture_output=True, text=True, check=False).stdout.split()) < 4:
        assert time.monotonic() < deadline, "switch, two runtimes, coordinator"
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(2)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.strip().endswith("nfactor: interrupted")
    assert subprocess.run(find, capture_output=True, text=True, check=False).stdout == ""


def test_a_node_that_dies_by_itself_ends_the_run_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text(
        "import os\nfrom nfactor import nf\n"
        "class Broken(nf.NF):\n"
        "    def process_pkt(self, pkt, fs):\n"
        "        os._exit(3)\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--chain", "broken:Broken", "--runtimes", "1", "--world", "processes"]
    assert main(["replay", str(DEMO), *options]) == 1
    assert "runtime-0 ended by itself (status 3)" in capsys.readouterr().err
    assert children() == []
