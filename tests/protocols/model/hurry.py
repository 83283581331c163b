"""Messages whose arrival may be hurried: whether they come now or later makes no difference that anybody could tell.

Such a message is let arrive at once, and nothing else beside it, which leaves out the orders of events that differ in
nothing but that. Each case below has the reason why it may: what the message does must not hang on anything else that
can happen meanwhile, nor anything else on it, except what waits for it.
"""

from tests.protocols.model.parts import Node, Order, Runtime, Switch, Taken
from tests.protocols.model.replication import copy_of


def may_hurry(me: Node, sender: str, message: object, *, more_deaths: bool) -> bool:
    """Whether that message may arrive at that node at once."""
    match me, message:
        case Switch(), _:
            return sender in me.fenced  # nothing of the dead counts, and nobody comes back to life
        case Runtime(), Order():
            return _says_nothing(me, message)
        case Runtime(), _:
            return False
        case _, Taken():
            # The coordinator does nothing but give the next orders, which may be as late as this would have been;
            # a death that it is told of would change what it orders.
            return not more_deaths
    return False


def _says_nothing(me: Runtime, order: Order) -> bool:
    """An order that is only to be answered: who knows of a death takes nothing more from the dead."""
    if order.dead not in me.dead:
        return False
    match order.step:
        case "claim":
            return copy_of(me, order.dead) is None
        case "return":  # a tombstone that comes to stand later goes by itself, as soon as it may
            return me.migration is None and me.phase != "gone"
        case "close":
            return me.awaits != order.dead
    return False
