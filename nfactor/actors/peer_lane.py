"""One lane to another node: its link, the questions under way, and what is to be sent.

What a pass sends is gathered and given to the link together (``actors.envelope`` says in which form), so that a small
message costs a fraction of a datagram.

An answer travels on the lane of its question, and only in the session that the question came in: its number means
nothing to a node that has started again. Answers may exceed the bound of the queue, because the asker bounds how many
there are (``asks_max``). Asks spend no credit (``actors.outgoing``): an asker waits for each anyhow.
"""

from typing import TYPE_CHECKING, Any

import attrs

from nfactor.actors import envelope
from nfactor.actors.calls import Probe, chase, current_call
from nfactor.actors.envelope import BOUNCE_DEAD, BOUNCE_FULL
from nfactor.actors.frame import FRAME_OCTETS, SEGMENT_OCTETS, Identity
from nfactor.actors.link import Ended, Link, LinkStatistics
from nfactor.actors.mailbox import Entry
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.outgoing import Outgoing
from nfactor.actors.parking import Answer
from nfactor.actors.ref import Ref
from nfactor.actors.remote_asker import RemoteAsker
from nfactor.errors import (
    ActorDead,
    AskCycle,
    CallerError,
    MailboxFull,
    NfactorError,
    PeerDown,
    ProtocolError,
    RemoteError,
)

if TYPE_CHECKING:
    from nfactor.actors.cell import Cell
    from nfactor.actors.node import Node
    from nfactor.actors.peer import Peer

LANE_NAMES = ("system", "user")
_SEND_MESSAGES = 256
"""So many messages are worth sending before the pass ends: the other node works on them meanwhile."""


@attrs.frozen
class LaneStatistics:
    """Counts of one lane to a peer since it was first heard of."""

    sent: int
    """Messages to actors there that were taken: tells and questions."""
    refused: int
    """Messages that were not: the queue was full, the actor had no credit, or there were too many questions."""
    received: int
    """Messages from there to actors here."""
    queued: int
    """Messages of all kinds that wait behind what the link has."""
    link: LinkStatistics


class _NotPlain(Exception):
    """An envelope that takes the longer way."""


class PeerLane:
    """One lane to one peer: its link, its questions, its waiting senders."""

    def __init__(self, node: "Node", peer: "Peer", number: int, limits: LinkLimits) -> None:
        self.node = node
        self.link = Link(node.incarnation, node.mtu, lane=number, limits=limits)
        self._peer = peer
        self._name = LANE_NAMES[number]
        self._system = number == 0
        self._limits = limits
        self._together_octets_max = node.mtu - FRAME_OCTETS - SEGMENT_OCTETS
        self._out = Outgoing(limits)
        self._is_marked = False
        """The node knows that there is something to send."""
        self._asks: dict[int, Answer] = {}
        self._questions: dict[int, RemoteAsker] = {}
        """Questions of this peer that are not answered."""
        self.keeps_watch = False
        """An actor here watches one there: its silence would be news."""
        self._sent = self._refused = self._received = 0
        self.late_replies = 0
        self.questions_withdrawn = 0
        self.undecodable = 0

    @property
    def questions_open(self) -> int:
        """Questions of this peer that are not answered."""
        return len(self._questions)

    @property
    def asks_waiting(self) -> int:
        """Questions under way."""
        return len(self._asks)

    @property
    def senders_waiting(self) -> int:
        """Tasks that wait for room, or for credit."""
        return self._out.waiting

    def statistics(self) -> LaneStatistics:
        """Counts so far."""
        return LaneStatistics(self._sent, self._refused, self._received, len(self._out), self.link.statistics())

    # ---- out ----

    def put(self, array: list[Any]) -> None:
        """Send an envelope that is bounded by other means than the queue."""
        self._put(self.node.messages.pack(array))

    def _put(self, payload: bytes) -> None:
        self._out.put(payload)
        self.mark()

    def mark(self) -> None:
        """There is something to do for this lane at the end of the pass."""
        if not self._is_marked:
            self._is_marked = True
            self.node.mark_dirty(self._peer)

    def _checked(self, array: list[Any]) -> bytes:
        payload = self.node.messages.pack(array)
        if len(payload) > self._limits.message_octets_max:
            raise CallerError(
                f"a message of {len(payload)} octets is over message_octets_max={self._limits.message_octets_max}"
            )
        return payload

    def _tell_payload(self, ref: Ref, message: object, trace: bytes | None) -> bytes:
        array = [envelope.TELL, ref.actor_name, ref.key, self.node.messages.to_array(message)]
        return self._checked(array if trace is None else [*array, trace])

    def tell_plain(self, prefix: bytes, ref: Ref, message: object) -> None:
        """Send a message without a trace or raise MailboxFull; ``prefix`` as in ``envelope.tell_prefix``."""
        messages = self.node.messages
        try:
            payload = prefix + messages.pack_quickly(messages.encoders[type(message)](message))
        except Exception:  # of whatever kind: the longer way says what it is
            payload = self._tell_payload(ref, message, None)
        if len(payload) > self._limits.message_octets_max:
            self._tell_payload(ref, message, None)  # raises
        out, name = self._out, ref.actor_name
        spent = out.spent.get(name, 0)
        if spent >= out.credit_max or out.lines or len(out.queue) >= out.queue_max:
            if not out.tell(name, payload):
                raise self._full(ref)
        else:
            out.spent[name] = spent + 1
            out.queue.append(payload)
        self._sent += 1
        if not self._is_marked:
            self.mark()
        elif not len(out.queue) % _SEND_MESSAGES:
            self.poll(self.node.now())

    def tell_nowait(self, ref: Ref, message: object, trace: bytes | None) -> None:
        """Send a message or raise MailboxFull."""
        if not self._out.tell(ref.actor_name, self._tell_payload(ref, message, trace)):
            raise self._full(ref)
        self._sent += 1
        self.mark()

    async def tell(self, ref: Ref, message: object, trace: bytes | None) -> bool:
        """Send a message, after waiting for room and credit if need be; False: nothing was awaited."""
        payload = self._tell_payload(ref, message, trace)
        if self._out.tell(ref.actor_name, payload):
            self._sent += 1
            self.mark()
            return False
        await self._out.wait(ref.actor_name, payload)
        return True

    def _full(self, ref: Ref) -> MailboxFull:
        self._refused += 1
        name, lane, queued = self._peer.name, self._name, len(self._out)
        if not self._out.has_credit(ref.actor_name):
            return MailboxFull(f"{ref!r} has not handled the last {self._limits.credit_max} messages from here yet")
        return MailboxFull(f"the {lane} lane to {name} is full ({queued} messages): {ref!r} did not get the message")

    def ask(self, ref: Ref, message: object, answer: Answer, trace: bytes | None) -> int:
        """Send a question; its number. ``asked`` has to be called when the wait is over."""
        node, number, call = self.node, self.node.next_number(), current_call()
        array = [envelope.ASK, ref.actor_name, ref.key, number, node.messages.to_array(message)]
        if call is not None or trace is not None:
            array += [None if call is None else [call.actor_name, call.number], trace]
        payload = self._checked(array)
        if len(self._asks) >= node.asks_max or not self._out.has_room:
            raise self._full(ref)
        self._asks[number] = answer
        self.link.expects_answer = True
        self._sent += 1
        self._put(payload)
        return number

    def has_asked(self, number: int) -> bool:
        """That question went this way and is not answered."""
        return number in self._asks

    def asked(self, ref: Ref, number: int, answer: Answer) -> None:
        """Nobody waits for that answer any more."""
        if self._asks.pop(number, None) is not None and not answer.is_given:
            self.put([envelope.WITHDRAW, number, ref.actor_name])
        self.link.expects_answer = bool(self._asks) or self.keeps_watch

    def answer(self, session: tuple[Identity, Identity] | None, number: int, array: list[Any]) -> bool:
        """Answer a question of the session; False: that session is over, or the question was taken back."""
        payload = self.node.messages.pack(array)
        if session is None or session != self.link.session or self._questions.pop(number, None) is None:
            return False
        self._put(payload)
        return True

    def give_credit(self, actor_name: str, messages: int) -> None:
        """So many messages to an actor here have been handled."""
        if self.link.session is not None:
            self.put([envelope.CREDIT, actor_name, messages])

    def poll(self, now: float) -> None:
        """Send what is due; see what has ended; let waiting senders in."""
        self._is_marked = False
        if self._out.waiting:
            self._sent += self._out.admit()
        link = self.link
        while self._out and link.has_window:
            link.send(self._out.together(self._together_octets_max), now)
        name, send = self._peer.name, self.node.send_datagram
        for datagram in link.poll(now):
            send(name, datagram)
        for ended in link.ended():
            self._session_ended(ended)
        if self._out and link.has_window:
            self.mark()

    # ---- in ----

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram of this lane."""
        self.link.receive(datagram, now)
        for ended in self.link.ended():
            self._session_ended(ended)
        for payload in self.link.take():
            arrays, is_whole = envelope.each(payload)
            self._open_all(arrays)
            self.undecodable += not is_whole

    def note_incarnation(self, incarnation: int) -> None:
        """The other lane has heard a greater incarnation of the peer."""
        self.link.note_incarnation(incarnation)
        for ended in self.link.ended():
            self._session_ended(ended)

    def _open_all(self, arrays: list[Any]) -> None:
        """Take what a message of the link holds. Plain tells, which are the most, take the shorter way: those to one
        actor that come one after the other reach its mailbox together."""
        node = self.node
        cells, decoders, bind, plain = node.cells, node.messages.decoders, node.ref, node.is_plain
        name: str | None = None
        cell: Cell | None = None
        run: list[object] = []
        for array in arrays:
            try:
                kind, to, key, body = array
                if kind != envelope.TELL or key is not None or not plain:
                    raise _NotPlain
                if to != name:
                    if run:
                        self._offer(cell, run)
                        run = []
                    cell, name = cells[to], to
                run.append(decoders[body[0]](body, bind))
            except Exception:  # of whatever kind: the longer way says what it is
                if run:
                    self._offer(cell, run)
                    run = []
                name = None
                try:
                    self._open(envelope.checked(array))
                except ProtocolError:
                    self.undecodable += 1
        if run:
            self._offer(cell, run)

    def _offer(self, cell: "Cell | None", messages: list[object]) -> None:
        """Put plain messages into a mailbox; those for which there is no room bounce."""
        assert cell is not None
        taken = cell.offer_all(messages, self._system)
        if taken:
            self._owe(cell, taken)
        for message in messages[taken:]:
            if cell.offer(message, self._system):
                self._owe(cell, 1)
            else:
                self._bounce(BOUNCE_FULL, cell.name, message)

    def _owe(self, cell: "Cell", count: int) -> None:
        """So many messages from here are in its mailbox."""
        self._received += count
        owed = cell.make_mailbox().owed
        if owed is None:
            cell.make_mailbox().owed = {self: count}
        else:
            owed[self] = owed.get(self, 0) + count

    def _open(self, array: list[Any]) -> None:
        match array[0]:
            case envelope.TELL:
                self._told(array)
            case envelope.ASK:
                self._asked(array)
            case envelope.REPLY:
                self._replied(array[1], array[2])
            case envelope.ERROR:
                _, number, kind, text = array
                self._answered(number, AskCycle(text) if kind == AskCycle.__name__ else RemoteError(kind, text))
            case envelope.BOUNCE:
                self._bounced(array[1], array[2], array[3])
            case envelope.WITHDRAW:
                self._withdrawn(array[1], array[2])
            case envelope.CREDIT:
                self._credited(array[1], array[2])
            case envelope.PROBE:
                self._probed(array)
            case envelope.WATCH:
                self._peer.watched(array[1], array[2])
            case envelope.GONE:
                self.node.watches.gone_elsewhere(self._peer.name, array[1], array[2])

    def _told(self, array: list[Any]) -> None:
        node, actor_name, key = self.node, array[1], array[2]
        trace = array[4] if len(array) > 4 else None
        message = node.decode(array[3])
        cell = node.cells.get(actor_name)
        if cell is None:
            self._bounce(BOUNCE_DEAD, actor_name, message)
        elif node.deliver(actor_name, Entry(message, key, None, trace)) is not None:
            self._bounce(BOUNCE_FULL, actor_name, message)
        else:
            self._owe(cell, 1)

    def _bounce(self, reason: str, actor_name: str, message: object) -> None:
        if self._out.has_room:
            self.put([envelope.BOUNCE, 0, reason, actor_name])
        else:
            self.node.dead_letter(reason, self.node.name, actor_name, message)
            self.put([envelope.CREDIT, actor_name, 1])

    def _asked(self, array: list[Any]) -> None:
        node, actor_name, number = self.node, array[1], array[3]
        caller, trace = array[5:7] if len(array) > 5 else (None, None)
        asker = self._questions[number] = RemoteAsker(self, self.link.session, number)
        self._received += 1
        error: Exception | None
        try:
            entry = Entry(node.decode(array[4]), array[2], asker, trace)
            error = node.deliver(actor_name, entry, inline=True)
        except ProtocolError as wrong:
            self.undecodable += 1
            error = wrong
        if error is not None:
            asker.fail(error)
        elif caller is not None and number in self._questions:
            place = f"{self._peer.name}/{caller[0]}"
            chase(node, actor_name, Probe(self._peer.name, caller[0], caller[1], number, (place,)))

    def _withdrawn(self, number: int, actor_name: str) -> None:
        asker = self._questions.pop(number, None)
        cell = self.node.cells.get(actor_name)
        if asker is not None and cell is not None:
            self.questions_withdrawn += cell.withdraw(asker)

    def _probed(self, array: list[Any]) -> None:
        _, node_name, actor, call, number, path, question, to = array
        if question in self._questions:  # else it is answered, and nobody waits
            chase(self.node, to, Probe(node_name, actor, call, number, tuple(path)))

    def _replied(self, number: int, body: list[Any] | None) -> None:
        answer = self._asks.get(number)
        if answer is None:
            self.late_replies += 1
            return
        try:
            answer.reply(None if body is None else self.node.decode(body))
        except ProtocolError as error:
            self.undecodable += 1
            answer.fail(error)

    def _answered(self, number: int, error: NfactorError) -> None:
        answer = self._asks.get(number)
        if answer is None:
            self.late_replies += 1
        else:
            answer.fail(error)

    def _bounced(self, number: int, reason: str, text: str) -> None:
        if number:
            self._answered(number, MailboxFull(text) if reason == BOUNCE_FULL else ActorDead(text))
        else:
            self._credited(text, 1)
            self.node.dead_letter(reason, self._peer.name, text, None)

    def _credited(self, actor_name: str, messages: int) -> None:
        self._out.credited(actor_name, messages)
        if self._out.waiting:
            self.mark()

    def _session_ended(self, ended: Ended) -> None:
        node, name = self.node, self._peer.name
        payloads = (*ended.in_doubt, *self._out.abandon())
        left = [envelope.checked(array) for payload in payloads for array in envelope.each(payload)[0]]
        self._questions.clear()
        for cell in node.cells.values():
            if cell.mailbox is not None and cell.mailbox.owed:
                cell.mailbox.owed.pop(self, None)
        doubtful = [array for array in left if array[0] in (envelope.TELL, envelope.ASK, envelope.REPLY)]
        node.onlookers.peer_down(name, self._name, ended.reason, len(doubtful))
        if self._name == "system":
            node.watches.peer_down(name)
        for answer in self._asks.values():
            answer.fail(PeerDown(f"{name} is {ended.reason}: whether it handled the question is in doubt"))
        for array in doubtful:
            if array[0] == envelope.TELL:
                node.dead_letter("in-doubt", name, array[1], node.decode(array[3]))
        if self._out.waiting:
            self.mark()
