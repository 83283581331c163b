"""nfactor's side of ``benchmarks/actors.py``: one node by itself, or two processes over a transport."""

import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.lowlevel
import trio.testing

from nfactor.actors import (
    Actor,
    ActorTable,
    LinkLimits,
    Messages,
    Node,
    Ref,
    handles,
    handles_keyed,
    incarnation_now,
    message,
    open_node,
    open_supervisor,
)
from nfactor.actors.rests import REST_AFTER_S
from nfactor.backends.base import Transport
from nfactor.backends.udp import MTU_LOOPBACK, open_udp
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq
from nfactor.errors import MailboxFull

LIMITS = LinkLimits(credit_max=4096)


@message(tag=1)
class Add:
    """One more."""

    number: int


@message(tag=2)
class Total:
    """How many there were."""

    number: int


@message(tag=3)
class Note:
    """One more, and no answer."""

    number: int


MESSAGES = Messages(Add, Total, Note)


class Counter(Actor[Add | Note]):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    @handles(Add)
    def add(self, message: Add) -> Total:
        """One more."""
        self.count += 1
        return Total(self.count)

    @handles(Note)
    def note(self, message: Note) -> None:
        """One more."""
        self.count += 1


class AsyncCounter(Actor[Add]):
    """The same in a task of its own."""

    @handles(Add)
    async def add(self, message: Add) -> Total:
        """One more."""
        return Total(message.number)


class Rows(ActorTable[int]):
    """Keyed counters."""

    @handles_keyed(Add, creates=True)
    def add(self, key: bytes, message: Add) -> None:
        """One more."""
        self.records[key] = self.records.get(key, 0) + message.number


class Methods:
    """What a message is compared with: a method that is chosen by the type of its argument."""

    def __init__(self) -> None:
        self.count = 0
        self.methods = {Add: self.add}

    def add(self, message: Add) -> None:
        """One more."""
        self.count += 1

    def call(self, message: Add) -> None:
        """Find the method, and call it."""
        self.methods[type(message)](message)


def rate(count: int, begun: float) -> float:
    """Per second."""
    return count / (time.perf_counter() - begun)


# ---------------------------------------------------------------- one process


async def local(count: int) -> dict[str, float]:
    """Everything that takes one node."""
    found: dict[str, float] = {}
    methods, one = Methods(), Add(1)
    begun = time.perf_counter()
    for _ in range(count):
        methods.call(one)
    found["method"] = rate(count, begun)
    async with open_node("here", None, MESSAGES) as node, open_supervisor(node) as supervisor:
        counter = await supervisor.start(Counter, mailbox_size_max=4096)
        begun = time.perf_counter()
        await tell_all(counter, count)
        found["tell"] = rate(count, begun)
        begun = time.perf_counter()
        for _ in range(count // 4):
            await counter.ask(one, Total, within_s=5)
        found["ask"] = rate(count // 4, begun)
        parked = await supervisor.start(AsyncCounter)
        begun = time.perf_counter()
        for _ in range(count // 20):
            await parked.ask(one, Total, within_s=5)
        found["ask async"] = rate(count // 20, begun)
        begun = time.perf_counter()
        for _ in range(count // 10):
            supervisor.stop_nowait(supervisor.start_nowait(Counter))
        found["spawn"] = rate(count // 10, begun)
        begun = time.perf_counter()
        for _ in range(count // 10):
            MESSAGES.decode(MESSAGES.encode(one))
        found["codec"] = 1e6 / rate(count // 10, begun)
        await memory(node, supervisor, found)
    return found


async def memory(node: Node, supervisor: Any, found: dict[str, float]) -> None:
    """Octets of an idle actor, once it has been started (and, ``used``, has handled a message and rested)."""
    number = 2000
    for name, kind in (("sync", Counter), ("async", AsyncCounter)):
        refs: list[Ref[Add]] = []
        gc.collect()
        tracemalloc.start()
        refs.extend([await supervisor.start(kind) for _ in range(number)])
        gc.collect()
        found[f"memory {name}"] = tracemalloc.get_traced_memory()[0] / number
        for ref in refs:
            await ref.ask(Add(1), Total)
        await trio.sleep(2 * REST_AFTER_S + 0.1)
        gc.collect()
        found[f"memory {name} used"] = tracemalloc.get_traced_memory()[0] / number
        tracemalloc.stop()
    table = await supervisor.start(Rows)
    keys = [number.to_bytes(8, "big") for number in range(100_000)]
    await table.at(b"first").tell(Add(1))
    gc.collect()
    tracemalloc.start()
    for start in range(0, len(keys), 500):
        for key in keys[start : start + 500]:
            table.at(key).tell_nowait(Add(1))
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    found["memory record"] = tracemalloc.get_traced_memory()[0] / len(keys)
    tracemalloc.stop()


async def tell_all(ref: Ref[Add | Note], count: int) -> None:
    """Tell, as fast as it goes, and return when all is handled."""
    one, ask = Note(1), Add(1)
    before = (await ref.ask(ask, Total)).number
    told = 0
    while told < count:
        try:
            while told < count:
                ref.tell_nowait(one)
                told += 1
        except MailboxFull:
            await trio.lowlevel.checkpoint()
    while (await ref.ask(ask, Total)).number < before + count:
        await trio.lowlevel.checkpoint()


# ---------------------------------------------------------------- two processes


@asynccontextmanager
async def transport(kind: str, name: str, folder: str) -> AsyncIterator[Transport]:
    """nfactor's transports; ``folder`` has the sockets, or the file with the port numbers."""
    if kind == "zmq":
        book = AddressBook(nodes={end: ZmqPeer(f"ipc://{folder}/{end}") for end in ("client", "server")})
        async with open_zmq(book) as network:
            yield network.transport(name, f"ipc://{folder}/{name}")
        return
    ports: dict[str, tuple[str, int]] = {}
    async with open_udp(name, ("127.0.0.1", 0), ports, mtu=MTU_LOOPBACK) as end:
        home = trio.Path(folder)
        await (home / f"{name}.part").write_text(str(end.address[1]))
        await (home / f"{name}.part").rename(home / name)
        for other in ("client", "server"):
            while not await (home / other).exists():  # noqa: ASYNC110 - another process makes it
                await trio.sleep(0.01)
            ports[other] = ("127.0.0.1", int(await (home / other).read_text()))
        yield end


async def serve(kind: str, folder: str, busy_poll_s: float) -> None:
    """The other half."""
    async with (
        transport(kind, "server", folder) as end,
        open_node(
            "server", end, MESSAGES, incarnation=incarnation_now(), busy_poll_s=busy_poll_s, limits=LIMITS
        ) as node,
        open_supervisor(node) as supervisor,
    ):
        await supervisor.start(Counter, name="counter", mailbox_size_max=8192)
        await trio.sleep_forever()


async def remote(kind: str, folder: str, busy_poll_s: float, count: int) -> dict[str, float]:
    """One question under way, 64 tasks asking, and tells."""
    found: dict[str, float] = {}
    async with (
        transport(kind, "client", folder) as end,
        open_node(
            "client", end, MESSAGES, incarnation=incarnation_now(), busy_poll_s=busy_poll_s, limits=LIMITS
        ) as node,
    ):
        counter = node.ref("server", "counter", accepts=Counter)
        await counter.ask(Add(1), Total)

        async def ask(times: int) -> None:
            for _ in range(times):
                await counter.ask(Add(1), Total)

        begun = time.perf_counter()
        await ask(count // 50)
        found["ask"] = rate(count // 50, begun)
        if busy_poll_s:
            return found
        begun = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(ask, count // 640)
        found["ask64"] = rate(count // 640 * 64, begun)
        begun = time.perf_counter()
        await tell_all(counter, count)
        found["tell"] = rate(count, begun)
    return found


def both_halves(kind: str, busy_poll_s: float, count: int) -> dict[str, float]:
    """Start the server, be the client."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "serve", kind, folder, str(busy_poll_s)]
        with subprocess.Popen(command) as server:
            try:
                return trio.run(remote, kind, folder, busy_poll_s, count)
            finally:
                server.kill()


def main(kind: str, *words: str) -> None:
    """``local COUNT``, ``udp|zmq COUNT BUSY_POLL_S``, or (by itself) ``serve KIND FOLDER BUSY_POLL_S``."""
    if kind == "local":
        print(json.dumps(trio.run(local, int(words[0]))))
    elif kind == "serve":
        trio.run(serve, words[0], words[1], float(words[2]))
    else:
        print(json.dumps(both_halves(kind, float(words[1]), int(words[0]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
