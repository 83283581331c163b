"""What waits to be sent to a peer on one lane: messages in a bounded queue, and senders in line for credit or room.

A tell spends one of ``credit_max`` that this node has for the actor it is sent to; it comes back when the actor has
handled the message (in steps, not one by one), or when it bounces. Who has none waits, or is refused, and nobody else:
an actor that does not keep up stalls neither the lane nor the senders to other actors.
"""

from collections import deque

from nfactor.actors.outbox import LinkLimits
from nfactor.actors.parking import Line


class Outgoing:
    """Payloads, in the order in which they will leave."""

    __slots__ = ("_credit_max", "_lines", "_queue", "_queue_max", "_spent")

    def __init__(self, limits: LinkLimits) -> None:
        self._credit_max = limits.credit_max
        self._queue_max = limits.queue_max
        self._queue: deque[bytes] = deque()
        self._spent: dict[str, int] = {}
        self._lines: dict[str, Line[bytes]] = {}
        """Senders that wait, by the actor to which they send."""

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """The queue is not full."""
        return len(self._queue) < self._queue_max

    @property
    def waiting(self) -> int:
        """Senders in line."""
        return sum(map(len, self._lines.values()))

    def put(self, payload: bytes) -> None:
        """Queue something that is bounded by other means."""
        self._queue.append(payload)

    # ---- tells ----

    def has_credit(self, actor_name: str) -> bool:
        """The actor has not as many messages from here as it may have."""
        return self._spent.get(actor_name, 0) < self._credit_max

    def tell(self, actor_name: str, payload: bytes) -> bool:
        """Queue a message for an actor; False: there is no room or no credit, or others wait for some."""
        spent = self._spent.get(actor_name, 0)
        if spent >= self._credit_max or len(self._queue) >= self._queue_max:
            return False
        if self._lines and self._lines.get(actor_name):
            return False
        self._spent[actor_name] = spent + 1
        self._queue.append(payload)
        return True

    def _spend(self, actor_name: str, payload: bytes) -> None:
        self._spent[actor_name] = self._spent.get(actor_name, 0) + 1
        self._queue.append(payload)

    async def wait(self, actor_name: str, payload: bytes) -> None:
        """Stand in line until the message was queued."""
        await self._lines.setdefault(actor_name, Line()).wait(payload)

    def admit(self) -> int:
        """Queue what senders in line have, as far as room and credit go; how many messages it were."""
        admitted = 0
        for name, line in list(self._lines.items()):
            while line and self.has_room and self.has_credit(name):
                self._spend(name, line.admit())
                admitted += 1
            if not line:
                del self._lines[name]
        return admitted

    def credited(self, actor_name: str, messages: int) -> None:
        """So many messages to that actor are done with."""
        left = self._spent.pop(actor_name, 0) - messages
        if left > 0:
            self._spent[actor_name] = left

    # ---- out ----

    def together(self, octets_max: int) -> bytes:
        """As many payloads as fit into so much, in order; or the first one, if it does not."""
        queue = self._queue
        first = queue.popleft()
        room = octets_max - len(first)
        if not queue or len(queue[0]) > room:
            return first
        together = [first]
        while queue and len(queue[0]) <= room:
            room -= len(queue[0])
            together.append(queue.popleft())
        return b"".join(together)

    def abandon(self) -> list[bytes]:
        """The session is over: everything in the queue, and nothing is spent any more."""
        left = list(self._queue)
        self._queue.clear()
        self._spent.clear()
        return left
