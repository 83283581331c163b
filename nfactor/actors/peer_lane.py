"""One lane to another node: its link, the questions under way, and what is to be sent.

What a pass sends is gathered and given to the link together (``actors.envelope`` says in which form), so that a small
message costs a fraction of a datagram.

An answer travels on the lane of its question, and only in the session that the question came in: its number means
nothing to a node that has started again. Answers may exceed the bound of the queue, because the asker bounds how many
there are (``asks_max``). Asks spend no credit (``actors.outgoing``): an asker waits for each anyhow.
"""

import math
from typing import TYPE_CHECKING, Any

from nfactor.actors import envelope
from nfactor.actors.arrivals import Arrivals
from nfactor.actors.calls import Call
from nfactor.actors.envelope import ASK_RUN, REPLY_RUN
from nfactor.actors.flat import Flat
from nfactor.actors.frame import FRAME_OCTETS, SEGMENT_OCTETS, SEGMENT_OCTETS_MAX, Identity
from nfactor.actors.lane_statistics import LaneStatistics
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.outgoing import Outgoing
from nfactor.actors.parking import Answer
from nfactor.actors.quick_link import QuickLink
from nfactor.actors.ref import Ref
from nfactor.actors.runs import NO_RUN, Route
from nfactor.actors.session import Ended
from nfactor.errors import CallerError, MailboxFull, PeerDown

if TYPE_CHECKING:
    from nfactor.actors.node import Node
    from nfactor.actors.peer import Peer

LANE_NAMES = ("system", "user")
_SEND_MESSAGES = 128
"""So many messages are worth sending before the pass ends: the other node works on them meanwhile."""
_SEND_QUESTIONS = 24
"""The same of questions, for which somebody waits; but half of those under way, if that is more: while one half of the
askers has its answers, the other node works on the questions of the other."""
_SEND_ANSWERS = 64
"""The same of answers."""


class PeerLane:
    """One lane to one peer: its link, its questions, its waiting senders."""

    def __init__(self, node: "Node", peer: "Peer", number: int, limits: LinkLimits) -> None:
        self.node = node
        self.link = QuickLink(node.incarnation, node.mtu, lane=number, limits=limits)
        self.peer = peer
        self._name = LANE_NAMES[number]
        self.is_system = number == 0
        self._limits = limits
        octets_max = min(node.mtu - FRAME_OCTETS - SEGMENT_OCTETS, SEGMENT_OCTETS_MAX, limits.message_octets_max)
        self.out = Outgoing(limits, octets_max, node.messages.pack)
        self._last: tuple[Route, type] | None = None
        """Where and of what class the last plain tell was: the second one to the same begins a run."""
        self._is_marked = False
        """The node knows that there is something to send."""
        self.due_at = math.inf
        """When the node will look at it though it is not marked; never after the link's ``next_time``."""
        self._soonest_s = min(
            limits.acknowledge_after_s, limits.resend_after_max_s, limits.probe_after_s, limits.give_up_s
        )
        """What happens now has no consequence sooner than after so long."""
        self.asks: dict[int, Answer] = {}
        self._questions_together = _SEND_QUESTIONS
        """So many are sent before the pass ends, as far as was known when it was last looked at."""
        self.keeps_watch = False
        """An actor here watches one there: its silence would be news."""
        self._asked = self._refused = 0
        self.arrivals = Arrivals(self)

    @property
    def asks_waiting(self) -> int:
        """Questions under way."""
        return len(self.asks)

    @property
    def senders_waiting(self) -> int:
        """Tasks that wait for room, or for credit."""
        return self.out.waiting

    def statistics(self) -> LaneStatistics:
        """Counts so far."""
        self.out.end_run()
        sent = self._asked + self.out.told
        return LaneStatistics(sent, self._refused, self.arrivals.received, len(self.out), self.link.statistics())

    # ---- out ----

    def put(self, array: list[Any]) -> None:
        """Send an envelope that is bounded by other means than the queue."""
        self._put(self.node.messages.pack(array))

    def _put(self, payload: bytes) -> None:
        self.out.put(payload)
        self.mark()

    def mark(self) -> None:
        """There is something to do for this lane at the end of the pass."""
        if not self._is_marked:
            self._is_marked = True
            self.node.departures.mark(self)

    def _checked(self, array: list[Any]) -> bytes:
        payload = self.node.messages.pack(array)
        if len(payload) > self._limits.message_octets_max:
            raise self._too_long(payload)
        return payload

    def _too_long(self, payload: bytes) -> CallerError:
        octets, most = len(payload), self._limits.message_octets_max
        return CallerError(f"a message of {octets} octets is over message_octets_max={most}")

    def _tell_payload(self, ref: Ref, message: object, trace: bytes | None) -> bytes:
        array = [envelope.TELL, ref.actor_name, ref.key, self.node.messages.to_array(message)]
        return self._checked(array if trace is None else [*array, trace])

    def tell_plain(self, route: Route, ref: Ref, message: object) -> None:
        """Send a message without a trace, or raise MailboxFull."""
        if not self._tell_plain(route, ref, message):
            raise self._full(ref)

    def _tell_plain(self, route: Route, ref: Ref, message: object) -> bool:
        """Let a message join the run that is open, or begin one, or go by itself; False: no credit, or no room."""
        out, messages, cls, run = self.out, self.node.messages, type(message), route.run
        is_full = run is not NO_RUN and len(run.values) >= run.end
        if run.cls is cls and not is_full and run.note(message, run.values):
            return True
        flat = messages.flats.get(cls) if self._last == (route, cls) and ref.key is None else None
        if flat is not None:
            run = out.begin_run(route, ref.actor_name, cls, flat)
            if run is not NO_RUN and run.note(message, run.values):
                if is_full:
                    self.send_now()
                self.mark()
                return True
        self._last = route, cls
        try:
            payload = messages.pack_behind(route.prefix, cls, messages.encoders[cls](message))
        except Exception:  # of whatever kind: the longer way says what it is
            payload = self._tell_payload(ref, message, None)
        if len(payload) > self._limits.message_octets_max:
            raise self._too_long(payload)
        if not out.tell(ref.actor_name, payload):
            return False
        self.mark()
        if not len(out.queue) % _SEND_MESSAGES:
            self.send_now()
        return True

    def tell_nowait(self, ref: Ref, message: object, trace: bytes | None) -> None:
        """Send a message or raise MailboxFull."""
        if not self.out.tell(ref.actor_name, self._tell_payload(ref, message, trace)):
            raise self._full(ref)
        self.mark()

    async def tell(self, ref: Ref, message: object, trace: bytes | None) -> bool:
        """Send a message, after waiting for room and credit if need be; False: nothing was awaited."""
        if trace is None and self._tell_plain(ref.route, ref, message):
            return False
        payload = self._tell_payload(ref, message, trace)
        if self.out.tell(ref.actor_name, payload):
            self.mark()
            return False
        await self.out.wait(ref.actor_name, payload)
        return True

    def _full(self, ref: Ref) -> MailboxFull:
        self._refused += 1
        name, lane, queued = self.peer.name, self._name, len(self.out)
        if not self.out.has_credit(ref.actor_name):
            return MailboxFull(f"{ref!r} has not handled the last {self._limits.credit_max} messages from here yet")
        return MailboxFull(f"the {lane} lane to {name} is full ({queued} messages): {ref!r} did not get the message")

    def ask(self, ref: Ref, message: object, answer: Answer, trace: bytes | None, call: Call | None) -> int:
        """Send a question; its number. ``asked`` has to be called when the wait is over."""
        node, number = self.node, self.node.next_number()
        out, messages = self.out, node.messages
        try:
            array = [envelope.ASK, ref.actor_name, ref.key, number, messages.encoders[type(message)](message)]
            if call is not None or trace is not None:
                array += [None if call is None else [call.actor_name, call.number], trace]
            payload = messages.pack_quickly(array)
        except Exception:  # of whatever kind: the longer way says what it is
            payload = self._checked([envelope.ASK, ref.actor_name, ref.key, number, messages.to_array(message)])
        if len(payload) > self._limits.message_octets_max:
            raise self._too_long(payload)
        out.end_run()
        if len(self.asks) >= node.asks_max or out.queued >= out.queue_max:
            raise self._full(ref)
        self.asks[number] = answer
        self.link.expects_answer = True
        self._asked += 1
        try:
            if len(self.asks) > 1:
                out.put(payload)
                self._send_questions()
            elif not self._send_alone(payload, node.now()):  # the link is not ready, or something waits
                out.put(payload)
                self.send_now()
        except BaseException:  # a transport whose address book is wrong, for one
            self._forget(number)
            raise
        return number

    def ask_in_run(self, ref: Ref, message: object, answer: Answer) -> int:
        """Let a question join a run, or begin one; its number, 0: it has to go by itself, or may not. It does not leave
        before its asker has waited; if that was cancelled at once, it never does."""
        asks, out, flat = self.asks, self.out, self.node.messages.flats.get(type(message))
        if out.queued >= self._questions_together:
            self._send_questions()
        if flat is None or ref.key is not None or len(asks) >= self.node.asks_max or out.queued >= out.queue_max:
            return 0
        number = self.node.next_number()
        run = out.join(ASK_RUN, ref.actor_name, flat, number, message)
        if run is NO_RUN:
            return 0
        run.answers.append(answer)
        asks[number] = answer
        self._asked += 1
        if not self._is_marked:
            self._questions_together = self._enough_questions()
            self.mark()
        return number

    def _enough_questions(self) -> int:
        return max(_SEND_QUESTIONS, min(len(self.asks) // 2, _SEND_MESSAGES))

    def _send_questions(self) -> None:
        """A question was queued: enough of them are sent before the pass ends."""
        self._questions_together = self._enough_questions()
        self._send_from(self._questions_together)

    def _send_from(self, together: int) -> None:
        """Something was queued for which somebody waits: so many are sent before the pass ends."""
        if self.out.queued >= together:
            self.send_now()
        elif not self._is_marked:
            self.mark()

    def _send_alone(self, payload: bytes, now: float) -> bool:
        """Send something at once, past the queue; False: something waits there, or the link cannot."""
        if self.out.queue or self.out.run is not NO_RUN:
            return False
        datagram = self.link.send_at_once(payload, now)
        if datagram is None:
            return False
        self.node.send_datagram(self.peer.name, datagram)
        self.link.settle()  # now, while the other node has what it waits for
        if self.due_at > now + self._soonest_s:
            self.node.departures.note(self, self.link.next_time())
        return True

    def has_asked(self, number: int) -> bool:
        """That question went this way and is not answered."""
        return number in self.asks

    def asked(self, ref: Ref, number: int, answer: Answer) -> None:
        """Nobody waits for that answer any more."""
        if self._forget(number) and not answer.is_given and not self.out.take_back(number):
            self.put([envelope.WITHDRAW, number, ref.actor_name])

    def _forget(self, number: int) -> bool:
        was_known = self.asks.pop(number, None) is not None
        if not self.asks:
            self.link.expects_answer = self.keeps_watch
        return was_known

    def answer(self, session: tuple[Identity, Identity] | None, number: int, payload: bytes) -> bool:
        """Answer a question of the session; False: that session is over, or the question was taken back."""
        if session is None or session != self.link.session or self.arrivals.questions.pop(number, None) is None:
            return False
        alone_at = self.arrivals.alone_at
        if alone_at is None or not self._send_alone(payload, alone_at):
            self.out.put(payload)
            self._answered()
        return True

    def answer_in_run(
        self, session: tuple[Identity, Identity] | None, number: int, flat: Flat, value: object
    ) -> bool | None:
        """The same of a message that may join a run; None: it cannot, and nothing was done."""
        if session is None or session != self.link.session or number not in self.arrivals.questions:
            return False
        if self.out.join(REPLY_RUN, "", flat, number, value) is NO_RUN:
            return None
        del self.arrivals.questions[number]
        self._answered()
        return True

    def _answered(self) -> None:
        self.node.departures.is_urgent = True
        self._send_from(_SEND_ANSWERS)

    def give_credit(self, actor_name: str, messages: int) -> None:
        """So many messages to an actor here have been handled."""
        if self.link.session is not None:
            self.put([envelope.CREDIT, actor_name, messages])

    def poll(self, now: float) -> None:
        """Send what is due; see what has ended; let waiting senders in."""
        self._is_marked = False
        link, out, name, send = self.link, self.out, self.peer.name, self.node.send_datagram
        out.end_run()
        if out.lines:
            out.admit()
        while out.queue and link.has_window:
            payload = out.together()
            datagram = link.send_at_once(payload, now)
            if datagram is None:
                link.send(payload, now)
            else:
                send(name, datagram)
        if link.is_due or self.due_at > now + self._soonest_s:
            time = link.next_time()
            if time is not None and time <= now:
                for datagram in link.poll(now):
                    send(name, datagram)
                time = link.next_time()
            self.node.departures.note(self, time)
        self._sessions_ended()
        if out.queue and link.has_window:
            self.mark()

    def send_now(self) -> None:
        """Send what is due before the pass ends."""
        self.poll(self.node.now())

    def hurry(self) -> None:
        """An acknowledgement is not to wait for something to travel with."""
        self.link.hurry()
        self.mark()

    # ---- in ----

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram of this lane."""
        link = self.link
        link.receive(datagram, now)
        self._sessions_ended()
        for payload in link.take():
            self.arrivals.open(payload, now)
        self._has_received(now)

    def receive_at_once(self, datagram: bytes, now: float) -> bool:
        """The same in one step, for what most datagrams are; False: it was not taken."""
        message = self.link.receive_at_once(datagram, now)
        if message is None:
            return False
        self.arrivals.open(message, now)
        self._has_received(now)
        return True

    def _has_received(self, now: float) -> None:
        if not self._is_marked:
            link = self.link
            if link.is_due or (self.out.queue and link.has_window):
                self.mark()
            elif self.due_at > now + self._soonest_s:
                self.node.departures.note(self, link.next_time())

    def note_incarnation(self, incarnation: int) -> None:
        """The other lane has heard a greater incarnation of the peer."""
        self.link.note_incarnation(incarnation)
        self._sessions_ended()

    def _sessions_ended(self) -> None:
        for ended in self.link.ended():
            self._session_ended(ended)

    def _session_ended(self, ended: Ended) -> None:
        node, name = self.node, self.peer.name
        payloads = (*ended.in_doubt, *self.out.abandon())
        arrays = [envelope.checked(array) for payload in payloads for array in envelope.each(payload)[0]]
        left = [each for array in arrays for each in node.messages.singly(array)]
        self.arrivals.questions.clear()
        for cell in node.cells.values():
            if cell.mailbox is not None and cell.mailbox.owed:
                cell.mailbox.owed.pop(self, None)
        doubtful = [array for array in left if array[0] in (envelope.TELL, envelope.ASK, envelope.REPLY)]
        node.onlookers.peer_down(name, self._name, ended.reason, len(doubtful))
        if self._name == "system":
            node.watches.peer_down(name)
        for answer in self.asks.values():
            answer.fail(PeerDown(f"{name} is {ended.reason}: whether it handled the question is in doubt"))
        for array in doubtful:
            if array[0] == envelope.TELL:
                node.dead_letter("in-doubt", name, array[1], node.decode(array[3]))
        if self.out.waiting:
            self.mark()
