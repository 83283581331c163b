"""What must hold in every state, and where everything ends. The letters are those of ``docs/explanation/protocols.md``.

A runtime that is dead, or declared dead, does not count, though what it does may be seen until it is fenced.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.protocols.model.parts import Commit, Coordinator, Node, Past, Runtime, Switch

if TYPE_CHECKING:
    from tests.protocols.model.world import Bounds, Fate


def includes(past: Past, out: Past) -> bool:
    """Whether a state includes a packet that is out, and all that made it; or is of another life of the flow."""
    return past[: len(out)] == out or past[:1] != out[:1]


def protects(me: Runtime) -> bool:
    """Whether it says that the flow, which it owns, survives its death."""
    unknown = any(isinstance(one, Commit) and one.whole for one in me.kept)
    return me.phase == "owned" and me.replica != "" and not (unknown or me.bare)


def counting(nodes: Sequence[Node], fate: "Fate") -> tuple[list[Runtime], Switch]:
    """Runtimes that count, and the switch."""
    switch = next(node for node in nodes if isinstance(node, Switch))
    return [node for node in nodes if isinstance(node, Runtime) and node.name not in fate.dead], switch


def broken(nodes: Sequence[Node], fate: "Fate") -> str:
    """The promise that is broken, or nothing."""
    runtimes, switch = counting(nodes, fate)
    owners = [node for node in runtimes if node.phase == "owned"]
    if len(owners) > 1:
        return f"(d) one owner: {' and '.join(owner.name for owner in owners)} both process packets of the flow"
    for owner in owners:
        if any(earlier >= later for earlier, later in pairwise(owner.past)):
            return f"(b) order: {owner.name} has processed {owner.past}"
        if owner.past[0] != 0 and not fate.excused:
            return f"(h) protection: the flow was lost, and begins anew with packet {owner.past[0]}"
        for out in switch.out:
            if not includes(owner.past, out) and not fate.excused:
                return f"(e) output commit: {out} is outside, and the state that is left is {owner.past}"
    packets = [out[-1] for out in switch.out]
    if len(set(packets)) < len(packets):
        return f"(c) at most once: packets {packets} came out"
    for node in runtimes:
        if node.late:
            return f"(a) conservation: a packet came to {node.name} when the flow had left"
    return _unprotected(runtimes, owners, switch, fate)


def _unprotected(runtimes: list[Runtime], owners: list[Runtime], switch: Switch, fate: "Fate") -> str:
    """What its owner calls protected has a copy that includes all that is outside."""
    for owner in owners:
        replica = next((node for node in runtimes if node.name == owner.replica), None)
        if fate.excused or not protects(owner) or replica is None:
            continue
        copy = next((past for name, _, past in replica.copies if name == owner.name), ())
        if not copy or not all(includes(copy, out) for out in switch.out):
            return (
                f"(h) protection: {owner.name} says that {replica.name} protects the flow, whose copy is {copy}, and "
                f"{switch.out[-1]} is outside"
            )
    return ""


def broken_end(nodes: Sequence[Node], fate: "Fate", bounds: "Bounds") -> str:
    """Nothing can happen any more: is everything as it should be?"""
    runtimes, switch = counting(nodes, fate)
    coordinator = next(node for node in nodes if isinstance(node, Coordinator))
    busy = _busy(runtimes, switch, coordinator)
    if busy:
        return f"(i) liveness: {busy}"
    missing = set(fate.sure) - {out[-1] for out in switch.out}
    if missing:
        return f"(i) liveness: packets {sorted(missing)} came when all was well, and never came out"
    owner = next((node for node in runtimes if node.name == switch.owner and node.phase == "owned"), None)
    if owner is None:
        absent = all(node.phase == "" for node in runtimes if node.name == switch.owner)
        if fate.excused and absent and switch.owner not in tuple(fate.dead):
            return ""  # it is lost, and the next packet begins it anew
        return f"(i) liveness: the flow is {switch.owner or 'nobody'}'s, and is not served"
    if len(runtimes) > 1:
        if not protects(owner):
            return f"(i) liveness: the flow of {owner.name} is never protected again"
        replica = next(node for node in runtimes if node.name == owner.replica)
        if (owner.name, owner.epoch, owner.past) not in replica.copies:
            return f"(h) protection: {replica.name} has {replica.copies}, and {owner.name} has {owner.past}"
    return "" if fate.dead else _nobody_died(runtimes, owner, switch, bounds)


def _busy(runtimes: list[Runtime], switch: Switch, coordinator: Coordinator) -> str:
    if coordinator.fencing or coordinator.present or coordinator.next:
        return "a recovery never ended"
    if switch.orphans:
        return f"packets {switch.orphans} wait at the switch for ever"
    for node in runtimes:
        if node.migration is not None:
            return f"a migration of {node.name} never ended"
        if node.phase == "held" or node.waiting:
            return f"{node.name} waits for the flow for ever"
        if node.kept or node.takeover or node.asked_by or node.taking_back:
            return f"something was never finished at {node.name}"
    return ""


def _nobody_died(runtimes: list[Runtime], owner: Runtime, switch: Switch, bounds: "Bounds") -> str:
    everything = tuple(range(bounds.packets + 1))
    if owner.past != everything or {out[-1] for out in switch.out} != set(everything):
        return f"(a) conservation: {owner.past} were processed, and {[out[-1] for out in switch.out]} came out"
    stale = [(node.name, name) for node in runtimes for name, _, _ in node.copies if name != owner.name]
    if stale:
        return f"(h) protection: {stale[0][0]} still has a copy of what {stale[0][1]} had"
    return ""
