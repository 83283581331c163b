"""The sending half of a link session: what waits, what is under way, when to send it again.

Messages wait in a bounded queue, are cut into segments of at most one datagram, and stay *in flight* until the peer has
acknowledged them. A segment is sent again when the time-out passes, or at once when three later ones have arrived
(then it is lost rather than late). Only the segments that a ``sack`` can speak about are ever sent again: what lies
further ahead may well have arrived. Rejected: going back to the first gap and sending everything again, which after one
loss in a full window repeats a thousand segments.
"""

from collections import deque

import attrs

from nfactor.actors.checks import at_least, whole_at_least
from nfactor.actors.frame import FRAME_OCTETS, SACK_SEGMENTS, SEGMENT_OCTETS
from nfactor.errors import CallerError

_REORDER_SEGMENTS = 3
"""This many later segments must have arrived before a missing one is called lost."""
_FACTOR_MAX = 64.0
"""A time-out is doubled no further than to so many times what it would be."""


@attrs.frozen(kw_only=True)
class LinkLimits:
    """Every limit of a link, with its unit."""

    in_flight_max: int = attrs.field(default=1024, validator=whole_at_least(1))
    """Segments that are sent and not yet acknowledged; also how far ahead of a gap segments are kept."""
    queue_max: int = attrs.field(default=4096, validator=whole_at_least(1))
    """Messages that wait behind those in flight; more are refused."""
    message_octets_max: int = attrs.field(default=64 * 1024 * 1024, validator=whole_at_least(1))
    """The longest message."""
    resend_after_s: float = attrs.field(default=0.1, validator=at_least(0, above=True))
    """First time-out, before any round trip was measured."""
    resend_after_min_s: float = attrs.field(default=0.01, validator=at_least(0, above=True))
    """Shortest time-out."""
    resend_after_max_s: float = attrs.field(default=0.5, validator=at_least(0, above=True))
    """Longest time-out."""
    acknowledge_after_s: float = attrs.field(default=0.004, validator=at_least(0))
    """How long an acknowledgement waits for something to travel with; the second datagram does not wait. Both ends
    should have the same."""
    give_up_s: float = attrs.field(default=3.0, validator=at_least(0, above=True))
    """The peer is down when nothing was acknowledged for so long although something should have been."""
    keep_alive: bool = False
    """Probe a silent peer in every session, not only while an answer or the end of a watched actor is awaited."""
    credit_max: int = attrs.field(default=512, validator=whole_at_least(16))
    """Messages to one actor that it has not handled yet; more wait here, and do not hold up those to others. Both ends
    should have the same."""
    probe_after_s: float = attrs.field(default=0.5, validator=at_least(0, above=True))
    """While an answer is awaited from a silent peer, ask so often whether it is still there."""

    def __attrs_post_init__(self) -> None:
        least, most = self.resend_after_min_s, self.resend_after_max_s
        if least > most:
            raise CallerError(f"resend_after_min_s={least} is more than resend_after_max_s={most}")


class RoundTrip:
    """The time-out for a resend: smoothed round trip plus four times its deviation and what the peer may wait with an
    acknowledgement, doubled on each time-out."""

    __slots__ = ("_acknowledge_after_s", "_base", "_deviation", "_factor", "_least", "_most", "smoothed", "time_out")

    def __init__(self, limits: LinkLimits) -> None:
        self._acknowledge_after_s = limits.acknowledge_after_s
        self._least = limits.resend_after_min_s + limits.acknowledge_after_s
        self._most = limits.resend_after_max_s
        self._base = max(self._least, limits.resend_after_s + limits.acknowledge_after_s)
        self._deviation = 0.0
        self.smoothed: float | None = None
        self._factor = 1.0
        self._note_time_out()

    def _note_time_out(self) -> None:
        self.time_out = min(self._base * self._factor, self._most)
        """Seconds to wait for an acknowledgement."""

    def sample(self, seconds: float) -> None:
        """A segment that was sent once has been acknowledged after so long."""
        smoothed, deviation = self.smoothed, self._deviation
        if smoothed is None:
            smoothed, deviation = seconds, seconds / 2
        else:
            off = seconds - smoothed
            deviation += ((off if off > 0 else -off) - deviation) / 4
            smoothed += off / 8
        self.smoothed, self._deviation = smoothed, deviation
        base = smoothed + 4 * deviation + self._acknowledge_after_s
        if base < self._least:
            base = self._least
        if base != self._base:
            self._base = base
            self._note_time_out()

    def progress(self) -> None:
        """Something was acknowledged: time-outs are short again."""
        if self._factor > 1.0:
            self._factor = 1.0
            self._note_time_out()

    def timed_out(self) -> None:
        """Nothing came in time: wait longer next time."""
        self._factor = min(self._factor * 2, _FACTOR_MAX)
        self._note_time_out()


@attrs.define(slots=True, eq=False)
class InFlight:
    """One segment under way."""

    seq: int
    payload: bytes
    """The whole message."""
    start: int
    end: int
    more: bool
    """The message goes on in the next segment."""
    sent_at: float
    sends: int = 1
    arrived: bool = False
    """The peer has it, but not all before it."""

    def octets(self) -> bytes:
        """This segment's part of the message."""
        return self.payload if self.end - self.start == len(self.payload) else self.payload[self.start : self.end]


def together(segments: list[InFlight], mtu: int) -> list[list[InFlight]]:
    """Which of them share a datagram: consecutive ones, while there is room."""
    runs: list[list[InFlight]] = []
    octets = 0
    for segment in segments:
        size = SEGMENT_OCTETS + segment.end - segment.start
        assert FRAME_OCTETS + size <= mtu
        if not runs or segment.seq != runs[-1][-1].seq + 1 or octets + size > mtu:
            runs.append([])
            octets = FRAME_OCTETS
        runs[-1].append(segment)
        octets += size
    return runs


class Outbox:
    """Queue, flight and resend timer of one session."""

    __slots__ = (
        "_cut", "_limits", "_segment_octets_max", "acknowledged", "base", "flight", "lost", "next_seq", "queue",
        "resend_at", "resent", "round_trip",
    )  # fmt: skip

    def __init__(self, limits: LinkLimits, segment_octets_max: int) -> None:
        assert segment_octets_max > 0
        self._limits = limits
        self._segment_octets_max = segment_octets_max
        self.queue: deque[bytes] = deque()
        """Messages that wait."""
        self.flight: dict[int, InFlight] = {}
        """Segments under way, by number."""
        self._cut = 0
        self.lost: list[InFlight] = []
        """Segments that have to be sent again at once."""
        self.base = 0
        self.next_seq = 0
        self.resend_at: float | None = None
        self.round_trip = RoundTrip(limits)
        self.acknowledged = 0
        self.resent = 0

    @property
    def queued(self) -> int:
        """Messages that wait."""
        return len(self.queue)

    @property
    def in_flight(self) -> int:
        """Segments under way."""
        return len(self.flight)

    @property
    def has_window(self) -> bool:
        """Another message would be cut at once."""
        return len(self.queue) + len(self.flight) < self._limits.in_flight_max

    @property
    def pending(self) -> bool:
        """Something waits or is under way."""
        return bool(self.queue or self.flight)

    @property
    def sendable(self) -> bool:
        """``due`` or ``cut`` would give something at once."""
        return bool(self.lost) or (bool(self.queue) and len(self.flight) < self._limits.in_flight_max)

    def put(self, payload: bytes) -> None:
        """Queue a message (the link has checked the bound)."""
        self.queue.append(payload)

    def restart(self) -> None:
        """A session begins: numbers begin at nought; what waits stays."""
        assert not self.flight, "a session begins with segments of the last one under way"
        assert self._cut == 0, "a session begins with half a message"
        self.base = self.next_seq = 0
        self.resend_at = None
        self.round_trip = RoundTrip(self._limits)

    def abandon(self) -> list[bytes]:
        """A session is over: every message that is not known to have arrived, in the order of sending."""
        doubtful = [segment.payload for segment in self.flight.values() if not segment.more]
        doubtful.extend(self.queue)
        self.flight.clear()
        self.queue.clear()
        self.lost.clear()
        self._cut = 0
        self.resend_at = None
        return [payload for payload in doubtful if payload]

    def cut(self, now: float) -> list[InFlight]:
        """New segments, as many as the window has room for."""
        fresh: list[InFlight] = []
        while self.queue and len(self.flight) < self._limits.in_flight_max:
            payload = self.queue[0]
            end = min(self._cut + self._segment_octets_max, len(payload))
            segment = InFlight(self.next_seq, payload, self._cut, end, end < len(payload), now)
            self.flight[self.next_seq] = segment
            self.next_seq += 1
            fresh.append(segment)
            if segment.more:
                self._cut = end
            else:
                self._cut = 0
                self.queue.popleft()
        if fresh and self.resend_at is None:
            self.resend_at = now + self.round_trip.time_out
        return fresh

    def may_launch(self, payload: bytes, now: float) -> bool:
        """A message can be sent at once, ahead of nothing and in one segment."""
        if self.queue or self.lost or len(self.flight) >= self._limits.in_flight_max:
            return False
        return len(payload) <= self._segment_octets_max and (self.resend_at is None or now < self.resend_at)

    def launch(self, payload: bytes, now: float) -> None:
        """That was done: it is under way as segment ``next_seq``."""
        seq = self.next_seq
        self.flight[seq] = InFlight(seq, payload, 0, len(payload), False, now)
        self.next_seq = seq + 1
        if self.resend_at is None:
            self.resend_at = now + self.round_trip.time_out

    def due(self, now: float) -> list[InFlight]:
        """Segments to send again, in order."""
        if not self.lost and (self.resend_at is None or now < self.resend_at):
            return []
        again, self.lost = [segment for segment in self.lost if segment.seq in self.flight], []
        if self.resend_at is not None and now >= self.resend_at:
            again = self._timed_out(now)
            self.round_trip.timed_out()
            self.resend_at = now + self.round_trip.time_out
        for segment in again:
            segment.sent_at = now
            segment.sends += 1
        self.resent += len(again)
        return again

    def _timed_out(self, now: float) -> list[InFlight]:
        sent_before = now - self.round_trip.time_out
        segments = []
        for seq in range(self.base, min(self.base + SACK_SEGMENTS + 1, self.next_seq)):
            segment = self.flight[seq]
            # The first one goes in any case: its acknowledgement tells what became of the others.
            if not segment.arrived and (segment.sent_at <= sent_before or seq == self.base):
                segments.append(segment)
        return segments

    def acknowledge(self, ack: int, sack: int, now: float) -> bool:
        """The peer waits for segment ``ack`` and has those of ``sack``; True if that is news."""
        if not sack and self.acknowledge_next(ack & 0xFFFFFFFF, now):
            return True
        if not self.base <= ack <= self.next_seq:
            return False
        progress = ack > self.base
        newest: InFlight | None = None
        for seq in range(self.base, ack):
            segment = self.flight.pop(seq)
            if not segment.arrived:
                newest = segment
            if not segment.more and segment.payload:
                self.acknowledged += 1
        self.base = ack
        if sack:
            newest = self._mark(ack, sack) or newest
        if newest is not None and newest.sends == 1:
            self.round_trip.sample(max(now - newest.sent_at, 0.0))
        if progress:
            self.round_trip.progress()
            self.resend_at = now + self.round_trip.time_out if self.flight else None
        return progress

    def acknowledge_next(self, low: int, now: float) -> bool:
        """The peer has the oldest segment, and that alone is news: what most acknowledgements are, where a question
        waits for its answer. False: it is another one. ``low``: the low 32 bits of the segment that it waits for."""
        base = self.base + 1
        if low != base & 0xFFFFFFFF or base > self.next_seq:
            return False
        segment, round_trip, self.base = self.flight.pop(base - 1), self.round_trip, base
        if not segment.more and segment.payload:
            self.acknowledged += 1
        if segment.sends == 1 and not segment.arrived:
            round_trip.sample(now - segment.sent_at if now > segment.sent_at else 0.0)
        round_trip.progress()
        self.resend_at = now + round_trip.time_out if self.flight else None
        return True

    def _mark(self, ack: int, sack: int) -> InFlight | None:
        """Note what has arrived beyond a gap, and what is lost for certain; the newest that arrived."""
        newest: InFlight | None = None
        highest = ack + sack.bit_length()
        for seq in range(ack, min(highest + 1, self.next_seq)):
            segment = self.flight[seq]
            if seq > ack and sack >> (seq - ack - 1) & 1:
                if not segment.arrived:
                    segment.arrived = True
                    newest = segment
            elif segment.sends == 1 and highest - seq >= _REORDER_SEGMENTS and segment not in self.lost:
                self.lost.append(segment)
        return newest
