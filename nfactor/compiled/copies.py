"""What compiled code says of changed flows, and copies that lie in memory as flows do, behind the promises of
``dataplane.changes``."""

import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nfactor.compiled import layout, python_calls
from nfactor.compiled.changes import CUT_SHORT, NOT_HERE, WHOLE_SHIFT
from nfactor.compiled.flow_memory import MOVES, SLICE, FlowMemory
from nfactor.compiled.lag import DUE_SHIFT
from nfactor.compiled.memory_map import Words
from nfactor.compiled.native import Code
from nfactor.dataplane.buckets import Buckets
from nfactor.dataplane.changes import (
    CHANGE_OCTETS,
    NO_KEYS,
    NOTHING_CHANGED,
    Changed,
    Changes,
    Copies,
    Rows,
    cut_short,
    not_here,
)
from nfactor.dataplane.engine import Epochs, Keys, Records
from nfactor.errors import ProtocolError
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.flow_key import FlowKeys, keys_array

_OCTETS_BITS: Final = (1 << WHOLE_SHIFT) - 1
_BEGIN_BITS: Final = (1 << DUE_SHIFT) - 1


class CompiledChanges(Changes):
    """Of the engine whose code and context these are."""

    def __init__(self, code: Code, context: Words) -> None:
        self._code: Any = code
        self._context = context
        self._cx = context.address
        self._change_octets = CHANGE_OCTETS + context[layout.STATE_SIZE]
        """Of the largest change."""
        self._buckets = python_calls.bind_arrays(code.address("buckets"), context)
        self._changes_of = python_calls.bind_arrays(code.address("changes_of"), context)
        self._count_lag = python_calls.bind_arrays(code.address("count_lag"), context)
        self._packets_max = np.zeros(1, np.int64)
        self._make_room(SLICE)

    def _make_room(self, flows: int) -> None:
        self._room = flows
        self._octets = np.empty(flows * self._change_octets, np.uint8)
        self._whole = np.empty((flows, KEY_OCTETS), np.uint8)
        self._begin, self._due = np.empty(flows, np.int64), np.empty(flows, np.int64)

    def keys_of(self, rows: Rows) -> FlowKeys:
        """See ``Changes.keys_of``."""
        keys = np.zeros((len(rows), KEY_OCTETS), np.uint8)
        self._code.keys_of(_at(rows), _at(keys), len(rows))
        return FlowKeys(keys)

    def buckets(self, rows: Rows) -> Buckets:
        """See ``Changes.buckets``."""
        found = np.empty(len(rows), np.uint16)
        self._buckets(np.ascontiguousarray(rows), found)
        return found

    def of(self, rows: Rows) -> Changed:
        """See ``Changes.of``."""
        if len(rows) > self._room:
            self._make_room(len(rows))
        return self._changed(self._changes_of(np.ascontiguousarray(rows), self._octets, self._whole))

    def count(self, rows: Rows, packets_max: int) -> tuple[Rows, Rows]:
        """See ``Changes.count``."""
        if len(rows) > self._room:
            self._make_room(len(rows))
        self._packets_max[0] = packets_max
        found = self._count_lag(rows, self._packets_max, self._begin, self._due)
        return self._begin[: found & _BEGIN_BITS].copy(), self._due[: found >> DUE_SHIFT].copy()

    def whole(self, keys: Keys) -> Changed:
        """See ``Changes.whole``."""
        if len(keys) > self._room:
            self._make_room(len(keys))
        every = keys_array(keys)
        arrays = (_at(array) for array in (every, self._octets, self._whole))
        return self._changed(self._code.changes_whole(self._cx, *arrays, len(keys)))

    def _changed(self, written: int) -> Changed:
        """``written`` is what ``changes_of`` says."""
        if not written:
            return NOTHING_CHANGED
        octets, whole = written & _OCTETS_BITS, written >> WHOLE_SHIFT
        return Changed(self._octets[:octets].tobytes(), FlowKeys(self._whole[:whole].copy()) if whole else NO_KEYS)

    def lose(self, keys: Keys) -> None:
        """See ``Changes.lose``."""
        self._code.lose(self._cx, _at(keys_array(keys)), len(keys))

    def unasked(self) -> FlowKeys:
        """See ``Changes.unasked``."""
        keys = np.zeros((self._context[layout.ACTIVE], KEY_OCTETS), np.uint8)
        return FlowKeys(keys[: self._code.unasked(self._cx, _at(keys), len(keys))])

    def here(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """See ``Changes.here``."""
        every, answers = keys_array(keys), np.zeros(len(keys), np.bool_)
        self._code.here(self._cx, _at(every), _at(answers), len(keys))
        return answers

    def copies(self) -> "CompiledCopies":
        """See ``Changes.copies``. There is room for twice the flows of this table, as the copies of flows that have
        moved away are kept until they have arrived: of address space, not of memory."""
        return CompiledCopies(self._code, 2 * self._context[layout.FLOWS_MAX], self._context[layout.STATE_SIZE])


class CompiledCopies(Copies):
    """A table of rows like an engine's, and nothing else of one."""

    def __init__(self, code: Code, flows_max: int, state_size: int) -> None:
        self._code: Any = code
        self._context = Words(layout.CONTEXT_OCTETS)
        self._cx = self._context.address
        self._record_size = layout.HEADER_OCTETS + state_size
        self._memory = FlowMemory(self._context, flows_max, state_size, os.urandom(KEY_OCTETS))
        self._context[layout.COMMON_CLOCK] = 1  # times are kept as they came
        self._apply = python_calls.bind_arrays(code.address("apply"), self._context)

    def __len__(self) -> int:
        return self._context[layout.ROWS_USED]

    def apply(self, changes: bytes) -> None:
        """See ``Copies.apply``."""
        array = np.frombuffer(changes, np.uint8)
        self._after_slice(taken := self._apply(array))
        if taken != len(array):
            at = _at(array) + taken
            end = _at(array) + len(array)
            while at != end:
                self._after_slice(at := self._code.go_on_applying(self._cx, at, end, SLICE))

    def _after_slice(self, taken: int) -> None:
        """Look after the index; raise what is wrong."""
        if taken < 0:
            raise {CUT_SHORT: cut_short(), NOT_HERE: not_here()}.get(
                taken, ProtocolError(f"copies of more than {self._context[layout.FLOWS_MAX]} flows of one runtime")
            )
        self._memory.grow()
        if self._context[layout.OLD_INDEX]:
            self._code.grow(self._cx, MOVES * SLICE)

    def drop(self, keys: Keys, epochs: Epochs | None = None) -> None:
        """See ``Copies.drop``."""
        every, numbers = keys_array(keys), None if epochs is None else np.ascontiguousarray(epochs, np.uint32)
        self._code.let_go(self._cx, _at(every), 0 if numbers is None else _at(numbers), len(keys))

    def all(self) -> tuple[FlowKeys, Epochs, Records]:
        """See ``Copies.all``."""
        count = len(self)
        keys, epochs = np.empty((count, KEY_OCTETS), np.uint8), np.empty(count, np.uint32)
        records = np.empty((count, self._record_size), np.uint8)
        self._code.every(self._cx, _at(keys), _at(epochs), _at(records), count)
        return FlowKeys(keys), epochs, records


def _at(array: Any) -> int:
    """The address of a numpy array's first octet."""
    address: int = array.ctypes.data
    return address
