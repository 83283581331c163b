"""A bounded mailbox of two lanes: what waits on the system lane is handled first.

Each lane holds at most ``size_max`` messages. What happens to one more is the mailbox's *overflow* policy:

- ``refuse`` (the default): ``tell`` waits for room, ``tell_nowait`` and ``ask`` raise MailboxFull;
- ``drop-new``: it is dropped, and counted as a dead letter (``overflow``);
- ``drop-old``: the oldest one of its lane is, and it moves in.

Senders that wait for room stand in line *with* their message, which moves in when there is room; so a message sent
later with ``tell_nowait`` cannot overtake it, and a sender that is cancelled takes its message back with it.

A plain message stands for itself in the queue; one that has a key, an asker or a trace is wrapped in an ``Entry``.
"""

from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from nfactor.actors import checks
from nfactor.actors.parking import Line
from nfactor.errors import CallerError

if TYPE_CHECKING:
    from nfactor.actors.peer_lane import PeerLane

SIZE_MAX = 1024
"""Default bound of each lane, in messages."""

Overflow = Literal["refuse", "drop-new", "drop-old"]
OVERFLOWS = ("refuse", "drop-new", "drop-old")


class Asker(Protocol):
    """Who waits for the reply to a message, here or on another node."""

    def reply(self, value: object) -> bool:
        """Give the handler's value; False: too late."""

    def fail(self, error: Exception) -> bool:
        """Give an exception; False: too late."""


class Entry:
    """A message with what else is to be known of it."""

    __slots__ = ("asker", "key", "message", "trace")

    def __init__(
        self, message: object, key: bytes | None = None, asker: Asker | None = None, trace: bytes | None = None
    ) -> None:
        self.message = message
        self.key = key
        self.asker = asker
        self.trace = trace


Item = object
"""A message, or an ``Entry``."""


def item_of(message: object, key: bytes | None, trace: bytes | None) -> Item:
    """A told message as it waits."""
    return message if key is None and trace is None else Entry(message, key, None, trace)


def entry_of(item: Item) -> Entry:
    """The same as an entry."""
    return item if type(item) is Entry else Entry(item)


@attrs.frozen
class MailboxStatistics:
    """Counts since the mailbox was made."""

    received: int
    """Messages taken in."""
    handled: int
    """Messages handed out."""
    refused: int
    """Messages not taken because the lane was full."""
    dropped: int
    """Messages dropped by the overflow policy, old ones or new."""
    withdrawn: int
    """Questions taken back, because their asker did not wait any more."""
    queued: int
    """Messages that wait now, on both lanes."""
    senders_waiting: int
    """Tasks that wait for room."""
    size_max: int
    """Bound of each lane."""


class Lane:
    """One queue, and who waits for room in it."""

    __slots__ = ("items", "line")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.line: Line[Item] | None = None

    def next(self) -> Item:
        """The oldest message; who waits longest for room moves in."""
        item = self.items.popleft()
        if self.line:
            self.items.append(self.line.admit())
        return item


class Mailbox:
    """See the module's docstring. ``handled`` is counted by whoever takes messages out."""

    __slots__ = ("dropped", "handled", "overflow", "owed", "refused", "size_max", "system", "user", "withdrawn")

    def __init__(self, size_max: int = SIZE_MAX, overflow: Overflow = "refuse") -> None:
        self.size_max = size_max
        self.overflow = overflow
        self.user = Lane()
        self.system: Lane | None = None
        self.owed: dict[PeerLane, int] | None = None
        """Messages that came from other nodes, for which their credit was not given back yet."""
        self.handled = self.refused = self.dropped = self.withdrawn = 0

    def __len__(self) -> int:
        return len(self.user.items) + (0 if self.system is None else len(self.system.items))

    def lane(self, system: bool) -> Lane:
        """The lane of a message."""
        if not system:
            return self.user
        if self.system is None:
            self.system = Lane()
        return self.system

    def offer(self, item: Item, system: bool) -> bool:
        """Take a message in; False when the lane is full or others wait for room in it."""
        lane = self.lane(system) if system else self.user
        if len(lane.items) >= self.size_max or lane.line:
            return False
        lane.items.append(item)
        return True

    def offer_all(self, items: list[Item], system: bool) -> int:
        """Take in as many as there is room for, the first ones; how many it were."""
        lane = self.lane(system)
        room = 0 if lane.line else self.size_max - len(lane.items)
        lane.items.extend(items if len(items) <= room else items[:room])
        return min(len(items), room)

    def displace(self, item: Item, system: bool) -> Item:
        """What the policy drops because the lane is full: the new message, or the oldest, for which it moves in."""
        self.dropped += 1
        if self.overflow == "drop-new":
            return item
        items = self.lane(system).items
        items.append(item)
        return items.popleft()

    def force(self, item: Item, system: bool) -> None:
        """Take a message in beyond the bound: for what is bounded elsewhere and must not be lost."""
        self.lane(system).items.append(item)

    def must_wait(self, system: bool) -> bool:
        """A sender has to wait for room."""
        lane = self.lane(system)
        return self.overflow == "refuse" and (len(lane.items) >= self.size_max or bool(lane.line))

    async def wait_in_line(self, item: Item, system: bool) -> None:
        """Return when the message has moved in, or when the mailbox was closed and it became a dead letter."""
        lane = self.lane(system)
        if lane.line is None:
            lane.line = Line()
        await lane.line.wait(item)

    def withdraw(self, asker: Asker) -> bool:
        """Take a question back that was not handled yet; False: it is not here."""
        for lane in (self.user, self.system):
            for item in () if lane is None else lane.items:
                if type(item) is Entry and item.asker is asker:
                    assert lane is not None
                    lane.items.remove(item)
                    if lane.line:
                        lane.items.append(lane.line.admit())
                    self.withdrawn += 1
                    return True
        return False

    def take(self) -> Item | None:
        """The next message: the system lane first; None if there is none."""
        if self.system is not None and self.system.items:
            return self.system.next()
        return self.user.next() if self.user.items else None

    def drain(self) -> list[Item]:
        """Everything that waits, those of waiting senders included: they will not be handled."""
        left: list[Item] = []
        for lane in (self.system, self.user):
            if lane is not None:
                left.extend(lane.items)
                lane.items.clear()
                left.extend(lane.line.admit_all() if lane.line else ())
        return left

    def statistics(self) -> MailboxStatistics:
        """Counts so far."""
        queued = len(self)
        displaced = self.dropped if self.overflow == "drop-old" else 0
        return MailboxStatistics(
            received=self.handled + queued + self.withdrawn + displaced,
            handled=self.handled,
            refused=self.refused,
            dropped=self.dropped,
            withdrawn=self.withdrawn,
            queued=queued,
            senders_waiting=sum(len(lane.line) for lane in (self.system, self.user) if lane and lane.line),
            size_max=self.size_max,
        )


def check_bounds(size_max: int, overflow: str) -> None:
    """Raises CallerError for a mailbox that cannot be."""
    checks.whole("mailbox_size_max", size_max, 1)
    if overflow not in OVERFLOWS:
        raise CallerError(f"overflow {overflow!r}: use one of {', '.join(OVERFLOWS)}")
