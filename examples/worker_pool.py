"""A pool of worker processes, supervised: one is killed in the middle of its work, and nothing is left undone.

    python examples/worker_pool.py

The foreman hands out jobs by asking. A worker that dies answers with ``PeerDown``: its job goes to another, and a new
process takes its place. (Whether a job was done whose worker died is in doubt: jobs that must not be done twice need
a number by which the worker, or whatever it writes to, knows them again.)
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter, deque

import trio

from nfactor.actors import (
    Actor,
    LinkLimits,
    Messages,
    Node,
    handles,
    incarnation_now,
    message,
    open_node,
    open_supervisor,
)
from nfactor.backends.zmq import AddressBook, ZmqPeer, open_zmq
from nfactor.errors import PeerDown

WORKERS = ("anna", "bert", "cleo")
JOBS = 60
QUICK = LinkLimits(give_up_s=0.5, probe_after_s=0.1)
"""All processes are on one machine: who is silent for half a second is gone."""


@message(tag=1)
class Job:
    number: int


@message(tag=2)
class Done:
    number: int
    primes: int
    """How many primes there are below it."""


MESSAGES = Messages(Job, Done)


class Worker(Actor):
    @handles(Job)
    def work(self, message: Job) -> Done:
        primes = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, message.number))
        return Done(message.number, primes)


async def worker(name: str, folder: str) -> None:
    book = AddressBook(nodes={"foreman": ZmqPeer(f"ipc://{folder}/foreman")})
    async with (
        open_zmq(book) as network,
        open_node(
            name,
            network.transport(name, f"ipc://{folder}/{name}"),
            MESSAGES,
            incarnation=incarnation_now(),
            limits=QUICK,
        ) as node,
        open_supervisor(node) as supervisor,
    ):
        await supervisor.start(Worker, name="worker")
        await trio.sleep_forever()


class Foreman:
    """Not an actor: just trio tasks that ask actors."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.jobs = deque(range(10_000, 10_000 + JOBS))
        self.results: dict[int, int] = {}
        self.by: Counter[str] = Counter()
        self.restarts = 0

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, __file__, name, self.folder])

    async def keep_busy(self, node: Node, name: str) -> None:
        """Hand jobs to one worker; when its process dies, start another."""
        process, ref = self.start(name), node.ref(name, "worker")
        try:
            while self.jobs:
                job = self.jobs.popleft()
                try:
                    done = await ref.ask(Job(job), Done)
                except PeerDown:
                    self.jobs.append(job)
                    if process.poll() is not None:
                        self.restarts += 1
                        process = self.start(name)
                    continue
                self.results[done.number] = done.primes
                self.by[name] += 1
                if name == WORKERS[0] and self.by[name] == 3 and not self.restarts:
                    os.kill(process.pid, 9)  # for the sake of the example
        finally:
            process.kill()
            process.wait()


async def foreman(folder: str) -> None:
    book = AddressBook(nodes={name: ZmqPeer(f"ipc://{folder}/{name}") for name in WORKERS})
    crew = Foreman(folder)
    async with (
        open_zmq(book) as network,
        open_node("foreman", network.transport("foreman", f"ipc://{folder}/foreman"), MESSAGES, limits=QUICK) as node,
    ):
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for name in WORKERS:
                    nursery.start_soon(crew.keep_busy, node, name)
    assert len(crew.results) == JOBS, "every job was done"
    assert crew.results[10_000] == 1229
    print(f"{JOBS} jobs done by {dict(sorted(crew.by.items()))}; {crew.restarts} worker restarted")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        trio.run(worker, sys.argv[1], sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(foreman, folder)
