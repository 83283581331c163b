"""The coordinator's membership: leads recoveries, step by step. The first two steps of one wait for no other."""

import attrs

from tests.protocols.model.parts import Coordinator, Declare, Order, Recovery, Taken
from tests.protocols.model.turn import Turn

STEPS = ("fence", "view", "replace", "claim", "return", "close")


def handle(turn: Turn[Coordinator], sender: str, message: object) -> None:
    """Whatever may come."""
    match message:
        case Declare():
            _declare(turn, message.runtime)
        case Taken():
            _taken(turn, sender, message)
        case _:
            raise AssertionError(f"the coordinator takes no {message}")


def living(me: Coordinator) -> str:
    """Runtimes that are not declared dead."""
    return "".join(runtime for runtime in me.runtimes if runtime not in me.dead)


def steps_of(variation: str) -> tuple[str, ...]:
    """In their order."""
    if variation == "sources take back before replicas claim":
        return ("fence", "view", "replace", "return", "claim", "close")
    return STEPS


def _declare(turn: Turn[Coordinator], runtime: str) -> None:
    """It is out, at once; whoever waits for its answer does so no more."""
    me = turn.node
    turn.be(dead="".join(sorted({*me.dead, runtime})), unfenced="".join(sorted({*me.unfenced, runtime})))
    for recovery in (*turn.node.fencing, turn.node.present):
        if recovery is not None:
            _no_longer_waiting(turn, recovery, runtime)
    _begin(turn, Recovery(runtime, STEPS[0], ""))


def _taken(turn: Turn[Coordinator], sender: str, message: Taken) -> None:
    me = turn.node
    turn.be(receipts=(*me.receipts, *message.receipts), loose=(*me.loose, *message.loose))
    for recovery in (*me.fencing, me.present):
        if recovery is not None and (recovery.dead, recovery.step) == (message.dead, message.step):
            _no_longer_waiting(turn, recovery, sender)


def _no_longer_waiting(turn: Turn[Coordinator], recovery: Recovery, node: str) -> None:
    if node not in recovery.waiting:
        return
    after = attrs.evolve(recovery, waiting=recovery.waiting.replace(node, ""))
    _put(turn, recovery, after)
    if not after.waiting:
        _proceed(turn, after)


def _put(turn: Turn[Coordinator], before: Recovery, after: Recovery | None) -> None:
    """In its place."""
    if turn.node.present == before:
        turn.be(present=after)
    else:
        others = [recovery for recovery in turn.node.fencing if recovery != before]
        turn.be(fencing=tuple(others if after is None else [*others, after]))


def _proceed(turn: Turn[Coordinator], recovery: Recovery) -> None:
    """Everybody has answered."""
    steps = steps_of(turn.variation)
    if recovery.step == steps[-1]:
        first, rest = turn.node.next[:1], turn.node.next[1:]
        turn.be(present=None, next=rest)
        if first:
            _begin(turn, Recovery(first, steps[2], ""))
        return
    following = steps[steps.index(recovery.step) + 1]
    if following == "view":
        turn.be(unfenced=turn.node.unfenced.replace(recovery.dead, ""))
    _put(turn, recovery, None)
    if following == "replace" and turn.node.present is not None:
        turn.be(next=turn.node.next + recovery.dead)
    else:
        _begin(turn, Recovery(recovery.dead, following, ""))


def _begin(turn: Turn[Coordinator], recovery: Recovery) -> None:
    """Give the orders of a step, all at once."""
    runtimes = living(turn.node)
    nodes = {"fence": "S", "close": "S" + runtimes}.get(recovery.step, runtimes)
    if not nodes:
        _proceed(turn, recovery)  # nobody is left
        return
    recovery = attrs.evolve(recovery, waiting=nodes)
    if recovery.step in STEPS[:2]:
        turn.be(fencing=(*turn.node.fencing, recovery))
    else:
        turn.be(present=recovery)
    for node in nodes:
        turn.say(node, _order(turn, recovery, node))
    if turn.variation == "claims do not wait for the fence" and recovery.step == STEPS[0]:
        _no_longer_waiting(turn, recovery, "S")


def _order(turn: Turn[Coordinator], recovery: Recovery, node: str) -> Order:
    me = turn.node
    if recovery.step != "replace":
        return Order(recovery.step, recovery.dead, me.dead)
    there = "".join(runtime for runtime in me.runtimes if runtime in living(me) + me.unfenced)
    return Order(recovery.step, recovery.dead, me.dead, ring(there, node), me.receipts, me.loose)


def ring(runtimes: str, runtime: str) -> str:
    """All others, beginning behind that one: its possible replicas."""
    place = runtimes.index(runtime)
    return runtimes[place + 1 :] + runtimes[:place]
