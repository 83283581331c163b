"""What a link counts."""

import attrs


@attrs.frozen
class LinkStatistics:
    """Counts since the link was made."""

    state: str
    taken: int
    """Messages that ``send`` took: acknowledged, in doubt, queued or in flight."""
    refused: int
    """Messages that ``send`` refused because the queue was full."""
    delivered: int
    """Messages that came from the peer."""
    acknowledged: int
    in_doubt: int
    queued: int
    in_flight: int
    """Segments under way."""
    sessions: int
    """Sessions entered."""
    resent: int
    """Segments sent again."""
    duplicates: int
    """Segments that came again."""
    ahead: int
    """Segments dropped because they were too far ahead of a gap."""
    stale: int
    """Frames of an older session."""
    corrupt: int
    """Datagrams whose checksum does not match."""
    other_version: int
    """Datagrams of a peer that speaks another version of this protocol, or another protocol."""
    malformed: int
    """Datagrams that are no frames."""
    round_trip_s: float | None
    """Smoothed round trip in this session."""
