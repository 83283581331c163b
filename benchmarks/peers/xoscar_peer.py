"""xoscar over TCP: one-way messages, one ask under way, and 64 tasks asking, per second. Prints one JSON object.

Usage: COUNT. It starts its other half itself (``serve PORT``).
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from typing import Any

import xoscar as xo


class Counter(xo.Actor):  # type: ignore[misc]
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def add(self, number: int) -> int:
        """One more."""
        self.count += 1
        return self.count


async def serve(port: int) -> None:
    """The other half."""
    pool = await xo.create_actor_pool(f"127.0.0.1:{port}", n_process=0)
    await xo.create_actor(Counter, address=f"127.0.0.1:{port}", uid="counter")
    print("ready", flush=True)
    await pool.join()


async def ask_many(ref: Any, count: int) -> None:
    """One after the other."""
    for number in range(count):
        await ref.add(number)


async def measure(port: int, count: int) -> dict[str, float]:
    """All three."""
    await xo.create_actor_pool("127.0.0.1:0", n_process=0)
    ref = await xo.actor_ref("counter", address=f"127.0.0.1:{port}")
    await ref.add(0)
    rates = {}
    begun = time.perf_counter()
    await ask_many(ref, count // 4)
    rates["ask"] = count / 4 / (time.perf_counter() - begun)
    begun = time.perf_counter()
    await asyncio.gather(*(ask_many(ref, count // 64) for _ in range(64)))
    rates["ask64"] = (count // 64) * 64 / (time.perf_counter() - begun)
    before = await ref.add(0)
    begun = time.perf_counter()
    for number in range(count):
        await ref.add.tell(number)
    while await ref.add(0) < before + count:
        pass
    rates["tell"] = count / (time.perf_counter() - begun)
    return rates


def main() -> None:
    """Either half."""
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, __file__, "serve", str(port)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            print(json.dumps(asyncio.run(measure(port, int(sys.argv[1])))))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
