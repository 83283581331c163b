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


@pytest.mark.parametrize("switches", ["1", "2"])
def test_flows_have_a_port_each_through_migration_and_crash(
    files: tuple[str, str], tmp_path: Path, switches: str
) -> None:
    capture, rules = files
    out, report = tmp_path / "out.pcap", tmp_path / "report.json"
    options = [
        "--runtimes",
        "3",
        "--switches",
        switches,
        "--migrate-every",
        "50",
        "--replication",
        "strict",
        "--kill-runtime-at",
        "300",
    ]
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


def translated(path: Path) -> dict[int, int]:
    """By the port of each host inside (its last payload octets say it), the port that its packets left from."""
    found: dict[int, int] = {}
    with open_capture(path) as reader:
        burst = reader.read_burst(1 << 16)
        assert burst is not None
        for frame in burst.frames():
            if frame[-2:] != bytes(2):
                found[int.from_bytes(frame[-2:], "big")] = int.from_bytes(frame[-12:-10], "big")
    return found


@pytest.mark.parametrize("switches", [1, 3])
def test_answers_find_their_flows_wherever_they_enter(switches: int, tmp_path: Path) -> None:
    """Ports are known from a first run; in the second one answers come to them, while flows migrate."""
    rules = tmp_path / "nat.txt"
    rules.write_text("inside 10.0.0.0/8\noutside 203.0.113.1\n")
    asked = [udp("10.0.0.1", port, "198.51.100.7", 53, port.to_bytes(4, "big")) for port in range(1, 1 + FLOWS)]

    def run(name: str, frames: list[bytes]) -> dict[str, dict[str, int]]:
        with CaptureWriter(tmp_path / f"{name}.pcap") as writer:
            writer.write(burst_of(frames, step_s=0.001))
        words = ["replay", str(tmp_path / f"{name}.pcap"), "--chain", "nat", "--rules", f"nat={rules}"]
        words += ["--runtimes", "3", "--switches", str(switches), "--migrate-every", "70"]
        words += ["--out", str(tmp_path / f"{name}-out.pcap"), "--report", str(tmp_path / f"{name}.json")]
        assert 0 == main(words)
        packets: dict[str, dict[str, int]] = json.loads((tmp_path / f"{name}.json").read_text())["packets"]
        return packets

    run("first", asked)
    ports = translated(tmp_path / "first-out.pcap")
    assert FLOWS == len(ports) == len(set(ports.values()))
    answers = [udp("198.51.100.7", 53, "203.0.113.1", port, bytes(4)) for port in ports.values()]
    packets = run("second", [*asked, *[asked[0]] * 5000, *answers * ROUNDS])  # answers come later
    assert {} == packets["dropped"]
    assert {*ports.values()} == {*translated(tmp_path / "second-out.pcap").values()}
