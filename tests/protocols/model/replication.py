"""Both sides of strict replication: a packet leaves from the replica that has stored the state that includes it."""

from tests.protocols.model.parts import (
    Commit,
    Forget,
    Loose,
    Out,
    Receipt,
    Receipts,
    Runtime,
    Store,
    Stored,
    Wait,
)
from tests.protocols.model.turn import Turn


def commit(turn: Turn[Runtime], packets: tuple[tuple[int, ...], ...], *, whole: bool) -> None:
    """The flow's state has changed, and these packets may leave when that is stored."""
    me = turn.node
    whole = whole or me.bare
    turn.be(bare=False)
    if not me.replica:
        for past in packets:
            turn.put("S", Out(past))
        return
    if turn.variation == "release before store":
        for past in packets:
            turn.put("S", Out(past))
        packets = ()
    owned = me.phase == "owned"
    number = me.last + 1
    turn.say(me.replica, Store(number, packets, me.epoch if owned else 0, me.past if owned else ()))
    turn.be(last=number, kept=(*me.kept, Commit(number, packets, whole)))


def when_stored(turn: Turn[Runtime], what: Wait) -> None:
    """Do that when everything so far is stored."""
    turn.be(kept=(*turn.node.kept, what))
    settle(turn)


def settle(turn: Turn[Runtime]) -> None:
    """What waits for nothing any more is due."""
    kept = turn.node.kept
    while kept and isinstance(kept[0], Wait):
        turn.due.append(kept[0])
        kept = kept[1:]
    turn.be(kept=kept)


def stored(turn: Turn[Runtime], sender: str, message: Stored) -> None:
    """Let go of what the replica has."""
    if sender != turn.node.replica:
        return
    kept = turn.node.kept
    turn.be(kept=tuple(one for one in kept if isinstance(one, Wait) or one.number > message.number))
    settle(turn)


def replace(turn: Turn[Runtime], replicas: str, receipts: Receipts, loose: Loose) -> None:
    """Take another replica if ours is dead. It gets all that has not come out, with the state as it is now; a flow of
    which everything is out has time."""
    me = turn.node
    if me.replica in replicas:
        return
    numbers = {primary: number for replica, primary, number in receipts if replica == me.replica}
    seen = {past for replica, past in loose if replica == me.replica}
    if turn.variation == "loose packets are forgotten":
        seen = set()
    if turn.variation == "all that is not confirmed comes again":
        numbers, seen = {}, set()
    commits = [one for one in me.kept if isinstance(one, Commit)]
    left = tuple(
        past for one in commits for past in one.packets if not (one.number <= numbers.get(me.name, 0) or past in seen)
    )
    waits = tuple(one for one in me.kept if isinstance(one, Wait))
    turn.be(replica=replicas[turn.place % len(replicas)] if replicas else "", last=0, kept=())
    turn.be(bare=me.phase == "owned" and turn.node.replica != "" and turn.variation != "no second replica")
    if left:
        commit(turn, left, whole=False)
    turn.be(kept=(*turn.node.kept, *waits))
    settle(turn)


def moved(turn: Turn[Runtime], epoch: int) -> None:
    """The flow is not ours any more, or has come back: the copy with that epoch may go."""
    if turn.node.replica:
        turn.say(turn.node.replica, Forget(epoch))


# ---------------------------------------------------------------- the replica's side


def store(turn: Turn[Runtime], primary: str, message: Store) -> None:
    """Store, then release, then say so."""
    me = turn.node
    if primary in me.dead:
        return
    following = dict(me.stored).get(primary, 0) + 1
    assert message.number == following, f"{me.name} expects commit {following} of {primary}: {message}"
    if message.epoch:
        set_copy(turn, primary, message.epoch, message.past)
    turn.be(stored=_with(turn.node.stored, primary, message.number))
    for past in message.packets:
        turn.put("S", Out(past))
    if message.packets:
        turn.put("S", Receipt(primary, message.number))
    turn.say(primary, Stored(message.number))


def forget(turn: Turn[Runtime], primary: str, message: Forget) -> None:
    """A copy with a higher epoch is of a flow that has come back."""
    copy = copy_of(turn.node, primary)
    old = copy is not None and (copy[0] <= message.epoch or turn.variation == "any copy is forgotten")
    if old:
        set_copy(turn, primary, 0, ())


def copy_of(me: Runtime, primary: str) -> tuple[int, tuple[int, ...]] | None:
    """Epoch and past of what that primary has stored here."""
    return next(((epoch, past) for name, epoch, past in me.copies if name == primary), None)


def set_copy(turn: Turn[Runtime], primary: str, epoch: int, past: tuple[int, ...]) -> None:
    """Epoch 0: there is none any more."""
    others = [copy for copy in turn.node.copies if copy[0] != primary]
    turn.be(copies=tuple(sorted([*others, (primary, epoch, past)] if epoch else others)))


def _with(stored_: tuple[tuple[str, int], ...], primary: str, number: int) -> tuple[tuple[str, int], ...]:
    return tuple(sorted({**dict(stored_), primary: number}.items()))
