"""How long a control call waits while packets are processed: the engine in the trio loop, and in a worker thread.

    python benchmarks/worker.py [--quick]

One task has bursts processed without a pause, as a runtime under full load does; another sleeps for a millisecond at a
time and notes how much later it wakes, as any message, timer or acknowledgement of the node would.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import trio
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.engine import compiled, light
from benchmarks.traffic import bursts_of, plain_frames
from nfactor.cluster.worker import Worker
from nfactor.packet.burst import Burst

BURSTS_PER_PASS = 16
"""As in ``nfactor.cluster.intake``."""


async def measure(bursts: list[Burst], seconds: float, *, threaded: bool) -> tuple[float, float, float]:
    """Mpps, and how late the other task woke in microseconds: the median and the 99th percentile."""
    engine = compiled(light())
    late: list[float] = []
    packets = 0

    async def process() -> None:
        nonlocal packets
        worker = Worker(engine) if threaded else None
        while True:
            for number, burst in enumerate(bursts):
                if worker is None:
                    engine.process(burst)
                    if number % BURSTS_PER_PASS == 0:
                        await trio.lowlevel.checkpoint()
                else:
                    worker.give(burst)
                    await worker.wait()
                    worker.take()
                packets += len(burst)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(process)
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            due = time.perf_counter() + 0.001
            await trio.sleep(0.001)
            late.append(1e6 * (time.perf_counter() - due))
        nursery.cancel_scope.cancel()
    p99 = float(np.percentile(late, 99))
    return packets / seconds / 1e6, statistics.median(late), p99


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    seconds = 2.0 if parser.parse_args().quick else 10.0
    frames = plain_frames(1 << 17, 100_000, zipf=True)
    console = Console()
    for size in (64, 1024):
        bursts = bursts_of(frames, size)
        for threaded in (False, True):
            rate, median, p99 = trio.run(partial(measure, bursts, seconds, threaded=threaded))
            where = "worker thread" if threaded else "trio loop"
            console.print(
                f"bursts of {size:>4}, {where:13}: {rate:5.2f} Mpps, late {median:4.0f} µs, p99 {p99:5.0f} µs"
            )


if __name__ == "__main__":
    main()
