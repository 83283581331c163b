"""Sends markers: a switch's word on the data path that no packet of some flows comes behind it (DESIGN section 6)."""

from collections.abc import Callable
from functools import partial

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst

MARKER_RETRY_S = 0.001
"""A marker that the port refused (its queue was full) is tried again after this long."""


class Markers:
    """By the inside port of a switch."""

    def __init__(self, inside: Port, ledger: Ledger) -> None:
        self._inside = inside
        self._ledger = ledger

    def begin(self, after: Callable[[float, Callable[[], None]], None]) -> None:
        """``after`` as in ``Host``."""
        self._after = after

    def send(self, migration: int, target: bytes) -> None:
        """Of that migration, to the runtime at that address."""
        self._send(cluster_frame.marker(target=target, source=self._inside.address, migration=migration))

    def _send(self, marker: Burst) -> None:
        if self._inside.send(marker):
            self._ledger.markers_sent += 1
        else:
            self._after(MARKER_RETRY_S, partial(self._send, marker))
