"""The switch: who owns the flow, the fence, and what the world has seen."""

from tests.protocols.model.parts import (
    Claim,
    Claimed,
    Marker,
    Order,
    Out,
    Packet,
    Receipt,
    Redirect,
    Redirected,
    Switch,
    Taken,
)
from tests.protocols.model.turn import Turn


def handle(turn: Turn[Switch], sender: str, message: object) -> None:
    """Whatever may come. Packets come from outside, or from runtimes."""
    match message:
        case Packet():
            spread(turn, message.number)
        case Out() | Receipt():
            _pass_on(turn, sender, message)
        case Redirect():
            _redirect(turn, sender, message)
        case Claim():
            _claim(turn, sender, message)
        case Order():
            (_fence if message.step == "fence" else _over)(turn, message)
        case _:
            raise AssertionError(f"the switch takes no {message}")


def living(me: Switch) -> str:
    """Where new flows may go."""
    return "".join(runtime for runtime in me.runtimes if runtime not in me.fenced)


def spread(turn: Turn[Switch], number: int) -> None:
    """To the flow's owner; if that is dead, it waits; if there is none, the flow is new."""
    me = turn.node
    if not me.owner:
        turn.be(owner=turn.fresh, epoch=1)
    if turn.node.owner in me.open:
        turn.be(orphans=(*me.orphans, number))
    else:
        turn.put(turn.node.owner, Packet(number))


def _spread_orphans(turn: Turn[Switch]) -> None:
    orphans = turn.node.orphans
    turn.be(orphans=())
    for number in orphans:
        spread(turn, number)


def _pass_on(turn: Turn[Switch], sender: str, item: Out | Receipt) -> None:
    """Out into the world, unless it comes from the dead."""
    me = turn.node
    if sender in me.fenced and turn.variation != "no fence":
        return
    if isinstance(item, Out):
        turn.be(out=(*me.out, item.past), loose=(*me.loose, (sender, item.past)))
    else:
        numbers = {(replica, primary): number for replica, primary, number in me.receipts}
        numbers[sender, item.primary] = item.number
        turn.be(
            receipts=tuple(sorted((*names, number) for names, number in numbers.items())),
            loose=tuple(one for one in me.loose if one[0] != sender),
        )


def _redirect(turn: Turn[Switch], source: str, message: Redirect) -> None:
    """Step 2 of a migration: a new owner, and a marker behind the last packet to the old one."""
    me = turn.node
    ok = me.owner == source and message.epoch > me.epoch and not {source, message.target} & set(me.fenced)
    if ok:
        turn.be(owner=message.target, epoch=message.epoch)
        if turn.variation == "marker on the control path":
            turn.say(source, Marker(message.epoch))
        else:
            turn.put(source, Marker(message.epoch))
    turn.say(source, Redirected(ok))


def _claim(turn: Turn[Switch], claimer: str, message: Claim) -> None:
    """The flow of a dead runtime has a new owner, which gets what has waited."""
    me = turn.node
    open_ = message.dead in me.open and claimer not in me.fenced
    ok = open_ and me.owner == message.dead and message.epoch > me.epoch
    if ok:
        turn.be(owner=claimer, epoch=message.epoch)
    if open_:
        _spread_orphans(turn)
    owner = me.owner if open_ and me.owner != message.dead else ""
    turn.say(claimer, Claimed(ok, owner, message.back))


def _fence(turn: Turn[Switch], message: Order) -> None:
    """Nothing of the dead counts from now on; how far had they come?"""
    me = turn.node
    new = [runtime for runtime in message.view if runtime not in me.fenced]
    turn.be(
        fenced=message.view if len(message.view) > len(me.fenced) else me.fenced,
        open="".join(sorted({*me.open, *new})),
        receipts=tuple(one for one in me.receipts if one[0] not in new),
        loose=tuple(one for one in me.loose if one[0] not in new),
    )
    told = tuple(one for one in me.receipts if one[0] in new), tuple(one for one in me.loose if one[0] in new)
    turn.say("M", Taken(message.step, message.dead, *told))


def _over(turn: Turn[Switch], message: Order) -> None:
    """What nobody has claimed by now is lost, and begins anew."""
    me = turn.node
    turn.be(open=me.open.replace(message.dead, ""))
    if me.owner == message.dead:
        turn.be(owner="", epoch=0)
    _spread_orphans(turn)
    turn.say("M", Taken(message.step, message.dead))
