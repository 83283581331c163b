"""How long a control call waits while packets are processed: the engine in the trio loop, and in a worker thread.

    python benchmarks/worker.py [--quick]

A runtime's intake takes bursts from a port that always has one, as under full load; another task sleeps for a
millisecond at a time and notes how much later it wakes, as any message, timer or acknowledgement of the node would, and
how long it then takes to have the engine to itself, as a handler does.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import trio
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.engine import compiled, light
from benchmarks.traffic import bursts_of, plain_frames
from nfactor.backends.base import Port, PortStatistics
from nfactor.cluster.intake import Intake
from nfactor.packet.burst import Burst

ROUND_S = 0.7
"""Seconds that each way is measured at a time; they take turns."""


class Stream(Port):
    """A port at which the same bursts arrive over and over, without end."""

    def __init__(self, bursts: list[Burst]) -> None:
        self.address, self.mtu = bytes(6), 1514
        self._bursts = cycle(bursts)

    def send(self, burst: Burst) -> int:
        return 0

    def receive(self) -> Burst | None:
        return next(self._bursts)

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> PortStatistics:
        return PortStatistics(0, 0, 0, 0, 0)

    def close(self) -> None:
        pass


async def measure(bursts: list[Burst], seconds: float, *, threaded: bool) -> tuple[float, list[float], list[float]]:
    """Mpps; how late the other task woke, and how long it waited for the engine, both in microseconds."""
    engine = compiled(light())
    engine.follows = False  # as in a runtime that replicates nothing
    late: list[float] = []
    waited: list[float] = []
    packets = 0

    def processed(burst: Burst, codes: Any) -> None:
        nonlocal packets
        packets += len(burst)

    async def room() -> None:
        pass

    intake = Intake(
        Stream(bursts),
        engine,
        admit=lambda burst: burst,
        arrived=lambda burst: None,
        processed=processed,
        marker=lambda frame: None,
        replicated=False,
        threaded=threaded,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(intake.run, room, lambda: None)
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            due = time.perf_counter() + 0.001
            await trio.sleep(0.001)
            woken = time.perf_counter()
            intake.settle()
            late.append(1e6 * (woken - due))
            waited.append(1e6 * (time.perf_counter() - woken))
        nursery.cancel_scope.cancel()
    return packets / seconds / 1e6, late, waited


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    rounds = 3 if parser.parse_args().quick else 15
    frames = plain_frames(1 << 17, 100_000, zipf=True)
    console = Console(width=120)
    for size in (64, 1024):
        bursts = [bursts_of(frames[start : start + size].copy(), size)[0] for start in range(0, len(frames), size)]
        results: dict[bool, list[tuple[float, list[float], list[float]]]] = {False: [], True: []}
        for _ in range(rounds):
            for threaded, some in results.items():
                some.append(trio.run(partial(measure, bursts, ROUND_S, threaded=threaded)))
        for threaded, some in results.items():
            rate = statistics.median(turn[0] for turn in some)
            late, waited = [us for turn in some for us in turn[1]], [us for turn in some for us in turn[2]]
            where = "worker thread" if threaded else "trio loop"
            numbers = [
                f"{statistics.median(many):4.0f}, p99 {np.percentile(many, 99):5.0f} µs" for many in (late, waited)
            ]
            console.print(f"bursts of {size:>4}, {where:13}: {rate:5.2f} Mpps; late {numbers[0]}; waits {numbers[1]}")
        share = statistics.median(one[0] / other[0] for one, other in zip(results[True], results[False], strict=True))
        console.print(f"bursts of {size:>4}: the thread's rate is {share:.2f} of the loop's", style="bold")


if __name__ == "__main__":
    main()
