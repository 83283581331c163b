"""``nfactor replay --kill-runtime-at`` on real captures: what survives is what one undisturbed runtime would have made
of the same packets without those that the report says died with the node. The cluster has compiled engines, the
runtime the reference engine."""

from pathlib import Path

import numpy as np
import pytest

from nfactor.packet.capture import CaptureWriter, open_capture
from tests.captures import ABSENT, capture_path, captures_root, manifest
from tests.judges.test_replay_against_tshark import RULES, flow_of_each, flows, outputs, replay

pytestmark = pytest.mark.skipif(captures_root() is None, reason=ABSENT)

KILL_AT = 500
PLAIN = [e["name"] for e in manifest() if e["plain"] and e["packets"] > KILL_AT] if captures_root() else []
SIZES = {entry["name"]: entry["packets"] for entry in manifest()} if captures_root() else {}
CHAIN = "firewall,monitor,http,ids"


def without(source: Path, lost: set[int], target: Path) -> None:
    """A copy of a capture that lacks those frames (from 1)."""
    with open_capture(source) as reader:
        writer = CaptureWriter(target, format=reader.format, linktype=reader.linktype, nanoseconds=reader.nanoseconds)
        with writer:
            while (burst := reader.read_burst(1024)) is not None:
                writer.write(burst.select(np.flatnonzero([mark not in lost for mark in burst.marks.tolist()])))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_crash_costs_what_the_report_lists_and_nothing_else(name: str, tmp_path: Path) -> None:
    options = ["--chain", CHAIN]
    for function in ("firewall", "ids"):
        (tmp_path / function).write_text(RULES[function])
        options += ["--rules", f"{function}={tmp_path / function}"]
    # As often as the issue asks for, but for the floods, which would take minutes.
    migrate_every = "50" if SIZES[name] <= 8000 else "1000"
    crashed = replay(
        name, tmp_path, *options, "--runtimes", "3", "--replication", "strict", "--migrate-every", migrate_every,
        "--engine", "compiled", "--kill-runtime-at", str(KILL_AT), "--out", str(tmp_path / "crashed"),
    )  # fmt: skip
    ((dead, lost),) = crashed["lost_with_node"].items()
    assert crashed["recoveries"]["flows"] > 0 or len(crashed["flows"]) < 10, "else all may be in migration"
    assert dead in ("runtime-0", "runtime-1", "runtime-2")
    without(capture_path(name), set(lost), tmp_path / "rest")
    alone = replay(tmp_path / "rest", tmp_path, *options, "--engine", "reference", "--out", str(tmp_path / "alone"))
    assert (alone["packets"]["out"], alone["packets"]["dropped"]) == (
        crashed["packets"]["out"],
        crashed["packets"]["dropped"],
    )
    assert flows(alone) == flows(crashed)
    assert alone["http"] == crashed["http"]
    assert alone["alerts"] == crashed["alerts"]
    flow = flow_of_each(capture_path(name), "auto")
    assert outputs(tmp_path / "alone", flow) == outputs(tmp_path / "crashed", flow)
    assert (crashed["in_doubt"], crashed["unprotected"]["packets"]) == (0, 0)
