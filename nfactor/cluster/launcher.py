"""Starts the nodes of a cluster in this process, each with transports and ports of its own.

A node is one async function that opens its transport and ports, supervises its actors and runs until it is cancelled.
What it is given is a ``World``: nothing in here knows whether the wires are memory, sockets or a NIC.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import attrs
import trio

from nfactor.actors import Node, Supervisor, open_node, open_supervisor
from nfactor.backends.base import Port, Transport
from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.coordinator import Coordinator
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.messages import MESSAGES, Member
from nfactor.cluster.names import COLLECTOR, COORDINATOR, FLOWS, LIAISON, OUTSIDE, runtime_name, switch_name
from nfactor.cluster.outside import Collector, Outside, Sink
from nfactor.cluster.reporter import record_name
from nfactor.cluster.switch import VirtualSwitch
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.state import schema_of
from nfactor.packet.classifier import FlowClassifier


class World(Protocol):
    """Where nodes get their wires from: one of the three worlds of DESIGN section 1."""

    def transport(self, node: str) -> Transport:
        """A new transport for that node."""

    def port(self, node: str, address: bytes) -> Port:
        """A new port of that node."""

    def incarnation(self, node: str) -> int:
        """A number that is higher for each life of the node."""


@attrs.frozen
class ClusterPlan:
    """What to start. The factories are called once per node, so that nodes share nothing."""

    runtimes: int
    engine: Callable[[], Engine]
    classifier: Callable[[], FlowClassifier]
    records: tuple[type, ...]
    """Every record class that NFs of the chain emit."""
    flows_max: int


def members(plan: ClusterPlan) -> tuple[Member, ...]:
    """The view of the cluster that the coordinator gives to every node."""
    switch = Member(switch_name(0), "switch", address(Kind.SWITCH_INSIDE, 0), 0)
    runtimes = (
        Member(runtime_name(index), "runtime", address(Kind.RUNTIME, index), index) for index in range(plan.runtimes)
    )
    return (switch, *runtimes)


@asynccontextmanager
async def _open(world: World, name: str) -> AsyncIterator[Node]:
    async with open_node(name, world.transport(name), MESSAGES, incarnation=world.incarnation(name)) as node:
        yield node


def _supervised(node: Node) -> AbstractAsyncContextManager[Supervisor]:
    """The supervisor of a node's actors. None is restarted by itself: with the actor its flows would be gone, and a
    table that begins again with none is worse than a node that fails as a whole, loudly."""
    return open_supervisor(node, restarts_max=0)


async def run_runtime(
    world: World, plan: ClusterPlan, index: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """A runtime: its liaison and the table of its flow actors."""
    name = runtime_name(index)
    port = world.port(name, address(Kind.RUNTIME, index))
    async with _open(world, name) as node, _supervised(node) as supervisor:
        liaison, table, switch = node.ref(name, LIAISON), node.ref(name, FLOWS), node.ref(switch_name(0), LIAISON)
        observer = node.ref(OUTSIDE, COLLECTOR)
        ledger = Ledger(name)
        await supervisor.start(
            lambda: FlowTable(plan.engine(), port, ledger, liaison=liaison, switch=switch, observer=observer),
            name=FLOWS,
        )
        await supervisor.start(lambda: Liaison(index, table, switch), name=LIAISON)
        task_status.started()
        await trio.sleep_forever()


async def run_switch(
    world: World, plan: ClusterPlan, index: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """A virtual switch, between the outside and the runtimes."""
    name = switch_name(index)
    outside = world.port(name, address(Kind.SWITCH_OUTSIDE, index))
    inside = world.port(name, address(Kind.SWITCH_INSIDE, index))
    async with _open(world, name) as node, _supervised(node) as supervisor:
        observer = node.ref(OUTSIDE, COLLECTOR)
        next_hop = address(Kind.OUTSIDE, 0)
        ledger = Ledger(name)
        await supervisor.start(
            lambda: VirtualSwitch(
                Dispatcher(plan.classifier(), flows_max=plan.flows_max),
                outside,
                inside,
                ledger,
                next_hop=next_hop,
                observer=observer,
            ),
            name=LIAISON,
        )
        task_status.started()
        await trio.sleep_forever()


async def run_coordinator(
    world: World, plan: ClusterPlan, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The coordinator; it has started when every node knows the cluster."""
    async with _open(world, COORDINATOR) as node, _supervised(node) as supervisor:
        observer = node.ref(OUTSIDE, COLLECTOR)
        await supervisor.start(lambda: Coordinator(members(plan), observer=observer), name=COORDINATOR)
        task_status.started()
        await trio.sleep_forever()


@attrs.frozen
class Cluster:
    """A running cluster, seen from outside."""

    node: Node
    """The outside's own node: refs to the others start here."""
    outside: Outside
    members: tuple[Member, ...]


@asynccontextmanager
async def open_cluster(
    world: World, plan: ClusterPlan, sink: Sink, *, window_packets_max: int
) -> AsyncIterator[Cluster]:
    """A cluster and its outside, for the length of the block; nothing outlives it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(run_switch, world, plan, 0)
        for index in range(plan.runtimes):
            await nursery.start(run_runtime, world, plan, index)
        port = world.port(OUTSIDE, address(Kind.OUTSIDE, 0))
        outside = Outside(port, address(Kind.SWITCH_OUTSIDE, 0), sink, window_packets_max=window_packets_max)
        schemas = {record_name(cls): schema_of(cls) for cls in plan.records}
        async with _open(world, OUTSIDE) as node, _supervised(node) as supervisor:
            await supervisor.start(lambda: Collector(outside, schemas), name=COLLECTOR)
            nursery.start_soon(outside.run)
            await nursery.start(run_coordinator, world, plan)
            yield Cluster(node, outside, members(plan))
        nursery.cancel_scope.cancel()
