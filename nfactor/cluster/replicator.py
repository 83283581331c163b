"""The primary's side of replication on a runtime: which replica a flow has, and what waits until it is stored.

What the engine did with a burst is handed in (``commit``), split by replica, and sent; what needs no replica, or has
none, leaves at once by the egress. The rules are DESIGN section 7's: the modes, round robin over the replicas, and when
one dies, the states again through the others, with every packet and record that it had not released.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import trio

from nfactor.cluster.commit import NO_CODES, NO_PACKETS, Commit, merged, to_message
from nfactor.cluster.egress import Egress
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import pack_u32
from nfactor.cluster.outcome_messages import Protection
from nfactor.cluster.recovery_messages import ForgetReplicas
from nfactor.cluster.reporter import pack_records
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.engine import LATE, REPLY, TABLE_FULL, Engine, Records
from nfactor.packet.burst import Burst
from nfactor.protocols.replication import Channel, Kind, Mode, Outstanding, Watermark

UNSTORED_PACKETS_MAX = 4096
"""Packets that wait for their states to be stored; while there are so many, no more are taken from the port."""
UNSTORED_COMMITS_MAX = 1024
"""The same in commits to one replica."""
REPLICATION_BATCH_FLOWS_MAX = 500
"""Flows whose states go to a new replica in one message."""

Codes = npt.NDArray[np.uint8]


class Replicator:
    """``send`` tells a message to the table of replicas on a runtime. ``set_replicas`` has to be called first."""

    def __init__(
        self,
        mode: Mode,
        engine: Engine,
        egress: Egress,
        ledger: Ledger,
        *,
        now: Callable[[], float],
        send: Callable[[str, object], None],
    ) -> None:
        self._mode = mode
        self._engine = engine
        self._egress = egress
        self._ledger = ledger
        self._now = now
        self._send = send
        self._replicas: list[str] = []
        self._next = 0
        self._channels: dict[str, Channel[Commit]] = {}
        self._assigned: dict[bytes, str] = {}
        self._protected: set[bytes] = set()
        self._departed: dict[int, dict[bytes, tuple[str, int]]] = {}
        """Flows that left, by migration: where their last state here is stored, and of which epoch it is."""
        self._outstanding = Outstanding()
        self._homeless: list[Commit] = []
        """Commits that wait for a replica to be had, under ``strict-hold``."""
        self._lagging: dict[bytes, None] = {}
        """Flows whose state at the replica lags behind, under ``every``."""
        self._lag = 0
        self._unstored = 0
        self._has_room = trio.Event()
        self._unprotected = 0
        self._unprotected_s = 0.0
        self._unprotected_since: float | None = None

    # ---------------------------------------------------------------- packets

    async def wait_room(self) -> None:
        """Return when another burst may be processed."""
        while self.is_full:
            self._has_room = trio.Event()
            await self._has_room.wait()

    @property
    def is_full(self) -> bool:
        """Whether no more packets may be processed for now."""
        holds = self._mode.kind is Kind.STRICT_HOLD and not self._replicas
        commits = max(map(len, self._channels.values()), default=0)
        return holds or self._unstored >= UNSTORED_PACKETS_MAX or commits >= UNSTORED_COMMITS_MAX

    def commit(
        self, burst: Burst, keys: Sequence[bytes | None], codes: Codes, emitted: list[tuple[bytes, Any]]
    ) -> None:
        """A burst was processed: ``keys`` and ``codes`` as the engine gave them, and what its NFs emitted."""
        if not self._mode.strict:
            if self._mode.kind is Kind.EVERY:
                self._follow(keys)
                if not self._replicas:
                    self._count_unprotected(codes)
            self._leave(burst, codes, emitted)
            return
        stateful = np.array([key is not None for key in keys], bool) & (codes != LATE) & (codes != TABLE_FULL)
        if not stateful.all():
            self._leave(burst.select(np.flatnonzero(~stateful)), codes[~stateful], [])
            burst, codes = burst.select(np.flatnonzero(stateful)), codes[stateful]
            keys = [key for key, kept in zip(keys, stateful.tolist(), strict=True) if kept]
        flows = [key for key in keys if key is not None]
        if flows or emitted:
            piece = self._outstanding.begin()
            self._spread(Commit(piece=piece, keys=flows, burst=burst, codes=codes, emitted=emitted))

    def _spread(self, commit: Commit) -> None:
        """To each flow's own replica, with the state that now includes it."""
        if not self._replicas:
            self._without_replica(commit)
            return
        flows = commit.flows()
        replicas = dict.fromkeys(map(self._replica_of, flows))
        if len(replicas) == 1:
            self._give(next(iter(replicas)), commit)
        else:
            for replica in replicas:
                self._give(replica, commit.part({key for key in flows if self._assigned[key] == replica}))
        for key in commit.ended:
            del self._assigned[key]

    def _replica_of(self, key: bytes) -> str:
        replica = self._assigned.get(key)
        if replica is None:
            replica = self._assigned[key] = self._replicas[self._next % len(self._replicas)]
            self._next += 1
        return replica

    def _give(self, replica: str, commit: Commit) -> None:
        channel = self._channels[replica]
        sequence = channel.add(commit)
        self._outstanding.give(commit.piece)
        self._unstored += len(commit.burst)
        self._ledger.hand(replica, len(commit.burst))
        message = to_message(
            commit, self._engine, node=self._ledger.node, address=self._egress.address, sequence=sequence
        )
        self._send(replica, message)

    def _without_replica(self, commit: Commit) -> None:
        if self._mode.kind is Kind.STRICT_HOLD:
            self._homeless.append(commit)
            self._outstanding.give(commit.piece)
            self._ledger.buffer(len(commit.burst))
            return
        self._count_unprotected(commit.codes)
        self._leave(commit.burst, commit.codes, commit.emitted)

    def _count_unprotected(self, codes: Codes) -> None:
        count = int((codes <= REPLY).sum())
        if count:
            self._unprotected += count
            if self._unprotected_since is None:
                self._unprotected_since = self._now()

    def _leave(self, burst: Burst, codes: Codes, emitted: Sequence[tuple[bytes, Any]]) -> None:
        """Out of the system at once."""
        if codes.any():
            for code in np.unique(codes[codes > REPLY]).tolist():
                self._egress.drop(self._engine.reasons[code], burst.select(np.flatnonzero(codes == code)))
            burst = burst.select(np.flatnonzero(codes <= REPLY))
        self._egress.packets(burst)
        if emitted:
            self._egress.records(pack_records(self._ledger.node, (record for _, record in emitted)))
        self._egress.flush()

    def _follow(self, keys: Sequence[bytes | None]) -> None:
        """Under ``every``: send states once enough packets have changed them."""
        self._lagging.update(dict.fromkeys(key for key in keys if key is not None))
        self._lag += len(keys)
        if self._lag >= self._mode.every_packets:
            self.catch_up()

    def catch_up(self) -> None:
        """Send every state that lags behind."""
        flows, self._lagging, self._lag = list(self._lagging), {}, 0
        if flows and self._replicas:
            self._states(flows)

    # ---------------------------------------------------------------- flows that come and go

    def adopt(self, keys: Sequence[bytes]) -> None:
        """Flows came with their states, or changed their epochs."""
        if self._mode.kind is not Kind.NONE:
            self._states(keys)

    def _states(self, keys: Sequence[bytes]) -> None:
        for start in range(0, len(keys), REPLICATION_BATCH_FLOWS_MAX):
            piece = self._outstanding.begin()
            self._spread(Commit(piece=piece, states=keys[start : start + REPLICATION_BATCH_FLOWS_MAX]))

    def ended(self, keys: Sequence[bytes], emitted: list[tuple[bytes, Any]]) -> None:
        """Flows ended; ``emitted`` is what NFs had still to say of them, or of flows that ended elsewhere."""
        self._protected.difference_update(keys)
        for key in keys:
            self._lagging.pop(key, None)
        if not (self._mode.strict and keys):  # without keys they ended elsewhere, and are in no replica any more
            self._leave(NO_PACKETS, NO_CODES, emitted)
            keys, emitted = [key for key in keys if key in self._assigned], []
        if keys or emitted:
            self._spread(Commit(piece=self._outstanding.begin(), emitted=emitted, ended=keys))

    def departed(self, migration: int, keys: Sequence[bytes], records: Records) -> None:
        """Flows left for another runtime; their replicas keep them until ``moved``."""
        self._protected.difference_update(keys)
        departed = self._departed[migration] = {}
        for key, record in zip(keys, records, strict=True):
            self._lagging.pop(key, None)
            replica = self._assigned.pop(key, None)
            if replica is not None:
                departed[key] = replica, HEADER.unpack(record.tobytes()).epoch

    def moved(self, migration: int, keys: Sequence[bytes]) -> None:
        """They arrived, or came back, and are protected where they are now."""
        departed = self._departed.get(migration, {})
        forget: dict[str, dict[bytes, int]] = {}
        for key in keys:
            replica, epoch = departed.pop(key, ("", 0))
            if replica in self._channels:
                forget.setdefault(replica, {})[key] = epoch
        if not departed:
            self._departed.pop(migration, None)
        for replica, those in forget.items():
            epochs = pack_u32(np.fromiter(those.values(), np.uint32, len(those)))
            self._send(replica, ForgetReplicas(self._ledger.node, b"".join(those), epochs))

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
            self._protected.update(key for key in commit.flows() if self._assigned.get(key) == replica)
        if self._unprotected_since is not None and not self.unprotected_flows():
            self._unprotected_s += self._now() - self._unprotected_since
            self._unprotected_since = None
        self._outstanding.settle()
        self._has_room.set()

    def _confirmed(self, commit: Commit) -> None:
        self._unstored -= len(commit.burst)
        self._outstanding.done(commit.piece)

    def set_replicas(self, replicas: Sequence[str], released: dict[str, Watermark]) -> None:
        """Replicate to these from now on. ``released`` says how far those came that are not among them any more."""
        had_some = bool(self._replicas)
        self._replicas = list(replicas)
        for replica in replicas:
            self._channels.setdefault(replica, Channel())
        lost = [replica for replica in self._channels if replica not in replicas]
        for replica in lost:
            self._lose(replica, released.get(replica, Watermark()))
        if self._replicas and not had_some:
            self._take_home()
        self._outstanding.settle()
        self._has_room.set()

    def _lose(self, replica: str, came: Watermark) -> None:
        """A replica died: its flows, and what it has not released, go to the others."""
        left: list[Commit] = []
        for sequence, commit in self._channels.pop(replica).close():
            rest = commit.after(packets_came=sequence <= came.packets, outcomes_came=sequence <= came.outcomes)
            self._ledger.hand(replica, -len(rest.burst))
            left.append(rest)
            self._confirmed(commit)
        flows = [key for key, held in self._assigned.items() if held == replica]
        for key in flows:
            del self._assigned[key]
        self._protected.difference_update(flows)
        if self._replicas:
            self._move(flows, left)
        else:
            for commit in left:
                self._without_replica(commit)

    def _take_home(self) -> None:
        """There are replicas at last: everything that has none goes there."""
        homeless, self._homeless = self._homeless, []
        for commit in homeless:
            self._ledger.buffer(-len(commit.burst))
            self._outstanding.done(commit.piece)
        flows = self._engine.keys()
        self._move([key for key in flows if key not in self._assigned], homeless)

    def _move(self, flows: Sequence[bytes], left: Sequence[Commit]) -> None:
        """States of flows with all that has not left the system of theirs: one message holds both, so that no state is
        anywhere without the packets that it includes."""
        known = dict.fromkeys(flows)
        others = dict.fromkeys(key for commit in left for key in commit.flows() if key not in known)
        every = [*known, *others]
        for start in range(0, len(every), REPLICATION_BATCH_FLOWS_MAX):
            batch = set(every[start : start + REPLICATION_BATCH_FLOWS_MAX])
            parts = [part for commit in left if not (part := commit.part(batch)).empty]
            states = [key for key in every[start : start + REPLICATION_BATCH_FLOWS_MAX] if key in known]
            self._spread(merged(parts, piece=self._outstanding.begin(), states=states))

    # ---------------------------------------------------------------- questions

    def protected_flows(self) -> list[bytes]:
        """Flows here whose state a replica is known to have."""
        return [key for key in self._engine.keys() if key in self._protected]

    def unprotected_flows(self) -> int:
        """Flows here whose state no replica is known to have."""
        return self._engine.statistics().flows - len(self._protected)

    def protection(self) -> Protection | None:
        """What runs, or ran, unprotected; None where nothing is replicated."""
        if self._mode.kind is Kind.NONE:
            return None
        since = self._unprotected_since
        running = 0.0 if since is None else self._now() - since
        return Protection(self.unprotected_flows(), self._unprotected, self._unprotected_s + running)
