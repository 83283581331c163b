"""Tells an observer outside what does not come out as a packet: the fates of dropped packets, and emitted records.

All of a node's outcomes go in order, in one question at a time to the reliable link, by a task of their own, so that
the packet loop never waits for the control network. The answer is what completes a commit: only then does its primary
forget it. Where nobody observes, nothing is kept."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from nfactor.actors import Ref
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Done
from nfactor.cluster.outcome_messages import EmittedRecords, Outcomes
from nfactor.dataplane.state import schema_of

if TYPE_CHECKING:
    from nfactor.packet.burst import Marks

RECORDS_PER_PIECE_MAX = 256
"""Records of one class that travel in one piece, at most."""
PIECES_PER_MESSAGE_MAX = 64
"""Pieces of records that travel in one message, at most."""


def record_name(cls: type) -> str:
    """What a record class is called between nodes."""
    return f"{cls.__module__}.{cls.__qualname__}"


def pack_records(node: str, records: Iterable[Any]) -> list[EmittedRecords]:
    """Records that NFs on that runtime emitted, in order, in pieces of one class."""
    pieces = []
    for cls, group in groupby(records, type):
        run, schema = list(group), schema_of(cls)
        for start in range(0, len(run), RECORDS_PER_PIECE_MAX):
            payload = b"".join(schema.pack(record) for record in run[start : start + RECORDS_PER_PIECE_MAX])
            pieces.append(EmittedRecords(node, record_name(cls), schema.version, payload))
    return pieces


class Reporter:
    """Call ``wake`` after packets were processed; ``run`` does the telling. ``completed`` is called with a primary and
    a number when the outcomes of its commits up to that number have been told."""

    def __init__(self, ledger: Ledger, observer: Ref | None, completed: Callable[[str, int], None]) -> None:
        self._ledger = ledger
        self._observer = observer
        self._completed = completed
        self._pieces: deque[EmittedRecords | tuple[str, int]] = deque()
        """Records and ends of commits, in order."""
        self._fates: list[tuple[str, Marks]] = []
        self._woken = trio.Event()
        self._busy = False

    def records(self, pieces: Sequence[EmittedRecords]) -> None:
        """Records to tell."""
        if self._observer is not None:
            self._pieces += pieces

    def complete(self, primary: str, sequence: int) -> None:
        """Whatever was handed in so far completes that commit."""
        self._pieces.append((primary, sequence))
        self.wake()

    def wake(self) -> None:
        """There may be something to tell."""
        fates = self._ledger.take_fates()
        if not (fates or self._pieces or self._fates):
            return
        if self._observer is None:
            self._finish(self._take())
            return
        self._fates += fates
        if not self._busy and not self._fates and not any(isinstance(p, EmittedRecords) for p in self._pieces):
            self._finish(self._take())  # nothing to tell and nothing under way: what is stored is complete
        elif self._pieces or self._fates:
            self._woken.set()

    async def run(self) -> None:
        """Tell what there is to tell, for ever."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            while (self._pieces or self._fates) and self._observer is not None:
                self._busy = True
                outcomes = self._take()
                await self._observer.ask(outcomes, Done)
                self._busy = False
                self._finish(outcomes)

    def _take(self) -> Outcomes:
        """The next message. All fates go with the first: a commit is not complete before its fates are told."""
        fates, self._fates = self._fates, []
        records: list[EmittedRecords] = []
        commits: dict[str, int] = {}
        while self._pieces and len(records) < PIECES_PER_MESSAGE_MAX:
            piece = self._pieces.popleft()
            if isinstance(piece, EmittedRecords):
                records.append(piece)
            else:
                commits[piece[0]] = piece[1]
        marks = np.concatenate([marks for _, marks in fates]) if fates else np.zeros(0, np.uint64)
        return Outcomes(
            node=self._ledger.node,
            reasons=tuple(reason for reason, _ in fates),
            counts=tuple(len(marks) for _, marks in fates),
            marks=marks.astype("<u8").tobytes(),
            records=tuple(records),
            commits=commits,
        )

    def _finish(self, outcomes: Outcomes) -> None:
        for primary, sequence in outcomes.commits.items():
            self._completed(primary, sequence)
