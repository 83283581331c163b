"""The source NAT on the command line: ports in what comes out, counts in the report, through migration and a crash."""

import json
from pathlib import Path

import pytest

from nfactor.cli.main import main
from nfactor.packet.capture import open_capture
from nfactor.packet.capture_writer import CaptureWriter
from nfactor.testing.packets import burst_of, udp

FLOWS, ROUNDS = 60, 10


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A capture of flows from inside, and rules."""
    rules = tmp_path / "nat.txt"
    rules.write_text("inside 10.0.0.0/8\noutside 203.0.113.1\n")
    frames = [udp("10.0.0.1", 1000 + flow, "198.51.100.7", 53, bytes(8)) for flow in range(FLOWS)] * ROUNDS
    with CaptureWriter(tmp_path / "in.pcap") as writer:
        writer.write(burst_of(frames, step_s=0.001))
    return str(tmp_path / "in.pcap"), f"nat={rules}"


def test_flows_have_a_port_each_through_migration_and_crash(files: tuple[str, str], tmp_path: Path) -> None:
    capture, rules = files
    out, report = tmp_path / "out.pcap", tmp_path / "report.json"
    options = ["--runtimes", "3", "--migrate-every", "50", "--replication", "strict", "--kill-runtime-at", "300"]
    assert 0 == main(
        ["replay", capture, "--chain", "nat", "--rules", rules, *options, "--out", str(out), "--report", str(report)]
    )
    said = json.loads(report.read_text())
    assert said["recoveries"]["flows"] > 0
    assert said["migrations"]["flows"] > 0
    assert {} == said["packets"]["dropped"]
    assert 0 == said["counters"]["nat.ports.none_left"]
    with open_capture(out) as reader:
        burst = reader.read_burst(FLOWS * ROUNDS)
        assert burst is not None
        sources = {frame[-24:-20] + frame[-16:-14] for frame in burst.frames()}
    assert FLOWS == len(sources)


def test_it_needs_one_switch(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    capture, rules = files
    assert 2 == main(["replay", capture, "--chain", "nat", "--rules", rules, "--switches", "2"])
    assert "one switch" in capsys.readouterr().err
