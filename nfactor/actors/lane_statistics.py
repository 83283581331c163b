"""What is counted of one lane to another node."""

import attrs

from nfactor.actors.link_statistics import LinkStatistics


@attrs.frozen
class LaneStatistics:
    """Counts of one lane to a peer since it was first heard of."""

    sent: int
    """Messages to actors there that were taken: tells and questions."""
    refused: int
    """Messages that were not: the queue was full, the actor had no credit, or there were too many questions."""
    received: int
    """Messages from there to actors here."""
    queued: int
    """Messages of all kinds that wait behind what the link has."""
    link: LinkStatistics
