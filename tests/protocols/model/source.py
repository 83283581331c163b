"""The source's side of a migration, and what becomes of it when the target dies."""

from typing import Any, Final

import attrs

from tests.protocols.model.flow import drain, give_up, hold, install
from tests.protocols.model.parts import (
    Cancel,
    Claim,
    Claimed,
    Install,
    Marker,
    Migration,
    Order,
    Prepare,
    Prepared,
    Redirect,
    Redirected,
    Runtime,
    SetOut,
    Taken,
    Wait,
)
from tests.protocols.model.replication import commit, moved, when_stored
from tests.protocols.model.turn import Turn

PREPARING: Final = "preparing"
REDIRECTING: Final = "redirecting"
DRAINING: Final = "draining"
INSTALLING: Final = "installing"
DOOMED: Final = "doomed"
RETURNING: Final = "returning"


def set_out(turn: Turn[Runtime], message: SetOut) -> None:
    """Step 1."""
    migration = Migration(PREPARING, message.target, turn.node.epoch + 1)
    turn.be(migration=migration)
    turn.say(migration.target, Prepare(migration.epoch))


def prepared(turn: Turn[Runtime], sender: str, message: Prepared) -> None:
    """Step 2, if the target holds the flow."""
    migration = turn.node.migration
    if sender in turn.node.dead or migration is None:
        return  # an answer that nobody waits for any more
    if message.ok:
        _be(turn, state=REDIRECTING)
        turn.say("S", Redirect(migration.target, migration.epoch))
    else:
        _end(turn)


def redirected(turn: Turn[Runtime], message: Redirected) -> None:
    """The switch has turned the flow, or knows better."""
    migration = turn.node.migration
    assert migration is not None
    if not message.ok:
        turn.say(migration.target, Cancel())
        _end(turn)
    elif migration.state == DOOMED:
        _return(turn)
    elif migration.lacks_marker:
        _be(turn, state=DRAINING)
    else:
        _depart(turn)


def marker(turn: Turn[Runtime], message: Marker) -> None:
    """Every packet that was sent here is processed; it counts when all of that is stored."""
    if turn.variation == "the marker counts before all is stored":
        marked(turn, message.epoch)
    else:
        when_stored(turn, Wait(message.epoch))


def marked(turn: Turn[Runtime], epoch: int) -> None:
    """All that was sent here is stored as well. The marker of a migration that is over says nothing."""
    migration = turn.node.migration
    if migration is None or migration.epoch != epoch:
        return
    _be(turn, lacks_marker=False)
    if migration.state == DRAINING:
        _depart(turn)


def _depart(turn: Turn[Runtime]) -> None:
    """Step 3: the flow leaves. Its state is kept until the target has answered."""
    me, migration = turn.node, turn.node.migration
    assert migration is not None
    _be(turn, state=INSTALLING, record=me.past, had=me.epoch)
    turn.be(phase="gone", past=(), bare=False)
    turn.say(migration.target, Install(migration.epoch, me.past))
    if turn.variation == "replica forgets at departure":
        moved(turn, me.epoch)
    if turn.variation == "source forgets before the answer":
        moved(turn, me.epoch)
        _end(turn)


def installed(turn: Turn[Runtime], sender: str) -> None:
    """The target has it, and so has its replica."""
    migration = turn.node.migration
    if sender in turn.node.dead or migration is None:
        return
    moved(turn, migration.had)
    _end(turn)


def view(turn: Turn[Runtime], dead: str) -> None:
    """Questions to the dead end."""
    migration = turn.node.migration
    if migration is not None and migration.target in dead and migration.state == PREPARING:
        _end(turn)


# ---------------------------------------------------------------- the target is dead


def take_back(turn: Turn[Runtime], message: Order) -> None:
    """Its replicas have claimed what they had: what is left comes back."""
    turn.be(taking_back=message.dead)
    migration = turn.node.migration
    if migration is not None and migration.target == message.dead:
        if migration.state == REDIRECTING:
            _be(turn, state=DOOMED)
        elif migration.state in (DRAINING, INSTALLING):
            _return(turn)
    _look_whether_taken_back(turn)


def _return(turn: Turn[Runtime]) -> None:
    """Claim it back."""
    migration = turn.node.migration
    assert migration is not None
    epoch = migration.epoch + (turn.variation != "claim without a higher epoch")
    _be(turn, state=RETURNING, epoch=epoch)
    if migration.had:
        hold(turn, epoch, "return")
    turn.say("S", Claim(migration.target, epoch, back=True))


def returned(turn: Turn[Runtime], message: Claimed) -> None:
    """It is ours again; or it is somebody else's by now."""
    migration = turn.node.migration
    assert migration is not None
    assert migration.state == RETURNING
    if not message.ok:
        if migration.had:
            moved(turn, migration.had)
            give_up(turn, "return")
            drain(turn)
    elif migration.had:
        install(turn, migration.epoch, migration.record)  # unless a replica that is dying gave us a newer one
        moved(turn, migration.had)
        drain(turn)
    else:
        turn.be(epoch=migration.epoch)
        commit(turn, (), whole=True)
    _end(turn)


def _look_whether_taken_back(turn: Turn[Runtime]) -> None:
    me = turn.node
    if me.taking_back and (me.migration is None or me.migration.target != me.taking_back):
        turn.say("M", Taken("return", me.taking_back))
        turn.be(taking_back="")
        bury(turn)


def bury(turn: Turn[Runtime]) -> None:
    """The tombstone of a migration that is over goes: what nobody could claim begins anew, perhaps here."""
    me = turn.node
    if me.phase == "gone" and me.migration is None:
        turn.be(phase="", epoch=0)


def _end(turn: Turn[Runtime]) -> None:
    turn.be(migration=None)
    _look_whether_taken_back(turn)


def _be(turn: Turn[Runtime], **changes: Any) -> None:
    migration = turn.node.migration
    assert migration is not None
    turn.be(migration=attrs.evolve(migration, **changes))
