"""Tells an observer outside what does not come out as a packet: the fates of dropped packets, and emitted records.

All of a node's outcomes go in order, in one question at a time, so that the packet loop never waits for the control
network. The answer is what completes a commit: only then does its primary
forget it. Where nobody observes, nothing is kept."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Done
from nfactor.cluster.names import COLLECTOR, OUTSIDE
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


@attrs.frozen(eq=False)
class _Fates:
    """Packets that were dropped, by reason."""

    every: "list[tuple[str, Marks]]"


class Reporter:
    """Call ``wake`` after packets were processed. ``observed``: there is somebody outside to tell."""

    def __init__(self, ledger: Ledger, *, observed: bool) -> None:
        self._ledger = ledger
        self._observed = observed
        self.completed: Callable[[bytes, int], None] = lambda primary, sequence: None
        """Called with a primary's address and a number: the outcomes of its commits up to that number are told."""
        self._ask: Callable[..., None] | None = None
        self._pieces: deque[EmittedRecords | _Fates | tuple[bytes, int] | None] = deque()
        """Records, fates, beginnings (None) and ends of commits, in order."""
        self._busy = False

    def begin(self, ask: Callable[..., None]) -> None:
        """Begin to tell; ``ask`` as in ``Role``."""
        self._ask = ask
        self.wake()

    def records(self, pieces: Sequence[EmittedRecords]) -> None:
        """Records to tell."""
        if self._observed:
            self._pieces += pieces

    def begin_commit(self) -> None:
        """What is handed in from now on, up to its end, is of one commit."""
        if self._observed:
            self._take_fates()
            self._pieces.append(None)

    def complete(self, primary: bytes, sequence: int) -> None:
        """Whatever was handed in so far completes that commit."""
        if self._pieces and self._pieces[-1] is None and not self._ledger.has_fates:
            self._pieces.pop()  # there is nothing to tell of it
        if self._busy or self._pieces or self._ledger.has_fates:
            self._take_fates()
            self._pieces.append((primary, sequence))
            self.wake()
        else:  # most commits have packets alone
            self.completed(primary, sequence)

    def wake(self) -> None:
        """There may be something to tell."""
        self._take_fates()
        if self._observed:
            self._tell_next()
        elif self._pieces:
            self._finish(self._take())

    def _take_fates(self) -> None:
        if self._ledger.has_fates:
            fates = self._ledger.take_fates()
            if self._observed:
                self._pieces.append(_Fates(fates))

    def _tell_next(self) -> None:
        if self._busy or self._ask is None or not self._pieces:
            return
        outcomes = self._take()
        if not outcomes.reasons and not outcomes.records:
            self._finish(outcomes)  # nothing to tell and nothing under way: what is stored is complete
            return
        self._busy = True
        self._ask(OUTSIDE, COLLECTOR, outcomes, Done, partial(self._told, outcomes))

    def _told(self, outcomes: Outcomes, answer: Done | None) -> None:
        self._busy = False
        self._finish(outcomes)
        self._tell_next()

    def _take(self) -> Outcomes:
        """The next message. It cuts no commit: if we die behind it, either all of one has been told or nothing."""
        fates: list[tuple[str, Marks]] = []
        records: list[EmittedRecords] = []
        commits: dict[bytes, int] = {}
        inside = False
        while self._pieces and (inside or len(records) < PIECES_PER_MESSAGE_MAX):
            piece = self._pieces.popleft()
            if piece is None:
                inside = True
            elif isinstance(piece, EmittedRecords):
                records.append(piece)
            elif isinstance(piece, _Fates):
                fates += piece.every
            else:
                commits[piece[0]] = piece[1]
                inside = False
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
            self.completed(primary, sequence)
