"""Flows that are coming to a runtime, and their packets that are here already.

A flow is held, by migration or claim, until its state is here or it is known that it will not come; so long its packets
wait, in order, in one bounded buffer for all flows of the runtime.
"""

from collections.abc import Iterator

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.cluster.ledger import Ledger
from nfactor.cluster.waiting_room import WaitingRoom
from nfactor.dataplane.changes import NO_KEYS
from nfactor.dataplane.engine import HELD, Engine, Epochs, Status, Statuses, are
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys, places_of

BUFFER_PACKETS_MAX = 4096
"""Packets of coming flows that a runtime keeps until their states are here (DESIGN section 7)."""

_NO_EPOCHS: Epochs = np.zeros(0, np.uint32)


@attrs.frozen(eq=False)
class _Coming:
    """Who will send states, and of which flows they are not here, with the epochs that these will have."""

    source: str
    keys: FlowKeys
    epochs: Epochs

    def and_others(self, others: "_Coming") -> "_Coming":
        """More, from the same source."""
        keys = FlowKeys(np.concatenate((self.keys.array, others.keys.array)))
        return _Coming(self.source, keys, np.concatenate((self.epochs, others.epochs)))

    def is_of(self, keys: FlowKeys) -> bool:
        """Whether these are the flows, in the same order."""
        mine, theirs = self.keys.array, keys.array
        return len(mine) == len(theirs) > 0 and bool((mine[0] == theirs[0]).all() and (mine == theirs).all())

    def without(self, keys: FlowKeys) -> "_Coming":
        """Those of them that are not among these."""
        if self.is_of(keys):
            return _Coming(self.source, NO_KEYS, _NO_EPOCHS)
        left = places_of(self.keys, keys) < 0
        return _Coming(self.source, self.keys.where(left), self.epochs[left])


class Holding:
    """Beside the engine of a runtime, whose table knows which flows are held."""

    def __init__(self, engine: Engine, ledger: Ledger, *, packets_max: int | None = None) -> None:
        """``packets_max``: ``BUFFER_PACKETS_MAX``, if it is not said."""
        self._engine = engine
        self._ledger = ledger
        most = BUFFER_PACKETS_MAX if packets_max is None else packets_max
        self._room = WaitingRoom(ledger, packets_max=most, reason="migration_buffer_full")
        self._flows: dict[int, _Coming] = {}
        """By migration or claim."""
        self._just_come: dict[int, FlowKeys] = {}
        """By migration whose source has not been answered, the flows that came."""

    @property
    def flows(self) -> int:
        """How many are held."""
        return sum(len(coming.keys) for coming in self._flows.values())

    def expect(self, number: int, source: str, keys: FlowKeys, epochs: Epochs) -> Statuses:
        """These will come in that migration (or claim), from there."""
        statuses = self._engine.hold(keys, epochs)
        there = are(statuses, Status.OK)
        if there.any():
            before, coming = self._flows.get(number), _Coming(source, keys.where(there), epochs[there])
            self._flows[number] = coming if before is None else before.and_others(coming)
        return statuses

    def expect_back(self, number: int, node: str, keys: FlowKeys, epochs: Epochs) -> npt.NDArray[np.bool_]:
        """These had departed from this ``node`` in that migration, and it claims them back. What it expects of them in
        an earlier epoch would be let go of when it is known to be older. What is to come in a later one has been
        elsewhere since, and in the same one the dead target was sending it back: that goes on being expected. For which
        of them there is no room: their rows are gone if something else was expected of them, and did not come."""
        full = np.zeros(len(keys), bool)
        earlier = ~self._expects_from(keys, epochs)
        full[earlier] = are(self._expect_instead(number, node, keys.where(earlier), epochs[earlier]), Status.FULL)
        return full

    def expect_here(self, claim: int, node: str, keys: FlowKeys, epochs: Epochs) -> None:
        """These come in that claim, as their switch has said. What was held for another already is held for it from now
        on, in whatever epoch it was to come: the other will not send it."""
        coming = self._flows.get(claim)
        others = np.ones(len(keys), bool) if coming is None else places_of(keys, coming.keys) < 0
        if others.any():
            self._expect_instead(claim, node, keys.where(others), epochs[others])

    def _expect_instead(self, number: int, node: str, keys: FlowKeys, epochs: Epochs) -> Statuses:
        """Nothing else is expected of these any more."""
        self.came(keys)
        self._engine.release(keys)
        return self.expect(number, node, keys, epochs)

    def _expects_from(self, keys: FlowKeys, epochs: Epochs) -> npt.NDArray[np.bool_]:
        """Which of these are to come in that epoch or a later one."""
        found = np.zeros(len(keys), bool)
        for coming in self._flows.values():
            places = places_of(keys, coming.keys)
            among = places >= 0
            found[among] |= coming.epochs[places[among]] >= epochs[among]
        return found

    def came(self, keys: FlowKeys) -> None:
        """These are not waited for any more, in whatever migration (or claim) they were to come."""
        for number, coming in self._flows.items():
            if coming.is_of(keys):  # as nearly always
                self._flows[number] = coming.without(keys)
                return
        for number, coming in self._flows.items():
            self._flows[number] = coming.without(keys)

    def source_of(self, number: int) -> str:
        """Who is to send what is held in that migration (or claim); nobody, if nothing is."""
        return self._flows[number].source if number in self._flows else ""

    def held_from(self, source: str) -> tuple[FlowKeys, Epochs]:
        """What is to come from that node, and in which epochs."""
        held = [coming for coming in self._flows.values() if coming.source == source]
        every = [NO_KEYS.array, *(coming.keys.array for coming in held)]
        return FlowKeys(np.concatenate(every)), np.concatenate([_NO_EPOCHS, *(coming.epochs for coming in held)])

    def waits_for(self, keys: FlowKeys, source: str) -> npt.NDArray[np.bool_]:
        """Which of these are to come from that node."""
        return places_of(keys, self.held_from(source)[0]) >= 0

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
        coming = self._flows.pop(number, None)
        if coming is not None and len(coming.keys):
            statuses = self._engine.release(coming.keys)
            assert not statuses.any(), "what is expected is held"

    def give_up_from(self, source: str) -> None:
        """Nothing more will come from that node."""
        for number in [number for number, coming in self._flows.items() if coming.source == source]:
            self.give_up(number)

    def have_packets(self, keys: FlowKeys) -> npt.NDArray[np.bool_]:
        """For which of these, which are held, any wait."""
        there = {key for burst in self.waiting for key in self._whose(burst)}
        return np.fromiter((key in there for key in keys), bool, len(keys))

    def _whose(self, burst: Burst) -> FlowKeys:
        """Of which flows packets are that wait."""
        follows, self._engine.follows = self._engine.follows, True
        codes = self._engine.process(burst)
        assert (codes == HELD).all(), "all of it is held: this says only whose it is"
        self._engine.follows = follows
        return self._engine.changes.keys_of(self._engine.touched)

    def lose(self, keys: FlowKeys) -> None:
        """These, which are held, are neither here nor coming: what waits for them came from a switch that has begun
        again since, and knows better now."""
        lost = set(keys)
        for burst in list(self.take()):
            gone, rest = split(burst, np.array([key in lost for key in self._whose(burst)], bool))
            self._ledger.drop("fenced", gone)
            self.keep(rest)
        self.let_go(keys)

    def let_go(self, keys: FlowKeys) -> None:
        """These are not held any more; what waits for them is to be processed next."""
        self.came(keys)  # they may set out for here again, and are then another's to let go of
        statuses = self._engine.release(keys)
        assert not statuses.any(), "what is expected is held"

    def keep(self, burst: Burst) -> None:
        """Packets of flows that are held."""
        self._room.keep(burst)

    @property
    def waiting(self) -> list[Burst]:
        """Everything that waits, in order, which stays here."""
        return self._room.bursts

    def take(self) -> Iterator[Burst]:
        """Everything that waits, in order, to be processed; what is still to wait is to be kept again."""
        return self._room.take()


def where_ok(keys: FlowKeys, statuses: Statuses) -> FlowKeys:
    """The keys of which that is the status."""
    return keys.where(are(statuses, Status.OK))


def split(burst: Burst, held: npt.NDArray[np.bool_]) -> tuple[Burst, Burst]:
    """The packets that are held, and the others."""
    return burst.select(np.flatnonzero(held)), burst.select(np.flatnonzero(~held))
