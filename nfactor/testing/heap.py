"""A network of nodes on a heap of events: roles without trio, thousands of runs a minute, each from one seed.

Time is in whole microseconds and stands still while an event is handled, so a run depends on nothing but its seed. What
the network promises is what the real one does: messages between two nodes arrive in order and once, unless a session of
the link ends, which loses what is on its way; bursts between two ports arrive in order, and some are lost if a schedule
says so. A node that is dead neither sends nor hears; one that is paused hears everything later.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from nfactor.cluster.codec import MESSAGES
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.testing.heap_node import HeapNode, HeapPort
from nfactor.testing.wires import Life, Wires, life_of, packets_in

US = 1e-6
CONTROL_US = (20, 200)
"""A message takes this long, at least and at most."""
DATA_US = (10, 1000)
"""The same for a burst, where each pair of ports has a mean of its own."""


REACHED_US = (1, 20_000, 300_000)
"""So long it takes until a link has found that a node has begun again."""


class Stuck(AssertionError):
    """Events go on and on: two nodes talk without end."""


@attrs.frozen
class Clock:
    """What a node takes for the time: timers go by it, too."""

    offset_s: float = 0.0
    drift: float = 0.0
    """So much faster it goes than it should."""

    def at(self, time_us: int) -> float:
        """What it shows then, in seconds."""
        return time_us * US * (1 + self.drift) + self.offset_s

    def us(self, seconds: float) -> int:
        """How long it takes until so much more is shown."""
        return max(1, round(seconds / US / (1 + self.drift)))


TRUE_TIME = Clock()


@attrs.frozen
class Delivery:
    """A message that arrives, for whoever counts the steps of a protocol."""

    number: int
    """How many messages arrived before it."""
    sender: str
    receiver: str
    kind: str
    """The class of the message; of a question or an answer, the class of what is inside."""
    actor: str
    """The role that it is for."""
    message: Any
    inner: Any
    """What is inside of a question or an answer; else the message itself."""


class HeapNetwork:
    """``told`` is called with who tells each message, ``before`` before it is handled, ``behind`` when it has been,
    ``lost`` for each that a cut, a partition or the end of a session loses, ``arrived`` before each burst is handled
    (from where, to where), and ``after`` behind each event that a node handled."""

    def __init__(self, rng: Random, clocks: Mapping[str, Clock] = MappingProxyType({})) -> None:
        """``clocks``: of nodes whose clocks are not true."""
        self.rng = rng
        self.now_us = 0
        self.clocks = dict(clocks)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._pushed = 0
        self.nodes: dict[str, HeapNode] = {}
        """The present life of each node."""
        self.lives: dict[Life, HeapNode] = {}
        """All that there were."""
        self.ports: dict[bytes, HeapPort] = {}
        self._free_us: defaultdict[tuple[Any, Any], int] = defaultdict(int)
        """When the last message (or burst) on a way arrives."""
        self._mean_us: dict[tuple[bytes, bytes], int] = {}
        self._sessions: defaultdict[frozenset[str], int] = defaultdict(int)
        self.cuts: set[tuple[str, str]] = set()
        """Ways from node to node on which messages are lost."""
        self.splits: list[frozenset[str]] = []
        """Groups of nodes between which and all others messages are lost."""
        self.slow_us: dict[str, int] = {}
        """Nodes from and to which messages take so much longer."""
        self.met: Counter[str] = Counter()
        """How often something met a fault here that it would not have met otherwise."""
        self.links_keep = False
        """Whether links keep what they cannot deliver, and give it to a node's next life."""
        self._kept: dict[str, dict[str, list[Callable[[], None]]]] = {}
        """By who is dead, and by sender."""
        self.port_loss = self.marker_loss = 0.0
        self.keep_messages = self.keep_packets = True
        """Whether what a node has sent still arrives after its death."""
        self.delivered = 0
        self.heard_us: defaultdict[tuple[str, str, str], deque[int]] = defaultdict(partial(deque, maxlen=2))
        """By sender, receiver and kind: when the last two messages were handled."""
        self.lost_messages: Counter[str] = Counter()
        """Messages that cuts and ends of sessions have lost, and those whose senders died when they had come to a node
        that stood still, by class."""
        self.lost_packets: list[int] = []
        """Marks of packets that ports lost."""
        self.wires = Wires()
        self.told: Callable[[HeapNode, object], None] = lambda sender, message: None
        self.before: Callable[[Delivery], None] = lambda delivery: None
        self.behind: Callable[[Delivery], None] = lambda delivery: None
        self.lost: Callable[[Delivery], None] = lambda delivery: None
        self.arrived: Callable[[str, str, Burst], None] = lambda sender, receiver, burst: None
        self.after: Callable[[HeapNode], None] = lambda node: None

    # ---------------------------------------------------------------- time

    def clock_of(self, name: str) -> Clock:
        """In each of its lives it has the same one."""
        return self.clocks.get(name, TRUE_TIME)

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Do that then."""
        self._pushed += 1
        heapq.heappush(self._heap, (time_us, self._pushed, action))

    def run(self, until_us: int, *, events_max: int = 200_000) -> None:
        """Let time pass until then."""
        for _ in range(events_max):
            if not self._heap or self._heap[0][0] > until_us:
                self.now_us = until_us
                return
            self.now_us, _, action = heapq.heappop(self._heap)
            action()
        raise Stuck(f"more than {events_max} events before {until_us} us")

    def run_on(self, node: HeapNode, action: Callable[[], None]) -> None:
        """Something that happens on a node, now or when it is not paused any more."""
        if node.paused:
            node.backlog.append(action)
        elif node.alive:
            action()
            if node.alive:  # it may have died of what it did
                node.settle()
            self.after(node)

    # ---------------------------------------------------------------- faults

    def begin_life(self, name: str) -> HeapNode:
        """The first life of a node, or its next one, which is given what links have kept before anything else."""
        earlier = self.nodes.get(name)
        node = self.nodes[name] = HeapNode(name, earlier.life + 1 if earlier else 1)
        self.lives[life_of(node)] = node
        for sender, arrivals in self._kept.pop(name, {}).items():
            reached_us = self.now_us + self.rng.choice(REACHED_US)
            for place, arrive in enumerate(arrivals):
                self.at(reached_us + place, arrive)
            self._free_us[sender, name] = reached_us + len(arrivals)
        return node

    def kill(self, name: str) -> None:
        """A crash."""
        self.nodes[name].alive = False

    def pause(self, name: str) -> None:
        """It does nothing, and hears everything later."""
        self.nodes[name].paused = True

    def resume(self, name: str) -> None:
        """It hears what it missed."""
        node = self.nodes[name]
        node.paused = False
        while node.backlog and not node.paused:
            self.run_on(node, node.backlog.popleft())

    def end_session(self, a: str, b: str) -> None:
        """What is on its way between two nodes is lost."""
        self._sessions[frozenset((a, b))] += 1

    # ---------------------------------------------------------------- messages

    def send(self, sender: HeapNode, receiver: str, actor: str, message: object) -> None:
        """From a role to a role. It travels encoded, as everywhere."""
        octets = MESSAGES.encode(message)
        self.told(sender, message)
        way = (sender.name, receiver)
        takes_us = self.rng.randint(*CONTROL_US)
        if self.slow_us:
            slower_us = self.slow_us.get(sender.name, 0) + self.slow_us.get(receiver, 0)
            self.met["a message of a slow node"] += slower_us > 0
            takes_us += slower_us
        arrives = max(self.now_us + takes_us, self._free_us[way] + 1)
        self._free_us[way] = arrives
        pair = frozenset(way)
        session, lives = self._sessions[pair], sender.life
        target = self.nodes.get(receiver)

        def arrive() -> None:
            if target is None:
                return
            if not self._passes(way, session):
                self._lose_message(self._delivery(way, actor, message))
                return
            if self.nodes[sender.name].life != lives or not (self.keep_messages or sender.alive):
                return
            node = target
            if not node.alive and self.links_keep:
                node = self.nodes[receiver]
                if not node.alive:
                    self._kept.setdefault(receiver, {}).setdefault(sender.name, []).append(arrive)
                    return
                self.met["a message for an earlier life"] += 1
            came_us = self.now_us
            self.run_on(node, lambda: self._handle(way, session, came_us, node, actor, octets))

        self.at(arrives, arrive)

    def _handle(
        self, way: tuple[str, str], session: int, came_us: int, node: HeapNode, actor: str, octets: bytes
    ) -> None:
        message: Any = MESSAGES.decode(octets)
        delivery = self._delivery(way, actor, message)
        self.before(delivery)
        self.delivered += 1
        if node.paused:
            node.backlog.append(lambda: self._act(node, actor, message))
            return
        # ``before`` may have been the death of its sender, or the end of the session
        if not self._passes(way, session):
            self._lose_message(delivery)
        elif self.keep_messages or self.nodes[way[0]].alive:
            self.heard_us[*way, delivery.kind].append(self.now_us)
            self._act(node, actor, message)
        elif came_us < self.now_us:
            self.lost_messages[type(message).__name__] += 1
        self.behind(delivery)

    def _delivery(self, way: tuple[str, str], actor: str, message: Any) -> Delivery:
        body = getattr(message, "body", None)
        inner = message if body is None else MESSAGES.decode(body)
        return Delivery(self.delivered, *way, type(inner).__name__, actor, message, inner)

    def _passes(self, way: tuple[str, str], session: int) -> bool:
        if self._sessions[frozenset(way)] != session:
            self.met["a message lost with its session"] += 1
        elif way in self.cuts:
            self.met["a message lost by a cut"] += 1
        elif any((way[0] in group) != (way[1] in group) for group in self.splits):
            self.met["a message lost by a partition"] += 1
        else:
            return True
        return False

    def _lose_message(self, delivery: Delivery) -> None:
        self.lost_messages[type(delivery.message).__name__] += 1
        self.lost(delivery)

    def _act(self, node: HeapNode, actor: str, message: Any) -> None:
        if node.alive and actor in node.roles:
            node.roles[actor].act(message)

    # ---------------------------------------------------------------- packets

    def carry(self, port: HeapPort, burst: Burst) -> None:
        """A burst whose frames may have several targets, in order for each."""
        targets = [bytes(row) for row in burst.data[burst.offsets[:, None] + np.arange(6)]]
        for address in dict.fromkeys(targets):
            self._carry_to(port, address, burst.where(targets, address))  # type: ignore[arg-type]

    def _carry_to(self, port: HeapPort, address: bytes, burst: Burst) -> None:
        target, way = self.ports.get(address), (port.address, address)
        self.wires.sends(port.node, target.node.name if target is not None else "", burst)
        if self.port_loss or self.marker_loss:
            loss = np.full(len(burst), self.port_loss)
            loss[cluster_frame.marker_indices(burst)] = max(self.port_loss, self.marker_loss)
            kept = np.array([self.rng.random() >= probability for probability in loss.tolist()], bool)
            lost = burst.select(np.flatnonzero(~kept))
            packets = packets_in(lost)
            self.met["a packet lost by a port"] += packets
            self.met["a marker or receipt lost by a port"] += len(lost) - packets
            self._lose(lost)
            burst = burst.select(np.flatnonzero(kept))
        if target is None or not len(burst):
            self._lose(burst)
            return
        mean = self._mean_us.setdefault(way, self.rng.randint(*DATA_US))
        arrives = max(self.now_us + self.rng.randint(max(1, mean // 2), mean), self._free_us[way] + 1)
        self._free_us[way] = arrives

        def arrive() -> None:
            if not target.node.alive or not (self.keep_packets or port.node.alive):
                self._lose(burst)
                return
            self.wires.reaches(port.node, target.node, burst)
            self.run_on(target.node, lambda: self._receive(port, target, burst))

        self.at(arrives, arrive)

    def _receive(self, sender: HeapPort, port: HeapPort, burst: Burst) -> None:
        self.arrived(sender.node.name, port.node.name, burst)
        self.wires.hands(sender.node, port.node, burst)
        port.received += len(burst)
        port.take(burst)

    def _lose(self, burst: Burst) -> None:
        self.lost_packets += [mark for mark in burst.marks.tolist() if mark]
