"""Where the real captures lie, and what is known of them, for all tests that replay some.

They are no part of the project: without them these tests are skipped, and the end of the run says so (``conftest``).
"""

import csv
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

Capture: TypeAlias = dict[str, Any]
"""One row of the manifest: ``name``, ``packets``, ``plain``, ``whole``, ``judge_flows`` ..."""
Flow: TypeAlias = tuple[str, str, int, str, int]
"""Protocol, address and port of the sender of the first packet, address and port of the other end."""
Counts: TypeAlias = tuple[int, int, int, int]
"""Packets there and back, octets there and back."""

ABSENT = "the real captures are not here: set NFACTOR_CAPTURES to their folder"

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "captures"


def captures_root() -> Path | None:
    """The folder of captures (``$NFACTOR_CAPTURES``, else beside the checkout), or None if there is none."""
    root = Path(os.environ.get("NFACTOR_CAPTURES") or _DEFAULT)
    return root if (root / "manifest.json").is_file() else None


@cache
def manifest() -> list[Capture]:
    """What the captures are and what to judge by them; empty where there are none."""
    root = captures_root()
    if root is None:
        return []
    rows = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    return [row for row in rows if (root / "dev" / row["name"]).is_file()]


def capture_path(name: str) -> Path:
    """The capture of that name."""
    root = captures_root()
    assert root is not None, ABSENT
    return root / "dev" / name


def expected_flows(name: str) -> dict[Flow, Counts]:
    """The TCP and UDP flows that tshark counts in a capture, by their outermost header."""
    root = captures_root()
    assert root is not None, ABSENT
    with (root / "expected" / f"{name}.flows.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "outer"]
    return {
        (row["proto"], row["a_ip"], int(row["a_port"]), row["b_ip"], int(row["b_port"])): (
            int(row["pkts_ab"]),
            int(row["pkts_ba"]),
            int(row["bytes_ab"]),
            int(row["bytes_ba"]),
        )
        for row in rows
    }
