"""How large the tables and buffers are of a cluster on the event heap."""

import attrs

FLOWS_MAX = 64
"""Rows of each table, if nothing else is said."""


@attrs.frozen
class Limits:
    """Of tables and buffers: more than a schedule needs, so that nothing is refused for want of room."""

    flows: int = FLOWS_MAX
    """Of a runtime."""
    switch_flows: int = FLOWS_MAX
    buffer_packets: int = 4096
    """Of flows that are coming to a runtime; of flows that have no runtime, at a switch."""

    @property
    def small(self) -> bool:
        """Whether something may be refused."""
        return self != Limits()
