"""The flow table of a virtual switch in plain Python: which runtime owns which flow, and since which ownership epoch.

New flows go round robin over the runtimes (paper section 3.4); a known flow goes where its entry says. Only three
things change an entry: a redirect with a higher epoch, a claim on the flow of a dead runtime, with a higher epoch as
well, and a runtime's word that the flow has ended. The last is checked by counting: the switch forgets a flow only when
the runtime has seen exactly as many of its packets as were sent, so that no packet under way finds its flow without an
owner, or with two."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from nfactor.dataplane.aliases import Aliases, without
from nfactor.dataplane.ends import Ends
from nfactor.dataplane.engine import FIRST_EPOCH, FLOWS_MAX, Counts, Epochs, Keys, Status, Statuses
from nfactor.dataplane.owners import (
    FOREIGN,
    NO_RUNTIME,
    SETTLE_S,
    TABLE_FULL,
    DispatchStatistics,
    OwnerNumbers,
    Owners,
    owner_number,
)
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.peek import PEEK_PACKETS_MIN, peek

KNOWN_MAX: Final = 131_072
"""Plain packets' endpoints whose entries are known without a parse (two to a flow)."""
_FORGOTTEN: Final = -1000
"""The owner of an entry that is in the table no more."""


class _Entry:
    """One flow: its owner, the epoch of that ownership, how many packets it was sent (modulo 2^32), what of them was
    not known to have arrived when, should it have been refused to forget the flow, and other keys that it answers
    to."""

    __slots__ = ("aliases", "doubt", "epoch", "moved_s", "owner", "packets")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.epoch = FIRST_EPOCH
        self.packets = 0
        self.moved_s = -math.inf
        self.doubt: tuple[int, float] | None = None
        self.aliases: tuple[bytes, ...] = ()


class Dispatcher(Owners):
    """See ``Owners``."""

    def __init__(self, classifier: FlowClassifier, *, flows_max: int = FLOWS_MAX) -> None:
        super().__init__(classifier)
        self._flows_max = flows_max
        self._entries: dict[bytes, _Entry] = {}
        self._runtimes: list[int] = []
        self._next = 0
        self._known: dict[bytes, _Entry] = {}
        self._aliases: Aliases[_Entry] = Aliases(flows_max, self._note_gone)
        self._elsewhere: dict[bytes, _Entry] = {}
        """Flows of other switches that answer to keys of ours."""
        self._ends = Ends()
        self._others: dict[int, _Entry] = {}
        """By number, what stands for all keys of another switch."""
        self._created = self._redirected = self._forgotten = self._refused = 0

    def _share_with(self, count: int, own: int) -> None:
        self._others = {number: _Entry(FOREIGN - number) for number in range(count) if number != own}
        self._known.clear()

    def _spread_over(self, runtimes: list[int]) -> None:
        self._runtimes = list(runtimes)
        self._next = 0

    def assign(self, burst: Burst) -> tuple[OwnerNumbers, Burst]:
        """See ``Owners.assign``."""
        if len(burst) < PEEK_PACKETS_MIN:
            return self._assign_one_by_one(burst, [None] * len(burst))
        entries = list(map(self._known.get, peek(burst)))
        if None in entries:
            return self._assign_one_by_one(burst, entries)
        owners = np.array([entry.owner for entry in entries if entry is not None], np.int32)
        if owners.min() == _FORGOTTEN:
            return self._assign_one_by_one(burst, entries)
        for entry in entries:
            entry.packets += 1  # type: ignore[union-attr]
        return owners, burst

    def _assign_one_by_one(self, burst: Burst, entries: Sequence[_Entry | None]) -> tuple[OwnerNumbers, Burst]:
        """The same where some packets are no plain packets of known flows (``entries`` says which are)."""
        pkt = Packet(burst.octets())
        owners: list[int] = []
        labels: dict[int, tuple[bytes, int]] = {}
        columns = (burst.offsets.tolist(), burst.lengths.tolist(), burst.wire_lengths.tolist())
        for offset, length, wire_length, entry in zip(*columns, entries, strict=True):
            if entry is None or entry.owner == _FORGOTTEN:
                owners.append(self._look_up(pkt, offset, offset + length, wire_length))
                if pkt.label is not None:
                    labels[len(owners) - 1] = pkt.label
            else:
                entry.packets += 1
                owners.append(entry.owner)
        if labels:
            burst = cluster_frame.with_labels(burst, labels)
        return np.array(owners, np.int32), burst

    def _look_up(self, pkt: Packet, offset: int, end: int, wire_length: int) -> int:
        key = self._key_of(pkt, offset, end, wire_length)
        if isinstance(key, int):
            return key
        entry = self._entries.get(key) or self._others.get(owner_number(key, self._switches))
        if entry is None:
            if len(self._entries) >= self._flows_max:
                self._refused += 1
                return TABLE_FULL
            if not self._runtimes:
                return NO_RUNTIME
            entry = self._entries[key] = _Entry(self._runtimes[self._next])
            self._next = (self._next + 1) % len(self._runtimes)
            self._ends.owns_again(key, entry.owner)
            self._created += 1
        if pkt.endpoints and pkt.label is None and not pkt.foreign:
            self._remember(bytes((pkt.protocol,)) + pkt.endpoints, entry)
        entry.packets += 1
        return entry.owner

    def _remember(self, endpoints: bytes, entry: _Entry) -> None:
        """That these octets of a plain packet mean this entry; all is forgotten when too much is known."""
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[endpoints] = entry

    def _has(self, key: bytes) -> bool:
        return key in self._entries

    def _learn(self, alias: bytes, key: bytes, turn: int) -> None:
        if alias in self._entries:
            self._known.clear()  # what came too early is a flow of its own, whose packets are this one's now
        entry = self._entries.get(key)
        if entry is None:
            entry = self._elsewhere.setdefault(key, _Entry(FOREIGN - self.switch_of(key)))
        self._aliases.learn(alias, entry, key, turn)

    def unlearn(self, alias: bytes, key: bytes) -> None:
        """See ``Owners.unlearn``."""
        self._aliases.drop(alias, key)
        entry = self._elsewhere.get(key)
        if entry is not None:
            entry.aliases = without(entry.aliases, alias)  # it may be another flow's by now
            if not entry.aliases:
                del self._elsewhere[key]

    def restore(self, keys: Keys, epochs: Epochs, packets: Counts, owner: int, *, now: float) -> None:
        """See ``Owners.restore``."""
        for key, epoch, count in zip(keys, epochs.tolist(), packets.tolist(), strict=True):
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(owner)
            elif epoch <= entry.epoch:
                if (epoch, owner) == (entry.epoch, entry.owner):
                    entry.packets = max(entry.packets, count)
                continue
            entry.owner, entry.epoch, entry.packets, entry.moved_s = owner, epoch, count, now

    def clear(self) -> None:
        """See ``Owners.clear``."""
        self._entries.clear()
        self._known.clear()
        self._aliases = Aliases(self._flows_max, self._note_gone)
        self._elsewhere.clear()

    def redirect(self, keys: Keys, epochs: Epochs, *, source: int, target: int, now: float) -> Statuses:
        """See ``Owners.redirect``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is not None and entry.owner == target and entry.epoch == epoch:
                continue  # so it was restored: the source had asked for it
            if entry is None or entry.owner != source:
                statuses[index] = Status.UNKNOWN
            elif epoch <= entry.epoch:
                statuses[index] = Status.STALE
            else:
                self._give(key, entry, target, epoch, now)
        return statuses

    def turned(self, keys: Keys, epochs: Epochs, target: int) -> Statuses:
        """See ``Owners.turned``."""
        statuses = np.full(len(keys), Status.UNKNOWN, np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is not None and entry.owner == target:
                statuses[index] = Status.OK if entry.epoch == epoch else Status.EXISTS
        return statuses

    def _give(self, key: bytes, entry: _Entry, owner: int, epoch: int, now: float) -> None:
        entry.owner, entry.epoch, entry.moved_s, entry.doubt = owner, epoch, now, None
        self._ends.owns_again(key, owner)
        self._redirected += 1

    def claim(
        self, keys: Keys, epochs: Epochs, packets: Counts | None, *, dead: int, claimer: int, now: float
    ) -> tuple[Statuses, list[int]]:
        """See ``Owners.claim``."""
        statuses, owners = np.zeros(len(keys), np.uint8), []
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is not None and entry.owner == dead:
                if epoch <= entry.epoch:
                    statuses[index] = Status.STALE
                    continue
                self._give(key, entry, claimer, epoch, now)
                if packets is not None:
                    entry.packets = int(packets[index])
            elif (key, dead) in self._ends:
                statuses[index] = Status.UNKNOWN
            elif entry is None:
                statuses[index] = Status.STALE
            else:
                statuses[index] = Status.EXISTS
                owners.append(entry.owner)
        return statuses, owners

    def heard(self, owner: int, now: float) -> None:
        """See ``Owners.heard``."""
        self._ends.heard(owner, now)

    def abandon(self, owner: int) -> int:
        """See ``Owners.abandon``."""
        self._ends.over(owner)
        keys = [key for key, entry in self._entries.items() if entry.owner == owner]
        for key in keys:
            self._drop(key)
        return len(keys)

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
        """See ``Owners.forget``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, count) in enumerate(zip(keys, packets.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is None or entry.owner != owner:
                statuses[index] = Status.UNKNOWN
            elif entry.moved_s >= moved_before or not _seen_all(entry, count, taking_s):
                statuses[index] = Status.BUSY
            else:
                self._drop(key)
                self._ends.remember(key, owner, now)
        return statuses

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        entry.owner = _FORGOTTEN
        self._aliases.forget(entry)
        self._forgotten += 1

    def statistics(self) -> DispatchStatistics:
        """See ``Owners.statistics``."""
        return DispatchStatistics(
            flows=len(self._entries),
            created=self._created,
            redirected=self._redirected,
            forgotten=self._forgotten,
            refused=self._refused,
            aliases=len(self._aliases),
            aliases_refused=self._aliases.refused,
        )


def _seen_all(entry: _Entry, count: int, taking_s: float) -> bool:
    """Whether the runtime saw as many packets as were sent, or will see no more of them: none was sent since it was
    first asked about, and it has taken packets for ``SETTLE_S`` since it counted for the second question. (Which it
    asked when it had the answer to the first. That one may have been under way for long, while packets were sent.)"""
    if entry.packets & 0xFFFF_FFFF == count:
        return True
    if entry.doubt is None or entry.doubt[0] != entry.packets:
        entry.doubt = entry.packets, math.inf
    else:
        entry.doubt = entry.packets, min(entry.doubt[1], taking_s)
    return taking_s - entry.doubt[1] >= SETTLE_S
