"""A node's ledger: every packet that came in is accounted for, by name (DESIGN section 10).

The identity, at every moment: ``received + created = sent + absorbed + dropped (each by reason) + buffered``. Markers
are no packets and are counted apart. Besides the sums the ledger remembers *which* packets were dropped (their marks)
until ``take_fates`` is called, so that an observer outside knows the fate of each packet it put in. And it counts what
went to and came from each other node: what its neighbours gave to a dead node, less what they got from it, is lost.
"""

from collections import Counter

from nfactor.cluster.outcome_messages import NodeCounters, Protection
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
        self.handed: Counter[str] = Counter()
        """Packets sent to other nodes of the cluster, by node; part of ``sent``."""
        self.taken: Counter[str] = Counter()
        """Packets received from other nodes of the cluster, by node; part of ``received``."""
        self.buffered = 0
        self.buffered_max = 0
        self.markers_sent = 0
        self.markers_received = 0
        self.receipts_sent = 0
        self.receipts = 0
        """Receipts that came."""
        self._fates: list[tuple[str, Marks]] = []

    def drop(self, reason: str, packets: Burst) -> None:
        """These packets end here."""
        self.drop_marks(reason, packets.marks)

    def drop_marks(self, reason: str, marks: Marks) -> None:
        """The packets with these marks end here."""
        if len(marks):
            self.dropped[reason] += len(marks)
            self._fates.append((reason, marks))

    def hand(self, node: str, count: int) -> None:
        """So many packets were sent to that node; negative: they were taken back, for it died before it used them."""
        self.sent += count
        self.handed[node] += count

    def take(self, node: str, count: int) -> None:
        """So many packets came from that node."""
        self.received += count
        self.taken[node] += count

    def buffer(self, change: int) -> None:
        """So many packets more (or fewer) wait here."""
        self.buffered += change
        self.buffered_max = max(self.buffered_max, self.buffered)
        assert self.buffered >= 0, "more packets left a buffer than entered it"

    @property
    def has_fates(self) -> bool:
        """Whether ``take_fates`` has any."""
        return bool(self._fates)

    def take_fates(self) -> list[tuple[str, Marks]]:
        """The packets that were dropped since the last call, by reason."""
        fates, self._fates = self._fates, []
        return fates

    def counters(
        self,
        *,
        nf_errors: dict[str, int] | None = None,
        nf_error_sample: str = "",
        nf_counters: dict[str, int] | None = None,
        protection: Protection | None = None,
    ) -> NodeCounters:
        """The sums, and what went wrong in NFs; raises ``AccountingError`` if the sums do not add up."""
        check_node(self)
        return NodeCounters(
            node=self.node,
            received=self.received,
            created=self.created,
            sent=self.sent,
            absorbed=self.absorbed,
            dropped=dict(sorted(self.dropped.items())),
            buffered=self.buffered,
            buffered_max=self.buffered_max,
            handed=dict(sorted(self.handed.items())),
            taken=dict(sorted(self.taken.items())),
            protection=protection,
            nf_errors=nf_errors or {},
            nf_error_sample=nf_error_sample,
            nf_counters=nf_counters or {},
        )


def check_node(node: Ledger | NodeCounters) -> None:
    """Raise ``AccountingError`` unless what came into the node equals what left it and what it holds."""
    came = node.received + node.created
    went = node.sent + node.absorbed + sum(node.dropped.values()) + node.buffered
    if came != went:
        raise AccountingError(
            f"{node.node}: {came} packets came in or were made, {went} are accounted for: {node.sent} sent, "
            f"{node.absorbed} absorbed, {node.buffered} buffered, dropped {dict(node.dropped)}"
        )
