"""What the compiled engine costs per packet, beside a C loop written by hand and beside the reference engine.

    python benchmarks/engine.py [--quick] [--json FILE]

Frames are streamed from memory; no packet I/O. Contestants take turns, round by round, and the medians of paired ratios
are compared: absolute times mean little on a shared machine. The C loop (``benchmarks/c/chain.c``, compiled here with
gcc -O3 -march=native) does the same parsing, look-ups, prefetching and NF work, and nothing for migration.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import bare_loop as bare
from benchmarks.traffic import HTTP_RULES, bursts_of, http_frames, ids_rules, plain_frames
from nfactor.compiled import native
from nfactor.compiled.engine import CompiledEngine
from nfactor.compiled.native import CACHE_DIRECTORY
from nfactor.compiled.text import chain_text
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import TimeOuts, reasons_of
from nfactor.dataplane.memory import place_of
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.balancer import Balancer, parse_services
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.functions.http import Http
from nfactor.functions.ids import Ids
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier

BURST = 64
RULES = 64
FLOWS_MAX = 1 << 21
NEVER = TimeOuts(never=True)
SERVICE = ["service 10.255.0.1 tcp 80", *(f"  backend 02:00:00:00:00:{index:02x}" for index in range(1, 9))]
FIREWALL = [
    *(f"deny tcp from 172.16.{index}.0/24 port {1000 + index} to any" for index in range(RULES - 1)),
    "allow any from any to any",
]


def light() -> Chain:
    """firewall → monitor → balancer."""
    return Chain.of([Firewall(parse_rules(FIREWALL)), Monitor(), Balancer(parse_services(SERVICE))])


def heavy() -> Chain:
    """firewall → http → ids, 100 patterns."""
    return Chain.of([Firewall(parse_rules(HTTP_RULES)), Http(), Ids(ids_rules(100))])


def compiled(chain: Chain, flows_max: int = FLOWS_MAX) -> CompiledEngine:
    return CompiledEngine(chain, FlowClassifier("auto"), flows_max=flows_max, time_outs=NEVER)


def reference(chain: Chain) -> ReferenceEngine:
    return ReferenceEngine(chain, FlowClassifier("auto"), time_outs=NEVER)


class CLoop:
    """``benchmarks/c/chain.c``, with the tables of the light chain."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).parent / "c" / "chain.c", folder / "chain.so"
        subprocess.run(["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self._library: Any = ctypes.CDLL(str(library))
        self._library.make.restype = ctypes.c_void_p
        self._chain = light()

    def open(self, flows_max: int = FLOWS_MAX) -> Callable[[Burst], None]:
        """A table of its own, and what processes a burst with it."""
        firewall, _, balancer = self._chain.functions
        assert isinstance(firewall, Firewall)
        assert isinstance(balancer, Balancer)
        (rules, rules_count), (backends, backends_count) = place_of(firewall.rules), place_of(balancer.backends)
        words = [ctypes.c_uint32(flows_max), ctypes.c_void_p(rules), rules_count, 1, ctypes.c_void_p(backends)]
        table = ctypes.c_void_p(self._library.make(*words, backends_count, ctypes.c_uint32(0x0AFF0001), 80))
        run = self._library.process

        def process(burst: Burst) -> None:
            columns = (burst.data, burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks)
            codes = np.empty(len(burst), np.uint8)
            pointers = [ctypes.c_void_p(column.ctypes.data) for column in (*columns, codes)]
            run(table, *pointers, len(burst))

        weakref.finalize(process, self._library.discard, table)
        return process


def timed(work: Callable[[Burst], Any], bursts: list[Burst]) -> float:
    """Nanoseconds per packet."""
    packets = sum(map(len, bursts))
    begin = time.perf_counter_ns()
    for burst in bursts:
        work(burst)
    return (time.perf_counter_ns() - begin) / packets


def in_turn(contestants: dict[str, tuple[Callable[[Burst], Any], list[Burst]]], rounds: int) -> dict[str, list[float]]:
    """Nanoseconds per packet of each, round by round, after one round that does not count."""
    results: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, (work, bursts) in contestants.items():
            cost = timed(work, bursts)
            if turn:
                results[name].append(cost)
    return results


def ratio(results: dict[str, list[float]], name: str, other: str) -> float:
    """The median of paired ratios."""
    return statistics.median(a / b for a, b in zip(results[name], results[other], strict=True))


class Report:
    """Rows for people, and the same for programs."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, results: dict[str, list[float]], target: str = "", **more: float) -> None:
        cost = statistics.median(results["compiled"])
        row: dict[str, Any] = {"what": what, "ns": cost, "Mpps": 1e3 / cost, "target": target, **more}
        for other, name in (("c", "x C"), ("reference", "x reference")):
            if other in results:
                row[name] = ratio(results, "compiled", other) if other == "c" else ratio(results, other, "compiled")
        self.rows.append(row)

    def note(self, what: str, value: str, target: str) -> None:
        self.rows.append({"what": what, "value": value, "target": target})

    def print(self) -> None:
        table = TextTable(title="compiled engine", title_justify="left")
        for heading in ("what", "ns", "Mpps", "x C", "x reference", "value", "target"):
            table.add_column(heading, justify="left" if heading in ("what", "target", "value") else "right")
        for row in self.rows:
            numbers = [f"{row[name]:.2f}" if name in row else "" for name in ("ns", "Mpps", "x C", "x reference")]
            table.add_row(row["what"], *numbers, row.get("value", ""), row["target"])
        Console(width=150).print(table)


def light_rows(report: Report, c_loop: CLoop, packets: int, rounds: int) -> None:
    """firewall → monitor → balancer, 64 octets."""
    for flows, zipf in ((1_000, False), (100_000, True), (1_000_000, False), (1_000_000, True)):
        frames = plain_frames(packets, flows, zipf=zipf)
        large, small = bursts_of(frames, len(frames)), bursts_of(frames, BURST)
        engine = compiled(light())
        few = bursts_of(frames[:4096], BURST)
        results = in_turn(
            {
                "compiled": (engine.process, large),
                "c": (c_loop.open(), large),
                "per burst": (engine.process, small),
                "reference": (reference(light()).process, few),
            },
            rounds,
        )
        name = f"light chain, 64 B, {flows:,} flows{', Zipf' if zipf else ''}"
        report.add(name, results, "≤ 1.4 x C (1.2)")
        share = ratio(results, "per burst", "compiled")
        report.note(f"{name}: bursts of {BURST} from Python", f"{share:.2f} x the loop", "≤ 1.5")


def new_flow_rows(report: Report, c_loop: CLoop, flows: int, rounds: int) -> None:
    """Every packet is the first of its flow, and all rules are looked at. The first round, whose tables lie in memory
    that the machine may never have touched, is noted apart: on a virtual one, most of it is the hypervisor's."""
    frames = plain_frames(flows, flows, zipf=False, in_order=True)
    large = bursts_of(frames, len(frames))
    results: dict[str, list[float]] = {"compiled": [], "c": []}
    kernel: list[float] = []
    for _ in range(rounds + 1):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        results["compiled"].append(timed(compiled(light()).process, large))
        kernel.append(1e9 * (resource.getrusage(resource.RUSAGE_SELF).ru_stime - before) / flows)
        results["c"].append(timed(c_loop.open(), large))
    first, _ = (costs.pop(0) for costs in results.values())
    report.add("new flows, 64 rules", results, "≥ 4 M/s")
    report.note("  of that in the kernel", f"{statistics.median(kernel[1:]):.0f} ns", "")
    report.note("  in the first round", f"{first:.0f} ns, {kernel[0]:.0f} ns of it in the kernel", "")


def heavy_rows(report: Report, packets: int, rounds: int) -> None:
    """firewall → http → ids."""
    for octets, target in ((64, "≥ 5 Mpps"), (512, "≥ 0.25 Mpps")):
        frames = http_frames(packets, octets)
        large, few = bursts_of(frames, len(frames)), bursts_of(frames[:2048], BURST)
        results: dict[str, list[float]] = {"compiled": [], "reference": []}
        for _ in range(rounds):  # with new flows each time: what was seen before would be a retransmission
            results["compiled"].append(timed(compiled(heavy(), 1 << 14).process, large))
            results["reference"].append(timed(reference(heavy()).process, few))
        payload = 8 * (octets - 54) / statistics.median(results["compiled"]) if octets > 64 else 0.0
        report.add(f"firewall, http, ids of 100 patterns, {octets} B", results, target)
        if payload:
            report.note("  payload through http and ids", f"{payload:.2f} Gbit/s", "")


def automaton_row(report: Report, packets: int, rounds: int) -> None:
    """The IDS alone, on full segments."""
    frames = http_frames(packets, 1514)
    large = bursts_of(frames, len(frames))
    engines = (compiled(Chain.of([Ids(ids_rules(100))]), 1 << 14) for _ in range(rounds))
    costs = [timed(engine.process, large) for engine in engines]
    rate = 8 * 1460 / statistics.median(costs)
    report.note("ids of 100 patterns alone, 1,460 B of payload", f"{rate:.2f} Gbit/s", "≥ 1.6 Gbit/s")


def actor_row(report: Report, packets: int, rounds: int) -> None:
    """The same chain, table and parser in a loop without anything that an actor needs."""
    frames = plain_frames(packets, 100_000, zipf=True)
    large = bursts_of(frames, len(frames))
    engine, other = compiled(light()), compiled(light())
    engine.follows = False  # as in a runtime that replicates nothing
    other.process(large[0])  # the bare loop does not let the index grow
    run = bare_loop(other)
    results = in_turn({"compiled": (engine.process, large), "bare": (run, large)}, rounds)
    share = statistics.median(b / a for a, b in zip(results["compiled"], results["bare"], strict=True))
    report.note("actor path, share of a bare loop's rate", f"{100 * share:.0f} %", "≥ 90 %")


def bare_loop(engine: CompiledEngine) -> Callable[[Burst], Any]:
    """``benchmarks/bare_loop.py`` on the memory of an engine."""
    text = chain_text(light(), reasons_of(light())[2]).text
    code = native.Code(native.compiled(text, (*native.CHAIN, bare)), (*native.CHAIN, bare))
    codes = np.empty(1 << 21, np.uint8)

    def process(burst: Burst) -> None:
        columns = (burst.data, burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks, codes)
        code.process_bare(engine._cx, *(column.ctypes.data for column in columns), len(burst))

    return process


def set_rows(report: Report, flows: int) -> None:
    """Flows that leave and come."""
    source, target = compiled(light()), compiled(light())
    for burst in bursts_of(plain_frames(flows, flows, zipf=False, in_order=True), 1 << 16):
        source.process(burst)
    keys, epochs = source.pick(flows)
    begin = time.process_time_ns()
    target.hold(keys, epochs + 1)
    records, _ = source.depart(keys)
    target.install(keys, epochs + 1, records)
    cost = (time.process_time_ns() - begin) / 1e6
    report.note(f"export and install {flows:,} flows", f"{cost:.0f} ms of CPU", "≤ 150 ms for 300,000")


def start_rows(report: Report) -> None:
    """A process that opens an engine and ends."""
    program = (
        "import sys, time; sys.path.insert(0, '.'); begin = time.perf_counter(); "
        "from benchmarks.engine import compiled, light; compiled(light()); print(time.perf_counter() - begin)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, target in (("cold", "≤ 8 s"), ("warm", "≤ 1.5 s")):
            environment = {**os.environ, CACHE_DIRECTORY: folder}
            ran = subprocess.run(
                [sys.executable, "-c", program],
                cwd=Path(__file__).parent.parent, env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            report.note(f"{name} start, chain of three", f"{float(ran.stdout):.2f} s", target)


def memory_row(report: Report, flows: int) -> None:
    """Octets of memory per flow beyond the NFs' states, by what the process has grown."""
    engine, bursts = compiled(light()), bursts_of(plain_frames(flows, flows, zipf=False, in_order=True), 1 << 14)
    engine.process(bursts[0])
    before = _resident()
    for burst in bursts:
        engine.process(burst)
    states = engine.record_size - 24
    each = (_resident() - before) / flows - states
    report.note(f"memory per flow beyond the states' {states} B, {flows:,} flows", f"{each:.0f} B", "≤ 160 B")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    packets, rounds = (1 << 18, 3) if said.quick else (1 << 20, 9)
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        c_loop = CLoop(Path(folder))
        light_rows(report, c_loop, packets, rounds)
        new_flow_rows(report, c_loop, packets, rounds)
    heavy_rows(report, packets // 8, rounds)
    automaton_row(report, packets // 32, rounds)
    actor_row(report, packets, rounds)
    set_rows(report, 300_000)
    memory_row(report, 500_000)
    start_rows(report)
    report.print()
    if said.json:
        said.json.write_text(json.dumps(report.rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
