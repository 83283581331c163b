"""How a question is asked, and how its answer is waited for: here or elsewhere, with or without a time-out."""

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from nfactor.actors import tracing
from nfactor.actors.calls import Probe, chase, current_call
from nfactor.actors.mailbox import Asker, Entry
from nfactor.actors.parking import Answer
from nfactor.actors.ref import Ref
from nfactor.errors import ActorDead, CallerError, ProtocolError

if TYPE_CHECKING:
    from nfactor.actors.node import Node
    from nfactor.actors.reception import Reception

R = TypeVar("R")


class _CheckedAsker:
    """A local asker whose reply goes through the codec, as if it were remote."""

    def __init__(self, node: "Node", answer: Answer) -> None:
        self._node = node
        self._answer = answer

    def reply(self, value: object) -> bool:
        return self._answer.reply(None if value is None else self._node.through_codec(value))

    def fail(self, error: Exception) -> bool:
        return self._answer.fail(error)


async def ask(node: "Node", ref: Ref, message: object, reply: type[R] | None, within_s: float | None) -> R | None:
    """See Ref."""
    if within_s is not None and (type(within_s) not in (float, int) or within_s != within_s):
        raise CallerError(f"within_s={within_s!r}: use a number of seconds")
    trace = tracing.CURRENT.get()
    if not node.is_plain:
        if node.is_closed:
            raise ActorDead(f"{node!r} is closed: it cannot ask {ref!r}")
        if node.onlookers.see_messages:
            node.onlookers.sent(ref, message, trace)
    answer = Answer()
    if ref.node_name == node.name:
        await trio.lowlevel.checkpoint_if_cancelled()
        value = await _ask_here(node, ref, message, answer, trace, within_s)
        return value if reply is not None and isinstance(value, reply) else _no_reply(ref, message, value, reply)
    lane, call, reception = ref.lane_for(message), current_call(), node.reception
    number = lane.ask_in_run(ref, message, answer) if lane.asks and call is None and trace is None else 0
    if not number:  # it may leave at once
        await trio.lowlevel.checkpoint_if_cancelled()
        number = lane.ask(ref, message, answer, trace, call)
    node.asks_sent = sent = node.asks_sent + 1
    try:
        if call is not None or trace is not None or reception is None:
            await _wait(node, ref, answer, number, within_s)
        elif node.is_polling and reception.poll(answer):
            await node.let_others_run()
        else:
            if len(lane.asks) == 1 and reception.expects_soon():
                await trio.lowlevel.checkpoint()  # others may want to ask as well, or to do something else
                if node.asks_sent == sent and not answer.is_over:
                    reception.poll_for(answer)
            if not answer.is_over:
                where = reception if len(lane.asks) == 1 else None  # if it is the only one there, where it comes in
                if within_s is not None:
                    await _wait(node, ref, answer, number, within_s, where)
                else:
                    await (answer.wait() if where is None else where.wait(answer))
    finally:
        lane.asked(ref, number, answer)
    value = answer.take()
    return value if reply is not None and isinstance(value, reply) else _no_reply(ref, message, value, reply)


def _no_reply(ref: Ref, message: object, value: object, reply: type[R] | None) -> R | None:
    """None, if none was expected; raises ProtocolError for what was not."""
    if value is None and reply is None:
        return None
    got, expected = type(value).__name__, "nothing" if reply is None else reply.__name__
    raise ProtocolError(f"{ref!r} answered {type(message).__name__} with {got}; expected was {expected}")


async def _ask_here(
    node: "Node", ref: Ref, message: object, answer: Answer, trace: bytes | None, within_s: float | None
) -> object:
    asker: Asker = answer
    if node.encode_local:
        message = node.through_codec(message)
        asker = _CheckedAsker(node, answer)
    # Not inside a trace, to which what is handled on the way would seem to belong.
    error = node.deliver(ref.actor_name, Entry(message, ref.key, asker, trace), inline=trace is None)
    if error is not None:
        raise error
    if answer.is_given:
        await node.let_others_run()
        return answer.take()
    try:
        await _wait(node, ref, answer, 0, within_s)
    finally:
        if not answer.is_given:
            cell = node.cells.get(ref.actor_name)
            if cell is not None:
                cell.withdraw(asker)
    return answer.take()


async def _wait(
    node: "Node", ref: Ref, answer: Answer, number: int, within_s: float | None, where: "Reception | None" = None
) -> None:
    """Wait for an answer, but not in a circle, nor for longer than it may take; in the reception, if one is given."""
    call = current_call()
    if call is not None:
        number = number or node.next_number()
        call.waits[number] = (ref, answer)
        if ref.node_name == node.name:  # elsewhere, the question itself is the probe
            path = (f"{node.name}/{call.actor_name}",)
            chase(node, ref.actor_name, Probe(node.name, call.actor_name, call.number, number, path))
    timer = None
    if within_s is not None:
        timer = node.timers.after(within_s, partial(_too_slow, ref, answer, within_s))
    try:
        await (answer.wait() if where is None else where.wait(answer))
    finally:
        if timer is not None:
            timer.cancel()
        if call is not None:
            del call.waits[number]


def _too_slow(ref: Ref, answer: Answer, within_s: float) -> None:
    answer.abandon(trio.TooSlowError(f"{ref!r} has not answered within {within_s} s"))
