"""A reliable link to one peer, for one lane, without any input or output of its own.

It turns datagrams that may be lost, repeated, reordered, late or damaged into messages that arrive in order and at most
once, and it can tell of every message that it took whether it is known to have arrived. It is a plain object in the
manner of h11 and quinn-proto: ``now`` is an argument, and everything that comes out is drained::

    link.send(payload, now)        a message goes in (False: refused, the queue is full)
    link.receive(datagram, now)    a datagram came
    link.poll(now)                 datagrams to send; call it after each of the above and at ``next_time()``
    link.take()                    messages that arrived
    link.ended()                   sessions that ended since, each with the messages that are now in doubt

**Sessions.** Each end has an *identity*: its node's incarnation, which must be greater on every start of the node, and
an epoch, raised when this end gives a session up. A session is a pair of identities, each end enters a pair at most
once, and the numbers of segments begin at nought in each: so nothing can arrive twice, whatever the network repeats. An
end enters a session only on a frame that names its own present identity, which proves that the peer has lately heard
it; data flows only inside a session. So the first message to a peer costs one more round trip, and a frame of a dead
incarnation can neither be taken for a live one nor disturb a live session. Whoever gets a frame that does not know its
identity answers with one that names both.

Rejected: data in the very first frame. A copy of it, delayed, would be delivered again to a peer that has restarted.
"""

from nfactor.actors.frame import (
    FRAME_OCTETS,
    LANES_MAX,
    NOBODY,
    SEGMENT_OCTETS,
    SEGMENT_OCTETS_MAX,
    TAG_OCTETS,
    Frame,
    FrameError,
    Identity,
    Segment,
    build,
    check_mtu,
    expand,
    head_of,
    parse,
    tag_of,
)
from nfactor.actors.inbox import Inbox
from nfactor.actors.incarnation import check_incarnation
from nfactor.actors.link_statistics import LinkStatistics
from nfactor.actors.outbox import InFlight, LinkLimits, Outbox, together
from nfactor.actors.session import CLOSED, OPEN, OPENING, STEPS, Effect, Ended, Source, State
from nfactor.errors import CallerError


class Link:
    """One lane to one peer; see the module's docstring for the protocol and for who calls what."""

    def __init__(self, incarnation: int, mtu: int, *, lane: int = 0, limits: LinkLimits | None = None) -> None:
        check_incarnation(incarnation)
        check_mtu(mtu)
        assert 0 <= lane < LANES_MAX, lane
        self._lane = lane
        self._mtu = mtu
        self._limits = limits or LinkLimits()
        self._local = Identity(incarnation, 0)
        self._peer = NOBODY
        self._state = CLOSED
        segment_octets_max = min(mtu - FRAME_OCTETS - SEGMENT_OCTETS, SEGMENT_OCTETS_MAX)
        self._outbox = Outbox(self._limits, segment_octets_max)
        self._inbox = self._new_inbox()
        self.session: tuple[Identity, Identity] | None = None
        """The session that the link is in: never the same one twice."""
        self._head_in = self._head_out = b""
        """How frames of the session begin, with its tag."""
        self._peer_knows = False
        """The peer is in the session too: from now on its tag is enough."""
        self._owes_frame = False
        self._ack_at: float | None = None
        """When an acknowledgement leaves that nothing has taken along until then."""
        self._hello_at = 0.0
        self._progress_at = 0.0
        self._heard_at = 0.0
        self._ack_in: int | None = None
        """The low 32 bits of an acknowledgement that has come, and was not looked at yet; before ``_sent`` was sent."""
        self._sent: tuple[bytes, float] | None = None
        """A message that has left, and when, if its segment was not noted yet."""
        self._arrived: list[bytes] = []
        self._ended: list[Ended] = []
        self._counts = dict.fromkeys(("taken", "refused", "delivered", "in_doubt", "sessions"), 0)
        self._counts.update(dict.fromkeys(("duplicates", "ahead", "stale", "corrupt", "malformed", "other_version"), 0))
        self.expects_answer = False
        """The user waits for the peer: probe it while it is silent."""

    # ---- what the user asks ----

    @property
    def state(self) -> State:
        """Where the link stands."""
        return self._state

    @property
    def has_room(self) -> bool:
        """``send`` would take a message."""
        return self._outbox.queued < self._limits.queue_max

    @property
    def has_window(self) -> bool:
        """What is sent now would travel at once, or as soon as there is a session."""
        self.settle()
        return self._outbox.has_window

    @property
    def idle(self) -> bool:
        """Every message that was taken is acknowledged or in doubt."""
        self.settle()
        return not self._outbox.pending

    def statistics(self) -> LinkStatistics:
        """Counts so far."""
        self.settle()
        outbox, counts = self._outbox, dict(self._counts)
        counts["duplicates"] += self._inbox.duplicates
        counts["ahead"] += self._inbox.refused
        return LinkStatistics(
            state=self._state.value,
            acknowledged=outbox.acknowledged,
            queued=outbox.queued,
            in_flight=outbox.in_flight,
            resent=outbox.resent,
            round_trip_s=outbox.round_trip.smoothed,
            **counts,
        )

    # ---- in ----

    def send(self, payload: bytes, now: float, *, beyond_queue_max: bool = False) -> bool:
        """Take a message (not empty); False, and counted, when the queue is full.

        ``beyond_queue_max`` is for answers, whose number the asker bounds.
        """
        assert payload, "an empty message"
        if len(payload) > self._limits.message_octets_max:
            raise CallerError(
                f"a message of {len(payload)} octets is over message_octets_max={self._limits.message_octets_max}"
            )
        if not beyond_queue_max and not self.has_room:
            self._counts["refused"] += 1
            return False
        self._counts["taken"] += 1
        self._put(payload, now)
        return True

    def _put(self, payload: bytes, now: float) -> None:
        self.settle()
        if not self._outbox.pending:
            self._progress_at = now
        self._outbox.put(payload)
        if self._state is CLOSED:
            self._state = OPENING
            self._hello_at = now

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram of the peer. Never raises: what is no frame is dropped and counted."""
        self.settle()
        try:
            frame = parse(datagram)
        except FrameError as error:
            self._counts[error.reason] += 1
            return
        if frame.lane != self._lane:
            self._counts["malformed"] += 1
            return
        if frame.tag:
            self._receive_tagged(frame, now)
            return
        if frame.source == self._peer:
            source = Source.SAME
        else:
            source = Source.NEWER if frame.source > self._peer else Source.OLDER
        effects, state = STEPS[self._state, source, frame.target == self._local]
        self._step(frame, effects, state, now)
        if self._state is OPEN and Effect.TAKE in effects and not frame.opening:
            self._peer_knows = True

    def settle(self) -> None:
        """Note what ``QuickLink`` has left for later."""
        outbox, low, sent = self._outbox, self._ack_in, self._sent
        self._ack_in = self._sent = None
        if low is not None and low != outbox.base & 0xFFFFFFFF:
            now = self._heard_at
            if outbox.acknowledge_next(low, now) or outbox.acknowledge(expand(low, outbox.base), 0, now):
                self._progress_at = now
        if sent is not None:
            payload, now = sent
            if not outbox.flight:
                self._progress_at = now
            outbox.launch(payload, now)
            self._counts["taken"] += 1

    def _receive_tagged(self, frame: Frame, now: float) -> None:
        """A frame that names a session by its tag. If it is not the present one, it is an old one; but if there is
        none here, the peer has to be told."""
        if self._state is OPEN and frame.tag == self._head_in[-TAG_OCTETS:]:
            self._peer_knows = True
            self._take_frame(frame, now)
        elif self._state is OPEN:
            self._counts["stale"] += 1
        else:
            self._owes_frame = True

    def _step(self, frame: Frame, effects: Effect, state: State, now: float) -> None:
        if Effect.DROP in effects:
            self._counts["stale"] += 1
            return
        if Effect.END in effects:
            self._end("restarted")
        if Effect.LEARN in effects:
            self._peer = frame.source
        self._state = state
        if Effect.ENTER in effects:
            self._enter(now)
        if Effect.ANSWER in effects or frame.opening:
            self._owes_frame = True
        if Effect.TAKE in effects:
            self._take_frame(frame, now)

    def note_incarnation(self, incarnation: int) -> None:
        """Another lane has learnt that the peer has started again."""
        if incarnation > self._peer.incarnation:
            if self._state is OPEN:
                self._end("restarted")
                self._state = CLOSED
            self._peer = Identity(incarnation, 0)

    @property
    def peer_incarnation(self) -> int:
        """The peer's greatest incarnation that was seen; 0: none."""
        return self._peer.incarnation

    # ---- sessions ----

    def _new_inbox(self) -> Inbox:
        return Inbox(self._limits.in_flight_max, self._limits.message_octets_max)

    def _enter(self, now: float) -> None:
        assert self._peer != NOBODY
        self._counts["sessions"] += 1
        self._counts["duplicates"] += self._inbox.duplicates
        self._counts["ahead"] += self._inbox.refused
        self._inbox = self._new_inbox()
        self.session = self._local, self._peer
        self._head_in = head_of(self._lane, tag_of(self._peer, self._local))
        self._head_out = head_of(self._lane, tag_of(self._local, self._peer))
        self._peer_knows = False
        self._outbox.restart()
        self._progress_at = self._heard_at = now

    def _end(self, reason: str) -> None:
        self.settle()
        self._ack_at = self.session = None
        doubtful = self._outbox.abandon()
        self._counts["in_doubt"] += len(doubtful)
        self._ended.append(Ended(reason, doubtful))

    def _give_up(self, reason: str) -> None:
        self._end(reason)
        if self._state is OPEN:
            # The peer may still be in the session; only a new identity makes certain that nothing of it counts.
            self._local = Identity(self._local.incarnation, self._local.epoch + 1)
        self._outbox.round_trip.progress()
        self._state = CLOSED

    def _take_frame(self, frame: Frame, now: float) -> None:
        assert self._state is OPEN
        self._heard_at = now
        if self._outbox.acknowledge(expand(frame.ack, self._outbox.base), frame.sack, now):
            self._progress_at = now
        if frame.segments:
            self._take_segments(expand(frame.seq, self._inbox.expected), frame.segments, now)

    def _take_segments(self, seq: int, segments: list[Segment], now: float) -> None:
        self._owe_acknowledgement(now)
        if not self._inbox.is_next(seq):
            self._owes_frame = True  # something is missing: the peer should know
        messages = self._inbox.receive(seq, segments)
        if messages is None:
            self._give_up("oversized")
            return
        self._counts["delivered"] += len(messages)
        self._arrived.extend(messages)

    def _owe_acknowledgement(self, now: float) -> None:
        if self._ack_at is None:
            self._ack_at = now + self._limits.acknowledge_after_s
        else:
            self._owes_frame = True  # the second datagram does not wait

    def hurry(self) -> None:
        """An acknowledgement is not to wait for something to travel with."""
        self._owes_frame = self._owes_frame or self._ack_at is not None

    # ---- out ----

    def take(self) -> list[bytes]:
        """The messages that have arrived since the last call."""
        messages, self._arrived = self._arrived, []
        return messages

    def ended(self) -> list[Ended]:
        """The sessions that have ended since the last call, oldest first; drain it before ``take``."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def is_due(self) -> bool:
        """``poll`` has something to do at once, or there is no session yet and ``next_time`` has to say."""
        outbox, state = self._outbox, self._state
        if self._owes_frame or state is OPENING:
            return True
        if not (outbox.lost or outbox.queue):
            return False
        self.settle()
        return outbox.sendable and state is OPEN

    def next_time(self) -> float | None:
        """When to call ``poll`` next (in the past: at once); None: only after ``send`` or ``receive``."""
        self.settle()
        outbox, is_open = self._outbox, self._state is OPEN
        if self._owes_frame or (is_open and (outbox.lost or outbox.queue) and outbox.sendable):
            return 0.0
        time = self._ack_at
        if outbox.flight or outbox.queue:
            silent_at = self._progress_at + self._limits.give_up_s
            time = silent_at if time is None or silent_at < time else time
            next_at = outbox.resend_at if is_open else self._hello_at if self._state is OPENING else None
        elif is_open and (self.expects_answer or self._limits.keep_alive):
            next_at = self._heard_at + self._limits.probe_after_s
        else:
            next_at = None
        return next_at if time is None or (next_at is not None and next_at < time) else time

    def poll(self, now: float) -> list[bytes]:
        """The datagrams to send now."""
        self.settle()
        if self._outbox.pending and now >= self._progress_at + self._limits.give_up_s:
            self._give_up("silent" if self._state is OPEN else "unreachable")
        if self._state is OPEN:
            self._probe(now)
            segments = self._outbox.due(now)
            segments.extend(self._outbox.cut(now))
            if segments:
                self._owes_frame, self._ack_at = False, None
                return [self._frame(run) for run in together(segments, self._mtu)]
        elif self._state is OPENING and now >= self._hello_at:
            self._hello_at = now + self._outbox.round_trip.time_out
            self._outbox.round_trip.timed_out()
            self._owes_frame = True
        if not self._owes_frame and (self._ack_at is None or now < self._ack_at):
            return []
        self._owes_frame, self._ack_at = False, None
        return [self._frame([])]

    @property
    def _probes(self) -> bool:
        return self.expects_answer or self._limits.keep_alive

    def _probe(self, now: float) -> None:
        silent = self._probes and not self._outbox.pending
        if silent and now >= self._heard_at + self._limits.probe_after_s:
            self._put(b"", now)

    def _frame(self, run: list[InFlight]) -> bytes:
        is_open = self._state is OPEN
        is_tagged = is_open and self._peer_knows
        return build(
            Frame(
                lane=self._lane,
                opening=not is_open,
                source=NOBODY if is_tagged else self._local,
                target=NOBODY if is_tagged else self._peer,
                tag=self._head_out[-TAG_OCTETS:] if is_tagged else b"",
                seq=run[0].seq if run else 0,
                ack=self._inbox.expected if is_open else 0,
                sack=self._inbox.sack() if is_open else 0,
                segments=[(segment.more, segment.octets()) for segment in run],
            )
        )
