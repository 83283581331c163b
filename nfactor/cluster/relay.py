"""The way through a virtual switch from the runtimes to the outside: fences out the dead, reads receipts, passes on.

Frames are known by their source address, which holds the runtime's incarnation. What comes from a runtime that is not
in the view is as if it had never been sent: its flows have another owner by now, which would be contradicted."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Released
from nfactor.compiled import outer_headers
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst, Marks

LOOSE_BURSTS_MAX = 64
"""Bursts of one runtime that are remembered until a receipt comes behind them, at most; where none is to come, the
latest are as good as any."""


class Relay:
    """``next_hop`` is the MAC address to which packets go on; ``learn`` sees them first, and returns those that do."""

    def __init__(
        self, outside: Port, ledger: Ledger, next_hop: bytes, learn: Callable[[Burst], Burst] = lambda burst: burst
    ) -> None:
        self._outside = outside
        self._ledger = ledger
        self._next_hop = next_hop
        self._learn = learn
        self._known: dict[bytes, str] = {}
        self._released: dict[tuple[str, bytes], int] = {}
        """By replica and primary (its address): the last commit whose packets came, as the last receipt says."""
        self._loose: dict[str, deque[Marks]] = {}
        """By replica: marks of packets that came after its last receipt."""
        self.fenced = 0
        """Frames of runtimes that are not in the view, which were dropped."""

    def admit(self, runtimes: Mapping[bytes, str]) -> None:
        """Runtimes by address: frames of others are dropped from now on."""
        self._known = dict(runtimes)

    def released_by(self, replicas: Iterable[str], switch: bytes) -> tuple[Released, ...]:
        """How far replicas that are dead had come with whose commits, and which packets of the next ones came.
        ``switch`` is the address that runtimes know this switch by."""
        told = []
        for replica in sorted(replicas):
            marks = np.concatenate([np.zeros(0, np.uint64), *self._loose.get(replica, ())])
            told.append(Released(replica, b"", 0, switch, marks.astype("<u8").tobytes()))
            mine = sorted(names for names in self._released if names[0] == replica)
            told += [Released(*names, self._released[names], switch, b"") for names in mine]
        return tuple(told)

    def forget(self, replica: str) -> None:
        """Its recovery is over: its next life counts anew. Nor does anybody ask after the commits of primaries that are
        not there any more."""
        self._loose.pop(replica, None)
        for names in [names for names in self._released if names[0] == replica or names[1] not in self._known]:
            del self._released[names]

    def pass_on(self, burst: Burst) -> None:
        """Frames that came from runtimes."""
        common = outer_headers.common_source(burst)
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
        markers = outer_headers.marker_indices(burst)
        if len(markers):
            self._ledger.receipts += len(markers)
            for place in markers.tolist():
                self._note(runtime, cluster_frame.read_receipt(burst.frame(place)) or {})
            self._keep_loose(runtime, burst.slice(int(markers[-1]) + 1, len(burst)))
            burst = burst.select(np.setdiff1d(np.arange(len(burst)), markers))
        else:
            self._keep_loose(runtime, burst)
        if len(burst):
            self._ledger.take(runtime, len(burst))
            self.let_out(burst)

    def let_out(self, burst: Burst) -> None:
        """Packets that have passed the chain."""
        burst = self._learn(burst)
        if len(burst):
            outer_headers.readdress(burst, target=self._next_hop, source=self._outside.address)
            taken = self._outside.send(burst)
            self._ledger.sent += taken
            self._ledger.drop("port_full", burst.slice(taken, len(burst)))

    def _note(self, runtime: str, sequences: Mapping[bytes, int]) -> None:
        """A receipt stands behind all packets of which it speaks."""
        for primary, sequence in sequences.items():
            if primary in self._known:
                self._released[runtime, primary] = sequence
        self._loose.pop(runtime, None)

    def _keep_loose(self, runtime: str, burst: Burst) -> None:
        if len(burst):
            loose = self._loose.setdefault(runtime, deque(maxlen=LOOSE_BURSTS_MAX))
            loose.append(burst.marks)
