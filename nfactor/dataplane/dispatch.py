"""The flow table of a virtual switch: which runtime owns which flow, and since which ownership epoch.

New flows go round robin over the runtimes (paper section 3.4); a known flow goes where its entry says. Only three
things change an entry: a redirect with a higher epoch, a claim on the flow of a dead runtime, with a higher epoch as
well, and a runtime's word that the flow has ended. The last is checked by counting: the switch forgets a flow only when
the runtime has seen exactly as many of its packets as were sent, so that no packet under way finds its flow without an
owner, or with two."""

import math
from collections.abc import Sequence

import attrs
import numpy as np

from nfactor.dataplane.aliases import Aliases
from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.engine import FIRST_EPOCH, FLOWS_MAX, Counts, Epochs, Keys, Status, Statuses
from nfactor.errors import CallerError, MalformedPacket
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import MALFORMED_REASONS, Packet
from nfactor.packet.headers import parse
from nfactor.packet.peek import PEEK_PACKETS_MIN, peek

SETTLE_S = 1.0
"""A packet that was sent this long ago has arrived or is lost."""
REMEMBER_S = 2.0
"""A flow that has moved is not forgotten for so long: longer than its tombstone stands at the runtime that it left."""
KNOWN_MAX = 131_072
"""Plain packets' endpoints whose entries are known without a parse (two to a flow)."""
ENDED_REMEMBER_S = 10.0
"""For so long the switch knows that a flow ended and whose it was: longer than a recovery takes. Its runtime may have
died before it could say so to anyone else."""
ENDED_MAX = 65_536
"""Flows of which that is known, at most; the oldest are forgotten first."""

SWITCHES_MAX = 256
"""Switches of one cluster, at most."""

_TABLE_FULL, _NO_RUNTIME = -1, -2
"""In place of an owner, where there can be none; then come the reasons of malformed packets."""
_FORGOTTEN = -1000
"""The owner of an entry that is in the table no more."""
FOREIGN = -200
"""``FOREIGN - n`` in place of an owner: the key is switch n's."""


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


class Dispatcher:
    """Owners by flow. Runtimes are small numbers, chosen by the caller."""

    def __init__(self, classifier: FlowClassifier, *, flows_max: int = FLOWS_MAX) -> None:
        self._classifier = classifier
        self._flows_max = flows_max
        self._entries: dict[bytes, _Entry] = {}
        self._runtimes: list[int] = []
        self._next = 0
        self._known: dict[bytes, _Entry] = {}
        self._aliases: Aliases[_Entry] = Aliases(flows_max)
        self._ended: dict[tuple[bytes, int], float] = {}
        self._switches, self._own = 1, 0
        self._others: dict[int, _Entry] = {}
        """By number, what stands for all keys of another switch."""
        self._created = self._redirected = self._forgotten = self._refused = 0
        self.reasons = ("flow_table_full", "no_runtime", *(f"malformed_{reason}" for reason in MALFORMED_REASONS))
        """Names of the drops that ``owners`` answers as negative numbers: ``reasons[-1 - owner]``."""
        self._malformed = {reason: _NO_RUNTIME - 1 - index for index, reason in enumerate(MALFORMED_REASONS)}

    def set_switches(self, count: int, own: int) -> None:
        """There are so many switches, and this is that one of them: keys of others are theirs (``owner_number``)."""
        assert 0 <= own < count <= SWITCHES_MAX
        self._switches, self._own = count, own
        self._others = {number: _Entry(FOREIGN - number) for number in range(count) if number != own}
        self._known.clear()

    def set_runtimes(self, runtimes: list[int]) -> None:
        """New flows go to these from now on, in turn; flows that have an owner keep it."""
        if len(set(runtimes)) != len(runtimes) or min(runtimes, default=0) < 0:
            raise CallerError(f"runtimes {runtimes}: each must be another number from 0 on")
        self._runtimes = list(runtimes)
        self._next = 0

    def assign(self, burst: Burst) -> tuple[list[int], Burst]:
        """For each packet the runtime that owns its flow, or a negative number for a drop (see ``reasons``); and the
        burst, in which packets whose flow does not follow from themselves (later fragments, and packets for an alias)
        are now labelled."""
        if len(burst) < PEEK_PACKETS_MIN:
            return self._assign_one_by_one(burst, [None] * len(burst))
        entries = list(map(self._known.get, peek(burst)))
        if None in entries:
            return self._assign_one_by_one(burst, entries)
        owners = [entry.owner for entry in entries if entry is not None]
        if min(owners) == _FORGOTTEN:
            return self._assign_one_by_one(burst, entries)
        for entry in entries:
            entry.packets += 1  # type: ignore[union-attr]
        return owners, burst

    def _assign_one_by_one(self, burst: Burst, entries: Sequence[_Entry | None]) -> tuple[list[int], Burst]:
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
        return owners, burst

    def _look_up(self, pkt: Packet, offset: int, end: int, wire_length: int) -> int:
        try:
            parse(pkt, offset, end, wire_length)
        except MalformedPacket as error:
            return self._malformed[error.reason]
        key, direction = self._classifier.classify(pkt)
        alias = self._aliases.get(key)
        if alias is not None:
            entry: _Entry | None = alias.entry
            pkt.label = alias.key, direction ^ alias.turn | (0 if pkt.foreign else cluster_frame.ALIAS)
        else:
            entry = self._entries.get(key) or self._others.get(owner_number(key, self._switches))
        if entry is None:
            if len(self._entries) >= self._flows_max:
                self._refused += 1
                return _TABLE_FULL
            if not self._runtimes:
                return _NO_RUNTIME
            entry = self._entries[key] = _Entry(self._runtimes[self._next])
            self._next = (self._next + 1) % len(self._runtimes)
            self._owns_again(key, entry.owner)
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

    def learn(self, burst: Burst) -> None:
        """Packets on their way out, some of which tell that their flow has an alias (``dataplane.aliases``)."""
        pkt = Packet(burst.octets())
        for index in np.flatnonzero(cluster_frame.labelled(burst)).tolist():
            offset, length = int(burst.offsets[index]), int(burst.lengths[index])
            try:
                parse(pkt, offset, offset + length, int(burst.wire_lengths[index]))
            except MalformedPacket:
                continue
            label, pkt.label = pkt.label, None
            entry = self._entries.get(label[0]) if label is not None else None
            if label is None or entry is None or not label[1] & cluster_frame.TEACH:
                continue
            alias, direction = self._classifier.classify(pkt)
            if alias != label[0] and not pkt.foreign:
                if alias in self._entries:
                    self._known.clear()  # what came too early is a flow of its own, whose packets are this one's now
                self._aliases.learn(alias, entry, label[0], (direction ^ label[1]) & cluster_frame.DIRECTION)

    def restore(self, keys: Keys, epochs: Epochs, packets: Counts, owner: int) -> None:
        """A table that was lost is put together again from what runtimes say: ``owner`` has had so many packets of
        each flow, in that epoch. The highest epoch wins."""
        for key, epoch, count in zip(keys, epochs.tolist(), packets.tolist(), strict=True):
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(owner)
            elif epoch <= entry.epoch:
                continue
            entry.owner, entry.epoch, entry.packets = owner, epoch, count

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._known.clear()
        self._aliases = Aliases(self._flows_max)

    def redirect(self, keys: Keys, epochs: Epochs, *, source: int, target: int, now: float) -> Statuses:
        """Give flows that ``source`` owns to ``target``, with these epochs. UNKNOWN: not there, or another's;
        STALE: the epoch is not higher than the entry's. ``now`` is in seconds, on any clock that does not go back."""
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
        """OK: the flow is ``target``'s in this epoch; else UNKNOWN. For who asks again whether they were turned."""
        statuses = np.full(len(keys), Status.UNKNOWN, np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is not None and entry.owner == target and entry.epoch == epoch:
                statuses[index] = Status.OK
        return statuses

    def _give(self, key: bytes, entry: _Entry, owner: int, epoch: int, now: float) -> None:
        entry.owner, entry.epoch, entry.moved_s, entry.doubt = owner, epoch, now, None
        self._owns_again(key, owner)
        self._redirected += 1

    def _owns_again(self, key: bytes, owner: int) -> None:
        """A runtime where a flow of that key ended has a new one of it: it knows of both, and lets the first one
        end."""
        self._ended.pop((key, owner), None)

    def claim(
        self, keys: Keys, epochs: Epochs, packets: Counts | None, *, dead: int, claimer: int, now: float
    ) -> tuple[Statuses, list[int]]:
        """Give flows that ``dead`` owns to ``claimer``, whose state includes so many packets of each (None: it is not
        known). EXISTS: another owns it (who, the second list says, for each such key in order); UNKNOWN: it has ended,
        and ``dead`` was its owner; STALE: the claim is older than what is known here. ``now`` as in ``redirect``."""
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
            elif (key, dead) in self._ended:
                statuses[index] = Status.UNKNOWN
            elif entry is None:
                statuses[index] = Status.STALE
            else:
                statuses[index] = Status.EXISTS
                owners.append(entry.owner)
        return statuses, owners

    def abandon(self, owner: int) -> int:
        """Forget every flow of a runtime that is dead and that nobody has claimed; how many there were."""
        keys = [key for key, entry in self._entries.items() if entry.owner == owner]
        for key in keys:
            self._drop(key)
        return len(keys)

    def forget(self, keys: Keys, packets: Counts, *, owner: int, now: float) -> Statuses:
        """Forget flows of ``owner`` that ended after that many packets. UNKNOWN: not there, or another's; BUSY: more
        packets are on their way to it, or were lost on the way: asked again ``SETTLE_S`` later, with no packet since,
        the answer is OK. A flow that has just moved is BUSY too: its old runtime would take the flow's next life for
        packets that come late. ``now`` as in ``redirect``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, count) in enumerate(zip(keys, packets.tolist(), strict=True)):
            entry = self._entries.get(key)
            if entry is None or entry.owner != owner:
                statuses[index] = Status.UNKNOWN
            elif now - entry.moved_s < REMEMBER_S or not _seen_all(entry, count, now):
                statuses[index] = Status.BUSY
            else:
                self._drop(key)
                self._remember_end(key, owner, now)
        return statuses

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        entry.owner = _FORGOTTEN
        self._aliases.forget(entry)
        self._forgotten += 1

    def _remember_end(self, key: bytes, owner: int, now: float) -> None:
        self._ended.pop((key, owner), None)
        self._ended[key, owner] = now
        while len(self._ended) > ENDED_MAX or now - next(iter(self._ended.values())) > ENDED_REMEMBER_S:
            del self._ended[next(iter(self._ended))]

    def statistics(self) -> DispatchStatistics:
        """Counts so far."""
        return DispatchStatistics(
            flows=len(self._entries),
            created=self._created,
            redirected=self._redirected,
            forgotten=self._forgotten,
            refused=self._refused,
            aliases=len(self._aliases),
            aliases_refused=self._aliases.refused,
        )


def _seen_all(entry: _Entry, count: int, now: float) -> bool:
    """Whether the runtime saw as many packets as were sent; or was asked about ``SETTLE_S`` ago, and none since."""
    if entry.packets & 0xFFFF_FFFF == count:
        return True
    if entry.doubt is None or entry.doubt[0] != entry.packets:
        entry.doubt = entry.packets, now
    return now - entry.doubt[1] >= SETTLE_S
