"""Nodes for the tests of the actors: one alone, or two on a network."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs

from nfactor.actors import (
    LinkLimits,
    Messages,
    Node,
    Supervisor,
    open_node,
    open_supervisor,
)
from nfactor.actors.peer import PeerStatistics
from tests.actors.network import Network
from tests.actors.samples import (
    MESSAGES,
    Watcher,
)


@asynccontextmanager
async def one_node(**options: object) -> AsyncIterator[tuple[Node, Supervisor]]:
    """A node that cannot reach any other, and a supervisor."""
    async with open_node("here", None, MESSAGES, **options) as node, open_supervisor(node) as supervisor:  # type: ignore[arg-type]
        yield node, supervisor


LIMITS = LinkLimits(give_up_s=1.0)


@attrs.frozen
class World:
    """Two nodes, and a supervisor on the second."""

    network: Network
    a: Node
    b: Node
    supervisor: Supervisor
    watcher: Watcher
    """Looks at node a."""


@asynccontextmanager
async def two_nodes(
    network: Network | None = None,
    limits: LinkLimits = LIMITS,
    asks_max: int = 100,
    messages: Messages = MESSAGES,
    mtu: int = 1400,
) -> AsyncIterator[World]:
    """Nodes ``a`` and ``b`` on one network."""
    network = network or Network()
    watcher = Watcher()
    async with (
        open_node(
            "a", network.transport("a", mtu), messages, limits=limits, asks_max=asks_max, instruments=[watcher]
        ) as a,
        open_node("b", network.transport("b", mtu), messages, limits=limits) as b,
        open_supervisor(b) as supervisor,
    ):
        yield World(network, a, b, supervisor, watcher)


def peer(node: Node, name: str) -> PeerStatistics:
    """What a node counts of another."""
    return node.statistics().peers[name]


@asynccontextmanager
async def many_nodes(
    names: str, messages: Messages, *, network: Network | None = None, **options: Any
) -> AsyncIterator[dict[str, tuple[Node, Supervisor]]]:
    """Nodes of one letter each on one network, each with a supervisor; ``options`` are ``open_node``'s."""
    network = network or Network()
    async with AsyncExitStack() as stack:
        nodes = {}
        for name in names:
            node = await stack.enter_async_context(open_node(name, network.transport(name), messages, **options))
            nodes[name] = node, await stack.enter_async_context(open_supervisor(node))
        yield nodes
