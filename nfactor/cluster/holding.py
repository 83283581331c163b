"""Flows that are coming to a runtime, and their packets that are here already.

A flow is held, by migration or claim, until its state is here or it is known that it will not come; so long its packets
wait, in order, in one bounded buffer for all flows of the runtime.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nfactor.cluster.ledger import Ledger
from nfactor.dataplane.engine import Engine, Epochs, Status, Statuses
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys

BUFFER_PACKETS_MAX = 4096
"""Packets of coming flows that a runtime keeps until their states are here (DESIGN section 7)."""


class Holding:
    """Beside the engine of a runtime, whose table knows which flows are held."""

    def __init__(self, engine: Engine, ledger: Ledger, *, packets_max: int | None = None) -> None:
        """``packets_max``: ``BUFFER_PACKETS_MAX``, if it is not said."""
        self._packets_max = BUFFER_PACKETS_MAX if packets_max is None else packets_max
        self._engine = engine
        self._ledger = ledger
        self._waiting: list[Burst] = []
        self._flows: dict[int, tuple[str, dict[bytes, int]]] = {}
        """By migration or claim, who will send the states, and of which flows they are not here, with their epochs."""
        self._just_come: dict[int, FlowKeys] = {}
        """By migration whose source has not been answered, the flows that came."""

    @property
    def flows(self) -> int:
        """How many are held."""
        return sum(len(keys) for _, keys in self._flows.values())

    def expect(self, number: int, source: str, keys: FlowKeys, epochs: Epochs) -> Statuses:
        """These will come in that migration (or claim), from there."""
        statuses = self._engine.hold(keys, epochs)
        there = statuses == Status.OK
        if there.any():
            held = zip(keys.where(there), epochs[there].tolist(), strict=True)
            self._flows.setdefault(number, (source, {}))[1].update(held)
        return statuses

    def came(self, keys: FlowKeys) -> None:
        """These are not waited for any more, in whatever migration (or claim) they were to come."""
        for _, held in self._flows.values():
            for key in keys:
                held.pop(key, None)

    def source_of(self, number: int) -> str:
        """Who is to send what is held in that migration (or claim); nobody, if nothing is."""
        return self._flows.get(number, ("", {}))[0]

    def held_from(self, source: str) -> tuple[FlowKeys, Epochs]:
        """What is to come from that node, and in which epochs."""
        held = [flow for other, flows in self._flows.values() if other == source for flow in flows.items()]
        return FlowKeys.of(key for key, _ in held), np.array([epoch for _, epoch in held], np.uint32)

    def waits_for(self, keys: FlowKeys, source: str) -> npt.NDArray[np.bool_]:
        """Which of these are to come from that node."""
        held = set(self.held_from(source)[0])
        return np.array([key in held for key in keys], bool)

    def have_just_come(self, migration: int, keys: FlowKeys) -> None:
        """These are here, and their source will not know it before our own replica has them. If they set out again
        sooner they would be in two migrations, and might be given back by neither."""
        self._just_come[migration] = keys

    def are_protected(self, migration: int) -> None:
        """Its source is answered now."""
        del self._just_come[migration]

    def has_just_come(self, keys: FlowKeys) -> npt.NDArray[np.bool_]:
        """Which of these may not set out yet."""
        if not self._just_come:
            return np.zeros(len(keys), bool)
        every = {key for those in self._just_come.values() for key in those}
        return np.array([key in every for key in keys], bool)

    def give_up(self, number: int) -> None:
        """What has not come in that migration (or claim) will not."""
        _, held = self._flows.pop(number, ("", {}))
        self._engine.release(FlowKeys.of(held))

    def give_up_from(self, source: str) -> None:
        """Nothing more will come from that node."""
        for number in [number for number, (other, _) in self._flows.items() if other == source]:
            self.give_up(number)

    def lose(self, keys: FlowKeys) -> None:
        """These, which are held, are neither here nor coming: what waits for them came from a switch that has begun
        again since, and knows better now."""
        lost, follows = set(keys), self._engine.follows
        self._engine.follows = True
        for burst in list(self.take()):
            self._engine.process(burst)  # all of it is held: this says only whose it is
            whose = self._engine.changes.keys_of(self._engine.touched)
            gone, rest = split(burst, np.array([key in lost for key in whose], bool))
            self._ledger.drop("fenced", gone)
            self.keep(rest)
        self._engine.follows = follows
        self._engine.release(keys)

    def keep(self, burst: Burst) -> None:
        """Packets of flows that are held."""
        room = max(0, self._packets_max - self._ledger.buffered)
        self._ledger.drop("migration_buffer_full", burst.slice(room, len(burst)))
        burst = burst.slice(0, room)
        if len(burst):
            self._waiting.append(burst)
            self._ledger.buffer(len(burst))

    def take(self) -> Iterator[Burst]:
        """Everything that waits, in order, to be processed; what is still to wait is to be kept again."""
        waiting, self._waiting = self._waiting, []
        for burst in waiting:
            self._ledger.buffer(-len(burst))
            yield burst


def where_ok(keys: FlowKeys, statuses: Statuses) -> FlowKeys:
    """The keys of which that is the status."""
    return keys.where(statuses == Status.OK)


def split(burst: Burst, held: npt.NDArray[np.bool_]) -> tuple[Burst, Burst]:
    """The packets that are held, and the others."""
    return burst.select(np.flatnonzero(held)), burst.select(np.flatnonzero(~held))
