"""When the lanes of a node send: those that have something to, at the end of each pass; the others, when it is time.

A pass is a turn of the pump, or what the receiving task did with what had arrived; both end with ``flush``. So a lane
that is marked within a pass wakes nobody; one that is marked from elsewhere wakes the pump.
"""

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
        self._due: dict[PeerLane, float] = {}
        self._wake_up: Timer | None = None
        self.in_pass = False
        """Somebody will flush before other tasks run."""

    def mark(self, lane: "PeerLane") -> None:
        """A lane has something to send."""
        self._marked[lane] = None
        if not self.in_pass:
            self._wake()

    def flush(self, now: float | None = None) -> None:
        """Send what is to be sent, now. ``now``: trio's clock, if it was looked at a moment ago."""
        self.in_pass = False
        marked = self._marked
        if not marked:
            return
        if now is None:
            now = trio.current_time()
        while marked:
            lane = next(iter(marked))
            del marked[lane]
            self.note(lane, lane.poll(now))

    def note(self, lane: "PeerLane", time: float | None) -> None:
        """When the lane has to send next, though nobody marks it."""
        if time is None:
            self._due.pop(lane, None)
        else:
            self._due[lane] = time
            self._wake_at(time)

    def look(self, lane: "PeerLane", time: float | None, now: float) -> None:
        """The same after something has come; what has to be sent now is marked."""
        if time is not None and time <= now:
            self.mark(lane)
        elif time is not None:
            self._due[lane] = time
            self._wake_at(time)

    def _wake_at(self, time: float) -> None:
        if self._wake_up is not None:
            if self._wake_up.time <= time:
                return
            self._wake_up.cancel()
        self._wake_up = self._timers.after(max(0.0, time - trio.current_time()), self._fire)

    def _fire(self) -> None:
        self._wake_up = None
        now = trio.current_time()
        for lane, time in self._due.items():
            if time <= now:
                self.mark(lane)
        waiting = [time for time in self._due.values() if time > now]
        if waiting:
            self._wake_at(min(waiting))
