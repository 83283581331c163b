"""The messages of accounting, and of what comes out besides packets.

``nfactor.cluster.messages`` has the rest, and says how keys, epochs and records travel.
"""

from itertools import accumulate

import attrs

from nfactor.actors import message

MARK_OCTETS = 8
"""Of the mark of a packet in ``Outcomes``."""


@message(tag=60, system=True)
class ReadCounters:
    """Anyone → any node. Reply: ``NodeCounters``."""


@message(tag=67)
class Protection:
    """What of a runtime was, and is, without a replica."""

    flows: int
    """Flows that are not protected now."""
    packets: int
    """Packets that went out unprotected so far."""
    seconds: float
    """For how long there were such packets: from the first until all flows were protected again, or until now."""
    in_doubt: int = 0
    """Packets of which nobody knows whether a dead replica released them; they are not sent again."""


@message(tag=61)
class NodeCounters:
    """One node's side of the accounting identity (DESIGN section 10), in packets."""

    node: str
    received: int
    created: int
    sent: int
    absorbed: int
    dropped: dict[str, int]
    buffered: int
    buffered_max: int
    handed: dict[str, int] = attrs.Factory(dict)
    """Packets that were given to other nodes of the cluster, by node, less those that were taken back at its death."""
    taken: dict[str, int] = attrs.Factory(dict)
    """Packets that came from other nodes of the cluster, by node."""
    protection: Protection | None = None
    """A runtime's, where flows are replicated."""
    nf_errors: dict[str, int] = attrs.Factory(dict)
    """Exceptions that network functions raised here, by function."""
    nf_error_sample: str = ""
    """Traceback of the first of them."""
    nf_counters: dict[str, int] = attrs.Factory(dict)
    """What the counters of network functions here say, by ``NF.attribute``."""


@message(tag=63)
class EmittedRecords:
    """Records that NFs emitted, of one class, in order."""

    node: str
    """The runtime that processed the packets."""
    record: str
    """Name of the record class."""
    version: str
    """Version of its schema; the receiver refuses another."""
    payload: bytes
    """The records, concatenated."""


@message(tag=62)
class Outcomes:
    """Node → outside: what becomes of packets besides going on. Reply: ``Done``."""

    node: str
    """Who tells."""
    reasons: tuple[str, ...]
    """Why packets were dropped; they will not come out."""
    counts: tuple[int, ...]
    """How many of ``marks`` belong to each reason, in order."""
    marks: bytes
    """Little-endian ``uint64``."""
    records: tuple[EmittedRecords, ...]
    commits: dict[bytes, int]
    """By primary (its address), the last commit that this completes; none where no replica stands between."""

    def marks_of(self, reason: str) -> bytes:
        """Those of ``marks`` that were dropped for that reason, which may be there several times."""
        ends = [MARK_OCTETS * end for end in accumulate(self.counts)]
        spans = zip(self.reasons, [0, *ends], ends, strict=False)
        return b"".join(self.marks[start:end] for other, start, end in spans if other == reason)


@message(tag=64)
class EndFlows:
    """Outside → runtime: end up to ``flows`` flows, as if they had expired. Reply: ``FlowsEnded``."""

    flows: int


@message(tag=65)
class FlowsEnded:
    """How many flows ended, how many are left, and how many records the runtime has emitted in its life."""

    ended: int
    left: int
    records: int
