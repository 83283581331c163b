"""One commit of a primary: what a burst did to the flows of one replica, and how that is split and put together.

Everything is kept by the buckets of its flows, so that when the replica dies they can go to several others, each with
its own packets. The states are not kept: whoever needs them later needs them as they are by then.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.cluster.recovery_messages import StoreCommit
from nfactor.cluster.reporter import pack_records
from nfactor.dataplane.buckets import Buckets, buckets_of
from nfactor.dataplane.changes import NO_KEYS, Changed
from nfactor.dataplane.engine import REPLY
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst, concatenate
from nfactor.packet.burst_codec import pack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Watermark

Codes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

NO_PACKETS = Burst.from_frames([])
NO_CODES: Codes = np.zeros(0, np.uint8)
NO_BUCKETS: Buckets = np.zeros(0, np.uint16)


@attrs.define(eq=False, kw_only=True)
class Commit:
    """``buckets`` and ``codes`` are per packet of ``burst``, in order."""

    piece: int
    """Its number in ``Outstanding``."""
    buckets: Buckets = NO_BUCKETS
    burst: Burst = NO_PACKETS
    codes: Codes = NO_CODES
    emitted: Sequence[tuple[bytes, Any]] = ()
    whole: FlowKeys = NO_KEYS
    """Flows that the replica had not known before: until it has stored this, they are not protected."""
    message: StoreCommit | None = None
    """As it was sent."""
    doubtful: set[bytes] = attrs.Factory(set)
    """Addresses of switches that have lost their memory since it was sent."""

    @property
    def empty(self) -> bool:
        """Nothing would be seen of it outside."""
        return not (len(self.buckets) or self.emitted)

    def emitted_buckets(self) -> Buckets:
        """The buckets of the flows of which records were emitted, in order."""
        return buckets_of(FlowKeys.of(key for key, _ in self.emitted).array) if self.emitted else NO_BUCKETS

    def part(self, packets: Places, emitted: Places) -> "Commit":
        """Those of its packets and emitted records, in that order."""
        if not len(packets):
            return Commit(piece=self.piece, emitted=[self.emitted[place] for place in emitted.tolist()])
        return Commit(
            piece=self.piece,
            buckets=self.buckets[packets],
            burst=self.burst.select(packets),
            codes=self.codes[packets],
            emitted=[self.emitted[place] for place in emitted.tolist()],
        )

    def packets_at(self, places: Places) -> "Commit":
        """Those of its packets, in that order, and nothing that was emitted."""
        return self.part(places, places[:0])

    def cut(self, start: int, end: int, emitted: Sequence[tuple[bytes, Any]]) -> "Commit":
        """Its packets from ``start`` up to ``end``, which are not copied, with what was emitted for them."""
        if not len(self.burst):
            return Commit(piece=self.piece, emitted=emitted)
        return Commit(
            piece=self.piece,
            buckets=self.buckets[start:end],
            burst=self.burst.slice(start, end),
            codes=self.codes[start:end],
            emitted=emitted,
        )

    def by_bucket(self) -> "Commit":
        """The same, sorted by bucket; what is of one flow stays in order."""
        return self.part(np.argsort(self.buckets, kind="stable"), np.argsort(self.emitted_buckets(), kind="stable"))

    def after(self, sequence: int, came: Watermark) -> tuple["Commit", int]:
        """What is left of it, which had that number, when a replica has died that had come so far: packets that went
        on, and drops and emitted records. And how many packets may have come or not, as a switch has forgotten it:
        they are not among what is left, for nothing may come twice."""
        told = sequence <= came.outcomes
        out, doubtful = np.zeros(len(self.codes), bool), np.zeros(len(self.codes), bool)
        if len(self.burst):
            released = [switch for switch, last in came.packets.items() if sequence <= last]
            sources = cluster_frame.sources(self.burst)
            out |= np.array([source in released for source in sources], bool)
            out |= np.isin(self.burst.marks, np.fromiter(came.marks, np.uint64, len(came.marks)))
            doubtful = np.array([source in self.doubtful for source in sources], bool) & (self.codes <= REPLY)
        left = np.flatnonzero(np.where(self.codes <= REPLY, ~(out | doubtful), not told))
        rest = self.part(left, np.arange(0 if told else len(self.emitted)))
        return rest, int(np.count_nonzero(doubtful & ~out))


def any_dropped(codes: Codes) -> bool:
    """Whether any packet does not go on."""
    return len(codes) > 0 and bool(codes.max() > REPLY)


def going(codes: Codes) -> int:
    """How many packets are not dropped."""
    return int((codes <= REPLY).sum())


def merged(commits: Iterable[Commit], *, piece: int) -> Commit:
    """One commit of several, in order. It counts as the oldest of their pieces, or as ``piece`` if there are none."""
    some = list(commits)
    bursts = [commit.burst for commit in some if len(commit.burst)]
    return Commit(
        piece=min((commit.piece for commit in some), default=piece),
        buckets=np.concatenate([NO_BUCKETS, *(commit.buckets for commit in some)]),
        burst=concatenate(bursts) if bursts else NO_PACKETS,
        codes=np.concatenate([NO_CODES, *(commit.codes for commit in some)]),
        emitted=[item for commit in some for item in commit.emitted],
    )


def to_message(
    commit: Commit,
    changed: Changed,
    ended: FlowKeys,
    *,
    reasons: Sequence[str],
    node: str,
    address: bytes,
    sequence: int,
) -> StoreCommit:
    """The commit for its replica, with what has changed in its flows. ``reasons`` are the names of codes."""
    burst, codes = commit.burst, commit.codes
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    marks = b""
    if any_dropped(codes):
        dropped = np.unique(codes[codes > REPLY]).tolist()
        names = tuple(reasons[code] for code in dropped)
        counts = tuple(int(np.count_nonzero(codes == code)) for code in dropped)
        marks = b"".join(burst.marks[codes == code].astype("<u8").tobytes() for code in dropped)
        burst = burst.select(np.flatnonzero(codes <= REPLY))
    return StoreCommit(
        primary=node,
        address=address,
        sequence=sequence,
        changes=changed.octets,
        ended=ended.octets() if len(ended) else b"",
        packets=pack_burst(burst),
        reasons=names,
        counts=counts,
        marks=marks,
        emitted=tuple(pack_records(node, (record for _, record in commit.emitted))) if commit.emitted else (),
    )
