"""What a node knows of another node: two links to it, the questions under way, and the envelopes on them.

An envelope is a msgpack array; the message inside it is an array in turn, so a tell is packed once::

    [0, actor, key, message]                tell
    [1, actor, key, number, message]        ask
    [2, number, message or nil]             reply
    [3, number, kind, text]                 the handler raised
    [4, number, reason, actor]              bounce: full or dead; number 0 for a tell

An answer travels on the lane of its question, and only in the session that the question came in: its number means
nothing to a node that has started again. Answers may exceed the link's queue bound, because the asker bounds how many
there are (``asks_max``); bounces of tells may not, and then the dead letter is counted at this end instead.
"""

from typing import TYPE_CHECKING, Any

import attrs

from nfactor.actors.frame import Identity, lane_of
from nfactor.actors.link import Ended, Link, LinkStatistics
from nfactor.actors.message import is_system
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.parking import Answer, Line
from nfactor.actors.ref import Ref
from nfactor.errors import ActorDead, MailboxFull, NfactorError, PeerDown, ProtocolError, RemoteError

if TYPE_CHECKING:
    from nfactor.actors.mailbox import Asker
    from nfactor.actors.node import Node

_TELL, _ASK, _REPLY, _ERROR, _BOUNCE = range(5)
_LANE_NAMES = ("system", "user")

_Key = (bytes, type(None))
_SHAPES: dict[int, tuple[tuple[type, ...] | type, ...]] = {
    _TELL: (int, str, _Key, list),
    _ASK: (int, str, _Key, int, list),
    _REPLY: (int, int, (list, type(None))),
    _ERROR: (int, int, str, str),
    _BOUNCE: (int, int, str, str),
}
_BOUNCE_FULL, _BOUNCE_DEAD = "bounced", "no-remote-actor"


@attrs.frozen
class PeerStatistics:
    """Counts since the peer was first heard of."""

    name: str
    system: LinkStatistics
    user: LinkStatistics
    asks_waiting: int
    """Questions under way."""
    senders_waiting: int
    """Tasks that wait for room on a link."""
    late_replies: int
    """Replies that came when nobody waited for them any more."""
    undecodable: int
    """Messages from this peer that were no envelopes, or held no message that this node knows."""


class _RemoteAsker:
    """Who asked from another node."""

    __slots__ = ("_lane", "_number", "_session")

    def __init__(self, lane: "PeerLane", session: tuple[Identity, Identity] | None, number: int) -> None:
        self._lane = lane
        self._session = session
        self._number = number

    def reply(self, value: object) -> bool:
        body = None if value is None else self._lane.node.messages.to_array(value)
        return self._lane.answer(self._session, [_REPLY, self._number, body])

    def fail(self, error: Exception) -> bool:
        if isinstance(error, MailboxFull):
            array = [_BOUNCE, self._number, _BOUNCE_FULL, str(error)]
        elif isinstance(error, ActorDead):
            array = [_BOUNCE, self._number, _BOUNCE_DEAD, str(error)]
        elif isinstance(error, RemoteError):
            array = [_ERROR, self._number, error.kind, error.text]
        else:
            array = [_ERROR, self._number, type(error).__name__, str(error)]
        return self._lane.answer(self._session, array)


class PeerLane:
    """One lane to one peer: its link, its questions, its waiting senders."""

    def __init__(self, node: "Node", peer: "Peer", number: int, limits: LinkLimits) -> None:
        self.node = node
        self.link = Link(node.incarnation, node.mtu, lane=number, limits=limits)
        self._peer = peer
        self._name = _LANE_NAMES[number]
        self._asks: dict[int, Answer] = {}
        self._asks_begun = 0
        self._line: Line[bytes] = Line()
        self.late_replies = 0
        self.undecodable = 0

    @property
    def asks_waiting(self) -> int:
        """Questions under way."""
        return len(self._asks)

    @property
    def senders_waiting(self) -> int:
        """Tasks that wait for room."""
        return len(self._line)

    # ---- out ----

    def _send(self, payload: bytes) -> bool:
        if self._line or not self.link.send(payload, self.node.now()):
            return False
        self.node.mark_dirty(self._peer)
        return True

    def _tell_payload(self, ref: Ref, message: object) -> bytes:
        messages = self.node.messages
        return messages.pack([_TELL, ref.actor_name, ref.key, messages.to_array(message)])

    def tell_nowait(self, ref: Ref, message: object) -> None:
        """Send a message or raise MailboxFull."""
        if not self._send(self._tell_payload(ref, message)):
            raise self._full(ref)

    async def tell(self, ref: Ref, message: object) -> bool:
        """Send a message, after waiting for room if need be; False: nothing was awaited."""
        payload = self._tell_payload(ref, message)
        if self._send(payload):
            return False
        await self._line.wait(payload)
        return True

    def _full(self, ref: Ref) -> MailboxFull:
        return MailboxFull(f"the {self._name} lane to {self._peer.name} is full: {ref!r} did not get the message")

    async def ask(self, ref: Ref, message: object) -> object:
        """Send a question and wait for the answer."""
        messages = self.node.messages
        self._asks_begun += 1
        number = self._asks_begun
        payload = messages.pack([_ASK, ref.actor_name, ref.key, number, messages.to_array(message)])
        if len(self._asks) >= self.node.asks_max or not self._send(payload):
            raise self._full(ref)
        answer = self._asks[number] = Answer()
        self.link.expects_answer = True
        try:
            return await answer.wait()
        finally:
            self._asks.pop(number, None)
            self.link.expects_answer = bool(self._asks)

    def answer(self, session: tuple[Identity, Identity] | None, array: list[Any]) -> bool:
        """Answer a question of the session; False: that session is over."""
        if session is None or session != self.link.session:
            return False
        self.link.send(self.node.messages.pack(array), self.node.now(), beyond_queue_max=True)
        self.node.mark_dirty(self._peer)
        return True

    def poll(self, now: float) -> None:
        """Send what is due; see what has ended; let waiting senders in."""
        name, send = self._peer.name, self.node.send_datagram
        for datagram in self.link.poll(now):
            send(name, datagram)
        for ended in self.link.ended():
            self._session_ended(ended)
        while self._line and self.link.has_room:
            self.link.send(self._line.admit(), now)
            self.node.mark_dirty(self._peer)

    # ---- in ----

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram of this lane."""
        self.link.receive(datagram, now)
        for ended in self.link.ended():
            self._session_ended(ended)
        for payload in self.link.take():
            try:
                self._open(payload)
            except ProtocolError:
                self.undecodable += 1

    def note_incarnation(self, incarnation: int) -> None:
        """The other lane has heard a greater incarnation of the peer."""
        self.link.note_incarnation(incarnation)
        for ended in self.link.ended():
            self._session_ended(ended)

    def _open(self, payload: bytes) -> None:
        array = _checked(self.node.messages.unpack(payload))
        match array[0]:
            case 0:
                self._told(array[1], array[2], self.node.decode(array[3]))
            case 1:
                self._asked(array[1], array[2], array[3], array[4])
            case 2:
                self._replied(array[1], array[2])
            case 3:
                self._answered(array[1], RemoteError(array[2], array[3]))
            case _:
                self._bounced(array[1], array[2], array[3])

    def _told(self, actor: str, key: bytes | None, message: object) -> None:
        error = self.node.deliver(actor, key, message, None)
        if error is None:
            return
        reason = _BOUNCE_FULL if isinstance(error, MailboxFull) else _BOUNCE_DEAD
        bounce = self.node.messages.pack([_BOUNCE, 0, reason, actor])
        if not self._send(bounce):
            self.node.dead_letter(reason, self.node.name, actor, message)

    def _asked(self, actor: str, key: bytes | None, number: int, body: list[Any]) -> None:
        asker: Asker = _RemoteAsker(self, self.link.session, number)
        error: Exception | None
        try:
            error = self.node.deliver(actor, key, self.node.decode(body), asker)
        except ProtocolError as wrong:
            self.undecodable += 1
            error = wrong
        if error is not None:
            asker.fail(error)

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
            self._answered(number, MailboxFull(text) if reason == _BOUNCE_FULL else ActorDead(text))
        else:
            self.node.dead_letter(reason, self._peer.name, text, None)

    def _session_ended(self, ended: Ended) -> None:
        self.node.peer_down(self._peer.name, self._name, ended.reason, len(ended.in_doubt))
        for answer in self._asks.values():
            answer.fail(PeerDown(f"{self._peer.name} is {ended.reason}: whether it handled the question is in doubt"))
        for payload in ended.in_doubt:
            array = _checked(self.node.messages.unpack(payload))
            if array[0] == _TELL:
                self.node.dead_letter("in-doubt", self._peer.name, array[1], self.node.decode(array[3]))


def _checked(array: object) -> list[Any]:
    """An envelope whose elements have the types of its kind; raises ProtocolError."""
    if type(array) is not list or not array or type(array[0]) is not int or array[0] not in _SHAPES:
        raise ProtocolError("a message that is no envelope")
    shape = _SHAPES[array[0]]
    if len(array) != len(shape) or not all(map(isinstance, array, shape)):
        raise ProtocolError(f"an envelope of kind {array[0]} with wrong elements")
    return array


class Peer:
    """One other node."""

    def __init__(self, node: "Node", name: str, limits: LinkLimits) -> None:
        self.name = name
        self._lanes = [PeerLane(node, self, number, limits) for number in range(len(_LANE_NAMES))]

    def lane_for(self, message: object) -> PeerLane:
        """The lane that a message travels on."""
        return self._lanes[0 if is_system(message) else 1]

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram that came from this peer."""
        number = lane_of(datagram)
        lane = self._lanes[number if number < len(self._lanes) else 0]  # whose link counts what is malformed
        lane.receive(datagram, now)
        for other in self._lanes:
            if other.link.peer_incarnation < lane.link.peer_incarnation:
                other.note_incarnation(lane.link.peer_incarnation)

    def poll(self, now: float) -> None:
        """Send what is due."""
        for lane in self._lanes:
            lane.poll(now)

    def next_time(self) -> float | None:
        """When ``poll`` has something to do."""
        times = [time for lane in self._lanes if (time := lane.link.next_time()) is not None]
        return min(times, default=None)

    def statistics(self) -> PeerStatistics:
        """Counts so far."""
        system, user = self._lanes
        return PeerStatistics(
            name=self.name,
            system=system.link.statistics(),
            user=user.link.statistics(),
            asks_waiting=system.asks_waiting + user.asks_waiting,
            senders_waiting=system.senders_waiting + user.senders_waiting,
            late_replies=system.late_replies + user.late_replies,
            undecodable=system.undecodable + user.undecodable,
        )
