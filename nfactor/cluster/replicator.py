"""The primary's side of replication on a runtime: which replica a flow has, and what waits until it is stored.

What the engine did with a burst is handed in (``commit``), split by replica, and sent; what needs no replica, or has
none, leaves at once by the egress. The rules are DESIGN section 7's: the modes, and when a replica dies, the states
again through the others, with every packet and record that it had not released. No work is done flow by flow: flows are
rows and buckets in arrays, and the engine says what has changed in them as octets.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from nfactor.cluster.backlog import Backlog
from nfactor.cluster.commit import (
    NO_BUCKETS,
    NO_CODES,
    NO_PACKETS,
    Codes,
    Commit,
    Places,
    any_dropped,
    going,
    merged,
    to_message,
)  # fmt: skip
from nfactor.cluster.departed import Departed, Forget
from nfactor.cluster.egress import Egress
from nfactor.cluster.exposure import Exposure
from nfactor.cluster.lag import Lag, in_bulk
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.outcome_messages import Protection
from nfactor.cluster.protected import Protected
from nfactor.dataplane.buckets import BUCKETS, NO_BUCKET, Buckets, buckets_of
from nfactor.dataplane.changes import NO_KEYS, NOTHING_CHANGED, Changed, Rows
from nfactor.dataplane.engine import LATE, Engine, Records
from nfactor.packet.burst import Burst, Octets
from nfactor.packet.flow_key import FlowKeys, keys_array
from nfactor.protocols.dealing import Deal, Mask, batches
from nfactor.protocols.replication import RESEND_COMMITS_S, Channel, Kind, Mode, Outstanding, Watermark

REPLICATION_BATCH_FLOWS_MAX = 500
"""Flows whose states go to a new replica in one message, unless one bucket has more."""


class Replicator:
    """``send`` tells a message to the table of replicas on a runtime, which may be lost; ``forget`` one that may not.
    ``now`` is the time in seconds; ``room`` is called when ``is_full`` may have become false; ``lives`` says whether a
    replica is in the view. ``set_replicas`` has to be called first."""

    def __init__(
        self,
        mode: Mode,
        engine: Engine,
        egress: Egress,
        ledger: Ledger,
        *,
        send: Callable[[str, object], None],
        forget: Forget,
        now: Callable[[], float],
        room: Callable[[], object],
        lives: Callable[[str], bool] = lambda replica: True,
    ) -> None:
        self._mode = mode
        self._engine = engine
        self._changes = engine.changes
        self._egress = egress
        self._ledger = ledger
        self._send = send
        self._now = now
        self._room = room
        self._told = False  # who the replicas are
        self._deal = Deal()
        self._channels: dict[str, Channel[Commit]] = {}
        self._confirmed_s: dict[str, float] = {}
        """When each replica last confirmed something, or was given something while it had nothing to confirm."""
        self.resent = 0
        """Commits that were sent again."""
        self._outstanding = Outstanding()
        self._departed = Departed(ledger.node, self._deal, self._outstanding, forget)
        self._without_copies: deque[FlowKeys] = deque()
        """Flows that are to go to another replica."""
        self._homeless: list[Commit] = []
        """Commits that wait for a replica to be had, under ``strict-hold``."""
        self._lag = Lag(engine.changes, mode.every_packets)
        self._backlog = Backlog()
        self.in_doubt = 0
        """Packets of which it is not known whether they came out, and which are not sent again."""
        self._exposure = Exposure(now)
        self._protected = Protected(engine, self._deal, self._channels, lives)

    # ---------------------------------------------------------------- packets

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no other burst may be processed, or nobody has said where to replicate to."""
        if not self._told:
            return True
        holds = self._mode.kind is Kind.STRICT_HOLD and not self._deal.replicas
        return holds or self._backlog.is_full(max(map(len, self._channels.values()), default=0))

    @property
    def homeless(self) -> list[Burst]:
        """Packets that wait for a replica to be had."""
        return [commit.burst for commit in self._homeless]

    def commit(self, burst: Burst, rows: Rows, codes: Codes, emitted: list[tuple[bytes, Any]]) -> None:
        """A burst was processed: ``rows`` that it touched and ``codes`` as the engine gave them, and what its NFs
        emitted."""
        if not self._mode.strict:
            if self._mode.kind is Kind.EVERY:
                self._count_lag(rows, codes)
            self._egress.at_once(self._engine.reasons, burst, codes, emitted)
            return
        buckets = self._changes.buckets(rows)
        if any_dropped(codes):  # else each has a flow
            stateful = (buckets != NO_BUCKET) & (codes != LATE)
            self._egress.at_once(self._engine.reasons, burst.select(np.flatnonzero(~stateful)), codes[~stateful], [])
            burst, codes = burst.select(np.flatnonzero(stateful)), codes[stateful]
            buckets, rows = buckets[stateful], rows[stateful]
        if not (len(buckets) or emitted):
            return
        commit = Commit(piece=self._outstanding.begin(), buckets=buckets, burst=burst, codes=codes, emitted=emitted)
        if not self._deal.replicas:
            self._without_replica(commit)
            return
        for replica, part, places in self._parts(commit, buckets):
            self._give(replica, part, self._changes.of(rows if places is None else rows[places]))

    def _parts(self, commit: Commit, buckets: Buckets) -> Iterator[tuple[str, Commit, Places | None]]:
        """What of it is for each replica, and where in ``buckets`` are those of that replica (None: all). They are the
        packets' own, or of flows of which it has no packets."""
        if len(self._deal.replicas) == 1:
            yield self._deal.replicas[0], commit, None
            return
        holders = self._deal.holders(buckets)
        emitted = self._deal.holders(commit.emitted_buckets())
        order = np.argsort(holders, kind="stable")  # all columns are put in order once, and cut for each
        packets = commit.packets_at(order) if len(commit.burst) else commit
        counts, end = np.bincount(holders, minlength=1 + int(emitted.max(initial=-1))), 0
        for number, count in enumerate(counts.tolist()):
            start, end = end, end + count
            said = [item for item, holder in zip(commit.emitted, emitted, strict=True) if holder == number]
            if count or said:
                yield self._deal.name(number), packets.cut(start, end, said), order[start:end]

    def _give(self, replica: str, commit: Commit, changed: Changed, ended: FlowKeys = NO_KEYS) -> None:
        """To its replica, with the states that now include it."""
        channel = self._channels[replica]
        message = to_message(
            commit,
            changed,
            ended,
            reasons=self._engine.reasons,
            node=self._ledger.node,
            address=self._egress.address,
            sequence=channel.following,
        )
        if not len(channel):
            self._confirmed_s[replica] = self._now()
        commit.whole, commit.message = changed.whole, message
        channel.add(commit)
        self._outstanding.give(commit.piece)
        self._backlog.add(commit)
        if len(commit.burst):
            self._ledger.hand(replica, len(commit.burst))
        self._send(replica, message)

    def resend(self) -> None:
        """Send again what replicas should have confirmed by now, as it was."""
        for replica, channel in self._channels.items():
            if len(channel) and self._now() - self._confirmed_s[replica] >= RESEND_COMMITS_S:
                self._confirmed_s[replica] = self._now()
                for commit in channel:
                    self.resent += 1
                    self._send(replica, commit.message)

    def _without_replica(self, commit: Commit) -> None:
        if self._mode.kind is Kind.STRICT_HOLD:
            self._homeless.append(commit)
            self._outstanding.give(commit.piece)
            self._ledger.buffer(len(commit.burst))
            return
        self._exposure.count(going(commit.codes))
        self._egress.at_once(self._engine.reasons, commit.burst, commit.codes, commit.emitted)

    def _count_lag(self, rows: Rows, codes: Codes) -> None:
        """Under ``every``: the packets may leave when this has sent the states that would lag too far behind."""
        due = self._lag.add(rows)
        if not self._deal.replicas:
            self._exposure.count(going(codes))
        elif len(due):
            self._follow_up(due)

    def catch_up(self) -> None:
        """Send every state that lags behind, under ``every``."""
        self._follow_up_all(self._lag.take())

    def step(self) -> None:
        """The same for those that have lagged behind for long: a step of time is over."""
        self._follow_up_all(self._lag.step())

    def _follow_up_all(self, rows: list[Rows]) -> None:
        if self._deal.replicas:
            for some in in_bulk(rows, REPLICATION_BATCH_FLOWS_MAX):
                self._follow_up(some)

    def _follow_up(self, rows: Rows) -> None:
        """Send what has changed in those rows."""
        alone = len(self._deal.replicas) == 1  # where everything goes, whatever its bucket
        buckets = NO_BUCKETS if alone else self._changes.buckets(rows)
        for replica, part, places in self._parts(Commit(piece=self._outstanding.begin()), buckets):
            changed = self._changes.of(rows if places is None else rows[places])
            if changed.octets:
                self._give(replica, part, changed)

    # ---------------------------------------------------------------- flows that come and go

    def adopt(self, keys: Sequence[bytes]) -> None:
        """Flows came with their states, or changed otherwise than by a packet."""
        if not self._mode.replicates:
            return
        if not self._deal.replicas:
            self._without_replica(Commit(piece=self._outstanding.begin()))
            return
        every = keys_array(keys)
        for start in range(0, len(every), REPLICATION_BATCH_FLOWS_MAX):
            some = every[start : start + REPLICATION_BATCH_FLOWS_MAX]
            commit = Commit(piece=self._outstanding.begin())
            for replica, part, places in self._parts(commit, buckets_of(some)):
                self._give(replica, part, self._changes.whole(FlowKeys(some if places is None else some[places])))

    def ended(self, keys: Sequence[bytes], emitted: list[tuple[bytes, Any]]) -> None:
        """Flows ended; ``emitted`` is what NFs had still to say of them, or of flows that ended elsewhere."""
        if not (self._mode.strict and len(keys)):  # without keys they ended elsewhere, and are in no replica any more
            self._egress.at_once(self._engine.reasons, NO_PACKETS, NO_CODES, emitted)
            emitted = []
            if not (len(keys) and self._mode.replicates and self._deal.replicas):
                return
        every, commit = keys_array(keys), Commit(piece=self._outstanding.begin(), emitted=emitted)
        if not self._deal.replicas:
            self._without_replica(commit)
            return
        for replica, part, places in self._parts(commit, buckets_of(every)):
            ended = FlowKeys(every if places is None else every[places])
            self._give(replica, part, NOTHING_CHANGED, ended)

    def departed(self, migration: int, keys: FlowKeys, records: Records) -> None:
        """Flows left for another runtime; their replicas keep them until ``moved``."""
        if self._mode.replicates:
            self._departed.left(migration, keys, records)

    def moved(self, migration: int, keys: FlowKeys) -> None:
        """They are protected where they are now."""
        self._departed.moved(migration, keys)

    def not_forgotten(self) -> list[int]:
        """Migrations with flows of which there may be copies."""
        return self._departed.left_over()

    def when_stored(self, then: Callable[[], None]) -> None:
        """Call ``then`` when all that was handed in so far is stored and released."""
        self._outstanding.when_done(then)

    # ---------------------------------------------------------------- replicas

    def stored(self, replica: str, sequence: int) -> None:
        """A replica has stored and released everything up to that commit."""
        channel = self._channels.get(replica)
        if channel is None:
            return  # it is dead, and what it had released is known
        for commit in channel.stored(sequence):
            self._confirmed(commit)
            self._confirmed_s[replica] = self._now()
        self._outstanding.settle()
        self._room()

    def _confirmed(self, commit: Commit) -> None:
        self._backlog.remove(commit)
        self._outstanding.done(commit.piece)

    def set_replicas(
        self, replicas: Sequence[str], released: dict[str, Watermark], *, apart: Sequence[str] = ()
    ) -> None:
        """Replicate to these from now on, what is new to those ``apart`` if there are any. ``released`` says how far
        those came that are not among them any more."""
        self._told = True
        for replica in replicas:
            self._channels.setdefault(replica, Channel())
        left: list[Commit] = []
        for replica in [replica for replica in self._channels if replica not in replicas]:
            left += self._lose(replica, released.get(replica, Watermark()))
        dealt = self._deal.change(replicas, apart)
        if self._deal.replicas:
            self._move(dealt, [*self._taken_home(), *left])
            if self._exposure.goes_on and not self._without_copies:
                self._outstanding.when_done(self._protected_again)
        else:
            for commit in left:
                self._without_replica(commit)
        self._outstanding.settle()
        self._room()

    def doubt(self, switches: Collection[bytes]) -> None:
        """Switches at these addresses have lost what they knew: whether packets of commits that are not confirmed had
        come there, nobody will be able to say."""
        for channel in self._channels.values():
            for commit in channel:
                commit.doubtful.update(switches)

    def _lose(self, replica: str, came: Watermark) -> Iterator[Commit]:
        """A replica died: what of its commits it has not released."""
        for sequence, commit in self._channels.pop(replica).close():
            rest, doubtful = commit.after(sequence, came)
            self.in_doubt += doubtful
            self._ledger.hand(replica, -len(rest.burst))
            self._confirmed(commit)
            yield rest

    def _taken_home(self) -> list[Commit]:
        """Commits that had no replica."""
        homeless, self._homeless = self._homeless, []
        for commit in homeless:
            self._ledger.buffer(-len(commit.burst))
            self._outstanding.done(commit.piece)
        return homeless

    def _move(self, dealt: Mask, left: Sequence[Commit]) -> None:
        """Flows in buckets that were dealt anew, whole, with all that has not left the system of theirs: one message
        holds both, so that no state is anywhere without the packets that it includes."""
        keys = self._engine.keys()
        buckets = buckets_of(keys.array)
        moving = np.flatnonzero(dealt[buckets])
        moving = moving[np.argsort(buckets[moving], kind="stable")]
        every, buckets = keys.array[moving], buckets[moving]
        rest = merged((commit for commit in left if not commit.empty), piece=self._outstanding.begin()).by_bucket()
        holders, emitted = self._deal.holders(rest.buckets), self._deal.holders(rest.emitted_buckets())
        here = self._deal.holders(buckets)
        for number, replica in self._deal.numbered():
            part = rest.part(np.flatnonzero(holders == number), np.flatnonzero(emitted == number))
            self._move_to(replica, every[here == number], buckets[here == number], part)

    def _move_to(self, replica: str, keys: Octets, buckets: Buckets, rest: Commit) -> None:
        """Everything is sorted by bucket, and a message holds some buckets entirely."""
        for first, behind in batches(np.bincount(buckets, minlength=BUCKETS), REPLICATION_BATCH_FLOWS_MAX):
            flows, packets, emitted = (
                slice(*np.searchsorted(these, (first, behind)).tolist())
                for these in (buckets, rest.buckets, rest.emitted_buckets())
            )
            places = np.arange(len(rest.buckets))[packets], np.arange(len(rest.emitted))[emitted]
            part = rest.part(*places)
            if not part.empty:
                self._give(replica, part, self._changes.whole(FlowKeys(keys[flows])))
            elif len(keys[flows]):
                self._changes.lose(FlowKeys(keys[flows]))
                self._without_copies.append(FlowKeys(keys[flows]))

    @property
    def moves(self) -> bool:
        """Whether there are such."""
        return bool(self._without_copies)

    def protect_more(self, left: int) -> None:
        """Send so many of the states that are to have another replica, about. Those whose packets came meanwhile went
        with them, and go once more."""
        while self._without_copies and left > 0 and self._deal.replicas:
            keys = self._without_copies.popleft()
            left -= len(keys)
            self.adopt(keys)
            if not self._without_copies and self._exposure.goes_on:
                self._outstanding.when_done(self._protected_again)

    # ---------------------------------------------------------------- questions

    def protected_flows(self) -> list[bytes]:
        """Flows here whose state a replica is known to have."""
        return self._protected.flows()

    def unprotected_flows(self) -> int:
        """Flows here whose state no replica is known to have."""
        return self._protected.missing()

    def protection(self) -> Protection | None:
        """What runs, or ran, unprotected; None where nothing is replicated."""
        if self._mode.kind is Kind.NONE:
            return None
        return self._exposure.told(self.unprotected_flows(), in_doubt=self.in_doubt)

    def _protected_again(self) -> None:
        """What was without a replica when there was one at last has been stored."""
        if self._deal.replicas and not self._without_copies:
            self._exposure.end()
