"""The fabric of a memory network: links with rules, one heap, one pump, and exact sums.

What is sent stands on one heap ordered by ``(time, sequence)``, and **one pump task** moves all that is due: a task per
packet costs 300 µs, a task per link hides the order in trio's scheduler, and a pump costs a few µs per burst and leaves
the order to the heap. Times are whole microseconds, so that "the same instant" is the same on every machine.

What it promises: first in, first out per pair of ends, jitter or not (only a rule may reorder datagrams, nothing
reorders or duplicates packets); the same seed gives the same deliveries; and at every moment, for packets and for
datagrams, ``sent + duplicated = received + queued + in_flight + sum(lost.values())``.

A link with a rate sends one delivery after another, each as long as its octets take; a burst arrives when the last of
its octets has. A receiver's bound counts what is already on its way to it. So a packet that was taken is never dropped
for want of room: the sender is refused instead, at once, and keeps what it could not send.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Iterable
from typing import Any, TypeAlias

import attrs
import trio

from nfactor.backends.faulty import LinkRule
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst

_MICROSECONDS = 1_000_000
_NEVER = math.inf
_AWAKE = -1

Key: TypeAlias = str | int
_Delivery: TypeAlias = tuple[int, int, "End", Any, int]
"""``(time in µs, sequence, target, burst or (peer, datagram), count)``; the sequence is unique: ends never compare."""


@attrs.frozen(kw_only=True)
class FabricStatistics:
    """Exact sums over all ends of a kind since the network began, those that are gone included."""

    sent: int
    refused: int
    duplicated: int
    received: int
    queued: int
    in_flight: int
    lost: dict[str, int]
    """By reason: ``no_such_target``, ``size`` (too short or over the MTU), ``link`` (a rule), ``cut``, ``closed``."""

    @property
    def unaccounted(self) -> int:
        """0, or there is a bug here."""
        return self.sent + self.duplicated - self.received - self.queued - self.in_flight - sum(self.lost.values())


@attrs.frozen
class NetworkStatistics:
    packets: FabricStatistics
    datagrams: FabricStatistics


@attrs.define
class Ledger:
    """The running sums behind ``FabricStatistics``."""

    sent: int = 0
    refused: int = 0
    duplicated: int = 0
    received: int = 0
    queued: int = 0
    in_flight: int = 0
    lost: dict[str, int] = attrs.field(factory=dict)

    def frozen(self) -> FabricStatistics:
        return FabricStatistics(**attrs.asdict(self))


class End:
    """What transports and ports share: a queue with a bound, its counters, and those who wait for it."""

    def __init__(self, network: "Fabric", ledger: Ledger, key: Key, node: str, queue_max: int) -> None:
        if queue_max < 1:
            raise CallerError(f"the queue of {node or key!r} needs room for at least 1, not {queue_max}")
        self._network = network
        self._ledger = ledger
        self._key = key
        self._node = node
        self._queue_max = queue_max
        self._queue: deque[Any] = deque()
        self._links: dict[Key, Link] = {}
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False
        self._cut = False
        self._sent = self._refused = self._received = self._lost = self._queued = self._in_flight = 0

    async def wait_readable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._queue:
            await trio.lowlevel.checkpoint()
        else:
            await self._waiting.park()
        if self._closed:
            raise trio.ClosedResourceError

    def interrupt(self) -> None:
        self._waiting.unpark_all()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._network._forget(self)
            self._waiting.unpark_all()

    def _room(self) -> int:
        return self._queue_max - self._queued - self._in_flight

    def _refuse(self, count: int) -> None:
        self._refused += count
        self._ledger.refused += count

    def _lose(self, count: int, reason: str) -> None:
        self._lost += count
        self._ledger.lost[reason] = self._ledger.lost.get(reason, 0) + count

    def _arrive(self, item: Any, count: int) -> None:
        """The pump hands over one delivery."""
        ledger = self._ledger
        self._in_flight -= count
        ledger.in_flight -= count
        self._queued += count
        ledger.queued += count
        self._queue.append(item)
        if self._waiting:
            self._waiting.unpark_all()

    def _take(self, count: int) -> None:
        """``receive`` hands out that many."""
        ledger = self._ledger
        self._queued -= count
        ledger.queued -= count
        self._received += count
        ledger.received += count

    def _link(self, key: Key) -> "Link":
        link = self._links.get(key)
        if link is None or link.generation != self._network._generation:
            link = self._links[key] = self._network._resolve(self, key, link)
        return link


@attrs.define(eq=False)
class Link:
    """One way between two ends, with what the rules say of it; looked up again when the network changes."""

    generation: int
    target: "End | None"
    rule: LinkRule
    latency_us: int
    jitter_us: int
    us_per_octet: float
    last_us: int
    """When the latest delivery that must not be overtaken is due."""
    free_us: float
    """When the last octet of what was sent so far has left."""


class Fabric:
    """The fabric; ``run`` is its pump and must be running for anything to arrive (see ``memory.open_memory_network``).

    ``data_*`` is for ports, ``control_*`` for transports; a jitter is the most that is added to a latency;
    ``bits_per_s`` is the rate of each link, without end if it is 0. All
    randomness comes from ``rng``, which is drawn from only where there is jitter or a rule.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        data_latency_s: float = 0.0,
        control_latency_s: float = 0.0,
        data_jitter_s: float = 0.0,
        control_jitter_s: float = 0.0,
        data_bits_per_s: float = 0.0,
        control_bits_per_s: float = 0.0,
        rules: Iterable[LinkRule] = (),
    ) -> None:
        self._rng = rng
        self._latency_us = {"data": _microseconds(data_latency_s), "control": _microseconds(control_latency_s)}
        self._jitter_us = {"data": _microseconds(data_jitter_s), "control": _microseconds(control_jitter_s)}
        self._us_per_octet = {"data": _us_per_octet(data_bits_per_s), "control": _us_per_octet(control_bits_per_s)}
        self._rules = list(rules)
        self._packets = Ledger()
        self._datagrams = Ledger()
        self._ends: dict[Key, End] = {}
        self._generation = 0
        self._heap: list[_Delivery] = []
        self._sequence = 0
        self._pump = trio.lowlevel.ParkingLot()
        self._pump_wakes_us: float = _AWAKE
        self._running = False

    # Faults

    @property
    def rules(self) -> tuple[LinkRule, ...]:
        """The rules in the order in which they are asked."""
        return tuple(self._rules)

    def add_rule(self, rule: LinkRule) -> None:
        """Put a rule before all others; what is already in flight is not touched."""
        self._rules.insert(0, rule)
        self._generation += 1

    def remove_rule(self, rule: LinkRule) -> None:
        """Take one rule out again."""
        self._rules.remove(rule)
        self._generation += 1

    def cut(self, who: str | bytes) -> list[Burst]:
        """Cut off a node (its transport and ports) or one port: nothing leaves or arrives any more.

        Its sends are refused; what others send to it is taken and lost; what is queued for it or on its way to it is
        lost with it, and returned. What had left it still arrives.
        """
        lost: list[Burst] = []
        for end in self._ends_of(who):
            end._cut = True
            lost += self._drop(end, "cut")
        self._generation += 1
        return lost

    def restore(self, who: str | bytes) -> None:
        """Undo ``cut`` for ends that are still open; their queues begin empty."""
        for end in self._ends_of(who):
            end._cut = False

    # Accounting

    def statistics(self) -> NetworkStatistics:
        """Exact sums at this moment."""
        return NetworkStatistics(self._packets.frozen(), self._datagrams.frozen())

    def in_flight_packets(self) -> int:
        """Packets that were taken and have not arrived yet."""
        return self._packets.in_flight

    # The pump

    async def run(self) -> None:
        """Move what is due, for ever; one call at a time."""
        if self._running:
            raise trio.BusyResourceError("this network's pump is running already")
        self._running = True
        try:
            while True:
                self._deliver_due()
                self._pump_wakes_us = self._heap[0][0] if self._heap else _NEVER
                with trio.CancelScope(deadline=self._pump_wakes_us / _MICROSECONDS):
                    await self._pump.park()
        finally:
            self._running = False
            self._pump_wakes_us = _AWAKE

    def _deliver_due(self) -> None:
        heap, now_us = self._heap, _now_us()
        while heap and heap[0][0] <= now_us:
            _, _, target, item, count = heapq.heappop(heap)
            target._arrive(item, count)

    def _carry(self, link: Link, target: End, item: Any, count: int, *, held: bool) -> None:
        """Put one delivery on the heap; ``held`` ones may be overtaken and overtake nothing that is due before."""
        time_us = _now_us() + link.latency_us
        if link.us_per_octet:
            begins_us = max(float(_now_us()), link.free_us)
            link.free_us = begins_us + link.us_per_octet * _octets(item)
            time_us = math.ceil(link.free_us) + link.latency_us
        if link.jitter_us:
            time_us += self._rng.randrange(link.jitter_us + 1)
        if held:
            time_us += self._rng.randrange(_microseconds(link.rule.reorder_s) + 1)
        else:
            time_us = link.last_us = max(time_us, link.last_us)
        self._sequence += 1
        heapq.heappush(self._heap, (time_us, self._sequence, target, item, count))
        target._in_flight += count
        target._ledger.in_flight += count
        if time_us < self._pump_wakes_us:
            self._pump_wakes_us = _AWAKE
            self._pump.unpark_all()

    # Ends

    def _join(self, end: End, name: str) -> None:
        old = self._ends.get(end._key)
        if old is not None:
            if not old._cut:
                raise CallerError(
                    f"{name} is already open on this network: close it, or cut it, before opening it again"
                )
            old.close()
        self._ends[end._key] = end
        self._generation += 1

    def _forget(self, end: End) -> None:
        self._drop(end, "closed")
        del self._ends[end._key]
        self._generation += 1

    def _drop(self, end: End, reason: str) -> list[Burst]:
        """Lose all that is queued for an end or on its way to it."""
        dropped = list(end._queue) + [entry[3] for entry in sorted(self._heap) if entry[2] is end]
        end._queue.clear()
        self._heap = [entry for entry in self._heap if entry[2] is not end]
        heapq.heapify(self._heap)
        if count := end._queued + end._in_flight:
            end._lose(count, reason)
        end._ledger.queued -= end._queued
        end._ledger.in_flight -= end._in_flight
        end._queued = end._in_flight = 0
        return [item for item in dropped if isinstance(item, Burst)]

    def _ends_of(self, who: str | bytes) -> list[End]:
        ends = [end for end in self._ends.values() if _is(end, who)]
        if not ends:
            raise CallerError(f"no end of this network is called {who!r}")
        return ends

    def _resolve(self, source: End, key: Key, old: Link | None) -> Link:
        target = self._ends.get(key)
        kind = "control" if isinstance(key, str) else "data"
        rule = next((rule for rule in self._rules if _matches(rule, source, target)), LinkRule())
        return Link(
            self._generation,
            target,
            rule,
            self._latency_us[kind] + _microseconds(rule.delay_s),
            self._jitter_us[kind] + _microseconds(rule.jitter_s),
            _us_per_octet(rule.bits_per_s) or self._us_per_octet[kind],
            0 if old is None else old.last_us,
            0 if old is None else old.free_us,
        )


def _matches(rule: LinkRule, source: End, target: End | None) -> bool:
    return (rule.source is None or _is(source, rule.source)) and (
        rule.target is None or (target is not None and _is(target, rule.target))
    )


def _is(end: End, who: str | bytes) -> bool:
    return end._node == who if isinstance(who, str) else end._key == key_of(who)


def _microseconds(seconds: float) -> int:
    if seconds < 0:
        raise CallerError(f"a link cannot be faster than nothing: {seconds} s")
    return round(seconds * _MICROSECONDS)


def _us_per_octet(bits_per_s: float) -> float:
    if bits_per_s < 0:
        raise CallerError(f"a link sends at a positive rate, or at 0 for one without end, not at {bits_per_s} bits/s")
    return 8 * _MICROSECONDS / bits_per_s if bits_per_s else 0.0


def _octets(item: Any) -> int:
    return int(item.lengths.sum()) if isinstance(item, Burst) else len(item[1])


def _now_us() -> int:
    return round(trio.current_time() * _MICROSECONDS)


def key_of(address: bytes) -> int:
    return int.from_bytes(address, "little")
