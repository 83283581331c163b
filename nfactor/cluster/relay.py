"""The way through a virtual switch from the runtimes to the outside: fences out the dead, reads receipts, passes on.

Frames are known by their source address, which holds the runtime's incarnation. What comes from a runtime that is not
in the view is as if it had never been sent: its flows have another owner by now, which would be contradicted."""

from collections.abc import Collection, Mapping

import numpy as np

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Released
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst


class Relay:
    """``next_hop`` is the MAC address to which packets go on."""

    def __init__(self, outside: Port, ledger: Ledger, next_hop: bytes) -> None:
        self._outside = outside
        self._ledger = ledger
        self._next_hop = next_hop
        self._known: dict[bytes, str] = {}
        self._names: dict[bytes, str] = {}
        self._released: dict[tuple[str, str], int] = {}
        """By replica and primary: the last commit whose packets came."""
        self.fenced = 0
        """Frames of runtimes that are not in the view, which were dropped."""

    def admit(self, runtimes: Mapping[bytes, str]) -> None:
        """Runtimes by address: frames of others are dropped from now on."""
        self._known = dict(runtimes)
        self._names.update(runtimes)

    def released_by(self, replicas: Collection[str]) -> tuple[Released, ...]:
        """How far replicas that are dead had come with whose commits; asked once, for their next life counts anew."""
        told = [(names, self._released.pop(names)) for names in sorted(self._released) if names[0] in replicas]
        return tuple(Released(replica, primary, sequence) for (replica, primary), sequence in told)

    def pass_on(self, burst: Burst) -> None:
        """Frames that came from runtimes."""
        common = cluster_frame.common_source(burst)
        if common is not None:
            self._from(common, burst)
            return
        senders = cluster_frame.sources(burst)
        for sender in dict.fromkeys(senders):
            places = [place for place, other in enumerate(senders) if other == sender]
            self._from(sender, burst.select(np.array(places, np.intp)))

    def _from(self, sender: bytes, burst: Burst) -> None:
        runtime = self._known.get(sender)
        if runtime is None:
            self.fenced += len(burst)
            return
        markers = cluster_frame.marker_indices(burst)
        for place in markers.tolist():
            receipt = cluster_frame.read_receipt(burst.frame(place))
            if receipt is not None and receipt[1] in self._names:
                _, primary, sequence = receipt
                self._released[runtime, self._names[primary]] = sequence
        if len(markers):
            self._ledger.receipts += len(markers)
            burst = burst.select(np.setdiff1d(np.arange(len(burst)), markers))
        if len(burst):
            self._ledger.take(runtime, len(burst))
            cluster_frame.readdress(burst, target=self._next_hop, source=self._outside.address)
            taken = self._outside.send(burst)
            self._ledger.sent += taken
            self._ledger.drop("port_full", burst.slice(taken, len(burst)))
