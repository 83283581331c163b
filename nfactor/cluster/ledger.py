"""A node's ledger: every packet that came in is accounted for, by name (DESIGN section 10).

The identity, at every moment: ``received + created = sent + absorbed + dropped (each by reason) + buffered``. Markers
are no packets and are counted apart. Besides the sums the ledger remembers *which* packets were dropped (their marks)
until ``take_fates`` is called, so that an observer outside knows the fate of each packet it put in.
"""

from collections import Counter

import numpy as np

from nfactor.cluster.messages import NodeCounters, PacketFates
from nfactor.errors import NfactorError
from nfactor.packet.burst import Burst, Marks


class AccountingError(NfactorError):
    """The sum is off: a packet was lost or made without being counted. Always a bug."""


class Ledger:
    """Counts of one node, in packets."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.received = 0
        self.created = 0
        self.sent = 0
        self.absorbed = 0
        self.dropped: Counter[str] = Counter()
        self.buffered = 0
        self.buffered_max = 0
        self.markers_sent = 0
        self.markers_received = 0
        self._fates: list[tuple[str, Marks]] = []

    def drop(self, reason: str, packets: Burst) -> None:
        """These packets end here."""
        if len(packets) == 0:
            return
        self.dropped[reason] += len(packets)
        self._fates.append((reason, packets.marks))

    def buffer(self, change: int) -> None:
        """So many packets more (or fewer) wait here."""
        self.buffered += change
        self.buffered_max = max(self.buffered_max, self.buffered)
        assert self.buffered >= 0, "more packets left a buffer than entered it"

    def take_fates(self) -> PacketFates | None:
        """The packets that were dropped since the last call, if anyone wants to know."""
        if not self._fates:
            return None
        fates, self._fates = self._fates, []
        return PacketFates(
            node=self.node,
            reasons=tuple(reason for reason, _ in fates),
            counts=tuple(len(marks) for _, marks in fates),
            marks=np.concatenate([marks for _, marks in fates]).astype("<u8").tobytes(),
        )

    def counters(self, *, nf_errors: dict[str, int] | None = None, nf_error_sample: str = "") -> NodeCounters:
        """The sums, and what went wrong in NFs; raises ``AccountingError`` if the sums do not add up."""
        counters = NodeCounters(
            node=self.node,
            received=self.received,
            created=self.created,
            sent=self.sent,
            absorbed=self.absorbed,
            dropped=dict(sorted(self.dropped.items())),
            buffered=self.buffered,
            buffered_max=self.buffered_max,
            nf_errors=nf_errors or {},
            nf_error_sample=nf_error_sample,
        )
        check_node(counters)
        return counters


def check_node(counters: NodeCounters) -> None:
    """Raise ``AccountingError`` unless what came into the node equals what left it and what it holds."""
    came = counters.received + counters.created
    went = counters.sent + counters.absorbed + sum(counters.dropped.values()) + counters.buffered
    if came != went:
        raise AccountingError(
            f"{counters.node}: {came} packets came in or were made, {went} are accounted for: {counters}"
        )
