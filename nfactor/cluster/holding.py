"""Flows that are coming to a runtime, and their packets that are here already.

A flow is held, by migration or claim, until its state is here or it is known that it will not come; so long its packets
wait, in order, in one bounded buffer for all flows of the runtime.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nfactor.cluster.ledger import Ledger
from nfactor.dataplane.changes import NO_KEYS
from nfactor.dataplane.engine import Engine, Epochs, Status, Statuses
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys, places_of

BUFFER_PACKETS_MAX = 4096
"""Packets of coming flows that a runtime keeps until their states are here (DESIGN section 7)."""


class Holding:
    """Beside the engine of a runtime, whose table knows which flows are held."""

    def __init__(self, engine: Engine, ledger: Ledger) -> None:
        self._engine = engine
        self._ledger = ledger
        self._waiting: list[Burst] = []
        self._flows: dict[int, tuple[str, FlowKeys]] = {}
        """By migration or claim, who will send the states, and of which flows they are not here."""
        self._just_come: dict[int, FlowKeys] = {}
        """By migration whose source has not been answered, the flows that came."""

    @property
    def flows(self) -> int:
        """How many are held."""
        return sum(len(keys) for _, keys in self._flows.values())

    def expect(self, number: int, source: str, keys: FlowKeys, epochs: Epochs) -> Statuses:
        """These will come in that migration (or claim), from there."""
        statuses = self._engine.hold(keys, epochs)
        first, held = self._flows.get(number, (source, NO_KEYS))
        coming = keys.where(statuses == Status.OK)
        if len(held):
            coming = FlowKeys(np.concatenate((held.array, coming.array)))
        self._flows[number] = first, coming
        return statuses

    def came(self, number: int, keys: FlowKeys) -> None:
        """These are not waited for any more."""
        source, held = self._flows.get(number, ("", NO_KEYS))
        if keys == held:  # as nearly always
            held = NO_KEYS
        elif len(held):
            held = held.where(places_of(held, keys) < 0)
        if number in self._flows:
            self._flows[number] = source, held

    def have_come(self, keys: FlowKeys) -> None:
        """The same, whoever was to send them: another did."""
        for number in self._flows:
            self.came(number, keys)

    def source_of(self, number: int) -> str:
        """Who is to send what is held in that migration (or claim); nobody, if nothing is."""
        return self._flows.get(number, ("", NO_KEYS))[0]

    def have_just_come(self, migration: int, keys: FlowKeys) -> None:
        """These are here, and their source will not know it before our own replica has them. If they set out again
        sooner they would be in two migrations, and might be given back by neither."""
        self._just_come[migration] = keys

    def are_protected(self, migration: int) -> None:
        """Its source is answered now."""
        del self._just_come[migration]

    def has_just_come(self, keys: FlowKeys) -> npt.NDArray[np.bool_]:
        """Which of these may not set out yet."""
        found = np.zeros(len(keys), bool)
        for those in self._just_come.values():
            found |= places_of(keys, those) >= 0
        return found

    def give_up(self, number: int) -> None:
        """What has not come in that migration (or claim) will not."""
        _, held = self._flows.pop(number, ("", NO_KEYS))
        if len(held):
            self._engine.release(held)

    def give_up_from(self, source: str) -> None:
        """Nothing more will come from that node."""
        for number in [number for number, (other, _) in self._flows.items() if other == source]:
            self.give_up(number)

    def keep(self, burst: Burst) -> None:
        """Packets of flows that are held."""
        room = max(0, BUFFER_PACKETS_MAX - self._ledger.buffered)
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


def split(burst: Burst, held: npt.NDArray[np.bool_]) -> tuple[Burst, Burst]:
    """The packets that are held, and the others."""
    return burst.select(np.flatnonzero(held)), burst.select(np.flatnonzero(~held))
