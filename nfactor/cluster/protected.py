"""Which flows here would outlive this runtime, as far as it knows: a replica that lives has said that it has them.

It is worked out when it is asked for, so that nothing is done for it packet by packet. A replica that has left the view
counts as dead at once, and not only when its flows are dealt to others.
"""

from collections.abc import Callable, Mapping

import numpy as np

from nfactor.cluster.commit import Commit
from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.changes import joined
from nfactor.dataplane.engine import Engine
from nfactor.packet.burst import Octets
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.dealing import Deal, Mask
from nfactor.protocols.replication import Channel


class Protected:
    """Looks at the flows of that engine, at who has their buckets, and at what is on its way to replicas. ``lives``
    says whether a replica is in the view."""

    def __init__(
        self, engine: Engine, deal: Deal, channels: Mapping[str, Channel[Commit]], lives: Callable[[str], bool]
    ) -> None:
        self._engine = engine
        self._deal = deal
        self._channels = channels
        self._lives = lives

    def flows(self) -> list[bytes]:
        """Flows whose state a replica is known to have."""
        if not self._deal.replicas:
            return []
        keys, unstored = self._engine.keys(), set(self._unstored())
        dead = self._with_the_dead(keys.array)
        return [key for key, lost in zip(keys, dead.tolist(), strict=True) if not lost and key not in unstored]

    def missing(self) -> int:
        """How many no replica is known to have: those that were never sent, those that were sent whole in a commit that
        is not known to be stored, and those of which the replica is dead."""
        if not self._deal.replicas:
            return self._engine.statistics().flows
        unstored = self._unstored()
        if all(map(self._lives, self._deal.replicas)):
            return int(self._engine.changes.here(unstored).sum())
        others = FlowKeys(unstored.array[~self._with_the_dead(unstored.array)])
        lost = np.count_nonzero(self._with_the_dead(self._engine.keys().array))
        return int(lost + self._engine.changes.here(others).sum())

    def _with_the_dead(self, keys: Octets) -> Mask:
        """Which of these have a replica that is not in the view any more."""
        dead = [number for number, name in self._deal.numbered() if not self._lives(name)]
        return np.isin(self._deal.holders(buckets_of(keys)), dead)

    def _unstored(self) -> FlowKeys:
        waiting = [commit.whole for channel in self._channels.values() for commit in channel]
        return joined([self._engine.changes.unasked(), *waiting])
