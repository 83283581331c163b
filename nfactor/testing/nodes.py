"""Nodes in a simulation: started, crashed, restarted and cut off from each other by name.

A node is described once, by the function that starts its actors, and can be started as often as it crashes. A crash
first cuts the node's links, so that nothing it still does is heard, and then cancels it: no ``stopping`` hook
runs, and nothing is sent. The faults of links are rules of the memory network underneath (``network``), which takes
any other rule too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import attrs
import trio

from nfactor.actors import LinkLimits, Messages, Node, Supervisor, open_node, open_supervisor
from nfactor.backends.memory import LinkRule, MemoryNetwork, open_memory_network
from nfactor.errors import CallerError
from nfactor.testing.simulate import Simulation

StartActors = Callable[[Node, Supervisor], Awaitable[object]]
"""Starts the actors of a node."""


@attrs.define(eq=False)
class _Described:
    """One node: how it is started, and the life it has now."""

    start_actors: StartActors
    limits: LinkLimits | None
    incarnation: int = 0
    node: Node | None = None
    stop: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)


class SimulatedNodes:
    """Made by ``open_nodes``."""

    def __init__(self, network: MemoryNetwork, messages: Messages, nursery: trio.Nursery) -> None:
        self.network = network
        """For rules of your own: ``network.add_rule(LinkRule(...))``."""
        self._messages = messages
        self._nursery = nursery
        self._nodes: dict[str, _Described] = {}
        self._faults: list[LinkRule] = []

    def __getitem__(self, name: str) -> Node:
        """The node of that name, which is running; raises CallerError if it is not."""
        described = self._known(name)
        if described.node is None:
            raise CallerError(f"node {name!r} is not running: restart it first")
        return described.node

    async def start(self, name: str, start_actors: StartActors, *, limits: LinkLimits | None = None) -> Node:
        """Describe a node and start it; returns when ``start_actors`` has. What it raises, and what an actor raises
        that its supervisor does not bear, ends the simulation."""
        if name in self._nodes:
            raise CallerError(f"there is a node {name!r} already: restart it, or use another name")
        self._nodes[name] = _Described(start_actors, limits)
        return await self.restart(name)

    async def restart(self, name: str) -> Node:
        """Start a node that has crashed or stopped: a new incarnation, with actors that know nothing."""
        described = self._known(name)
        if described.node is not None:
            raise CallerError(f"node {name!r} is running: crash it first")
        described.incarnation += 1
        described.stop, described.ended = trio.Event(), trio.Event()
        node: Node = await self._nursery.start(self._live, name, described)
        return node

    def crash(self, name: str) -> None:
        """End a node at once, as a loss of power would."""
        node, described = self[name], self._known(name)
        self.network.cut(name)
        described.node = None
        node.cancel_scope.cancel()

    async def stop(self, name: str) -> None:
        """End a node in good order: its actors stop, and what they told is still sent."""
        self[name]
        described = self._known(name)
        described.stop.set()
        await described.ended.wait()

    def cut(self, source: str, target: str) -> None:
        """From now on nothing from ``source`` reaches ``target``; the other way is as before."""
        self._fault(LinkRule(source=source, target=target, cut=True))

    def partition(self, *groups: Collection[str]) -> None:
        """From now on nothing passes between nodes of different groups."""
        for group in groups:
            others = [name for other in groups if other is not group for name in other]
            for source in group:
                for target in others:
                    self.cut(source, target)

    def slow(self, name: str, delay_s: float, jitter_s: float = 0.0) -> None:
        """From now on all that reaches this node reaches it so much later, as if it were busy elsewhere."""
        self._fault(LinkRule(target=name, delay_s=delay_s, jitter_s=jitter_s))

    def heal(self) -> None:
        """Take back all cuts, partitions and slowness."""
        for rule in self._faults:
            self.network.remove_rule(rule)
        self._faults.clear()

    def _fault(self, rule: LinkRule) -> None:
        for name in (rule.source, rule.target):
            if isinstance(name, str):
                self._known(name)
        self._faults.append(rule)
        self.network.add_rule(rule)

    def _known(self, name: str) -> _Described:
        if name not in self._nodes:
            raise CallerError(f"there is no node {name!r}; there are: {', '.join(map(repr, self._nodes)) or 'none'}")
        return self._nodes[name]

    async def _live(self, name: str, described: _Described, task_status: trio.TaskStatus[Node]) -> None:
        ended = described.ended
        transport = self.network.transport(name)
        try:
            async with (
                open_node(
                    name,
                    transport,
                    self._messages,
                    incarnation=described.incarnation,
                    limits=described.limits,
                ) as node,
                open_supervisor(node) as supervisor,
            ):
                await described.start_actors(node, supervisor)
                described.node = node
                task_status.started(node)
                await described.stop.wait()
        finally:
            if described.ended is ended:  # else it has been restarted already
                described.node = None
            transport.close()
            ended.set()


@asynccontextmanager
async def open_nodes(
    sim: Simulation,
    messages: Messages,
    *,
    latency_s: float = 0.001,
    jitter_s: float = 0.0,
    loss: float = 0.0,
    bits_per_s: float = 0.0,
) -> AsyncIterator[SimulatedNodes]:
    """A network of nodes for the length of a block, which ends all that still run.

    ``latency_s`` and up to ``jitter_s`` more, drawn from the seed, is how long a datagram travels; datagrams from one
    node to another stay in order, those to different nodes do not. ``loss`` is the probability that one is lost (its
    link sends it again). ``bits_per_s``: the rate of each link, without end if it is 0.
    """
    rules = [LinkRule(loss=loss)] if loss else []
    async with (
        open_memory_network(
            rng=sim.random("network"),
            control_latency_s=latency_s,
            control_jitter_s=jitter_s,
            control_bits_per_s=bits_per_s,
            rules=rules,
        ) as network,
        trio.open_nursery() as nursery,
    ):
        yield SimulatedNodes(network, messages, nursery)
        nursery.cancel_scope.cancel()
