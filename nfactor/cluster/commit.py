"""One commit of a primary: what a burst did to the flows of one replica, and how that is split and put together.

Everything is kept by flow, so that when the replica dies its flows can go to several others, each with its own packets.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.cluster.messages import pack_u32
from nfactor.cluster.recovery_messages import StoreCommit
from nfactor.cluster.reporter import pack_records
from nfactor.dataplane.engine import REPLY, Engine, Status
from nfactor.packet.burst import Burst, concatenate
from nfactor.packet.burst_codec import pack_burst

NO_PACKETS = Burst.from_frames([])
NO_CODES: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)


@attrs.frozen(eq=False, kw_only=True)
class Commit:
    """``keys`` and ``codes`` are per packet of ``burst``, in order; ``states`` are flows whose present state is to be
    stored although no packet of theirs is in here."""

    piece: int
    """Its number in ``Outstanding``."""
    keys: Sequence[bytes] = ()
    burst: Burst = NO_PACKETS
    codes: npt.NDArray[np.uint8] = NO_CODES
    emitted: Sequence[tuple[bytes, Any]] = ()
    ended: Sequence[bytes] = ()
    states: Sequence[bytes] = ()

    @property
    def empty(self) -> bool:
        """Nothing would be seen of it outside."""
        return not (self.keys or self.emitted or self.ended)

    def flows(self) -> list[bytes]:
        """Every flow that it is about, once."""
        return list(dict.fromkeys([*self.states, *self.keys, *(key for key, _ in self.emitted), *self.ended]))

    def part(self, flows: Collection[bytes]) -> "Commit":
        """What of it is about those flows."""
        places = np.array([place for place, key in enumerate(self.keys) if key in flows], np.intp)
        return Commit(
            piece=self.piece,
            keys=[self.keys[place] for place in places.tolist()],
            burst=self.burst.select(places),
            codes=self.codes[places],
            emitted=[(key, record) for key, record in self.emitted if key in flows],
            ended=[key for key in self.ended if key in flows],
            states=[key for key in self.states if key in flows],
        )

    def after(self, *, packets_came: bool, outcomes_came: bool) -> "Commit":
        """What is left of it when a replica has died that had released this much: packets that went on, and drops and
        emitted records."""
        left = np.array([not packets_came if code <= REPLY else not outcomes_came for code in self.codes], bool)
        places = np.flatnonzero(left)
        return attrs.evolve(
            self,
            keys=[self.keys[place] for place in places.tolist()],
            burst=self.burst.select(places),
            codes=self.codes[places],
            emitted=() if outcomes_came else self.emitted,
        )


def merged(commits: Iterable[Commit], *, piece: int, states: Sequence[bytes] = ()) -> Commit:
    """One commit of several, in order, in which those ``states`` are alive, even if an earlier flow of the same key
    ended. It counts as the oldest of their pieces, or as ``piece`` if there are none."""
    some, alive = list(commits), set(states)
    bursts = [commit.burst for commit in some if len(commit.burst)]
    return Commit(
        piece=min((commit.piece for commit in some), default=piece),
        keys=[key for commit in some for key in commit.keys],
        burst=concatenate(bursts) if bursts else NO_PACKETS,
        codes=np.concatenate([commit.codes for commit in some]) if some else NO_CODES,
        emitted=[item for commit in some for item in commit.emitted],
        ended=list(dict.fromkeys(key for commit in some for key in commit.ended if key not in alive)),
        states=[*states, *(key for commit in some for key in commit.states)],
    )


def to_message(commit: Commit, engine: Engine, *, node: str, address: bytes, sequence: int) -> StoreCommit:
    """The commit with the states as they are now, for its replica."""
    wanted = [key for key in commit.flows() if key not in commit.ended]
    epochs, records, statuses = engine.copy(wanted)
    there = np.flatnonzero(statuses == Status.OK)
    going = commit.codes <= REPLY
    dropped = np.unique(commit.codes[~going]).tolist()
    marks = [commit.burst.marks[commit.codes == code] for code in dropped]
    return StoreCommit(
        primary=node,
        address=address,
        sequence=sequence,
        keys=b"".join(wanted[place] for place in there.tolist()),
        epochs=pack_u32(epochs[there]),
        records=records[there].tobytes(),
        ended=b"".join(commit.ended),
        packets=pack_burst(commit.burst.select(np.flatnonzero(going))),
        reasons=tuple(engine.reasons[code] for code in dropped),
        counts=tuple(map(len, marks)),
        marks=b"".join(those.astype("<u8").tobytes() for those in marks),
        emitted=tuple(pack_records(node, (record for _, record in commit.emitted))),
    )
