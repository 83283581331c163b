"""A node: the actors of one name on the network, and the tasks that carry their messages.

One task pumps messages to handlers and flushes what they sent, one receives datagrams, one wakes for what is due; a
fourth only sleeps, and notes a crash. A node lives exactly as long as its ``async with`` block. Cancelling
``node.cancel_scope`` is a crash: nothing more is sent, no ``stopping`` hook runs. The transport stays the caller's: the
node does not close it, and lives on, unheard, when somebody else does.
"""

import contextvars
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import trio

from nfactor.actors import asking, checks, handling, tracing
from nfactor.actors.accepts import Accepts
from nfactor.actors.actor import Actor
from nfactor.actors.cell import Cell
from nfactor.actors.departures import Departures
from nfactor.actors.frame import check_mtu
from nfactor.actors.incarnation import check_incarnation
from nfactor.actors.instrument import Instrument
from nfactor.actors.mailbox import item_of
from nfactor.actors.message import Messages, is_system
from nfactor.actors.node_statistics import NodeStatistics
from nfactor.actors.onlookers import Onlookers
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.peer import Peer
from nfactor.actors.pump import Pump
from nfactor.actors.reception import ANSWER_POLLS_MAX, Reception
from nfactor.actors.ref import Ref
from nfactor.actors.rests import Rests
from nfactor.actors.timers import Timers
from nfactor.actors.watch import Watches
from nfactor.backends.base import Transport
from nfactor.errors import CallerError, MailboxFull

_MTU_WITHOUT_TRANSPORT = 1500
_DONE_AT_ONCE_MAX = 64
"""Tells and asks that did not have to wait, before other tasks run all the same."""
ASKS_MAX = 65536
"""Default bound of questions under way to one peer on one lane."""


class Node:
    """Made by ``open_node``. What is not documented for users here is for the other files of this package."""

    def __init__(
        self,
        name: str,
        transport: Transport | None,
        messages: Messages,
        *,
        incarnation: int,
        limits: LinkLimits,
        asks_max: int,
        encode_local: bool,
        busy_poll_s: float,
        answer_polls_max: int,
        instruments: Iterable[Instrument],
        cancel_scope: trio.CancelScope,
    ) -> None:
        self.name = name
        self.messages = messages
        self.incarnation = incarnation
        self.asks_max = asks_max
        self.cancel_scope = cancel_scope
        """Cancel it to crash the node."""
        self.mtu = _MTU_WITHOUT_TRANSPORT if transport is None else transport.mtu
        self.now = trio.lowlevel.current_clock().current_time
        """The clock of everything on this node."""
        self.timers = Timers()
        self.rests = Rests(self.timers)
        self.pump = Pump()
        self.departures = self.pump.departures = Departures(self.timers, self.pump.wake)
        self.watches = Watches(self)
        self.credit_step = limits.credit_max // 4
        """Credit is given back in steps of so many messages."""
        self.late_replies = 0
        self.timers_refused = 0
        self._transport = transport
        self._limits = limits
        self.encode_local = encode_local
        self.reception = None if transport is None else Reception(self, transport, busy_poll_s, answer_polls_max)
        self.is_polling = busy_poll_s > 0
        """Whoever waits for an answer asks the transport for it."""
        self.cells: dict[str, Cell] = {}
        """The actors of this node, by name."""
        self.peers: dict[str, Peer] = {}
        """The other nodes that are known, by name."""
        self.next_number = count(1).__next__
        """A number that nothing else on this node has."""
        self.asks_sent = 0
        """Questions to other nodes."""
        self._names_given = 0
        self._done_at_once = 0
        self._datagrams_refused = 0
        self.is_closed = False
        self.is_over = False
        """It has crashed, or ended: nothing is taken in or sent any more."""
        self.strangers = 0
        self.onlookers = Onlookers(name, instruments)
        self._note_plain()

    def __repr__(self) -> str:
        return f"<Node {self.name}>"

    # ---- for users ----

    def ref(
        self,
        node_name: str,
        actor_name: str,
        key: bytes | None = None,
        *,
        accepts: type[Actor[Accepts]] = Actor[Any],
    ) -> Ref[Accepts]:
        """The address of an actor, here or elsewhere; nothing is checked. ``accepts`` is the actor's class, for type
        checkers."""
        return Ref(node_name, actor_name, key, self)

    def add_instrument(self, instrument: Instrument) -> None:
        """Somebody more looks on."""
        self.onlookers.add(instrument)
        self._note_plain()

    def remove_instrument(self, instrument: Instrument) -> None:
        """Somebody looks away; raises ValueError if he did not look."""
        self.onlookers.remove(instrument)
        self._note_plain()

    def statistics(self) -> NodeStatistics:
        """Counts so far."""
        return NodeStatistics(
            name=self.name,
            incarnation=self.incarnation,
            handled=self.pump.handled,
            mailboxes={
                name: cell.mailbox.statistics() for name, cell in self.cells.items() if cell.mailbox is not None
            },
            actors=len(self.cells),
            peers={name: peer.statistics() for name, peer in self.peers.items()},
            dead_letters=dict(self.onlookers.dead_letters),
            late_replies=self.late_replies,
            datagrams_refused=self._datagrams_refused,
            timers_refused=self.timers_refused,
            strangers=self.strangers,
            polls_in_vain=0 if self.reception is None else self.reception.polls_in_vain,
        )

    # ---- for refs ----

    def tell_nowait(self, ref: Ref, message: object) -> None:
        """See Ref."""
        if self.is_closed:
            self.dead_letter("node-closed", ref.node_name, ref.actor_name, message)
            return
        trace = tracing.CURRENT.get()
        if self.onlookers.see_messages:
            self.onlookers.sent(ref, message, trace)
        if ref.node_name != self.name:
            self.peer(ref.node_name).lane_for(message).tell_nowait(ref, message, trace)
            return
        if self.encode_local:
            message = self.through_codec(message)
        cell = self.cells.get(ref.actor_name)
        if cell is None:
            self.dead_letter("no-actor", self.name, ref.actor_name, message)
        elif not cell.offer(item_of(message, ref.key, trace), is_system(message)):
            raise self.full(ref)
        elif self.onlookers.see_messages:
            self.onlookers.delivered(ref.actor_name, message, trace)

    async def tell(self, ref: Ref, message: object) -> None:
        """See Ref."""
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        if ref.node_name != self.name and not self.is_closed:
            trace = tracing.CURRENT.get()
            if self.onlookers.see_messages:
                self.onlookers.sent(ref, message, trace)
            has_waited = await self.peer(ref.node_name).lane_for(message).tell(ref, message, trace)
        else:
            cell, system = self.cells.get(ref.actor_name), is_system(message)
            if cell is None or self.is_closed or not cell.make_mailbox().must_wait(system):
                self.tell_nowait(ref, message)
            else:
                await self._wait_in_line(cell, ref, message, system)
                has_waited = True
        if not has_waited:
            await self.let_others_run()

    async def let_others_run(self) -> None:
        """A checkpoint, now and then: something was done at once that might have had to wait."""
        self._done_at_once += 1
        if self._done_at_once >= _DONE_AT_ONCE_MAX:
            self._done_at_once = 0
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait_in_line(self, cell: Cell, ref: Ref, message: object, system: bool) -> None:
        trace = tracing.CURRENT.get()
        if self.onlookers.see_messages:
            self.onlookers.sent(ref, message, trace)
        if self.encode_local:
            message = self.through_codec(message)
        await cell.make_mailbox().wait_in_line(item_of(message, ref.key, trace), system)
        if self.onlookers.see_messages:
            self.onlookers.delivered(ref.actor_name, message, trace)

    def _note_plain(self) -> None:
        self.is_plain = not (self.encode_local or self.onlookers.see_messages or self.is_closed)
        """A tell to an actor here is a matter of its mailbox alone, one to another node of its lane."""

    ask = asking.ask

    # ---- for cells and supervisors ----

    def register(self, cell: Cell) -> None:
        """The cell gets messages from now on."""
        if self.is_closed:
            raise CallerError(f"{self!r} is closed: it takes no more actors")
        if cell.name in self.cells:
            raise CallerError(f"{self!r} has an actor {cell.name!r} already: names are unique on a node")
        self.cells[cell.name] = cell

    def forget(self, cell: Cell, reason: str) -> None:
        """The name is free again, and whoever watches is told why."""
        assert self.cells[cell.name] is cell, cell.name
        del self.cells[cell.name]
        self.watches.actor_gone(cell.name, reason)

    handle_some = handling.handle_some
    serve = staticmethod(handling.serve)

    def new_name(self, kind: str) -> str:
        """A name for an actor that was given none."""
        self._names_given += 1
        return f"{kind}-{self._names_given}"

    def dead_letter(self, reason: str, node_name: str, actor_name: str, message: object) -> None:
        """Count a message that no actor will handle, and show it."""
        self.onlookers.dead_letter(reason, node_name, actor_name, message)

    def through_codec(self, message: object) -> object:
        """A message as it would arrive elsewhere."""
        return self.messages.decode(self.messages.encode(message), self.ref)

    def full(self, ref: Ref) -> MailboxFull:
        """Why an actor here did not get a message."""
        return MailboxFull(f"the mailbox of {ref!r} is full: wait with tell, or give it a larger mailbox_size_max")

    # ---- for peers ----

    def decode(self, array: object) -> object:
        """A message whose refs are bound to this node; raises ProtocolError."""
        return self.messages.from_array(array, self.ref)

    deliver = handling.deliver

    def send_datagram(self, peer: str, datagram: bytes) -> None:
        """Hand a datagram to the transport, if there is one and the node has not crashed."""
        if self.is_over or self._transport is None or not self._transport.send(peer, datagram):
            self._datagrams_refused += 1

    # ---- its tasks ----

    def peer(self, name: str) -> Peer:
        """What is known of another node, from the first time that it is named."""
        peer = self.peers.get(name)
        if peer is None:
            peer = self.peers[name] = Peer(self, name, self._limits)
        return peer

    def _start(self, nursery: trio.Nursery) -> None:
        contextvars.Context().run(self._start_tasks, nursery)  # what they do is nobody's in particular

    def _start_tasks(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._note_crash, name=f"{self.name}.crash")
        nursery.start_soon(self.pump.run, name=f"{self.name}.pump")
        if self.reception is not None:
            nursery.start_soon(self.reception.run, name=f"{self.name}.receive")
        nursery.start_soon(self.timers.run, name=f"{self.name}.timers")

    async def _note_crash(self) -> None:
        """trio calls this back at the very moment that the node's scope is cancelled, before any other task runs."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self.is_over = True
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _close(self) -> None:
        self.is_closed = self.is_over = True
        self._note_plain()
        for cell in list(self.cells.values()):
            cell.close()


@asynccontextmanager
async def open_node(
    name: str,
    transport: Transport | None,
    messages: Messages,
    *,
    incarnation: int = 1,
    limits: LinkLimits | None = None,
    asks_max: int = ASKS_MAX,
    encode_local: bool = False,
    busy_poll_s: float = 0.0,
    answer_polls_max: int = ANSWER_POLLS_MAX,
    instruments: Iterable[Instrument] = (),
) -> AsyncIterator[Node]:
    """Open a node for the length of a block.

    ``incarnation`` must be greater on each start of a node of this name (1 to 2**32 - 1): it is how its peers tell a
    restart from a long silence. ``transport=None``: no other node can be reached. ``limits``: of the links to peers.
    ``asks_max``: questions under way to a peer on a lane. ``encode_local``: messages between actors of this node go
    through the codec too, for tests. ``busy_poll_s``: for so long after a datagram the node asks for the next one in
    place of waiting to be woken, and lets other tasks run every 0.1 ms or so; it answers sooner, at the cost of a core.
    ``answer_polls_max``: a task that waits for the only answer under way looks for it so many times (0.2 ms) before it
    sleeps, if answers have come that soon lately, and no other task runs meanwhile; in memory it has no effect. When
    the block ends in good order, what was told before is sent once more, without waiting for acknowledgements.
    """
    checks.text("a node", name)
    checks.whole("asks_max", asks_max, 1)
    checks.number("busy_poll_s", busy_poll_s, 0)
    checks.whole("answer_polls_max", answer_polls_max, 0)
    check_incarnation(incarnation)
    for what, value, kind in (("messages", messages, Messages), ("limits", limits or LinkLimits(), LinkLimits)):
        if not isinstance(value, kind):
            raise CallerError(f"the {what} of node {name!r} are {value!r}: use {kind.__name__}(…)")
    if transport is not None:
        check_mtu(transport.mtu)
    if transport is not None and transport.name != name:
        raise CallerError(f"node {name!r} on a transport named {transport.name!r}: give both the same name")
    async with trio.open_nursery() as nursery:
        node = Node(
            name,
            transport,
            messages,
            incarnation=incarnation,
            limits=limits or LinkLimits(),
            asks_max=asks_max,
            encode_local=encode_local,
            busy_poll_s=busy_poll_s,
            answer_polls_max=answer_polls_max,
            instruments=instruments,
            cancel_scope=nursery.cancel_scope,
        )
        node._start(nursery)
        try:
            yield node
            for peer in node.peers.values():
                peer.hurry()
            node.departures.flush()
        finally:
            node._close()
            nursery.cancel_scope.cancel()
