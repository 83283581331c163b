"""The flow table of a runtime: packets, flows that come, and what a recovery makes of them."""

import attrs

from tests.protocols.model.parts import (
    Claim,
    Claimed,
    Finish,
    Finished,
    Install,
    Installed,
    Order,
    Packet,
    Past,
    Prepare,
    Prepared,
    Runtime,
    Taken,
    Takeover,
    Wait,
)
from tests.protocols.model.replication import commit, copy_of, set_copy, when_stored
from tests.protocols.model.turn import Turn


def packet(turn: Turn[Runtime], message: Packet) -> None:
    """One more of the flow."""
    me = turn.node
    match me.phase:
        case "owned":
            turn.be(past=(*me.past, message.number))
            commit(turn, (turn.node.past,), whole=False)
        case "held":
            turn.be(waiting=(*me.waiting, message.number))
        case "gone":
            turn.be(late=me.late + 1)
        case _:  # a flow that is new here
            turn.be(phase="owned", epoch=1, past=(message.number,))
            commit(turn, (turn.node.past,), whole=True)


def drain(turn: Turn[Runtime]) -> None:
    """Process what has waited."""
    waiting = turn.node.waiting
    turn.be(waiting=())
    for number in waiting:
        packet(turn, Packet(number))


# ---------------------------------------------------------------- flows that come


def hold(turn: Turn[Runtime], epoch: int, awaits: str) -> bool:
    """Packets wait from now on, if the flow is not here."""
    me = turn.node
    if me.phase in ("owned", "held") or (me.phase == "gone" and me.epoch >= epoch):
        return False
    turn.be(phase="held", epoch=epoch, awaits=awaits)
    return True


def install(turn: Turn[Runtime], epoch: int, past: Past) -> bool:
    """The state is here, and goes to our replica before any packet that waited."""
    if turn.node.phase != "held" or epoch < turn.node.epoch:
        return False
    turn.be(phase="owned", epoch=epoch, past=past, awaits="")
    commit(turn, (), whole=True)
    return True


def give_up(turn: Turn[Runtime], awaits: str) -> None:
    """It will not come from there."""
    if turn.node.phase == "held" and turn.node.awaits == awaits:
        turn.be(phase="", epoch=0, awaits="")


def prepare(turn: Turn[Runtime], source: str, message: Prepare) -> None:
    """Step 1 of a migration to here."""
    if turn.variation == "target does not hold":
        turn.say(source, Prepared(True))
    elif source in turn.node.dead:
        turn.say(source, Prepared(False))
    else:
        turn.say(source, Prepared(hold(turn, message.epoch, source)))


def install_from(turn: Turn[Runtime], source: str, message: Install) -> None:
    """Step 3: the answer goes when our replica has it all."""
    if source in turn.node.dead:
        return
    install(turn, message.epoch, message.past)
    drain(turn)
    turn.be(asked_by=source)
    if turn.variation == "answer before it is stored":
        answer(turn)
    else:
        when_stored(turn, Wait())


def answer(turn: Turn[Runtime]) -> None:
    """The flow is here, and protected."""
    turn.say(turn.node.asked_by, Installed())
    turn.be(asked_by="")


def cancel(turn: Turn[Runtime], source: str) -> None:
    """Nothing will come. One who is declared dead, and does not know it, has nothing to say."""
    if source not in turn.node.dead or turn.variation == "the dead may cancel":
        give_up(turn, source)
        drain(turn)


def finish(turn: Turn[Runtime], sender: str, message: Finish) -> None:
    """What a dead source has not sent, its replica has."""
    install(turn, message.epoch, message.past)
    drain(turn)
    turn.say(sender, Finished())


def over(turn: Turn[Runtime], message: Order) -> None:
    """Who was to come from a dead source and has not come will not."""
    give_up(turn, message.dead)
    drain(turn)
    turn.say("M", Taken(message.step, message.dead))


# ---------------------------------------------------------------- the flow of a dead runtime, whose replica is here


def recover(turn: Turn[Runtime], message: Order) -> None:
    """Hold it, and claim it with a higher epoch."""
    dead, me = message.dead, turn.node
    copy = copy_of(me, dead)
    set_copy(turn, dead, 0, ())
    turn.be(stored=tuple(one for one in me.stored if one[0] != dead))
    if copy is None:
        turn.say("M", Taken(message.step, dead))
        return
    epoch = copy[0] + (turn.variation != "claim without a higher epoch")
    turn.be(takeover=Takeover(dead, epoch, copy[1]))
    if turn.variation != "claim without holding":
        hold(turn, epoch, "claim")
    turn.say("S", Claim(dead, epoch, back=False))


def claimed(turn: Turn[Runtime], message: Claimed) -> None:
    """It is ours; or the dead one was sending it to another, who gets it from us; or there is a newer one."""
    takeover = turn.node.takeover
    assert takeover is not None, f"{turn.name} has claimed nothing {message}"
    if message.ok:
        if turn.variation == "claim without holding":
            hold(turn, takeover.epoch, "claim")
        installed = install(turn, takeover.epoch, takeover.past)
        assert installed or turn.variation, f"{turn.name} has claimed what it cannot take: {turn.node}"
    give_up(turn, "claim")
    drain(turn)
    if message.owner and message.owner not in turn.node.dead:
        turn.be(takeover=attrs.evolve(takeover, finishing=message.owner))
        turn.say(message.owner, Finish(takeover.epoch, takeover.past))
        if turn.variation != "done before it is finished":
            return
    taken(turn)


def taken(turn: Turn[Runtime]) -> None:
    """Our part of claiming is done."""
    takeover = turn.node.takeover
    if takeover is not None:
        turn.be(takeover=None)
        turn.say("M", Taken("claim", takeover.dead))
