"""A bounded mailbox of two lanes: what waits on the system lane is handled first.

Each lane holds at most ``size_max`` messages. Senders that wait for room stand in line *with* their message, which
moves in when there is room; so a message sent later with ``tell_nowait`` cannot overtake it, and a sender that is
cancelled takes its message back with it.
"""

from collections import deque
from typing import Protocol

import attrs

from nfactor.actors.parking import Line
from nfactor.errors import CallerError

SIZE_MAX = 1024
"""Default bound of each lane, in messages."""


class Asker(Protocol):
    """Who waits for the reply to a message, here or on another node."""

    def reply(self, value: object) -> bool:
        """Give the handler's value; False: too late."""

    def fail(self, error: Exception) -> bool:
        """Give an exception; False: too late."""


Entry = tuple[bytes | None, object, Asker | None]
"""``(key in a table, message, asker)``."""


@attrs.frozen
class MailboxStatistics:
    """Counts since the mailbox was made."""

    received: int
    """Messages taken in."""
    handled: int
    """Messages handed out."""
    refused: int
    """Messages not taken because the lane was full."""
    queued: int
    """Messages that wait now, on both lanes."""
    senders_waiting: int
    """Tasks that wait for room."""
    size_max: int
    """Bound of each lane."""


class _Lane:
    __slots__ = ("entries", "line")

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.line: Line[Entry] = Line()


class Mailbox:
    """See the module's docstring."""

    __slots__ = ("_handled", "_received", "_refused", "_size_max", "_system", "_user")

    def __init__(self, size_max: int = SIZE_MAX) -> None:
        if size_max < 1:
            raise CallerError(f"mailbox_size_max={size_max}: use at least 1")
        self._size_max = size_max
        self._system = _Lane()
        self._user = _Lane()
        self._received = self._handled = self._refused = 0

    def __len__(self) -> int:
        return len(self._system.entries) + len(self._user.entries)

    def offer(self, entry: Entry, system: bool) -> bool:
        """Take a message in; False, and counted, when the lane is full or others wait for room in it."""
        lane = self._system if system else self._user
        if len(lane.entries) >= self._size_max or lane.line:
            self._refused += 1
            return False
        lane.entries.append(entry)
        self._received += 1
        return True

    def has_room(self, system: bool) -> bool:
        """``offer`` would take a message."""
        lane = self._system if system else self._user
        return len(lane.entries) < self._size_max and not lane.line

    async def wait_in_line(self, entry: Entry, system: bool) -> None:
        """Return when the message has moved in, or when the mailbox was closed and it became a dead letter."""
        await (self._system if system else self._user).line.wait(entry)

    def take(self) -> Entry | None:
        """The next message: the system lane first; None if there is none."""
        lane = self._system if self._system.entries else self._user
        if not lane.entries:
            return None
        entry = lane.entries.popleft()
        self._handled += 1
        if lane.line:
            lane.entries.append(lane.line.admit())
            self._received += 1
        assert len(lane.entries) <= self._size_max
        return entry

    def drain(self) -> list[Entry]:
        """Everything that waits, those of waiting senders included: they will not be handled."""
        left: list[Entry] = []
        for lane in (self._system, self._user):
            left.extend(lane.entries)
            lane.entries.clear()
            left.extend(lane.line.admit_all())
        return left

    def statistics(self) -> MailboxStatistics:
        """Counts so far."""
        waiting = len(self._system.line) + len(self._user.line)
        return MailboxStatistics(self._received, self._handled, self._refused, len(self), waiting, self._size_max)
