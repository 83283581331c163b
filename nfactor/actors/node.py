"""A node: the actors of one name on the network, and the three tasks that carry their messages.

One task pumps messages to handlers and flushes what they sent, one receives datagrams, one wakes for resends. A node
lives exactly as long as its ``async with`` block. Cancelling ``node.cancel_scope`` is a crash: nothing more is sent, no
``stopping`` hook runs. The transport stays the caller's: the node does not close it, and lives on, unheard, when
somebody else does.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from nfactor.actors.accepts import Accepts
from nfactor.actors.actor import Actor
from nfactor.actors.cell import Cell
from nfactor.actors.instrument import DeadLetter, Instrument
from nfactor.actors.mailbox import Asker, MailboxStatistics
from nfactor.actors.message import Messages, is_system
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.parking import Answer
from nfactor.actors.peer import Peer, PeerStatistics
from nfactor.actors.pump import Pump, Timer
from nfactor.actors.ref import Ref
from nfactor.backends.base import Transport
from nfactor.errors import ActorDead, CallerError, MailboxFull

_RECEIVE_DATAGRAMS_MAX = 256
"""Datagrams taken in before other tasks run."""
_MTU_WITHOUT_TRANSPORT = 1500
ASKS_MAX = 65536
"""Default bound of questions under way to one peer on one lane."""


@attrs.frozen
class NodeStatistics:
    """Counts since the node was opened."""

    name: str
    incarnation: int
    handled: int
    """Messages handled in the pump; actors with a task of their own not counted."""
    mailboxes: dict[str, MailboxStatistics]
    """By name, of the actors that are there now."""
    peers: dict[str, PeerStatistics]
    dead_letters: dict[str, int]
    """By reason; see DeadLetter."""
    late_replies: int
    """Replies of local actors whose asker did not wait any more."""
    datagrams_refused: int
    """Datagrams that the transport did not take; the link sends them again."""


class _CheckedAsker:
    """A local asker whose reply goes through the codec, as if it were remote."""

    def __init__(self, node: "Node", answer: Answer) -> None:
        self._node = node
        self._answer = answer

    def reply(self, value: object) -> bool:
        return self._answer.reply(None if value is None else self._node.through_codec(value))

    def fail(self, error: Exception) -> bool:
        return self._answer.fail(error)


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
        instruments: Iterable[Instrument],
        cancel_scope: trio.CancelScope,
    ) -> None:
        self.name = name
        self.messages = messages
        self.incarnation = incarnation
        self.asks_max = asks_max
        self.cancel_scope = cancel_scope
        """Cancel it to crash the node."""
        self.instruments = list(instruments)
        """Whoever looks on; may be added to at any time."""
        self.mtu = _MTU_WITHOUT_TRANSPORT if transport is None else transport.mtu
        self.pump = Pump(self._flush)
        self.late_replies = 0
        self._transport = transport
        self._limits = limits
        self._encode_local = encode_local
        self._cells: dict[str, Cell] = {}
        self._peers: dict[str, Peer] = {}
        self._dirty: dict[Peer, None] = {}
        self._timer = Timer()
        self._names_given = 0
        self._dead_letters: dict[str, int] = {}
        self._datagrams_refused = 0
        self._is_closed = False

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

    def statistics(self) -> NodeStatistics:
        """Counts so far."""
        return NodeStatistics(
            name=self.name,
            incarnation=self.incarnation,
            handled=self.pump.handled,
            mailboxes={name: cell.mailbox.statistics() for name, cell in self._cells.items()},
            peers={name: peer.statistics() for name, peer in self._peers.items()},
            dead_letters=dict(self._dead_letters),
            late_replies=self.late_replies,
            datagrams_refused=self._datagrams_refused,
        )

    # ---- for refs ----

    def tell_nowait(self, ref: Ref, message: object) -> None:
        """See Ref."""
        if self._is_closed:
            self.dead_letter("node-closed", ref.node_name, ref.actor_name, message)
        elif ref.node_name != self.name:
            self._peer(ref.node_name).lane_for(message).tell_nowait(ref, message)
        else:
            if self._encode_local:
                message = self.through_codec(message)
            cell = self._cells.get(ref.actor_name)
            if cell is None:
                self.dead_letter("no-actor", self.name, ref.actor_name, message)
            elif not cell.offer((ref.key, message, None), is_system(message)):
                raise self._full(ref)

    async def tell(self, ref: Ref, message: object) -> None:
        """See Ref."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if ref.node_name != self.name and not self._is_closed:
            has_waited = await self._peer(ref.node_name).lane_for(message).tell(ref, message)
        else:
            cell, system = self._cells.get(ref.actor_name), is_system(message)
            has_waited = cell is not None and not cell.mailbox.has_room(system)
            if cell is None or not has_waited:
                self.tell_nowait(ref, message)
            else:
                if self._encode_local:
                    message = self.through_codec(message)
                await cell.mailbox.wait_in_line((ref.key, message, None), system)
        if not has_waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def ask(self, ref: Ref, message: object) -> object:
        """See Ref."""
        if self._is_closed:
            raise ActorDead(f"{self!r} is closed: it cannot ask {ref!r}")
        if ref.node_name != self.name:
            return await self._peer(ref.node_name).lane_for(message).ask(ref, message)
        answer = Answer()
        asker: Asker = answer
        if self._encode_local:
            message = self.through_codec(message)
            asker = _CheckedAsker(self, answer)
        error = self.deliver(ref.actor_name, ref.key, message, asker)
        if error is not None:
            raise error
        return await answer.wait()

    # ---- for cells and supervisors ----

    def register(self, cell: Cell) -> None:
        """The cell gets messages from now on."""
        if self._is_closed:
            raise CallerError(f"{self!r} is closed: it takes no more actors")
        if cell.name in self._cells:
            raise CallerError(f"{self!r} has an actor {cell.name!r} already: names are unique on a node")
        self._cells[cell.name] = cell

    def forget(self, cell: Cell) -> None:
        """The name is free again."""
        assert self._cells[cell.name] is cell, cell.name
        del self._cells[cell.name]

    def new_name(self, kind: str) -> str:
        """A name for an actor that was given none."""
        self._names_given += 1
        return f"{kind}-{self._names_given}"

    def dead_letter(self, reason: str, node_name: str, actor_name: str, message: object) -> None:
        """Count a message that no actor will handle, and show it."""
        self._dead_letters[reason] = self._dead_letters.get(reason, 0) + 1
        if self.instruments:
            letter = DeadLetter(reason, node_name, actor_name, message)
            for instrument in self.instruments:
                instrument.dead_letter(letter)

    def actor_failed(self, name: str, error: Exception) -> None:
        """Show a failure."""
        for instrument in self.instruments:
            instrument.actor_failed(name, error)

    def actor_restarted(self, name: str) -> None:
        """Show a restart."""
        for instrument in self.instruments:
            instrument.actor_restarted(name)

    def through_codec(self, message: object) -> object:
        """A message as it would arrive elsewhere."""
        return self.messages.decode(self.messages.encode(message), self.ref)

    def _full(self, ref: Ref) -> MailboxFull:
        return MailboxFull(f"the mailbox of {ref!r} is full: wait with tell, or give it a larger mailbox_size_max")

    # ---- for peers ----

    def now(self) -> float:
        """The clock of everything on this node."""
        return trio.current_time()

    def decode(self, array: object) -> object:
        """A message whose refs are bound to this node; raises ProtocolError."""
        return self.messages.from_array(array, self.ref)

    def deliver(
        self, actor_name: str, key: bytes | None, message: object, asker: Asker | None
    ) -> MailboxFull | ActorDead | None:
        """Put a message in the mailbox of an actor of this node; why not, if not."""
        cell = self._cells.get(actor_name)
        if cell is None:
            return ActorDead(f"there is no actor {actor_name!r} on {self!r}")
        if not cell.offer((key, message, asker), is_system(message)):
            return self._full(cell.ref)
        return None

    def send_datagram(self, peer: str, datagram: bytes) -> None:
        """Hand a datagram to the transport, if there is one."""
        if self._transport is None or not self._transport.send(peer, datagram):
            self._datagrams_refused += 1

    def mark_dirty(self, peer: Peer) -> None:
        """A link has something to send at the end of this pass."""
        self._dirty[peer] = None
        self.pump.wake()

    def peer_down(self, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        """Show the end of a session."""
        for instrument in self.instruments:
            instrument.peer_down(peer, lane, reason, in_doubt)

    # ---- the three tasks ----

    def _peer(self, name: str) -> Peer:
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = Peer(self, name, self._limits)
        return peer

    def _flush(self) -> None:
        dirty = self._dirty
        if not dirty:
            return
        now = trio.current_time()
        while dirty:
            peer = next(iter(dirty))
            del dirty[peer]
            peer.poll(now)
            time = peer.next_time()
            if time is not None:
                self._timer.arm(time)

    def _fire(self) -> None:
        now = trio.current_time()
        for peer in self._peers.values():
            time = peer.next_time()
            if time is None:
                continue
            if time <= now:
                self.mark_dirty(peer)
            else:
                self._timer.arm(time)

    async def _receive(self, transport: Transport) -> None:
        while True:
            try:
                await transport.wait_readable()
            except trio.ClosedResourceError:
                return
            received, now = 0, trio.current_time()
            while (arrived := transport.receive()) is not None:
                name, datagram = arrived
                peer = self._peer(name)
                peer.receive(datagram, now)
                self.mark_dirty(peer)
                received += 1
                if received % _RECEIVE_DATAGRAMS_MAX == 0:
                    await trio.lowlevel.checkpoint()
                    now = trio.current_time()

    def _start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.pump.run, name=f"{self.name}.pump")
        if self._transport is not None:
            nursery.start_soon(self._receive, self._transport, name=f"{self.name}.receive")
        nursery.start_soon(self._timer.run, self._fire, name=f"{self.name}.timer")

    def _close(self) -> None:
        self._is_closed = True
        for cell in list(self._cells.values()):
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
    instruments: Iterable[Instrument] = (),
) -> AsyncIterator[Node]:
    """Open a node for the length of a block.

    ``incarnation`` must be greater on each start of a node of this name (1 to 2**32 - 1): it is how its peers tell a
    restart from a long silence. ``transport=None``: no other node can be reached. ``encode_local``: messages between
    actors of this node go through the codec too, for tests. When the block ends in good order, what was told before is
    sent once more, without waiting for acknowledgements.
    """
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
            instruments=instruments,
            cancel_scope=nursery.cancel_scope,
        )
        node._start(nursery)
        try:
            yield node
            node._flush()
        finally:
            node._close()
            nursery.cancel_scope.cancel()
