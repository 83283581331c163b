"""Changes of flows and copies of them in plain Python: what the compiled ones are judged by.

Which NF has written to its state is not known here, so a change has all parts; applied, it makes the same record.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from nfactor.dataplane import flow_row
from nfactor.dataplane.buckets import NO_BUCKET, Buckets, buckets_of
from nfactor.dataplane.chain import HEADER, Chain
from nfactor.dataplane.changes import (
    CHANGE_OCTETS,
    PARTS_AT,
    WHOLE,
    Changed,
    Changes,
    Copies,
    Part,
    Rows,
    cut_short,
    epochs_of,
    not_here,
    parts_of,
)
from nfactor.dataplane.engine import Epochs, Keys, Records
from nfactor.dataplane.flow_row import Row
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.flow_key import FlowKeys

_LENGTH_OCTETS: Final = 2


class ReferenceChanges(Changes):
    """``rows`` is the engine's table, ``pack`` makes the record of a row."""

    def __init__(self, chain: Chain, rows: dict[bytes, Row], pack: Callable[[Row], bytes]) -> None:
        self._rows = rows
        self._pack = pack
        self._record_size = chain.record_size
        self._parts = parts_of(chain)

    def keys_of(self, rows: Rows) -> FlowKeys:
        """See ``Changes.keys_of``."""
        return FlowKeys.of(bytes(KEY_OCTETS) if row is None else row.key for row in rows.tolist())

    def buckets(self, rows: Rows) -> Buckets:
        """See ``Changes.buckets``."""
        buckets = buckets_of(self.keys_of(rows).array)
        buckets[[row is None for row in rows.tolist()]] = NO_BUCKET
        return buckets

    def of(self, rows: Rows) -> Changed:
        """See ``Changes.of``."""
        return self._changed(row for row in rows.tolist() if row is not None and row.dirty and self._lives(row))

    def count(self, rows: Rows, packets_max: int) -> tuple[Rows, Rows]:
        """See ``Changes.count``."""
        counted = [row for row in rows.tolist() if row is not None]
        begin, due = [], []
        for row in counted:
            row.lag += 1
            if row.lag == 1:
                begin.append(row)
        if any(row.lag >= packets_max for row in counted):
            for row in counted:
                if row.lag >= packets_max - packets_max // 2:
                    row.lag = 0
                    due.append(row)
        return np.array([row for row in begin if row.lag], object), np.array(due, object)

    def whole(self, keys: Keys) -> Changed:
        """See ``Changes.whole``."""
        rows = [row for row in map(self._rows.get, keys) if row is not None and self._lives(row)]
        for row in rows:
            row.dirty = WHOLE
        return self._changed(rows)

    def _changed(self, rows: Iterable[Row]) -> Changed:
        every = sum(part.bit for part in self._parts)
        changes, whole = [], []
        for row in rows:
            if row.dirty & WHOLE:
                whole.append(row.key)
            changes.append(_change(row.key, self._pack(row), self._parts, every | row.dirty & WHOLE))
            row.dirty = row.lag = 0
        return Changed(b"".join(changes), FlowKeys.of(whole))

    def _lives(self, row: Row) -> bool:
        return row.phase < flow_row.HELD and self._rows.get(row.key) is row

    def lose(self, keys: Keys) -> None:
        """See ``Changes.lose``."""
        for row in map(self._rows.get, keys):
            if row is not None and self._lives(row):
                row.dirty = WHOLE

    def unasked(self) -> FlowKeys:
        """See ``Changes.unasked``."""
        return FlowKeys.of(row.key for row in self._rows.values() if row.phase < flow_row.HELD and row.dirty & WHOLE)

    def here(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """See ``Changes.here``."""
        return np.array([row is not None and self._lives(row) for row in map(self._rows.get, keys)], bool)

    def copies(self) -> "ReferenceCopies":
        """See ``Changes.copies``."""
        return ReferenceCopies(self._record_size, self._parts)


def _change(key: bytes, record: bytes, parts: tuple[Part, ...], bits: int) -> bytes:
    octets = [key, record[:PARTS_AT], bytes((bits,)), record[PARTS_AT + 1 : HEADER.size]]
    for part in parts:
        for run in part.runs:
            start = HEADER.size + run.offset
            count = run.octets
            if run.bounded:
                count = _LENGTH_OCTETS + min(int.from_bytes(record[start : start + 2], "little"), run.octets)
            octets.append(record[start : start + count])
    return b"".join(octets)


class ReferenceCopies(Copies):
    """A dict of records."""

    def __init__(self, record_size: int, parts: tuple[Part, ...]) -> None:
        self._record_size = record_size
        self._parts = parts
        self._every = sum(part.bit for part in parts)
        self._records: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._records)

    def apply(self, changes: bytes) -> None:
        """See ``Copies.apply``."""
        at = 0
        while at < len(changes):
            at = self._apply(changes, at)

    def _apply(self, changes: bytes, at: int) -> int:
        """Take the change at that place; where the next one is."""
        if len(changes) - at < CHANGE_OCTETS:
            raise cut_short()
        key, header = changes[at : at + KEY_OCTETS], bytearray(changes[at + KEY_OCTETS : at + CHANGE_OCTETS])
        bits, header[PARTS_AT:] = header[PARTS_AT], bytes(HEADER.size - PARTS_AT)
        if bits & ~(self._every | WHOLE) or (bits & WHOLE and bits != self._every | WHOLE):
            raise cut_short()
        known = bytes(self._record_size) if bits & WHOLE else self._records.get(key)
        if known is None:
            raise not_here()
        record, at = bytearray(known), at + CHANGE_OCTETS
        record[: HEADER.size] = header
        for part in self._parts:
            if bits & part.bit:
                at = _take(record, changes, at, part)
        self._records[key] = bytes(record)
        return at

    def drop(self, keys: Keys, epochs: Epochs | None = None) -> None:
        """See ``Copies.drop``."""
        for place, key in enumerate(keys):
            record = self._records.get(key)
            if record is not None and (epochs is None or HEADER.unpack(record).epoch <= epochs[place]):
                del self._records[key]

    def all(self) -> tuple[FlowKeys, Epochs, Records]:
        """See ``Copies.all``."""
        octets = b"".join(self._records.values())
        records = np.frombuffer(octets, np.uint8).reshape(-1, self._record_size)
        return FlowKeys.of(self._records), epochs_of(records), records


def _take(record: bytearray, changes: bytes, at: int, part: Part) -> int:
    """Put a part in its place; where the next one is."""
    for run in part.runs:
        start, count, room = HEADER.size + run.offset, run.octets, run.octets
        if run.bounded:
            length = changes[at : at + _LENGTH_OCTETS]
            used = int.from_bytes(length, "little")
            if len(length) < _LENGTH_OCTETS or used > run.octets:
                raise cut_short()
            count, room = _LENGTH_OCTETS + used, _LENGTH_OCTETS + run.octets
        if len(changes) - at < count:
            raise cut_short()
        record[start : start + room] = changes[at : at + count].ljust(room, b"\0")
        at += count
    return at
