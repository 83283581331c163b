"""What the reference engine and a whole replay cost, beside a hand-fused Python loop of the same work.

    python benchmarks/replay.py [--quick] [--json FILE]

firewall → monitor on 64-byte TCP packets that this program makes: 1,000 flows in both directions. Three contestants do
the same packets in turn, several rounds, and medians are compared: ratios of one run, for absolute times mean little
on a shared machine.

fused   one loop written by hand: header fields by one ``struct`` call, one dict, two counters per packet; no NF
interface engine  the reference engine, bursts of 64 replay  ``nfactor replay`` from the capture file to the
accounting: reader, virtual switch, runtime, links, control"""

import argparse
import json
import random
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from nfactor.cli.functions import chain_factory
from nfactor.cli.options import ReplayOptions
from nfactor.cli.replay import Captures, Results, run
from nfactor.cli.report import Rows
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.capture import CaptureWriter, open_capture
from nfactor.packet.classifier import FlowClassifier

if TYPE_CHECKING:
    from collections.abc import Callable

FLOWS = 1000
BURST = 64
CHAIN = ("firewall", "monitor")
ENGINE_TARGET = 3.0
REPLAY_TARGET = 2.0


def make_capture(path: Path, packets: int) -> None:
    """64-byte TCP packets, as many as asked for."""
    rng = random.Random(1)
    header = cluster_frame.header(cluster_frame.LINKTYPE_ETHERNET)
    with CaptureWriter(path) as writer:
        for start in range(0, packets, BURST):
            frames = [header + make_frame(rng.randrange(FLOWS), rng.random() < 0.5) for _ in range(BURST)]
            writer.write(
                Burst.from_frames(
                    frames,
                    times=[(start + index) * 1000 for index in range(BURST)],
                    wire_lengths=[64] * BURST,
                )
            )


def make_frame(flow: int, back: bool) -> bytes:
    """One packet of a flow, in either direction."""
    client, server = struct.pack(">4B", 10, 0, flow >> 8, flow & 255), bytes((192, 168, 0, 1))
    ends = (server + client, 80, 1024 + flow) if back else (client + server, 1024 + flow, 80)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 50, 0, 0, 64, 6, 0) + ends[0]
    tcp = struct.pack(">HHIIBBHHH", ends[1], ends[2], 1, 1, 0x50, 0x10, 1024, 0, 0)
    return (bytes(12) + b"\x08\x00" + ip + tcp).ljust(64, b"\0")


def read_bursts(path: Path) -> list[Burst]:
    """The capture, whole, in memory."""
    bursts = []
    with open_capture(path) as reader:
        while (burst := reader.read_burst(BURST)) is not None:
            bursts.append(burst)
    return bursts


FIELDS = struct.Struct(">12xI12xHBxH2xHxB2x12sH6xBB")


def run_fused(bursts: list[Burst]) -> int:
    """The yardstick: everything that the engine does for a plain packet, in one loop without any interface."""
    flows: dict[tuple[int, bytes], tuple[list[int], int]] = {}
    unpack = FIELDS.unpack_from
    for burst in bursts:
        data = burst.octets()
        verdicts = bytearray(len(burst))
        columns = (burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for index, (offset, length, wire_length, now, mark) in enumerate(rows):
            types, ethertype, version, size, fragment, protocol, ends, _, tcp_offset, flags = unpack(data, offset)
            header = (tcp_offset >> 4) * 4
            if (
                types != 0x88B50001
                or ethertype != 0x0800
                or version != 0x45
                or fragment & 0x3FFF
                or protocol != 6
                or header < 20
                or offset + 50 + header > offset + 30 + size
                or 30 + size > length
            ):
                raise SystemExit("the yardstick reads plain packets alone")
            found = flows.get((protocol, ends))
            if found is None:
                # allowed ab, allowed ba, packets ab, packets ba, octets ab, octets ba, last time, packets, closing,
                # first
                found = ([1, 1, 0, 0, 0, 0, 0, 0, 0, mark], 0)
                flows[protocol, ends] = found
                flows[protocol, ends[4:8] + ends[:4] + ends[10:] + ends[8:10]] = (found[0], 1)
            row, direction = found
            row[6] = now
            row[7] += 1
            if flags & 5:
                row[8] |= 4 if flags & 4 else 1 << direction
            if row[direction] != 1:
                verdicts[index] = 1
                continue
            row[2 + direction] += 1
            row[4 + direction] += wire_length
    return len(flows) // 2


def run_engine(bursts: list[Burst]) -> int:
    """The reference engine alone, on the same bursts."""
    engine = ReferenceEngine(chain_factory(CHAIN, {})(), FlowClassifier("auto"))
    for burst in bursts:
        engine.process(burst)
    return engine.statistics().flows


def run_replay(path: Path) -> int:
    """The whole way, one runtime."""
    options = ReplayOptions(captures=(path,), chain=CHAIN, rules={})
    rows = Rows()
    with open_capture(path) as reader:
        outcome = run(
            options, chain_factory(CHAIN, {}), Captures([reader]), Results(rows, None, lambda _: None), lambda: None
        )
    rows.close()
    return outcome.packets_out


def measure(path: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each contestant, taken in turn."""
    bursts = read_bursts(path)
    contestants: dict[str, Callable[[], int]] = {
        "fused": lambda: run_fused(bursts),
        "engine": lambda: run_engine(bursts),
        "replay": lambda: run_replay(path),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in track(range(rounds), "rounds", console=Console(stderr=True), transient=True):
        for name, contestant in contestants.items():
            begun = time.perf_counter()
            contestant()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer packets: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE")
    said = parser.parse_args()
    packets, rounds = (32_768, 5) if said.quick else (262_144, 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packets.pcap"
        make_capture(path, packets)
        medians = measure(path, rounds)
    rows: list[dict[str, Any]] = [
        {"name": f"{name} per packet", "value": seconds / packets * 1e6, "unit": "µs", "target": None, "met": None}
        for name, seconds in medians.items()
    ]
    for name, other, target in (("engine", "fused", ENGINE_TARGET), ("replay", "engine", REPLAY_TARGET)):
        ratio = medians[name] / medians[other]
        rows.append(
            {"name": f"{name} / {other}", "value": ratio, "unit": "times", "target": target, "met": ratio <= target}
        )
    table = Table("what", "value", "target", "met", title=f"{packets:,} packets, median of {rounds} rounds")
    for row in rows:
        limit = "" if row["target"] is None else f"≤ {row['target']}"
        met = {None: "", True: "yes", False: "no"}[row["met"]]
        table.add_row(row["name"], f"{row['value']:.2f} {row['unit']}", limit, met)
    Console().print(table)
    if said.json is not None:
        said.json.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
