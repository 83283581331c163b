"""What messages between actors cost, beside other actor libraries and the bare wire.

    python benchmarks/actors.py [--quick] [--json FILE] [--peers PYTHON]

Every contestant is a process of its own (two where it talks to itself), and they take turns, several rounds; medians
are compared, as ratios within one run: absolute rates mean little on a shared machine. The other libraries are
installed into an environment of their own (``.venv-peers``), unless ``--peers`` names an interpreter that has them.

Remote tells are acknowledged by the link, and counted when the receiver has handled them. ``udp`` and ``zmq`` are
nfactor's transports, on one host, with nodes as they are by default: who asks alone polls for its answer for a moment
before it sleeps. ``udp busy`` has nodes that poll on both sides.
"""

import argparse
import json
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).resolve().parent
PACKAGES = ("pykka", "xoscar", "pyzmq", "trio")
BUSY_POLL_S = 0.01


def peers_python(said: str | None, console: Console) -> str:
    """An interpreter that has the other libraries."""
    if said is not None:
        return said
    home = HERE.parent / ".venv-peers"
    python = home / "bin" / "python"
    if not python.exists():
        console.print(f"installing {', '.join(PACKAGES)} into {home}")
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return str(python)


def contestants(peers: str, quick: bool) -> dict[str, list[str]]:
    """By name, what to run."""
    me = [sys.executable, str(HERE / "peers" / "nfactor_peer.py")]
    count, few = (100_000, 5_000) if quick else (400_000, 20_000)
    return {
        "local": [*me, "local", str(count)],
        "udp": [*me, "udp", str(count), "0"],
        "udp busy": [*me, "udp", str(count), str(BUSY_POLL_S)],
        "zmq": [*me, "zmq", str(count), "0"],
        "pykka": [peers, str(HERE / "peers" / "pykka_peer.py"), str(few * 2)],
        "xoscar": [peers, str(HERE / "peers" / "xoscar_peer.py"), str(few)],
        "pyzmq": [peers, str(HERE / "peers" / "pyzmq_peer.py"), str(count * 2)],
    }


TARGETS = (
    # what, (contestant, measure), (compared with), must, stretch; without a comparison the value itself counts
    ("local tell / Pykka", ("local", "tell"), ("pykka", "tell"), 4.4, 6.5),
    ("local tell / method call", ("local", "tell"), ("local", "method"), 0.12, None),
    ("ask with time-out / Pykka", ("local", "ask"), ("pykka", "ask"), 10, 16),
    ("spawn + stop / Pykka", ("local", "spawn"), ("pykka", "spawn"), 33, 65),
    ("remote tell (udp) / xoscar", ("udp", "tell"), ("xoscar", "tell"), 120, 200),
    ("remote tell (udp) / pyzmq, joined", ("udp", "tell"), ("pyzmq", "tell"), 0.2, None),
    ("remote ask (zmq) / pyzmq under trio", ("zmq", "ask"), ("pyzmq", "ask"), 0.8, None),
    ("remote ask, busy (udp) / xoscar", ("udp busy", "ask"), ("xoscar", "ask"), 8, 14),
    ("64 tasks asking (udp) / xoscar", ("udp", "ask64"), ("xoscar", "ask64"), 11, 15),
)
BOUNDS = (
    # what, (contestant, measure), unit, at most
    ("idle actor", ("local", "memory sync"), "octets", 600),
    ("idle async actor", ("local", "memory async"), "octets", 3000),
    ("async actor that has worked, and rests", ("local", "memory async used"), "octets", 3000),
    ("record in an actor table", ("local", "memory record"), "octets", 100 + 33 + 28),
    ("codec, encode + decode", ("local", "codec"), "µs", 3),
)


def compare(medians: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Rows of the report."""
    rows: list[dict[str, Any]] = []
    for name, measures in medians.items():
        for measure, value in measures.items():
            unit = "octets" if "memory" in measure else "µs" if measure == "codec" else "per second"
            rows.append({"name": f"{name}: {measure}", "value": value, "unit": unit, "target": None, "met": None})
    for name, (one, measure), (other, with_what), must, _ in TARGETS:
        value = medians[one][measure] / medians[other][with_what]
        rows.append({"name": name, "value": value, "unit": "times", "target": must, "met": value >= must})
    for name, (one, measure), unit, most in BOUNDS:
        value = medians[one][measure]
        rows.append({"name": name, "value": value, "unit": unit, "target": most, "met": value <= most})
    return rows


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer messages: about a minute")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has Pykka, xoscar and pyzmq")
    said = parser.parse_args()
    console = Console()
    commands, rounds = contestants(peers_python(said.peers, console), said.quick), 5
    found: dict[str, dict[str, list[float]]] = {name: {} for name in commands}
    for _ in track(range(rounds), "rounds", console=console, transient=True):
        for name, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
            for measure, value in json.loads(done.stdout.splitlines()[-1]).items():
                found[name].setdefault(measure, []).append(value)
    medians = {
        name: {measure: statistics.median(values) for measure, values in measures.items()}
        for name, measures in found.items()
    }
    rows = compare(medians)
    table = Table("what", "value", "target", "met", title=f"actors, median of {rounds} rounds")
    for row in rows:
        sign = "≥" if row["unit"] == "times" else "≤"
        limit = "" if row["target"] is None else f"{sign} {row['target']}"
        met = {None: "", True: "yes", False: "no"}[row["met"]]
        table.add_row(row["name"], f"{row['value']:,.2f} {row['unit']}", limit, met)
    console.print(table)
    if said.json is not None:
        said.json.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
