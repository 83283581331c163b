"""What died with a node, counted by its neighbours: what they gave to it, less what they got from it.

The outside knows which packets it put in and has not heard of again; among them are some that still move. How many are
lost it learns from the ledgers of those who live, which is another way of knowing: when both numbers agree, nothing
moves any more, and what has not been heard of is what was lost. If they never agree, something is wrong with the
accounting."""

from collections.abc import Collection

import trio

from nfactor.actors import Node
from nfactor.cluster.ledger import AccountingError, check_node
from nfactor.cluster.messages import Member, NotifyClusterCfg, ReadView
from nfactor.cluster.names import COORDINATOR, FLOWS, LIAISON, MEMBERSHIP
from nfactor.cluster.outcome_messages import NodeCounters, ReadCounters
from nfactor.cluster.outside import Outside

POLL_S = 0.001
"""How often the ledgers are read while packets still move."""
AGREE_S = 10.0
"""After a recovery the ledgers and the outside agree within this time, or never."""


async def read_members(node: Node) -> tuple[Member, ...]:
    """Who is in the cluster now."""
    view = await node.ref(COORDINATOR, MEMBERSHIP).ask(ReadView(), NotifyClusterCfg)
    return view.members


async def read_counters(node: Node) -> list[NodeCounters]:
    """The ledgers of all who live; raises ``AccountingError`` if one does not add up."""
    ledgers = []
    for member in await read_members(node):
        actor = FLOWS if member.kind == "runtime" else LIAISON
        ledgers.append(await node.ref(member.name, actor).ask(ReadCounters(), NodeCounters))
        check_node(ledgers[-1])
    return ledgers


def lost_with(dead: Collection[str], ledgers: list[NodeCounters], outside: Outside) -> int:
    """Packets that the dead nodes together were given, and that neither left them nor ended there with a word. (What
    one of them gave to another is in nobody's ledger any more, so they are counted as one.)"""
    given = sum(ledger.handed.get(node, 0) for ledger in ledgers for node in dead)
    came = sum(ledger.taken.get(node, 0) for ledger in ledgers for node in dead)
    return given - came - sum(outside.told_by[node] for node in dead)


async def settle_losses(node: Node, outside: Outside, dead: str) -> None:
    """Wait until nothing moves any more, and write off what the dead node held. Call it when ``dead`` has recovered.
    Raises ``AccountingError`` if the ledgers and the outside never agree."""
    until = trio.current_time() + AGREE_S
    while True:
        known = sum(map(len, outside.lost.values()))
        lost = lost_with({*outside.lost, dead}, await read_counters(node), outside) - known
        if outside.inside == lost:
            outside.lose(dead)
            return
        if trio.current_time() > until:
            raise AccountingError(
                f"{outside.inside} packets are inside after the death of {dead}, which held {lost} by the ledgers of "
                "its neighbours"
            )
        await trio.sleep(POLL_S)
