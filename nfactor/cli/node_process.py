"""The main function of one node's process: ``python -m nfactor.cli.node_process FOLDER NODE DOMAIN replay …``.

Started by ``nfactor.cli.processes``. It says ``ready`` on stdout when the node can be talked to, and runs until it is
told to end, or until its parent is gone.
"""

import gc
import os
import signal
import sys
from pathlib import Path

import trio

from nfactor.backends.zmq import open_zmq
from nfactor.cli.functions import chain_factory
from nfactor.cli.logs import configure_logs
from nfactor.cli.options import ReplayOptions, parse
from nfactor.cli.plan import plan_of
from nfactor.cli.processes import READY, ProcessWorld, address_book
from nfactor.cluster.launcher import run_coordinator, run_runtime, run_switch
from nfactor.cluster.names import COORDINATOR
from nfactor.cluster.plan import ClusterPlan

PARENT_LOOK_S = 1.0
"""How often a child looks whether its parent is still there."""


async def _run(folder: Path, name: str, domain: str, plan: ClusterPlan) -> None:
    parent = os.getppid()
    async with open_zmq(address_book(folder, plan)) as network, trio.open_nursery() as nursery:
        world = ProcessWorld(network)
        kind, _, index = name.partition("-")
        if name == COORDINATOR:
            await nursery.start(run_coordinator, world, plan)
        elif kind == "switch":
            await nursery.start(run_switch, world, plan, int(index))
        else:
            await nursery.start(run_runtime, world, plan, int(index), 1, domain or None)
        gc.collect()
        gc.freeze()  # to look at all that is here already, Python's collector takes 60 ms, for which packets would wait
        os.write(sys.stdout.fileno(), READY)
        nursery.start_soon(_end_when_told, nursery.cancel_scope)
        while os.getppid() == parent:  # noqa: ASYNC110 - nobody can set an event when a process dies
            await trio.sleep(PARENT_LOOK_S)
        nursery.cancel_scope.cancel()


async def _end_when_told(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


def main() -> None:
    """See the module."""
    configure_logs()
    folder, name, domain, *words = sys.argv[1:]
    options = parse(words)
    assert isinstance(options, ReplayOptions), "a node is one of a replay"
    trio.run(_run, Path(folder), name, domain, plan_of(options, chain_factory(options.chain, options.rules)))


if __name__ == "__main__":
    main()
