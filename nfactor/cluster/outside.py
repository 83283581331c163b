"""What surrounds a cluster: feeds packets in, takes what comes out, and hears what became of the rest.

It is a node like the others. Because every packet either comes out or its fate is told, it knows at any moment how many
packets are inside; it feeds no more than a window of them, so that nothing inside has to be dropped for want of room,
and at the end it knows that nothing is left.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import trio

from nfactor.actors import Actor, handles
from nfactor.backends.base import Port
from nfactor.cluster.messages import EmittedRecords, MigrationEnded, PacketFates
from nfactor.dataplane.state import Schema
from nfactor.errors import ProtocolError
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst


class Sink(Protocol):
    """Takes what comes out of a cluster. All methods are synchronous and are called in the order of arrival."""

    def packets_out(self, burst: Burst) -> None:
        """Packets that passed the chain, behind our header."""

    def record(self, node: str, record: Any) -> None:
        """A record that an NF on that node emitted."""

    def migration_ended(self, event: MigrationEnded) -> None:
        """What became of a migration."""


class Outside:
    """``entry`` is the MAC address of the virtual switch's outside port."""

    def __init__(self, port: Port, entry: bytes, sink: Sink, *, window_packets_max: int) -> None:
        self._port = port
        self._entry = entry
        self._sink = sink
        self._window = window_packets_max
        self._progress = trio.Event()
        self.packets_in = self.octets_in = 0
        self.packets_out = self.octets_out = 0
        self.packets_ended = 0
        """Packets whose fate was told: they will not come out."""
        self.records: Counter[str] = Counter()
        """Records received, by node."""

    @property
    def inside(self) -> int:
        """Packets that are in the cluster now."""
        return self.packets_in - self.packets_out - self.packets_ended

    async def feed(self, burst: Burst) -> None:
        """Send a burst in. A full window is let run half empty first, so that bursts go in several at a time."""
        cluster_frame.readdress(burst, target=self._entry, source=self._port.address)
        while len(burst):
            if self.inside + len(burst) > self._window:
                while self.inside > self._window // 2:
                    await self._wait_progress()
            taken = self._port.send(burst)
            self.packets_in += taken
            self.octets_in += int(burst.wire_lengths[:taken].sum())
            burst = burst.slice(taken, len(burst))
            if len(burst):
                await self._wait_progress()

    async def wait_empty(self) -> None:
        """Return when no packet is inside any more."""
        while self.inside:
            await self._wait_progress()

    async def wait_records(self, node: str, count: int) -> None:
        """Return when that many records of a node are here."""
        while self.records[node] < count:
            await self._wait_progress()

    async def _wait_progress(self) -> None:
        if self._progress.is_set():
            self._progress = trio.Event()
        await self._progress.wait()

    async def run(self) -> None:
        """Take what comes out, for ever."""
        while True:
            await self._port.wait_readable()
            while (burst := self._port.receive()) is not None:
                self.packets_out += len(burst)
                self.octets_out += int(burst.wire_lengths.sum())
                self._sink.packets_out(burst)
            self._progress.set()

    def told(self, fates: PacketFates) -> None:
        """Packets ended inside."""
        self.packets_ended += sum(fates.counts)
        self._progress.set()

    def emitted(self, node: str, record: Any) -> None:
        """A record arrived."""
        self.records[node] += 1
        self._sink.record(node, record)
        self._progress.set()

    def migration_ended(self, event: MigrationEnded) -> None:
        """A migration ended."""
        self._sink.migration_ended(event)


class Collector(Actor):
    """The actor to which nodes tell fates, records and events. ``schemas`` are the record classes of the chain."""

    def __init__(self, outside: Outside, schemas: Mapping[str, Schema]) -> None:
        self._outside = outside
        self._schemas = schemas

    @handles(PacketFates)
    def fates(self, message: PacketFates) -> None:
        """Packets that will not come out."""
        self._outside.told(message)

    @handles(EmittedRecords)
    def records(self, message: EmittedRecords) -> None:
        """Records; refused where the schema is not the one that we know."""
        schema = self._schemas.get(message.record)
        if schema is None or schema.version != message.version:
            raise ProtocolError(
                f"{message.node} emitted {message.record} of version {message.version}, which is unknown here: an NF "
                "must name the classes that it emits in its `records`"
            )
        for start in range(0, len(message.payload), schema.size):
            self._outside.emitted(message.node, schema.unpack(message.payload, start))

    @handles(MigrationEnded)
    def migration_ended(self, message: MigrationEnded) -> None:
        """The coordinator passes it on."""
        self._outside.migration_ended(message)
