"""Takes packets of switches that are in the view, and no others.

Frames are known by their source address, which holds the incarnation of who sent them. What an earlier life of a switch
had still under way when it died must not be taken once its next life asks which flows are where: the flow of such a
packet may begin elsewhere.
"""

from collections.abc import Iterable

import numpy as np

from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Member
from nfactor.compiled import outer_headers
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst


class Fence:
    """At the port of a runtime."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._names: dict[bytes, str] = {}

    def admit(self, switches: Iterable[Member]) -> set[bytes]:
        """From these alone from now on. The addresses of those that had another one until now."""
        now = {member.address: member.name for member in switches}
        names = set(now.values())
        renewed = {address for address, name in self._names.items() if name in names and address not in now}
        self._names = now
        return renewed

    def only(self, burst: Burst) -> Burst:
        """What of the burst may be taken. The rest is dropped, as ``fenced``."""
        for address, count in outer_headers.count_sources(burst).items():
            if address not in self._names:
                self._ledger.received += count
                strange = np.array([source == address for source in cluster_frame.sources(burst)], bool)
                self._ledger.drop("fenced", burst.select(np.flatnonzero(strange)))
                burst = burst.select(np.flatnonzero(~strange))
        return burst

    def count(self, burst: Burst) -> None:
        """These were taken: each is its switch's."""
        for address, count in outer_headers.count_sources(burst).items():
            self._ledger.take(self._names[address], count)
