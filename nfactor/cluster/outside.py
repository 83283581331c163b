"""What surrounds a cluster: feeds packets in, takes what comes out, and hears what became of the rest.

It is a node like the others. Because every packet either comes out or its fate is told, it knows at any moment how many
packets are inside; it feeds no more than a window of them, so that nothing inside has to be dropped for want of room,
and at the end it knows that nothing is left. What a dead node held it learns by counting (``nfactor.cluster.losses``).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs
import numpy as np
import trio

from nfactor.actors import handles
from nfactor.backends.base import Port
from nfactor.cluster.addresses import outside_of
from nfactor.cluster.ledger import AccountingError
from nfactor.cluster.messages import Done, Member, MigrationEnded, NotifyClusterCfg, Released, ViewTaken
from nfactor.cluster.names import runtime_name
from nfactor.cluster.outcome_messages import MARK_OCTETS, Outcomes
from nfactor.cluster.recovery_messages import KnownState, LaunchRuntime, NodeRecovered, ReadState, RuntimeLaunched
from nfactor.cluster.role import Role
from nfactor.cluster.view import View
from nfactor.compiled import outer_headers
from nfactor.dataplane.state import Schema
from nfactor.errors import PeerDown, ProtocolError
from nfactor.packet.burst import Burst
from nfactor.packet.peek import address_pairs

R = TypeVar("R")

ENDED_REMEMBERED_MAX = 65_536
"""Migrations of which the outside remembers that their end was told, at most."""
REFUSED_PACKETS_MAX = 65_536
"""Packets of one replica of which the outside remembers that its port had no room for them, at most: as many as eight
primaries have under way. What was told before these is confirmed."""
STALL_S = 30.0
"""When packets are inside and nothing has come out for so long, nothing will."""


@attrs.frozen
class NodeKilled:
    """A runtime was killed, on purpose."""

    node: str
    flows: int | None
    """Flows that it had, where that is known."""
    inside: int
    """Packets that were anywhere in the cluster."""


Event: TypeAlias = MigrationEnded | NodeKilled | NodeRecovered


class Sink(Protocol):
    """Takes what comes out of a cluster. All methods are synchronous and are called in the order of arrival."""

    def packets_out(self, burst: Burst) -> None:
        """Packets that passed the chain, behind our header."""

    def record(self, node: str, record: Any) -> None:
        """A record that an NF on that node emitted."""

    def happened(self, event: Event) -> None:
        """Something that a watcher may want to see."""


class Outside:
    """Packets go in at the switches among ``members``, all of one pair of addresses at one. ``remember``: know which
    packets are inside, not only how many, so that it can be said which were lost."""

    def __init__(
        self,
        port: Port,
        members: Sequence[Member],
        sink: Sink,
        *,
        window_packets_max: int,
        remember: bool = False,
    ) -> None:
        self._port = port
        self._entries = entries_of(members)
        self._sink = sink
        self._window = window_packets_max
        self._progress = trio.Event()
        self.packets_in = self.octets_in = 0
        self.packets_out = self.octets_out = 0
        self.dropped: Counter[str] = Counter()
        """Packets whose fate was told, by reason: they will not come out."""
        self.told_by: Counter[str] = Counter()
        """The same by the node that told it."""
        self.lost: dict[str, list[int]] = {}
        """Marks of packets that died inside a node, by node."""
        self.recovered: dict[str, NodeRecovered] = {}
        """Nodes that died, and whose flows are served again."""
        self.missing: list[str] = []
        """Nodes that were killed and whose losses are not known yet."""
        self._open: set[int] | None = set() if remember else None
        self._paused = False
        self.launch: Callable[[int, str], None] = lambda index, domain: None
        """Starts the runtime of that number, in that failure domain, unless it has."""
        self.records: Counter[str] = Counter()
        """Records received, by node."""

    @property
    def inside(self) -> int:
        """Packets that are in the cluster now."""
        return self.packets_in - self.packets_out - self.dropped.total() - sum(map(len, self.lost.values()))

    def take_view(self, members: Sequence[Member]) -> None:
        """A switch may have begun again, with another address."""
        self._entries = entries_of(members)

    async def feed(self, burst: Burst) -> None:
        """Send a burst in. A full window is let run half empty first, so that bursts go in several at a time."""
        while len(burst):
            if self.inside + len(burst) > self._window:
                while self.inside > self._window // 2:
                    await self._wait_progress()
            while self._paused:
                await self._wait_progress()
            self._address(burst)
            taken = self._port.send(burst)
            self.packets_in += taken
            self.octets_in += int(burst.wire_lengths[:taken].sum())
            if self._open is not None:
                self._open.update(burst.marks[:taken].tolist())
            burst = burst.slice(taken, len(burst))
            if len(burst):
                await self._wait_progress()

    def _address(self, burst: Burst) -> None:
        source = self._port.address
        if len(self._entries) == 1:
            outer_headers.readdress(burst, target=self._entries[0], source=source)
            return
        numbers = address_pairs(burst) % len(self._entries)
        for number, entry in enumerate(self._entries):
            outer_headers.readdress(burst.select(np.flatnonzero(numbers == number)), target=entry, source=source)

    async def wait_empty(self) -> None:
        """Return when no packet is inside any more, and nobody is missing."""
        while self.inside or self.missing:
            await self._wait_progress()

    async def wait_records(self, node: str, count: int) -> None:
        """Return when that many records of a node are here."""
        while self.records[node] < count:
            await self._wait_progress()

    async def wait_recovered(self) -> str:
        """Return when the flows of the node that was killed first are served again; its name. Nothing is fed from then
        on until ``lose``."""
        while not (self.missing and self.missing[0] in self.recovered):
            await self._wait_progress(math.inf)
        return self.missing[0]

    def lose(self, node: str) -> None:
        """All that is inside now died with that node: nothing else moves any more. Feeding may go on."""
        assert self._open is not None, "which packets are inside was not to be remembered"
        self.lost.setdefault(node, []).extend(sorted(self._open))  # it may have died before, in an earlier life
        self._open, self._paused = set(), False
        self.missing.remove(node)
        self._progressed()

    def _progressed(self) -> None:
        self._progress.set()

    async def _wait_progress(self, stall_s: float = STALL_S) -> None:
        if self._progress.is_set():
            self._progress = trio.Event()
        with trio.move_on_after(stall_s):
            await self._progress.wait()
            return
        raise AccountingError(f"{self.inside} packets are inside, and nothing has happened for {stall_s:g} s")

    async def run(self) -> None:
        """Take what comes out, for ever."""
        while True:
            await self._port.wait_readable()
            while (burst := self._port.receive()) is not None:
                self.packets_out += len(burst)
                self.octets_out += int(burst.wire_lengths.sum())
                self._close(burst.marks.tolist())
                self._sink.packets_out(burst)
            self._progressed()

    def told(self, outcomes: Outcomes) -> None:
        """Packets ended inside."""
        for reason, count in zip(outcomes.reasons, outcomes.counts, strict=True):
            self.dropped[reason] += count
            self.told_by[outcomes.node] += count
        self._close(np.frombuffer(outcomes.marks, "<u8").tolist())
        self._progressed()

    def _close(self, marks: list[int]) -> None:
        if self._open is not None:
            self._open.difference_update(marks)

    def emitted(self, node: str, record: Any) -> None:
        """A record arrived."""
        self.records[node] += 1
        self._sink.record(node, record)
        self._progressed()

    def happened(self, event: Event) -> None:
        """Show it."""
        self._sink.happened(event)

    def node_killed(self, event: NodeKilled) -> None:
        """Somebody killed a node: what it held will be lost."""
        self.missing.append(event.node)
        self.recovered.pop(event.node, None)
        self.happened(event)

    def node_recovered(self, event: NodeRecovered) -> None:
        """A node that died has been made good for; what it held is to be counted before anything else is fed."""
        self.recovered[event.node] = event
        self._paused = self._open is not None
        self._sink.happened(event)
        self._progressed()


def entries_of(members: Sequence[Member]) -> list[bytes]:
    """Addresses of the switches' outside ports."""
    return [outside_of(member.address) for member in members if member.kind == "switch"]


class Collector(Role):
    """To whom nodes tell outcomes and events. ``schemas`` are the record classes of the chain."""

    def __init__(self, outside: Outside, schemas: Mapping[str, Schema]) -> None:
        self._outside = outside
        self._schemas = schemas
        self.view = View()
        self._told: dict[tuple[str, bytes], int] = {}
        """By replica and primary (its address): the last commit whose outcomes were told."""
        self._refused: dict[str, bytes] = {}
        """By replica: marks of packets of commits for which its port had no room, as it has told."""
        self._ended: dict[int, None] = {}
        """Migrations whose end was told, the latest last."""

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> ViewTaken:
        """Believe nobody else from now on; how far those had come who are in the view no more. Of who has begun again
        nothing is known, though the word that its earlier life was made good for may come later."""
        known = dict(self.view.known)
        if self.view.take(message):
            self._outside.take_view(message.members)
            for member in message.members:
                if known.get(member.name, member).address != member.address:
                    self._let_go(member.name)
        told = [Released(*names, self._told[names]) for names in sorted(self._told) if names[0] in self.view.unfinished]
        refused = [name for name in sorted(self._refused) if name in self.view.unfinished]
        return ViewTaken((*told, *(Released(name, b"", 0, marks=self._refused[name]) for name in refused)))

    @handles(ReadState)
    def state(self, message: ReadState) -> KnownState:
        """For a coordinator that has begun again."""
        return self.view.state()

    @handles(Outcomes)
    def outcomes(self, message: Outcomes) -> Done:
        """Fates and records; refused where a record's schema is not the one that we know."""
        if message.node not in self.view:
            return Done()
        for piece in message.records:
            schema = self._schemas.get(piece.record)
            if schema is None or schema.version != piece.version:
                raise ProtocolError(
                    f"{piece.node} emitted {piece.record} of version {piece.version}, which is unknown here: an NF "
                    "must name the classes that it emits in its `records`"
                )
            for start in range(0, len(piece.payload), schema.size):
                self._outside.emitted(piece.node, schema.unpack(piece.payload, start))
        self._outside.told(message)
        self._told.update({(message.node, primary): sequence for primary, sequence in message.commits.items()})
        if message.commits and "port_full" in message.reasons:
            refused = self._refused.get(message.node, b"") + message.marks_of("port_full")
            self._refused[message.node] = refused[-MARK_OCTETS * REFUSED_PACKETS_MAX :]
        return Done()

    @handles(MigrationEnded)
    def migration_ended(self, message: MigrationEnded) -> Done:
        """The coordinator passes it on; one that has begun again may do so once more."""
        if message.migration not in self._ended:
            self._outside.happened(message)
        self._ended[message.migration] = None
        if len(self._ended) > ENDED_REMEMBERED_MAX:
            del self._ended[next(iter(self._ended))]
        return Done()

    @handles(LaunchRuntime)
    def launch(self, message: LaunchRuntime) -> RuntimeLaunched:
        """The membership wants another runtime. A new one may not know of some that have come and gone."""
        has_come = runtime_name(message.index) in self.view.known
        if not has_come:
            self._outside.launch(message.index, message.domain)
        return RuntimeLaunched(not has_come)

    @handles(NodeRecovered)
    def node_recovered(self, message: NodeRecovered) -> Done:
        """The membership tells it."""
        if message.node not in self.view:
            self._let_go(message.node)
        self._told = {names: last for names, last in self._told.items() if self.view.at(names[1]) is not None}
        self._outside.node_recovered(message)
        return Done()

    def _let_go(self, node: str) -> None:
        """Nobody asks any more how far it had come: its next life counts anew."""
        self.view.finish(node)
        self._told = {names: last for names, last in self._told.items() if names[0] != node}
        self._refused.pop(node, None)

    async def call(self, node: str, actor: str, message: object, reply: type[R]) -> R:
        """Ask a role and wait for its answer."""
        answers: list[R | None] = []
        there = trio.Event()

        def take(answer: R | None) -> None:
            answers.append(answer)
            there.set()

        self.ask(node, actor, message, reply, take)
        await there.wait()
        if answers[0] is None:
            raise PeerDown(f"{node} was declared dead")
        return answers[0]
