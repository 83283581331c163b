"""Finds actors that ask each other in a circle, and would wait for ever.

An actor handles one message at a time, so while its handler waits for an answer, everything that waits in its mailbox
waits for that answer too. A circle of such waits never ends. It is found by *edge chasing* (Chandy, Misra and Haas,
1983): whoever begins to wait sends a probe after its question, and every actor that waits itself passes it on to those
for which it waits. If the probe comes back to the call that sent it, the question fails with ``AskCycle``, which names
the actors. Whichever wait closes a circle finds it, wherever the actors are.

A probe is passed on only while the question that it follows is not answered, or it could see waits together that never
were at the same time. Asks from a task that the actor has started (``context.start_soon``) are no part of its handler.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from nfactor.errors import AskCycle

if TYPE_CHECKING:
    from nfactor.actors.node import Node
    from nfactor.actors.parking import Answer
    from nfactor.actors.ref import Ref


class Call:
    """One run of an async handler (or of ``started``): who runs it, and for what it waits."""

    __slots__ = ("actor_name", "is_over", "number", "waits")

    def __init__(self, actor_name: str, number: int) -> None:
        self.actor_name = actor_name
        self.number = number
        self.is_over = False
        self.waits: dict[int, tuple[Ref, Answer]] = {}
        """Questions that are not answered, by their number: to whom, and what waits here."""


CALL: ContextVar[Call | None] = ContextVar("nfactor_call", default=None)
"""The call in which this task runs."""


def current_call() -> Call | None:
    """The call in which this task runs; None outside of one, or when it is over."""
    call = CALL.get()
    return None if call is None or call.is_over else call


@attrs.frozen
class Probe:
    """Who looks for a circle: the call, and the number of its question. ``path`` has everybody that it came by."""

    node: str
    actor: str
    call: int
    question: int
    path: tuple[str, ...]


def chase(node: "Node", actor_name: str, probe: Probe) -> None:
    """The probe comes to an actor of this node: pass it on, or see that it has come round."""
    visits = [(actor_name, probe.path)]
    seen = set(probe.path)
    while visits:
        name, path = visits.pop()
        place = f"{node.name}/{name}"
        cell = node.cells.get(name)
        call = None if cell is None else cell.call
        if call is None or call.is_over:
            continue
        if (node.name, name) == (probe.node, probe.actor):
            if call.number == probe.call and probe.question in call.waits:
                call.waits[probe.question][1].fail(AskCycle(" → ".join((*path, place))))
            continue
        if place in seen:
            continue
        seen.add(place)
        for question, (ref, _) in call.waits.items():
            if ref.node_name == node.name:
                visits.append((ref.actor_name, (*path, place)))
            else:
                onward = attrs.evolve(probe, path=(*path, place))
                node.peer(ref.node_name).send_probe(ref.actor_name, question, onward)
