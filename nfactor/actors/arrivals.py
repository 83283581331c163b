"""What comes from a peer on one lane: messages for actors here, answers to questions from here, credit, and the rest.

Nothing that a peer sends does more than be counted if it is no envelope (``actors.envelope``) or no message that this
node knows.
"""

from typing import TYPE_CHECKING, Any

from nfactor.actors import envelope
from nfactor.actors.calls import Probe, chase
from nfactor.actors.envelope import BOUNCE_DEAD, BOUNCE_FULL, unpack
from nfactor.actors.handling import ask_at_once
from nfactor.actors.mailbox import Entry
from nfactor.actors.pump import PASS_MESSAGES_MAX
from nfactor.actors.remote_asker import RemoteAsker
from nfactor.errors import ActorDead, AskCycle, MailboxFull, NfactorError, ProtocolError, RemoteError

if TYPE_CHECKING:
    from nfactor.actors.cell import Cell
    from nfactor.actors.peer_lane import PeerLane

_REPLY, _PLAIN_TELL, _REPLY_RUN, _PLAIN_ASK = 3, 4, 4, 5
"""Elements of the envelopes that are the most; a tell with a trace has five, an ask of a handler has seven."""


class Arrivals:
    """The receiving half of a ``PeerLane``, behind its link."""

    def __init__(self, lane: "PeerLane") -> None:
        self._lane = lane
        self._node = lane.node
        self.questions: dict[int, RemoteAsker] = {}
        """Questions of this peer that are not answered."""
        self.alone_at: float | None = None
        """When what is being opened came, if it came by itself: then its answer has nothing to travel with."""
        self.received = 0
        """Messages for actors here."""
        self.late_replies = 0
        self.questions_withdrawn = 0
        self.undecodable = 0

    def open(self, payload: bytes, now: float) -> None:
        """Take a message of the link."""
        try:
            array = unpack(payload)
        except Exception:  # of whatever kind: there are several, or it is none
            arrays, is_whole = envelope.each(payload)
            self.undecodable += not is_whole
            self._open_all(arrays)
            return
        self.alone_at = now
        size = len(array) if type(array) is list and self._node.is_plain else 0
        if not (
            (size == _REPLY and self._replied_plainly(*array))
            or (size == _PLAIN_ASK and self._asked_plainly(*array))
            or (size == _REPLY_RUN and self._replied_in_run(*array))
        ):
            if envelope.is_ask_run(array):
                self.alone_at = None  # the answers travel together
            self._open_all([array])
        self.alone_at = None

    def _open_all(self, arrays: list[Any]) -> None:
        """Take what a message of the link holds. What is plain, and that is the most, takes the shorter way; tells to
        one actor that come one after the other reach its mailbox together."""
        node = self._node
        cells, bind, plain = node.cells, node.ref, node.is_plain
        decoders, flats = node.messages.decoders, node.messages.flats_by_tag
        name: str | None = None
        cell: Cell | None = None
        run: list[object] = []
        for array in arrays:
            size = len(array) if plain and type(array) is list else 0
            if size == _PLAIN_TELL:
                try:
                    kind, to, key, body = array
                    if to != name or kind == envelope.RUN:
                        if run:
                            self._offer(cell, run)
                            run = []
                        name = None
                        cell, name = cells[to], to
                    if kind == envelope.RUN:
                        run = flats[key].take(body)
                        continue
                    if kind == envelope.TELL and key is None:
                        run.append(decoders[body[0]](body, bind))
                        continue
                except Exception:  # of whatever kind: the longer way says what it is
                    pass
            if run:
                self._offer(cell, run)
                run = []
            name = None
            if size == _REPLY and self._replied_plainly(*array):
                continue
            if size == _PLAIN_ASK and (self._asked_plainly(*array) or self._asked_in_run(*array)):
                continue
            if size == _REPLY_RUN and self._replied_in_run(*array):
                continue
            try:
                self._open(envelope.checked(array))
            except ProtocolError:
                self.undecodable += 1
        if run:
            self._offer(cell, run)

    def _replied_plainly(self, kind: object, number: object, body: Any) -> bool:
        """It was a reply that somebody waits for; False: the longer way says what it is."""
        if kind != envelope.REPLY or type(number) is not int:
            return False
        answer = self._lane.asks.get(number)
        if answer is None:
            return False
        try:
            value = None if body is None else self._node.messages.decoders[body[0]](body, self._node.ref)
        except Exception:
            return False
        answer.reply(value)
        departures = self._node.departures
        departures.has_answered, departures.has_answered_last = True, len(self._lane.asks) == 1
        return True

    def _asked_plainly(self, kind: object, to: Any, key: object, number: object, body: Any) -> bool:
        """It was a question for an idle actor, outside of any handler and trace, and is answered; False: see above."""
        node = self._node
        if kind != envelope.ASK or key is not None or type(number) is not int:
            return False
        try:
            cell, message = node.cells[to], node.messages.decoders[body[0]](body, node.ref)
        except Exception:
            return False
        asker = self.questions[number] = RemoteAsker(self._lane, self._lane.link.session, number)
        if not ask_at_once(node, cell, message, asker):
            del self.questions[number]
            return False
        self.received += 1
        return True

    def _replied_in_run(self, kind: object, tag: Any, numbers: Any, values: Any) -> bool:
        """They were replies of one class; False: the longer way says what it is."""
        if kind != envelope.REPLY_RUN:
            return False
        messages = self._messages_of_run(tag, numbers, values)
        if messages is None:
            return False
        asks, departures = self._lane.asks, self._node.departures
        for number, message in zip(numbers, messages, strict=True):
            answer = asks.get(number)
            if answer is None:
                self.late_replies += 1
            else:
                answer.reply(message)
                departures.has_answered = True
        departures.has_answered_last = departures.has_answered and len(asks) == 1
        return True

    def _asked_in_run(self, kind: object, to: Any, tag: Any, numbers: Any, values: Any) -> bool:
        """They were questions of one class to an actor here; False: see above."""
        node, lane = self._node, self._lane
        if kind != envelope.ASK_RUN or type(to) is not str:
            return False
        cell, messages = node.cells.get(to), self._messages_of_run(tag, numbers, values)
        if cell is None or messages is None:
            return False
        session = lane.link.session
        for number, message in zip(numbers, messages, strict=True):
            asker = self.questions[number] = RemoteAsker(lane, session, number)
            if not ask_at_once(node, cell, message, asker):
                error = node.deliver(to, Entry(message, None, asker), inline=True)
                if error is not None:
                    asker.fail(error)
        self.received += len(numbers)
        return True

    def _messages_of_run(self, tag: Any, numbers: Any, values: Any) -> list[object] | None:
        """The messages of a run, if there is one to each number."""
        try:
            messages = self._node.messages.flats_by_tag[tag].take(values)
            return messages if envelope.all_whole(numbers) and len(messages) == len(numbers) else None
        except Exception:
            return None

    def _offer(self, cell: "Cell | None", messages: list[object]) -> None:
        """Put plain messages into a mailbox; those for which there is no room bounce. An actor that has nothing else to
        do handles them at once: then few are alive at a time, and that is half of what they cost."""
        assert cell is not None
        at_once = cell.is_idle
        if at_once:
            cell.is_ready = True  # so that the pump is not called: it is done here
        taken = cell.offer_all(messages, self._lane.is_system)
        if taken:
            self._owe(cell, taken)
        for message in messages[taken:]:
            if cell.offer(message, self._lane.is_system):
                self._owe(cell, 1)
            else:
                self._bounce(BOUNCE_FULL, cell.name, message)
        if at_once:
            self._node.pump.handled += cell.turn(PASS_MESSAGES_MAX)

    def _owe(self, cell: "Cell", count: int) -> None:
        """So many messages from here are in its mailbox."""
        self.received += count
        owed = cell.make_mailbox().owed
        if owed is None:
            cell.make_mailbox().owed = {self._lane: count}
        else:
            owed[self._lane] = owed.get(self._lane, 0) + count

    def _open(self, array: list[Any]) -> None:
        match array[0]:
            case envelope.TELL:
                self._told(array)
            case envelope.RUN:
                for tell in self._node.messages.singly(array):
                    self._told(tell)
            case envelope.ASK_RUN:
                for ask in self._node.messages.singly(array):
                    self._asked(ask)
            case envelope.REPLY_RUN:
                for _, number, body in self._node.messages.singly(array):
                    self._replied(number, body)
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
                self._lane.peer.watched(array[1], array[2])
            case envelope.GONE:
                self._node.watches.gone_elsewhere(self._lane.peer.name, array[1], array[2])

    def _told(self, array: list[Any]) -> None:
        node, actor_name, key = self._node, array[1], array[2]
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
        if self._lane.out.has_room:
            self._lane.put([envelope.BOUNCE, 0, reason, actor_name])
        else:
            self._node.dead_letter(reason, self._node.name, actor_name, message)
            self._lane.put([envelope.CREDIT, actor_name, 1])

    def _asked(self, array: list[Any]) -> None:
        node, actor_name, number = self._node, array[1], array[3]
        caller, trace = array[5:7] if len(array) > 5 else (None, None)
        asker = self.questions[number] = RemoteAsker(self._lane, self._lane.link.session, number)
        self.received += 1
        error: Exception | None
        try:
            entry = Entry(node.decode(array[4]), array[2], asker, trace)
            error = node.deliver(actor_name, entry, inline=True)
        except ProtocolError as wrong:
            self.undecodable += 1
            error = wrong
        if error is not None:
            asker.fail(error)
        elif caller is not None and number in self.questions:
            place = f"{self._lane.peer.name}/{caller[0]}"
            chase(node, actor_name, Probe(self._lane.peer.name, caller[0], caller[1], number, (place,)))

    def _withdrawn(self, number: int, actor_name: str) -> None:
        asker = self.questions.pop(number, None)
        cell = self._node.cells.get(actor_name)
        if asker is not None and cell is not None:
            self.questions_withdrawn += cell.withdraw(asker)

    def _probed(self, array: list[Any]) -> None:
        _, node_name, actor, call, number, path, question, to = array
        if question in self.questions:  # else it is answered, and nobody waits
            chase(self._node, to, Probe(node_name, actor, call, number, tuple(path)))

    def _replied(self, number: int, body: list[Any] | None) -> None:
        answer = self._lane.asks.get(number)
        if answer is None:
            self.late_replies += 1
            return
        try:
            answer.reply(None if body is None else self._node.decode(body))
        except ProtocolError as error:
            self.undecodable += 1
            answer.fail(error)

    def _answered(self, number: int, error: NfactorError) -> None:
        answer = self._lane.asks.get(number)
        if answer is None:
            self.late_replies += 1
        else:
            answer.fail(error)

    def _bounced(self, number: int, reason: str, text: str) -> None:
        if number:
            self._answered(number, MailboxFull(text) if reason == BOUNCE_FULL else ActorDead(text))
        else:
            self._credited(text, 1)
            self._node.dead_letter(reason, self._lane.peer.name, text, None)

    def _credited(self, actor_name: str, messages: int) -> None:
        self._lane.out.credited(actor_name, messages)
        if self._lane.out.waiting:
            self._lane.mark()
