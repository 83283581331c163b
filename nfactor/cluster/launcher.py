"""Starts the nodes of a cluster, each with transports and ports of its own.

A node is one async function that opens its transport and ports, supervises its actors and runs until it is cancelled.
What it is given is a ``World``: nothing in here knows whether the wires are memory, sockets or a NIC.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeAlias

import attrs
import trio

from nfactor.actors import LinkLimits, Node, Supervisor, open_node, open_supervisor
from nfactor.cluster.addresses import Kind, address, outside_of
from nfactor.cluster.assurance import Assurance
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.coordinator import Coordinator
from nfactor.cluster.egress import Egress
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.leases import Leases
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.membership import Membership
from nfactor.cluster.messages import Member, PollWorkload, Workload
from nfactor.cluster.names import (
    COLLECTOR,
    COORDINATOR,
    FLOWS,
    LEASES,
    LIAISON,
    MEMBERSHIP,
    OUTSIDE,
    POOLS,
    REPLICAS,
    runtime_name,
    switch_name,
)
from nfactor.cluster.outside import Collector, NodeKilled, Outside, Sink
from nfactor.cluster.plan import ClusterPlan, World, members, runtime_member, switch_member
from nfactor.cluster.pools import Pools
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.reporter import Reporter, record_name
from nfactor.cluster.role import Role
from nfactor.cluster.switch import VirtualSwitch
from nfactor.cluster.view import View
from nfactor.compiled import outer_headers
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.owners import Owners
from nfactor.dataplane.state import schema_of

LINK_LIMITS = LinkLimits(credit_max=8192, queue_max=16_384)
"""More than the protocols ever have under way to one actor: they have bounds of their own, and must not be refused."""
REPLICAS_MAILBOX_MAX = 65_536
"""Commits of all primaries together that wait for a replica; each primary bounds its own (``replicator``)."""


@asynccontextmanager
async def _open(world: World, name: str) -> AsyncIterator[Node]:
    outer_headers.load()
    transport, incarnation = world.transport(name), world.incarnation(name)
    async with open_node(name, transport, MESSAGES, incarnation=incarnation, limits=LINK_LIMITS) as node:
        yield node


def _supervised(node: Node) -> AbstractAsyncContextManager[Supervisor]:
    """The supervisor of a node's actors. None is restarted by itself: with the actor its flows would be gone, and a
    table that begins again with none is worse than a node that fails as a whole, loudly."""
    return open_supervisor(node, restarts_max=0)


@attrs.define
class LocalLife:
    """A node that runs in this process, and the means to end it; see ``Life``."""

    name: str
    world: World
    number: int = 1
    """Which life of the node it is."""
    engine: Engine | None = None
    """A runtime's."""
    owners: Owners | None = None
    """A switch's."""
    ledger: Ledger | None = None
    """Of a runtime or a switch."""
    roles: dict[str, Role] = attrs.Factory(dict)
    """What it does, by actor: for whoever judges a cluster from inside."""
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    killed: bool = False

    def flows(self) -> int:
        """See ``Life``."""
        return 0 if self.engine is None else self.engine.statistics().flows

    def end(self) -> None:
        """Cut the node off, end it in the middle of whatever it does, and overwrite its memory."""
        self.killed = True
        self.world.cut(self.name)
        self.scope.cancel()
        if self.engine is not None:
            self.engine.poison()


_Started: TypeAlias = trio.TaskStatus[LocalLife]
_Run: TypeAlias = Callable[[Node, Supervisor], Awaitable[None]]


async def _live(life: LocalLife, started: _Started, run: _Run) -> None:
    """One life of a node, until it is ended or cancelled."""
    try:
        with life.scope:
            async with _open(life.world, life.name) as node, _supervised(node) as supervisor:
                await run(node, supervisor)
                started.started(life)
                await trio.sleep_forever()
    except* Exception:  # what goes wrong in a node that is being killed is no news
        if not life.killed:
            raise


async def run_runtime(
    world: World,
    plan: ClusterPlan,
    index: int,
    number: int = 1,
    domain: str | None = None,
    *,
    task_status: _Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """A runtime: its liaison, the table of its flow actors, and the table of flows for which it is the replica. In a
    later life than the first (``number``), or if the plan does not have it, it joins a cluster that is there.
    ``domain``: its failure domain, if not the plan's."""
    member = runtime_member(index, number, plan.domain(index) if domain is None else domain)
    name, engine = member.name, plan.engine()
    port, ledger = world.port(name, member.address), Ledger(name)
    life = LocalLife(name, world, number, engine=engine, ledger=ledger)

    async def run(node: Node, supervisor: Supervisor) -> None:
        view = View()
        reporter = Reporter(ledger, observed=True)
        egress = Egress(port, ledger, reporter)
        flows = FlowTable(engine, port, ledger, egress, plan.replication, view, threaded=plan.threaded)
        assurance = Assurance(plan.dead_after_s)
        replicas = ReplicaTable(egress, ledger, reporter, engine.changes.copies, flows, view, assurance)
        liaison = Liaison(member, flows, replicas, view, assurance, joins=number > 1 or index >= plan.runtimes)
        life.roles.update({REPLICAS: replicas, FLOWS: flows, LIAISON: liaison})
        await supervisor.start(lambda: replicas, name=REPLICAS, mailbox_size_max=REPLICAS_MAILBOX_MAX)
        await supervisor.start(lambda: flows, name=FLOWS)
        await supervisor.start(lambda: Pools(flows, view), name=POOLS)
        await supervisor.start(lambda: liaison, name=LIAISON)

    await _live(life, task_status, run)


async def run_switch(
    world: World, plan: ClusterPlan, index: int, number: int = 1, *, task_status: _Started = trio.TASK_STATUS_IGNORED
) -> None:
    """A virtual switch, between the outside and the runtimes. In a later life than the first it asks the runtimes which
    flows they have."""
    member = switch_member(index, number)
    name = member.name
    outside, inside = world.port(name, outside_of(member.address)), world.port(name, member.address)
    owners, ledger = plan.owners(), Ledger(name)
    life = LocalLife(name, world, number, owners=owners, ledger=ledger)

    async def run(node: Node, supervisor: Supervisor) -> None:
        switch = VirtualSwitch(
            owners,
            outside,
            inside,
            ledger,
            next_hop=address(Kind.OUTSIDE, 0),
            observed=True,
            again=member if number > 1 else None,
        )
        life.roles[LIAISON] = switch
        await supervisor.start(lambda: switch, name=LIAISON)

    await _live(life, task_status, run)


async def run_coordinator(
    world: World, plan: ClusterPlan, number: int = 1, *, task_status: _Started = trio.TASK_STATUS_IGNORED
) -> None:
    """The coordinator; it has started when every node knows the cluster. In a later life than the first it asks the
    nodes what they know."""
    life = LocalLife(COORDINATOR, world, number)

    async def run(node: Node, supervisor: Supervisor) -> None:
        view, ready = View(), trio.Event()
        coordinator = Coordinator(view, observed=True)
        leases = Leases(view, plan.lease_journal, begins=number == 1)
        membership = Membership(
            members(plan),
            view,
            replicated=plan.replication.replicates,
            dead_after_s=plan.dead_after_s,
            observed=True,
            ready=lambda: leases.stock(ready.set),
            again=number > 1,
            launches=plan.launches,
        )
        life.roles.update({COORDINATOR: coordinator, MEMBERSHIP: membership})
        await supervisor.start(lambda: coordinator, name=COORDINATOR)
        await supervisor.start(lambda: leases, name=LEASES)
        await supervisor.start(lambda: membership, name=MEMBERSHIP)
        await ready.wait()

    await _live(life, task_status, run)


class Life(Protocol):
    """A node that was started, wherever it runs."""

    def flows(self) -> int | None:
        """How many flows it has at this very moment; None: it has to be asked."""

    def end(self) -> None:
        """Crash it: nothing of what it holds is saved, and nothing more comes from it."""


class Launcher(Protocol):
    """Starts the nodes of a cluster, in tasks of a nursery that is cancelled when the cluster is to end."""

    async def start_nodes(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> Mapping[str, Life]:
        """The switch and the runtimes; the latter by name. Return when all of them can be talked to."""

    async def start_coordinator(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> None:
        """The coordinator. Return when every node knows the cluster."""

    async def start_runtime(
        self, nursery: trio.Nursery, world: World, plan: ClusterPlan, index: int, domain: str
    ) -> Life:
        """One more runtime, which will ask to join."""


class Here:
    """A ``Launcher`` for this very process, which can end and restart any node."""

    def __init__(self) -> None:
        self.lives: dict[str, LocalLife] = {}
        """The present or last life of every node, by name."""
        self.domains: dict[str, str] = {}
        """Failure domains of runtimes."""
        self._start: Callable[[str, int], Awaitable[LocalLife]] | None = None
        self._nursery: trio.Nursery | None = None

    async def start_nodes(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> Mapping[str, Life]:
        """See ``Launcher``."""

        async def start(name: str, number: int) -> LocalLife:
            kind, _, index = name.partition("-")
            if kind == "runtime":
                life = await self.start_runtime(nursery, world, plan, int(index), None, number)
            elif kind == "switch":
                life = await nursery.start(run_switch, world, plan, int(index), number)
            else:
                life = await nursery.start(run_coordinator, world, plan, number)
            self.lives[name] = life
            return life

        self._start, self._nursery = start, nursery
        for index in range(plan.switches):
            await start(switch_name(index), 1)
        return {runtime_name(index): await start(runtime_name(index), 1) for index in range(plan.runtimes)}

    async def start_runtime(
        self,
        nursery: trio.Nursery,
        world: World,
        plan: ClusterPlan,
        index: int,
        domain: str | None,
        number: int = 1,
    ) -> LocalLife:
        """See ``Launcher``; and any life of a runtime, in the failure domain that it was in."""
        name = runtime_name(index)
        self.domains.setdefault(name, plan.domain(index) if domain is None else domain)
        life: LocalLife = await nursery.start(run_runtime, world, plan, index, number, self.domains[name])
        self.lives[name] = life
        return life

    async def start_coordinator(self, nursery: trio.Nursery, world: World, plan: ClusterPlan) -> None:
        """See ``Launcher``."""
        assert self._start is not None, "nodes come first"
        await self._start(COORDINATOR, 1)

    def restart(self, name: str) -> None:
        """A node that was ended begins again soon, and knows nothing."""
        assert self._start is not None, "nodes come first"
        assert self._nursery is not None
        self._nursery.start_soon(self._start, name, self.lives[name].number + 1)


@attrs.frozen
class Cluster:
    """A running cluster, seen from outside."""

    node: Node
    """The outside's own node: refs to the others start here."""
    outside: Outside
    members: tuple[Member, ...]
    """Who was in it at the beginning."""
    lives: dict[str, Any]
    """The runtimes that live, by name, and those that are about to join: a ``Life`` of whatever kind the launcher
    makes."""
    collector: Collector
    """What asks from outside, and outlives the end of sessions."""

    async def busiest(self) -> str:
        """The runtime that has the most flows. Where that can be seen without asking, no time passes."""
        flows: dict[str, int] = {}
        for name, life in self.lives.items():
            seen = life.flows()
            if seen is None:
                seen = (await self.collector.call(name, LIAISON, PollWorkload(), Workload)).flows
            flows[name] = seen
        return max(flows, key=lambda name: flows[name])

    def kill(self, runtime: str) -> None:
        """A crash."""
        life: Life = self.lives.pop(runtime)
        self.outside.node_killed(NodeKilled(runtime, life.flows(), self.outside.inside))
        life.end()


@asynccontextmanager
async def open_cluster(
    world: World,
    plan: ClusterPlan,
    sink: Sink,
    *,
    window_packets_max: int,
    remember: bool = False,
    launcher: Launcher | None = None,
) -> AsyncIterator[Cluster]:
    """A cluster and its outside, for the length of the block; nothing outlives it. ``remember`` as in ``Outside``; it
    is needed where something is to be killed. Nodes run in this process unless ``launcher`` says otherwise."""
    start = launcher or Here()
    async with trio.open_nursery() as nursery:
        port = world.port(OUTSIDE, address(Kind.OUTSIDE, 0))
        outside = Outside(port, members(plan), sink, window_packets_max=window_packets_max, remember=remember)
        schemas = {record_name(cls): schema_of(cls) for cls in plan.records}
        lives = dict(await start.start_nodes(nursery, world, plan))
        launched: set[int] = set()

        async def launch(index: int, domain: str) -> None:
            lives[runtime_name(index)] = await start.start_runtime(nursery, world, plan, index, domain)

        def launch_once(index: int, domain: str) -> None:
            if index not in launched:
                launched.add(index)
                nursery.start_soon(launch, index, domain)

        outside.launch = launch_once
        async with _open(world, OUTSIDE) as node, _supervised(node) as supervisor:
            collector = Collector(outside, schemas)
            await supervisor.start(lambda: collector, name=COLLECTOR)
            nursery.start_soon(outside.run)
            await start.start_coordinator(nursery, world, plan)
            yield Cluster(node, outside, members(plan), lives, collector)
        nursery.cancel_scope.cancel()
