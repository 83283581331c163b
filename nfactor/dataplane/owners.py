"""The flow table of a virtual switch, as the switch sees it: which runtime owns which flow.

Two keep it: ``dispatch``, in plain Python, which is the definition of right, and ``compiled.dispatcher``, in rows that
machine code reads. Everything is said of sets: a burst of packets, arrays of keys.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.aliases import Aliases, Told
from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.engine import Counts, Epochs, Keys, Statuses
from nfactor.errors import CallerError, MalformedPacket
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import MALFORMED_REASONS, Packet
from nfactor.packet.headers import parse

SETTLE_S: Final = 1.0
"""When its runtime has taken packets for so long since it was sent, a packet has been seen there or is lost."""
SWITCHES_MAX: Final = 256
"""Switches of one cluster, at most."""

TABLE_FULL: Final = -1
NO_RUNTIME: Final = -2
"""In place of an owner, where there can be none; then come the reasons of malformed packets."""
STALE_ALIAS: Final = NO_RUNTIME - 1 - len(MALFORMED_REASONS)
"""In place of an owner: the flow has ended to which another switch says that the packet belongs."""
FOREIGN: Final = -200
"""``FOREIGN - n`` in place of an owner: the key is switch n's."""

OwnerNumbers: TypeAlias = npt.NDArray[np.int32]


def owner_number(key: bytes, switches: int) -> int:
    """Which of so many switches owns a key: a static hash of it, as RSS does in a NIC (DESIGN section 8)."""
    return 0 if switches == 1 else int(buckets_of(np.frombuffer(key, np.uint8).reshape(1, -1))[0]) % switches


@attrs.frozen
class DispatchStatistics:
    """Counts of a dispatcher; ``flows`` is now, the rest since the start."""

    flows: int
    created: int
    redirected: int
    forgotten: int
    refused: int
    """Packets of new flows that found the table full (the counter of ``flows_max``)."""
    aliases: int
    """Other keys that flows answer to, now."""
    aliases_refused: int
    """Those for which there was no room (``flows_max`` again)."""


class Owners(ABC):
    """Owners by flow. Runtimes are small numbers, chosen by the caller. ``now`` is in seconds, on any clock that does
    not go back."""

    _aliases: Aliases[Any]

    def __init__(self, classifier: FlowClassifier) -> None:
        self._classifier = classifier
        self.reasons = (
            "flow_table_full",
            "no_runtime",
            *(f"malformed_{reason}" for reason in MALFORMED_REASONS),
            "stale_alias",
        )
        """Names of the drops that ``assign`` answers as negative numbers: ``reasons[-1 - owner]``."""
        self._malformed = {reason: NO_RUNTIME - 1 - index for index, reason in enumerate(MALFORMED_REASONS)}
        self._switches, self._own = 1, 0
        self._gone: list[tuple[bytes, bytes]] = []

    def set_switches(self, count: int, own: int) -> None:
        """There are so many switches, and this is that one of them: keys of others are theirs (``owner_number``)."""
        assert 0 <= own < count <= SWITCHES_MAX
        self._switches, self._own = count, own
        self._share_with(count, own)

    @abstractmethod
    def _share_with(self, count: int, own: int) -> None:
        """See ``set_switches``."""

    def switch_of(self, key: bytes) -> int:
        """The switch whose key that is."""
        return owner_number(key, self._switches)

    def set_runtimes(self, runtimes: list[int]) -> None:
        """New flows go to these from now on, in turn; flows that have an owner keep it."""
        if len(set(runtimes)) != len(runtimes) or min(runtimes, default=0) < 0:
            raise CallerError(f"runtimes {runtimes}: each must be another number from 0 on")
        self._spread_over(runtimes)

    @abstractmethod
    def _spread_over(self, runtimes: list[int]) -> None:
        """New flows go to these, which are numbers as they should be."""

    @abstractmethod
    def assign(self, burst: Burst) -> tuple[OwnerNumbers, Burst]:
        """For each packet the runtime that owns its flow, or a negative number for a drop (see ``reasons``); and the
        burst, in which packets whose flow does not follow from themselves (later fragments, and packets for an alias)
        are now labelled."""

    def learn(self, burst: Burst) -> dict[int, int]:
        """Packets on their way out, some of which tell that their flow has an alias (``dataplane.aliases``). By place
        in the burst, the switches by which those go out whose alias is another's, who has to learn it too."""
        pkt, others = Packet(burst.octets()), dict[int, int]()
        for index in np.flatnonzero(cluster_frame.labelled(burst)).tolist():
            offset, length = int(burst.offsets[index]), int(burst.lengths[index])
            try:
                parse(pkt, offset, offset + length, int(burst.wire_lengths[index]))
            except MalformedPacket:
                continue
            label, pkt.label = pkt.label, None
            if label is None or not label[1] & cluster_frame.TEACH:
                continue
            alias, direction = self._classifier.classify(pkt)
            if alias != label[0] and not pkt.foreign:
                self._learn_if_ours(alias, label[0], (direction ^ label[1]) & cluster_frame.DIRECTION)
                if self.switch_of(alias) != self._own == self.switch_of(label[0]):
                    others[index] = self.switch_of(alias)
        return others

    def learn_again(self, told: Told) -> None:
        """The same for a switch whose table was lost, from what runtimes say."""
        for key, alias, turn in zip(told.keys, told.aliases, told.turns.tolist(), strict=True):
            self._learn_if_ours(alias, key, turn)

    def _learn_if_ours(self, alias: bytes, key: bytes, turn: int) -> None:
        """The flow is, and is in the table; or the alias alone is."""
        if self._has(key) if self.switch_of(key) == self._own else self.switch_of(alias) == self._own:
            self._learn(alias, key, turn)

    def take_gone(self) -> list[tuple[bytes, bytes]]:
        """Aliases of other switches that flows of ours have answered to, and the flows' keys: since the last call."""
        gone, self._gone = self._gone, []
        return gone

    def known_alias(self, alias: bytes) -> bytes | None:
        """The flow that answers to it, if one does."""
        known = self._aliases.get(alias)
        return None if known is None else known.key

    def turn_of(self, alias: bytes, key: bytes) -> int | None:
        """How packets for that alias are turned (``Aliases.learn``), if that flow answers to it."""
        known = self._aliases.get(alias)
        return known.turn if known is not None and known.key == key else None

    def _note_gone(self, alias: bytes, key: bytes) -> None:
        if self.switch_of(alias) != self._own == self.switch_of(key):
            self._gone.append((alias, key))

    def _key_of(self, pkt: Packet, offset: int, end: int, wire_length: int) -> bytes | int:
        """The key of the flow that a packet belongs to, which is labelled if it is for an alias; or why it is dropped,
        in place of an owner."""
        try:
            parse(pkt, offset, end, wire_length)
        except MalformedPacket as error:
            return self._malformed[error.reason]
        key, direction = self._classifier.classify(pkt)
        alias = self._aliases.get(key)
        if alias is not None:
            pkt.label = alias.key, direction ^ alias.turn | (0 if pkt.foreign else cluster_frame.ALIAS)
            return alias.key
        return STALE_ALIAS if self._is_stale(key, pkt.label) else key

    def _is_stale(self, key: bytes, label: tuple[bytes, int] | None) -> bool:
        """Whether another switch has labelled a packet with a flow that has ended."""
        return (
            label is not None
            and label[1] & cluster_frame.ALIAS > 0
            and self.switch_of(key) == self._own
            and not (self._has(key))
        )

    @abstractmethod
    def unlearn(self, alias: bytes, key: bytes) -> None:
        """That flow, which is another switch's, does not answer to that any more."""

    @abstractmethod
    def _has(self, key: bytes) -> bool:
        """Whether that flow is in the table."""

    @abstractmethod
    def _learn(self, alias: bytes, key: bytes, turn: int) -> None:
        """A flow that is in the table, or another switch's, has that alias (``Aliases.learn``)."""

    @abstractmethod
    def restore(self, keys: Keys, epochs: Epochs, packets: Counts, owner: int, *, now: float) -> None:
        """A table that was lost is put together again from what runtimes say: ``owner`` has had so many packets of
        each flow, in that epoch. The highest epoch wins; of several words about one owner in one epoch, the highest
        count. As nobody knows when it moved, it is as if it had just now."""

    @abstractmethod
    def clear(self) -> None:
        """Forget everything."""

    @abstractmethod
    def redirect(self, keys: Keys, epochs: Epochs, *, source: int, target: int, now: float) -> Statuses:
        """Give flows that ``source`` owns to ``target``, with these epochs. UNKNOWN: not there, or another's;
        STALE: the epoch is not higher than the entry's."""

    @abstractmethod
    def turned(self, keys: Keys, epochs: Epochs, target: int) -> Statuses:
        """OK: the flow is ``target``'s in this epoch; EXISTS: in another one; else UNKNOWN. For who asks again whether
        they were turned."""

    @abstractmethod
    def claim(
        self, keys: Keys, epochs: Epochs, packets: Counts | None, *, dead: int, claimer: int, now: float
    ) -> tuple[Statuses, list[int]]:
        """Give flows that ``dead`` owns to ``claimer``, whose state includes so many packets of each (None: it is not
        known). EXISTS: another owns it (who, the second list says, for each such key in order); UNKNOWN: it has ended,
        and ``dead`` was its owner; STALE: the claim is older than what is known here."""

    @abstractmethod
    def heard(self, owner: int, now: float) -> None:
        """There was a sign of life of that runtime. Of one of which there is none, what has ended there is remembered
        until it is abandoned."""

    @abstractmethod
    def abandon(self, owner: int) -> int:
        """Forget every flow of a runtime that is dead and that nobody has claimed; how many there were."""

    @abstractmethod
    def forget(
        self,
        keys: Keys,
        packets: Counts,
        *,
        owner: int,
        now: float,
        moved_before: float = math.inf,
        taking_s: float = 0.0,
    ) -> Statuses:
        """Forget flows of ``owner`` that ended after that many packets, as it counted at ``taking_s``, by a clock that
        stands still while it takes none. UNKNOWN: not there, or another's; BUSY: more packets are on their way to it,
        wait there, or were lost on the way: asked a third time, ``SETTLE_S`` after the second by that clock, with no
        packet since the first, the answer is OK. A flow that has not moved before ``moved_before`` is BUSY too: its old
        runtime would take the flow's next life for packets that come late."""

    @abstractmethod
    def statistics(self) -> DispatchStatistics:
        """Counts so far."""
