"""A runtime: who handles what, and what it makes of a view."""

from tests.protocols.model import flow, replication, source
from tests.protocols.model.parts import (
    Bury,
    Cancel,
    Claimed,
    Finish,
    Finished,
    Forget,
    Install,
    Installed,
    Marker,
    Order,
    Packet,
    Prepare,
    Prepared,
    Protect,
    Redirected,
    Runtime,
    SetOut,
    Store,
    Stored,
    Taken,
)
from tests.protocols.model.turn import Turn


def handle(turn: Turn[Runtime], sender: str, message: object) -> None:
    """Whatever may come."""
    match message:
        case Packet():
            flow.packet(turn, message)
        case Marker():
            source.marker(turn, message)
        case SetOut():
            source.set_out(turn, message)
        case Bury():
            source.bury(turn)
        case Protect():
            replication.commit(turn, (), whole=True)
        case Prepare():
            flow.prepare(turn, sender, message)
        case Prepared():
            source.prepared(turn, sender, message)
        case Redirected():
            source.redirected(turn, message)
        case Install():
            flow.install_from(turn, sender, message)
        case Installed():
            source.installed(turn, sender)
        case Cancel():
            flow.cancel(turn, sender)
        case Store():
            replication.store(turn, sender, message)
        case Stored():
            replication.stored(turn, sender, message)
        case Forget():
            replication.forget(turn, sender, message)
        case Order():
            _order(turn, message)
        case Claimed():
            (source.returned if message.back else flow.claimed)(turn, message)
        case Finish():
            flow.finish(turn, sender, message)
        case Finished():
            if sender not in turn.node.dead:  # else nobody waits for it any more
                flow.taken(turn)
        case _:
            raise AssertionError(f"{turn.name} takes no {message}")
    for wait in turn.due:
        if wait.epoch:
            source.marked(turn, wait.epoch)
        else:
            flow.answer(turn)


def _order(turn: Turn[Runtime], message: Order) -> None:
    """Each speaks of all who are dead."""
    match message.step:
        case "view":
            _view(turn, message.view)
            turn.say("M", Taken(message.step, message.dead))
        case "replace":
            if all(dead in message.view for dead in turn.node.dead):  # else it is older than what we know
                replication.replace(turn, message.replicas, message.receipts, message.loose)
            turn.say("M", Taken(message.step, message.dead))
        case "claim":
            flow.recover(turn, message)
        case "return":
            source.take_back(turn, message)
        case _:
            flow.over(turn, message)


def _view(turn: Turn[Runtime], dead: str) -> None:
    """Nobody waits for the dead any more."""
    turn.be(dead="".join(sorted({*turn.node.dead, *dead})))
    source.view(turn, turn.node.dead)
    takeover = turn.node.takeover
    if takeover is not None and takeover.finishing and takeover.finishing in turn.node.dead:
        flow.taken(turn)
