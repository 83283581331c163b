"""``--world processes``: every node of the cluster is a process of its own, over ZeroMQ.

The parent keeps the outside, for it has the files; the switch, the runtimes and the coordinator are children, each of
which runs the same command line with another main function (``nfactor.cli.node_process``). They find each other through
sockets in one folder, named after nodes and MAC addresses, so that nobody has to tell anybody a port number.
"""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from nfactor.actors import incarnation_now
from nfactor.backends.base import Port, Transport
from nfactor.backends.zmq import AddressBook, ZmqNetwork, ZmqPeer
from nfactor.cluster.addresses import Kind, address, outside_of
from nfactor.cluster.launcher import Life
from nfactor.cluster.names import COORDINATOR, OUTSIDE, runtime_name
from nfactor.cluster.plan import ClusterPlan, World, members
from nfactor.errors import NfactorError

BURSTS_MAX = 8192
"""Bursts that wait at either end of a connection: more than a window of packets, should each be a burst of its own."""
LAUNCHED_MAX = 16
"""Runtimes that have a place in the address book though they are not there at the beginning."""
READY = b"ready\n"
"""What a child says when it can be talked to."""
END_WITHIN_S = 5.0
"""A child that has been asked to end and has not after so long is killed."""


class NodeFailed(NfactorError):
    """A node's process ended though nobody had asked it to."""


def address_book(folder: Path, plan: ClusterPlan) -> AddressBook:
    """Where everybody is."""
    everyone = members(plan)
    if plan.launches:
        everyone += members(attrs.evolve(plan, runtimes=plan.runtimes + LAUNCHED_MAX, switches=0))[plan.runtimes :]
    names = [OUTSIDE, COORDINATOR, *(member.name for member in everyone)]
    inside = [member.address for member in everyone]
    outside = [outside_of(member.address) for member in everyone if member.kind == "switch"]
    ports = [address(Kind.OUTSIDE, 0), *outside, *inside]
    return AddressBook(
        nodes={name: ZmqPeer(f"ipc://{folder}/{name}") for name in names},
        ports={port: ZmqPeer(f"ipc://{folder}/{port.hex()}") for port in ports},
    )


class ProcessWorld:
    """A ``nfactor.cluster.plan.World`` for the nodes of one process."""

    def __init__(self, network: ZmqNetwork) -> None:
        self._network = network

    def transport(self, node: str) -> Transport:
        """See ``World``."""
        return self._network.transport(node, self._network.book.nodes[node].endpoint)

    def port(self, node: str, address: bytes) -> Port:
        """See ``World``."""
        return self._network.port(address, self._network.book.ports[address].endpoint, bursts_max=BURSTS_MAX)

    def incarnation(self, node: str) -> int:
        """See ``World``."""
        return incarnation_now()

    def cut(self, node: str) -> None:
        """See ``World``: a process is not cut off but killed."""
        raise NotImplementedError(f"{node} is a process: kill it")


class ProcessLife:
    """A runtime in a process of its own; see ``nfactor.cluster.launcher.Life``."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.ended = False

    def flows(self) -> int | None:
        """See ``Life``: its memory cannot be looked into."""
        return None

    def end(self) -> None:
        """See ``Life``: SIGKILL."""
        self.ended = True
        self._process.kill()


class Processes:
    """A ``nfactor.cluster.launcher.Launcher``. ``words`` is the command line; sockets are made in ``folder``."""

    def __init__(self, folder: Path, words: tuple[str, ...]) -> None:
        self._folder = folder
        self._words = words

    async def start_nodes(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> Mapping[str, Life]:
        """See ``Launcher``."""
        names = [member.name for member in members(plan)]
        lives: dict[str, Life] = {}

        async def start(name: str) -> None:
            lives[name] = await nursery.start(self._run, name)

        async with trio.open_nursery() as starting:
            for name in names:
                starting.start_soon(start, name)
        return {name: lives[name] for name in names if name.startswith("runtime")}

    async def start_coordinator(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> None:
        """See ``Launcher``."""
        await nursery.start(self._run, COORDINATOR)

    async def start_runtime(
        self, nursery: trio.Nursery, world: World, plan: ClusterPlan, index: int, domain: str
    ) -> Life:
        """See ``Launcher``. Raises ``NodeFailed`` where ``LAUNCHED_MAX`` have been launched."""
        if index >= plan.runtimes + LAUNCHED_MAX:
            raise NodeFailed(f"{runtime_name(index)} would be one more than {LAUNCHED_MAX} that were launched")
        life: ProcessLife = await nursery.start(self._run, runtime_name(index), domain)
        return life

    async def _run(self, name: str, domain: str = "", *, task_status: trio.TaskStatus[ProcessLife]) -> None:
        """One child, from its start until the nursery is cancelled. ``domain`` is the failure domain of one that is
        launched."""
        command = [sys.executable, "-m", "nfactor.cli.node_process", str(self._folder), name, domain, *self._words]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        life = ProcessLife(process)
        try:
            assert process.stdout is not None
            said = b""
            while not said.endswith(READY):
                some = await process.stdout.receive_some()
                if not some:
                    raise NodeFailed(f"{name} could not be started (status {await process.wait()})")
                said += some
            task_status.started(life)
            status = await process.wait()
            if not life.ended:
                raise NodeFailed(f"{name} ended by itself (status {status})")
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(END_WITHIN_S):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()
