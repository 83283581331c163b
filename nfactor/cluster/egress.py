"""The way out of a runtime: packets back to the switch, drops into the ledger, records to the reporter.

Both halves of a runtime end here: the flow table with what needs no replica, and the table of replicas with what other
runtimes' commits release.
"""

import numpy as np

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.outcome_messages import EmittedRecords
from nfactor.cluster.reporter import Reporter
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst


class Egress:
    """``port`` is the runtime's."""

    def __init__(self, port: Port, ledger: Ledger, reporter: Reporter) -> None:
        self._port = port
        self._ledger = ledger
        self._reporter = reporter
        self._owed: dict[tuple[bytes, bytes], int] = {}
        """Receipts that the port had no room for, by switch and primary."""

    @property
    def address(self) -> bytes:
        """The MAC address that packets leave with."""
        return self._port.address

    def packets(self, burst: Burst) -> None:
        """Send packets to the switch that each came from; what the port refuses is dropped and counted."""
        if len(burst):
            cluster_frame.turn_back(burst, source=self._port.address)
            taken = self._port.send(burst)
            self._ledger.sent += taken
            if taken < len(burst):
                self._ledger.drop("port_full", burst.slice(taken, len(burst)))

    def receipt(self, to: bytes, primary: bytes, sequence: int) -> None:
        """Tell the switch, behind the packets, whose commit they were and which. Where the port has no room it is told
        with the next one, or when ``flush`` is called."""
        self._owed[to, primary] = sequence
        self._send_receipts()

    def _send_receipts(self) -> None:
        for (to, primary), sequence in list(self._owed.items()):
            frame = cluster_frame.receipt(target=to, source=self._port.address, primary=primary, sequence=sequence)
            if self._port.send(frame):
                self._ledger.receipts_sent += 1
                del self._owed[to, primary]

    def drop(self, reason: str, burst: Burst) -> None:
        """These packets end here."""
        self._ledger.drop(reason, burst)

    def drops(self, reasons: tuple[str, ...], counts: tuple[int, ...], marks: bytes) -> None:
        """The same by marks, as they travel in a message."""
        every, start = np.frombuffer(marks, "<u8").astype(np.uint64), 0
        for reason, count in zip(reasons, counts, strict=True):
            self._ledger.drop_marks(reason, every[start : start + count])
            start += count

    def records(self, pieces: list[EmittedRecords]) -> None:
        """Records leave."""
        self._reporter.records(pieces)

    def flush(self) -> None:
        """Whatever there is to tell may be told now."""
        if self._owed:
            self._send_receipts()
        self._reporter.wake()
