"""How a cell handles its messages: the one place where handlers are called.

A run of plain messages to plain handlers is the common case, and costs a look-up and a call each; everything else (a
key, an asker, a trace, an onlooker, a batch) goes the longer way below.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import trio

from nfactor.actors import tracing
from nfactor.actors.actor import Handler
from nfactor.actors.calls import CALL, Call
from nfactor.actors.cell import Cell
from nfactor.actors.life import RUNNING
from nfactor.actors.mailbox import Asker, Entry, Lane, Mailbox, entry_of
from nfactor.actors.message import is_system
from nfactor.actors.table import ActorTable
from nfactor.errors import ActorDead, CallerError, MailboxFull, RemoteError

if TYPE_CHECKING:
    from nfactor.actors.node import Node

Functions = Mapping[type, Callable[..., object]]
"""Plain handlers, by the class of message."""
SERVE_MESSAGES_MAX = 64
"""An actor with its own task lets others run after so many messages."""
_INLINE_MESSAGES_MAX = 64
"""Messages that an ask handles itself, so that the answer is there at once."""


def ask_at_once(node: "Node", cell: Cell, message: object, asker: Asker) -> bool:
    """Let an idle actor answer a question, here and now; False: it is not idle, or not for a plain handler, or somebody
    looks on. What ``deliver`` does with most questions, without a mailbox."""
    actor = cell.actor
    if actor is None or not cell.is_idle:
        return False
    function = actor.plain_functions.get(type(message))
    if function is None or node.onlookers.see_messages:
        return False
    mailbox = cell.make_mailbox()
    assert not mailbox.user.items, "an idle actor has messages"
    mailbox.handled += 1
    cell.in_handler = True
    try:
        node.late_replies += not asker.reply(function(actor, message))
    except Exception as error:
        _raised(cell, error, [Entry(message, None, asker)])
    cell.in_handler = False
    if cell.stop_asked and cell.life is RUNNING:
        cell.exit(cell.life_number, None)
    return True


def deliver(node: "Node", actor_name: str, entry: Entry, *, inline: bool = False) -> MailboxFull | ActorDead | None:
    """Put a message in the mailbox of an actor of this node; why not, if not. ``inline``: if it can be handled at
    once, it is."""
    cell = node.cells.get(actor_name)
    if cell is None:
        return ActorDead(f"there is no actor {actor_name!r} on {node!r}")
    plain = entry.key is None and entry.trace is None
    if inline and plain and entry.asker is not None and ask_at_once(node, cell, entry.message, entry.asker):
        return None
    plain = plain and entry.asker is None
    item = entry.message if plain else entry
    now = inline and cell.is_idle
    if now:
        cell.is_ready = True  # so that the pump is not called: it is done here
    if not cell.offer(item, is_system(entry.message)):
        if now:
            cell.turn(0)
        return node.full(cell.ref)
    if node.onlookers.see_messages:
        node.onlookers.delivered(actor_name, entry.message, entry.trace)
    if now:
        cell.turn(_INLINE_MESSAGES_MAX)
    return None


def handle_some(node: "Node", cell: Cell, messages_max: int) -> int:
    """Let a cell of plain handlers handle up to so many messages, now. How many it were."""
    mailbox, actor = cell.mailbox, cell.actor
    if mailbox is None or actor is None or cell.in_handler:
        return 0
    functions: Functions = {} if node.onlookers.see_messages else actor.plain_functions
    user, handled, life_number = mailbox.user, 0, cell.life_number
    cell.in_handler = True
    while handled < messages_max and cell.life is RUNNING:
        if mailbox.system is not None and mailbox.system.items:
            handled += 1 + _handle(node, cell, entry_of(mailbox.system.next()), user)
        elif not user.items:
            break
        elif not user.line and type(user.items[0]) in functions:
            handled += _handle_run(cell, mailbox, functions, messages_max - handled)
        else:
            handled += 1 + _handle(node, cell, entry_of(user.next()), user)
        if cell.stop_asked and cell.life is RUNNING:
            cell.exit(life_number, None)
    cell.in_handler = False
    mailbox.handled += handled
    if mailbox.owed and len(mailbox) <= mailbox.size_max // 2:
        cell.give_credit(node.credit_step)
    return handled


def _handle_run(cell: Cell, mailbox: Mailbox, functions: Functions, messages_max: int) -> int:
    """Plain messages for plain handlers, as long as nothing else comes in between; the first one is known to be such.
    How many it were."""
    items, actor, life_number = mailbox.user.items, cell.actor, cell.life_number
    popleft, handled = items.popleft, 0
    kind: type | None = None
    function: Callable[..., object] | None = None
    try:
        while items and handled < messages_max:
            item = popleft()
            if type(item) is not kind:
                kind = type(item)
                function = functions.get(kind)
            if function is None:
                items.appendleft(item)
                break
            handled += 1
            function(actor, item)
            system = mailbox.system
            if cell.stop_asked or cell.life is not RUNNING or (system is not None and system.items):
                break
    except Exception as error:
        cell.exit(life_number, error)
    return handled


def _handle(node: "Node", cell: Cell, entry: Entry, user: Lane) -> int:
    """One message by a plain handler; how many more it took along, as a batch."""
    handler = _handler(cell, entry)
    if handler is None:
        return 0
    if handler.is_batch:
        return _handle_batch(node, cell, handler, entry, user)
    arguments = (entry.message,) if entry.key is None else (entry.key, entry.message)
    span = _Span(node, cell, entry) if entry.trace is not None or node.onlookers.see_messages else None
    error: Exception | None = None
    try:
        _answer(node, entry, handler.function(cell.actor, *arguments))
    except Exception as raised:
        error = raised
    if span is not None:
        span.end(error)
    if error is not None:
        _raised(cell, error, [entry])
    return 0


def _handle_batch(node: "Node", cell: Cell, handler: Handler, first: Entry, user: Lane) -> int:
    """All messages of this class with keys that wait next to each other."""
    entries, kind = [first], type(first.message)
    taken = 0
    while user.items and type(item := user.items[0]) is Entry and item.key is not None and type(item.message) is kind:
        user.next()
        taken += 1
        if _handler(cell, item) is not None:
            entries.append(item)
    span = _Span(node, cell, first) if first.trace is not None or node.onlookers.see_messages else None
    error: Exception | None = None
    try:
        replies = handler.function(cell.actor, [(entry.key, entry.message) for entry in entries])
        for entry, reply in zip(entries, _replies(replies, len(entries), handler), strict=True):
            _answer(node, entry, reply)
    except Exception as raised:
        error = raised
    if span is not None:
        span.end(error)
    if error is not None:
        _raised(cell, error, entries)
    return taken


def _replies(replies: object, number: int, handler: Handler) -> Sequence[object]:
    if replies is None:
        return [None] * number
    if not isinstance(replies, Sequence) or len(replies) != number:
        raise CallerError(f"{handler.function.__qualname__} has to return None or {number} replies, one to a message")
    return replies


async def serve(cell: Cell, serving: object) -> None:
    """The task of a cell that has async handlers, as long as it is the one that ``serving`` names."""
    node, mailbox, rare = cell.node, cell.make_mailbox(), cell.rare
    handled = 0
    while cell.life is RUNNING and rare.serving is serving:
        item = mailbox.take()
        if item is None:
            cell.is_ready = False
            if mailbox.owed:
                cell.give_credit(node.credit_step)
            node.rests.note(cell, mailbox.handled)
            await rare.wake.wait()
            handled = 0
            continue
        mailbox.handled += 1
        cell.in_handler = True
        try:
            await _handle_async(node, cell, entry_of(item), mailbox.user)
        finally:
            cell.in_handler = False
        if cell.stop_asked and cell.life is RUNNING:
            cell.exit(cell.life_number, None)
        handled += 1
        if handled >= SERVE_MESSAGES_MAX:
            if mailbox.owed and len(mailbox) <= mailbox.size_max // 2:
                cell.give_credit(node.credit_step)
            await trio.lowlevel.checkpoint()
            handled = 0


async def _handle_async(node: "Node", cell: Cell, entry: Entry, user: Lane) -> None:
    handler = _handler(cell, entry)
    if handler is None:
        return
    if not handler.is_async:
        mailbox = cell.mailbox
        taken = _handle(node, cell, entry, user)
        if mailbox is not None:
            mailbox.handled += taken
        return
    span = _Span(node, cell, entry) if entry.trace is not None or node.onlookers.see_messages else None
    call = cell.rare.call = Call(cell.name, node.next_number())
    CALL.set(call)
    error: Exception | None = None
    try:
        _answer(node, entry, await handler.function(cell.actor, entry.message))
    except Exception as raised:
        error = raised
    except BaseException:
        if entry.asker is not None:  # the actor was stopped in the middle of the handler
            entry.asker.fail(ActorDead(f"{cell.ref!r} stopped before it had answered"))
        raise
    finally:
        call.is_over = True
        CALL.set(None)
        if span is not None:
            span.end(error)
    if error is not None:
        _raised(cell, error, [entry])


def _answer(node: "Node", entry: Entry, result: object) -> None:
    if entry.asker is not None and not entry.asker.reply(result):
        node.late_replies += 1


def _handler(cell: Cell, entry: Entry) -> Handler | None:
    """Who handles a message; None if nobody does, and then it has been dealt with."""
    actor, key, message = cell.actor, entry.key, entry.message
    assert actor is not None
    if key is None:
        handler = actor.handlers.get(type(message))
    else:
        handler = actor.keyed_handlers.get(type(message))
        if handler is not None and not handler.creates:
            assert isinstance(actor, ActorTable)
            if key not in actor.records:
                cell.nobody("no-actor", entry, ActorDead(f"{cell.ref.at(key)!r} does not exist"))
                return None
    if handler is None:
        text = f"{cell.ref!r} has no handler for {type(message).__name__}"
        cell.nobody("unhandled", entry, RemoteError("UnhandledMessage", text))
    return handler


def _raised(cell: Cell, error: Exception, entries: Sequence[Entry]) -> None:
    """A handler has raised: whoever asked is told, and the actor has failed, unless that was the answer."""
    askers = [entry.asker for entry in entries if entry.asker is not None]
    refused = isinstance(error, RemoteError)
    for asker in askers:
        asker.fail(error if refused else RemoteError(type(error).__name__, str(error)))
    if not (refused and askers):
        cell.exit(cell.life_number, error)


class _Span:
    """One handling, while somebody looks or a trace is under way."""

    __slots__ = ("_begun", "_cell", "_entry", "_node", "_octets", "_token")

    def __init__(self, node: "Node", cell: Cell, entry: Entry) -> None:
        self._node, self._cell, self._entry = node, cell, entry
        self._begun = node.now()
        self._octets: bytes | None = None
        if entry.trace is not None:
            self._octets = tracing.child(entry.trace, f"{node.name}/{cell.name}", node.next_number())
        self._token: Any = tracing.CURRENT.set(self._octets)

    def end(self, error: Exception | None) -> None:
        """The handler has returned."""
        tracing.CURRENT.reset(self._token)
        seconds, entry = self._node.now() - self._begun, self._entry
        self._node.onlookers.handled(self._cell.name, entry.message, seconds, error, entry.trace, self._octets)
