"""Everything on a node that waits for a time, on one heap and in one task: resends, time-outs, and actors' timers."""

import heapq
import math
from collections.abc import Callable

import trio

_TIDY_TIMERS_MIN = 64
"""Timers on the heap, below which those that are over stay until their time."""


class Timer:
    """Something that will happen once, or again and again."""

    __slots__ = ("_action", "_every_s", "_timers", "time")

    def __init__(self, timers: "Timers", time: float, every_s: float | None, action: Callable[[], None]) -> None:
        self._timers = timers
        self.time = time
        """When it happens next, on trio's clock."""
        self._every_s = every_s
        self._action: Callable[[], None] | None = action

    @property
    def is_over(self) -> bool:
        """It will not happen any more."""
        return self._action is None

    def cancel(self) -> None:
        """It does not happen any more; idempotent."""
        self._action = None

    def _fire(self) -> None:
        action = self._action
        if action is None:
            return
        if self._every_s is None:
            self._action = None
        else:
            self.time += self._every_s
            self._timers.push(self)
        action()


class Timers:
    """``run`` is a task of the node."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._pushed = 0
        self._tidy_at = _TIDY_TIMERS_MIN
        self._deadline = math.inf
        self._scope: trio.CancelScope | None = None

    def after(self, seconds: float, action: Callable[[], None], *, every_s: float | None = None) -> Timer:
        """Call ``action`` then, and each ``every_s`` from then on if it is given."""
        timer = Timer(self, trio.current_time() + seconds, every_s, action)
        self.push(timer)
        return timer

    def push(self, timer: Timer) -> None:
        """Wait for the timer's time."""
        self._pushed += 1  # among equal times, the first comes first
        heapq.heappush(self._heap, (timer.time, self._pushed, timer))
        if len(self._heap) > self._tidy_at:
            self._forget_cancelled()
        self._arm(timer.time)

    def _forget_cancelled(self) -> None:
        """Time-outs are mostly cancelled long before their time: what is over must not fill the heap."""
        self._heap = [item for item in self._heap if not item[2].is_over]
        heapq.heapify(self._heap)
        self._tidy_at = max(_TIDY_TIMERS_MIN, 2 * len(self._heap))

    def _arm(self, time: float) -> None:
        if time < self._deadline:
            self._deadline = time
            if self._scope is not None:
                self._scope.deadline = time

    async def run(self) -> None:
        """Let everything happen at its time, for ever."""
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            self._deadline = math.inf
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]._fire()
            if self._heap:
                self._arm(self._heap[0][0])
