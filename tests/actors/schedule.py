"""Two links over a bad network on an event heap, with no trio: the harness of the tests of the link."""

import heapq
import random
from collections.abc import Callable

import attrs

from nfactor.actors.outbox import LinkLimits
from nfactor.actors.quick_link import QuickLink


@attrs.frozen(kw_only=True)
class Plan:
    """What goes wrong in one run. ``cuts`` are ``(from_s, to_s)``, ``restarts`` ``(end, at_s)``."""

    seed: int
    messages: int = 30
    octets_max: int = 200
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    jitter_s: float = 0.0
    cuts: tuple[tuple[float, float], ...] = ()
    restarts: tuple[tuple[int, float], ...] = ()
    mtu: int = 120
    limits: LinkLimits = attrs.Factory(lambda: LinkLimits(give_up_s=1.0))


Name = tuple[int, int, int]
"""``(end, incarnation, number)``: a message that is like no other."""


def name_of(payload: bytes) -> Name:
    """The name that a payload begins with."""
    end, incarnation, number, _ = payload.split(b":", 3)
    return int(end), int(incarnation), int(number)


class Schedule:
    """Runs a plan; afterwards its lists say what became of every message."""

    LATENCY_S = 0.005
    SENDING_S = 3.0

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = 0.0
        self.random = random.Random(plan.seed)
        self.incarnations = [1, 1]
        self.links = [self._link(end) for end in (0, 1)]
        self.taken: list[list[Name]] = [[], []]
        """By end: what its present link took."""
        self.doubtful: list[Name] = []
        self.delivered: list[list[Name]] = [[], []]
        """By end: what arrived there, over all its incarnations."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._events = 0
        self._numbers = [0, 0]

    def _link(self, end: int) -> QuickLink:
        return QuickLink(self.incarnations[end], self.plan.mtu, limits=self.plan.limits)

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._events += 1
        heapq.heappush(self._heap, (time, self._events, action))

    def run(self) -> None:
        """Until nothing is left to happen."""
        for _ in range(self.plan.messages):
            end = self.random.randrange(2)
            self.at(self.random.random() * self.SENDING_S, lambda end=end: self.send(end))  # type: ignore[misc]
        for end, time in self.plan.restarts:
            self.at(time, lambda end=end: self.restart(end))  # type: ignore[misc]
        while self._heap:
            self.now, _, action = heapq.heappop(self._heap)
            assert self.now < 120, "the links never come to rest"
            action()

    def send(self, end: int) -> None:
        """One message more."""
        self._numbers[end] += 1
        name = (end, self.incarnations[end], self._numbers[end])
        filling = b"x" * self.random.randrange(self.plan.octets_max)
        payload, link = b"%d:%d:%d:" % name + filling, self.links[end]
        datagram = link.send_at_once(payload, self.now) if self.random.random() < 0.5 else None
        if datagram is not None:
            assert len(datagram) <= self.plan.mtu
            self._carry(1 - end, datagram)
        if datagram is not None or link.send(payload, self.now):
            self.taken[end].append(name)
        self._drain(end)

    def restart(self, end: int) -> None:
        """The node dies and is back at once, and remembers nothing."""
        self.incarnations[end] += 1
        self.links[end] = self._link(end)
        self.taken[end] = []

    def _drain(self, end: int) -> None:
        link = self.links[end]
        datagrams = link.poll(self.now)
        for ended in link.ended():
            self.doubtful.extend(map(name_of, ended.in_doubt))
        self.delivered[end].extend(map(name_of, link.take()))
        for datagram in datagrams:
            assert len(datagram) <= self.plan.mtu
            self._carry(1 - end, datagram)
        time = link.next_time()
        if time is not None:
            assert time > self.now, "poll left something undone"
            self.at(time, lambda: self._drain(end) if self.links[end] is link else None)

    def _carry(self, target: int, datagram: bytes) -> None:
        plan = self.plan
        for _ in range(2 if self.random.random() < plan.duplication else 1):
            if any(start <= self.now < end for start, end in plan.cuts) or self.random.random() < plan.loss:
                continue
            if self.random.random() < plan.corruption:
                damaged = bytearray(datagram)
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
                datagram = bytes(damaged)
            delay = self.LATENCY_S + self.random.random() * plan.jitter_s
            self.at(self.now + delay, lambda datagram=datagram: self._arrive(target, datagram))  # type: ignore[misc]

    def _arrive(self, end: int, datagram: bytes) -> None:
        link = self.links[end]
        message = link.receive_at_once(datagram, self.now) if self.random.random() < 0.5 else None
        if message is not None:
            self.delivered[end].append(name_of(message))
        else:
            link.receive(datagram, self.now)
        self._drain(end)
