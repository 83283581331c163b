"""The way out of a runtime: packets back to the switch, drops into the ledger, records to the reporter.

Both halves of a runtime end here: the flow table with what needs no replica, and the table of replicas with what other
runtimes' commits release.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.outcome_messages import EmittedRecords
from nfactor.cluster.reporter import Reporter, pack_records
from nfactor.compiled import outer_headers
from nfactor.dataplane.engine import REPLY
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst


class Egress:
    """``port`` is the runtime's."""

    def __init__(self, port: Port, ledger: Ledger, reporter: Reporter) -> None:
        self._port = port
        self._ledger = ledger
        self._reporter = reporter
        self._released: dict[bytes, dict[bytes, int]] = {}
        """By switch and primary, the last commit whose packets were sent there, the latest last."""
        self._present: dict[bytes, bytes] = {}
        """Addresses of switches, where some have begun again."""
        self._owing: dict[bytes, None] = {}
        """Switches that are to have a receipt for which the port had no room."""

    @property
    def address(self) -> bytes:
        """The MAC address that packets leave with."""
        return self._port.address

    def packets(self, burst: Burst) -> None:
        """Send packets to the switch that each came from; what the port refuses is dropped and counted."""
        if len(burst):
            outer_headers.turn_back(burst, source=self._port.address)
            if self._present:
                self._readdress(burst)
            taken = self._port.send(burst)
            self._ledger.sent += taken
            if taken < len(burst):
                self._ledger.drop("port_full", burst.slice(taken, len(burst)))

    def follow(self, switches: Iterable[bytes]) -> None:
        """A switch has begun again, and has another address: what its earlier life sent goes back to it. (The last two
        octets of an address are the incarnation: ``nfactor.cluster.addresses``.)"""
        self._present = {address[:4]: address for address in switches}

    def renew(self, burst: Burst) -> None:
        """Packets that an earlier life of a switch has sent, and that wait here: they count as its present one's, which
        will know whether they have come back."""
        self._readdress(burst, 6)

    def _readdress(self, burst: Burst, at: int = 0) -> None:
        for start in (burst.offsets + at).tolist():
            address = burst.data[start : start + 6].tobytes()
            burst.data[start : start + 6] = np.frombuffer(self._present.get(address[:4], address), np.uint8)

    def receipt(self, to: bytes, primary: bytes, sequence: int) -> None:
        """Tell the switch, behind the packets, whose commit they were and which. Where the port has no room it is told
        with the next one, or when ``flush`` is called. Each receipt says again what the last ones said: a link may lose
        some."""
        to = self._present.get(to[:4], to)
        released = self._released.setdefault(to, {})
        released.pop(primary, None)
        released[primary] = sequence
        while len(released) > cluster_frame.RECEIPT_PRIMARIES_MAX:
            del released[next(iter(released))]
        self._owing[to] = None
        self._send_receipts()

    def _send_receipts(self) -> None:
        for to in list(self._owing):
            frame = cluster_frame.receipt(target=to, source=self._port.address, sequences=self._released[to])
            if self._port.send(frame):
                self._ledger.receipts_sent += 1
                del self._owing[to]

    def at_once(
        self, reasons: Sequence[str], burst: Burst, codes: npt.NDArray[np.uint8], emitted: Sequence[tuple[bytes, Any]]
    ) -> None:
        """What an engine made of packets, and what its NFs emitted, leaves at once; ``reasons`` are the names of
        codes."""
        if codes.any():
            for code in np.unique(codes[codes > REPLY]).tolist():
                self.drop(reasons[code], burst.select(np.flatnonzero(codes == code)))
            burst = burst.select(np.flatnonzero(codes <= REPLY))
        self.packets(burst)
        if emitted:
            self.records(pack_records(self._ledger.node, (record for _, record in emitted)))
        self.flush()

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
        if self._owing:
            self._send_receipts()
        self._reporter.wake()
