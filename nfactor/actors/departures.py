"""When the lanes of a node send: those that have something to, at the end of each pass; the others, when it is time.

A pass is a turn of the pump, or what the receiving task did with what had arrived; both end with ``flush``. So a lane
that is marked within a pass wakes nobody; one that is marked from elsewhere wakes the pump.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from nfactor.actors.timers import Timer, Timers

if TYPE_CHECKING:
    from nfactor.actors.peer_lane import PeerLane


class Departures:
    """The lanes that are marked, and one timer for the rest."""

    def __init__(self, timers: Timers, wake: Callable[[], None]) -> None:
        self._timers = timers
        self._wake = wake
        self._marked: dict[PeerLane, None] = {}
        self._due: dict[PeerLane, None] = {}
        self._wake_up: Timer | None = None
        self.in_pass = False
        """Somebody will flush before other tasks run."""
        self.is_urgent = False
        """Somebody elsewhere waits for what a lane has to send: it is not to wait for what else the pass brings."""
        self.has_answered = False
        """Somebody here waited for what has come, and is to have it before the next is looked for."""
        self.has_answered_last = False
        """It was the only answer that was waited for."""

    def mark(self, lane: "PeerLane") -> None:
        """A lane has something to send."""
        self._marked[lane] = None
        if not self.in_pass:
            self._wake()

    def flush(self, now: float | None = None) -> None:
        """Send what is to be sent, now. ``now``: trio's clock, if it was looked at a moment ago."""
        self.in_pass = self.is_urgent = False
        marked = self._marked
        if not marked:
            return
        if now is None:
            now = trio.current_time()
        while marked:
            lane = next(iter(marked))
            del marked[lane]
            lane.poll(now)

    def note(self, lane: "PeerLane", time: float | None) -> None:
        """The lane has to be looked at by then, though nobody marks it. It may be sooner: a time that is put off is
        not worth a new timer."""
        if time is not None and time < lane.due_at:
            lane.due_at = time
            self._due[lane] = None
            self._wake_at(time)

    def _wake_at(self, time: float) -> None:
        if self._wake_up is not None:
            if self._wake_up.time <= time:
                return
            self._wake_up.cancel()
        self._wake_up = self._timers.after(max(0.0, time - trio.current_time()), self._fire)

    def _fire(self) -> None:
        self._wake_up = None
        now, due = trio.current_time(), self._due
        self._due = {lane: None for lane in due if lane.due_at > now}
        for lane in due:
            if lane.due_at <= now:
                lane.due_at = math.inf
                self.mark(lane)
        if self._due:
            self._wake_at(min(lane.due_at for lane in self._due))
