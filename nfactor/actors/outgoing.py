"""What waits to be sent to a peer on one lane: messages in a bounded queue, and senders in line for credit or room.

A tell spends one of ``credit_max`` that this node has for the actor it is sent to; it comes back when the actor has
handled the message (in steps, not one by one), or when it bounces. Who has none waits, or is refused, and nobody else:
an actor that does not keep up stalls neither the lane nor the senders to other actors.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from itertools import accumulate, islice

from nfactor.actors.envelope import ASK_RUN, REPLY_RUN, RUN
from nfactor.actors.flat import Flat
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.parking import Line
from nfactor.actors.runs import NO_RUN, RUN_MESSAGES_MAX, Route, Run

_PAYLOAD_OCTETS_MIN = 5
_RUN_OCTETS = 20
"""What a run costs at most, besides the actor's name, its numbers and its values."""
_NUMBER_OCTETS = 9
_NAME_OCTETS_MAX = 4
"""Of a character, in UTF-8."""


class Outgoing:
    """Payloads, in the order in which they will leave; the last of them may be a run that is still open."""

    __slots__ = (
        "_counts", "_held_back", "_octets_max", "_pack", "_route", "credit_max", "lines", "queue", "queue_max",
        "queued", "run", "spent", "told",
    )  # fmt: skip

    def __init__(self, limits: LinkLimits, octets_max: int, pack: Callable[[list[object]], bytes]) -> None:
        self.credit_max = limits.credit_max
        self.queue_max = limits.queue_max
        self.queue: deque[bytes] = deque()
        self.queued = 0
        """Messages in the queue: a run is as many as it holds. One of questions or answers counts as it grows, one of
        tells when it ends."""
        self._counts: deque[int] = deque()
        """The same for each payload."""
        self.spent: dict[str, int] = {}
        self.lines: dict[str, Line[bytes]] = {}
        """Senders that wait, by the actor to which they send."""
        self.told = 0
        """Messages that were taken by ``tell``, from senders in line, or in runs."""
        self._octets_max = octets_max
        self._pack = pack
        self.run = NO_RUN
        """The run that is open."""
        self._held_back = set[int]()
        """Questions that did not leave with their run, for nobody waited for them any more."""
        self._route: Route | None = None

    def __len__(self) -> int:
        return self.queued + (self.run.count if self.run.kind == RUN else 0)

    @property
    def has_room(self) -> bool:
        """The queue is not full."""
        return len(self) < self.queue_max

    @property
    def waiting(self) -> int:
        """Senders in line."""
        return sum(map(len, self.lines.values()))

    def put(self, payload: bytes) -> None:
        """Queue something that is bounded by other means."""
        if self.run is not NO_RUN:
            self.end_run()
        self.queue.append(payload)
        self._counts.append(1)
        self.queued += 1

    # ---- tells ----

    def has_credit(self, actor_name: str) -> bool:
        """The actor has not as many messages from here as it may have."""
        self.end_run()
        return self.spent.get(actor_name, 0) < self.credit_max

    def tell(self, actor_name: str, payload: bytes) -> bool:
        """Queue a message for an actor; False: there is no room or no credit, or others wait for some."""
        self.end_run()
        spent = self.spent.get(actor_name, 0)
        if spent >= self.credit_max or self.queued >= self.queue_max:
            return False
        if self.lines and self.lines.get(actor_name):
            return False
        self.spent[actor_name] = spent + 1
        self.told += 1
        self.queue.append(payload)
        self._counts.append(1)
        self.queued += 1
        return True

    async def wait(self, actor_name: str, payload: bytes) -> None:
        """Stand in line until the message was queued."""
        await self.lines.setdefault(actor_name, Line()).wait(payload)

    def admit(self) -> None:
        """Queue what senders in line have, as far as room and credit go."""
        for name, line in list(self.lines.items()):
            while line and self.has_room and self.has_credit(name):
                self.spent[name] = self.spent.get(name, 0) + 1
                self.put(line.admit())
                self.told += 1
            if not line:
                del self.lines[name]

    def credited(self, actor_name: str, messages: int) -> None:
        """So many messages to that actor are done with."""
        left = self.spent.pop(actor_name, 0) - messages
        if left > 0:
            self.spent[actor_name] = left

    # ---- runs ----

    def begin_run(self, route: Route, actor_name: str, cls: type, flat: Flat) -> Run:
        """A run for an actor; NO_RUN if not even one message may be told to it."""
        self.end_run()
        count = min(
            self._run_messages_max(actor_name, flat.octets_max),
            self.credit_max - self.spent.get(actor_name, 0),
            self.queue_max - self.queued,
        )
        if count > 0 and not self.lines:
            self._route, self.run = route, Run(RUN, actor_name, cls, flat, count)
            route.run = self.run
        return self.run

    def join(self, kind: int, actor_name: str, flat: Flat, number: int, message: object) -> Run:
        """Let a question or an answer join the run that is open, or begin one; NO_RUN: it cannot travel so."""
        run = self.run
        if run.flat is not flat or run.kind != kind or run.actor_name != actor_name or len(run.values) >= run.end:
            self.end_run()
            count = self._run_messages_max(actor_name, flat.octets_max + _NUMBER_OCTETS)
            if count <= 0:
                return NO_RUN
            run = self.run = Run(kind, actor_name, None, flat, count)
        if not run.note(message, run.values):
            return NO_RUN
        run.numbers.append(number)
        self.queued += 1
        return run

    def take_back(self, number: int) -> bool:
        """A question is not to leave; False: it has left."""
        if number in self._held_back:
            self._held_back.remove(number)
            return True
        dropped = self.run.drop([each == number for each in self.run.numbers]) if self.run.kind == ASK_RUN else ()
        self.queued -= len(dropped)
        return bool(dropped)

    def _run_messages_max(self, actor_name: str, octets_max: int) -> int:
        """Messages of so many octets that a run may hold, by its length and that of a datagram."""
        octets = self._octets_max - _RUN_OCTETS - _NAME_OCTETS_MAX * len(actor_name)
        return min(RUN_MESSAGES_MAX, octets // octets_max)

    def end_run(self) -> None:
        """Queue what the open run holds."""
        run, flat = self.run, self.run.flat
        if flat is None:
            return
        self.run = NO_RUN
        if self._route is not None:
            self._route.run = NO_RUN
            self._route = None
        count = run.count
        if not count:
            return
        if run.kind == RUN:
            self.spent[run.actor_name] = self.spent.get(run.actor_name, 0) + count
            self.told += count
            self.queued += count
            array: list[object] = [RUN, run.actor_name, flat.tag, run.values]
        elif run.kind == ASK_RUN:
            over = run.drop([answer.is_over for answer in run.answers])
            self._held_back.update(over)
            self.queued -= len(over)
            count = run.count
            if not count:
                return
            array = [ASK_RUN, run.actor_name, flat.tag, run.numbers, run.values]
        else:
            array = [REPLY_RUN, flat.tag, run.numbers, run.values]
        self.queue.append(self._pack(array))
        self._counts.append(count)

    # ---- out ----

    def together(self) -> bytes:
        """As many payloads as fit into a datagram, in order; or the first one, if it does not."""
        queue, octets_max = self.queue, self._octets_max
        if len(queue) == 1:
            self._counts.clear()
            self.queued = 0
            return queue.popleft()
        ends = list(accumulate(map(len, islice(queue, 1 + octets_max // _PAYLOAD_OCTETS_MIN))))
        count = max(1, bisect_right(ends, octets_max))
        self.queued -= sum([self._counts.popleft() for _ in range(count)])
        return b"".join([queue.popleft() for _ in range(count)])

    def abandon(self) -> list[bytes]:
        """The session is over: everything in the queue, and nothing is spent any more."""
        self.end_run()
        left = list(self.queue)
        self.queue.clear()
        self._counts.clear()
        self.queued = 0
        self.spent.clear()
        return left
