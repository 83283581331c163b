"""What waits to be sent to a peer on one lane: messages in a bounded queue, and senders in line for credit or room.

A tell spends one of ``credit_max`` that this node has for the actor it is sent to; it comes back when the actor has
handled the message (in steps, not one by one), or when it bounces. Who has none waits, or is refused, and nobody else:
an actor that does not keep up stalls neither the lane nor the senders to other actors.
"""

from bisect import bisect_right
from collections import deque
from itertools import accumulate, islice

from nfactor.actors.outbox import LinkLimits
from nfactor.actors.parking import Line

_PAYLOAD_OCTETS_MIN = 5


class Outgoing:
    """Payloads, in the order in which they will leave. Its parts are there for ``PeerLane.tell_plain``, which does what
    ``tell`` does without a call."""

    __slots__ = ("credit_max", "lines", "queue", "queue_max", "spent")

    def __init__(self, limits: LinkLimits) -> None:
        self.credit_max = limits.credit_max
        self.queue_max = limits.queue_max
        self.queue: deque[bytes] = deque()
        self.spent: dict[str, int] = {}
        self.lines: dict[str, Line[bytes]] = {}
        """Senders that wait, by the actor to which they send."""

    def __len__(self) -> int:
        return len(self.queue)

    @property
    def has_room(self) -> bool:
        """The queue is not full."""
        return len(self.queue) < self.queue_max

    @property
    def waiting(self) -> int:
        """Senders in line."""
        return sum(map(len, self.lines.values()))

    def put(self, payload: bytes) -> None:
        """Queue something that is bounded by other means."""
        self.queue.append(payload)

    # ---- tells ----

    def has_credit(self, actor_name: str) -> bool:
        """The actor has not as many messages from here as it may have."""
        return self.spent.get(actor_name, 0) < self.credit_max

    def tell(self, actor_name: str, payload: bytes) -> bool:
        """Queue a message for an actor; False: there is no room or no credit, or others wait for some."""
        spent = self.spent.get(actor_name, 0)
        if spent >= self.credit_max or len(self.queue) >= self.queue_max:
            return False
        if self.lines and self.lines.get(actor_name):
            return False
        self.spent[actor_name] = spent + 1
        self.queue.append(payload)
        return True

    def _spend(self, actor_name: str, payload: bytes) -> None:
        self.spent[actor_name] = self.spent.get(actor_name, 0) + 1
        self.queue.append(payload)

    async def wait(self, actor_name: str, payload: bytes) -> None:
        """Stand in line until the message was queued."""
        await self.lines.setdefault(actor_name, Line()).wait(payload)

    def admit(self) -> int:
        """Queue what senders in line have, as far as room and credit go; how many messages it were."""
        admitted = 0
        for name, line in list(self.lines.items()):
            while line and self.has_room and self.has_credit(name):
                self._spend(name, line.admit())
                admitted += 1
            if not line:
                del self.lines[name]
        return admitted

    def credited(self, actor_name: str, messages: int) -> None:
        """So many messages to that actor are done with."""
        left = self.spent.pop(actor_name, 0) - messages
        if left > 0:
            self.spent[actor_name] = left

    # ---- out ----

    def together(self, octets_max: int) -> bytes:
        """As many payloads as fit into so much, in order; or the first one, if it does not."""
        queue = self.queue
        ends = list(accumulate(map(len, islice(queue, 1 + octets_max // _PAYLOAD_OCTETS_MIN))))
        count = max(1, bisect_right(ends, octets_max))
        if count == len(queue):
            together = b"".join(queue)
            queue.clear()
            return together
        return b"".join([queue.popleft() for _ in range(count)])

    def abandon(self) -> list[bytes]:
        """The session is over: everything in the queue, and nothing is spent any more."""
        left = list(self.queue)
        self.queue.clear()
        self.spent.clear()
        return left
