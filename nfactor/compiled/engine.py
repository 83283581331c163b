"""The compiled engine: the same promises as the reference, kept by machine code.

What Python does here, it does once per burst or per set of flows, never per packet: it hands over addresses, has
headers that are not plain read by the reference parser, lets the index grow, and turns emitted records into objects.
"""

import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nfactor.compiled import layout, native, python_calls
from nfactor.compiled.copies import CompiledChanges
from nfactor.compiled.events import Events
from nfactor.compiled.flow_memory import MOVES, SLICE, FlowMemory
from nfactor.compiled.memory_map import Piece, Words
from nfactor.compiled.plain import PlainCalls
from nfactor.compiled.reading import Reader
from nfactor.compiled.sample import Failure, error_sample
from nfactor.compiled.text import chain_text
from nfactor.dataplane import flow_row
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.changes import Rows
from nfactor.dataplane.engine import (
    FLOWS_MAX,
    NF_ERROR,
    Counts,
    Engine,
    EngineStatistics,
    Epochs,
    Keys,
    Records,
    Statuses,
    TimeOuts,
    reasons_of,
)
from nfactor.dataplane.memory import Table, place_of
from nfactor.errors import CallerError, NotCompilable
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.flow_key import FlowKeys, keys_array

_NEVER_NS: Final = (1 << 63) - 1
_U8: Final = np.dtype(np.uint8)


class CompiledEngine(Engine):
    """See ``Engine``; ``classifier`` decides what a flow is, for packets that are not plain.

    Raises ``NotCompilable``."""

    def __init__(
        self,
        chain: Chain,
        classifier: FlowClassifier,
        *,
        flows_max: int = FLOWS_MAX,
        time_outs: TimeOuts = TimeOuts(),  # noqa: B008 - frozen
        common_clock: bool = False,
        secret: bytes | None = None,
        refusals: dict[str, NotCompilable] | None = None,
    ) -> None:
        """``common_clock`` as in ``ReferenceEngine``. ``secret``: 48 octets for the hash of keys, random unless
        given; nothing but the time of look-ups depends on it. ``refusals``: NFs that cannot be compiled are
        interpreted, and named there; without it they are errors."""
        self.chain = self._chain = chain
        self.reasons, self._malformed, first_code = reasons_of(chain)
        self.record_size = chain.record_size
        made = chain_text(chain, first_code, split=refusals is not None)
        self._program, self._offsets = made.program, made.offsets
        self.code_name = native.name_of(made.text)
        """The name under which the code is kept."""
        self._context = Words(layout.CONTEXT_OCTETS)
        self._cx = self._context.address
        self._reader = Reader(classifier, self._malformed)
        self._events = Events(made.program, self._context)
        self._sample = ""
        self._room = BURST_PACKETS_MAX
        self._touched: npt.NDArray[np.int64] = np.zeros(self._room, np.int64)
        """Addresses of the rows that the packets of the last burst, of which there were ``_last``, touched."""
        self._last = 0
        self._lay_out(flows_max, secret or os.urandom(KEY_OCTETS))
        self._set_up(classifier, time_outs, common_clock=common_clock)
        self._tables_seen = -1
        self._bind_tables()
        self._plain = PlainCalls(chain, made.offsets, self._context, self._events.put) if made.plain else None
        if refusals is not None:
            refusals.update((chain.functions[place].name, error) for place, error in made.plain.items())
        self._code = native.load(made.text)
        self._process = python_calls.bind(self._code.address("process"), self._context)
        self.changes = CompiledChanges(self._code, self._context)

    # ---------------------------------------------------------------- memory

    def _lay_out(self, flows_max: int, secret: bytes) -> None:
        word = self._context
        state_size = self._chain.record_size - layout.HEADER_OCTETS
        self._memory = FlowMemory(word, flows_max, state_size, secret)
        stride = word[layout.STRIDE]
        self._block = Piece(layout.PK_OCTETS * layout.BLOCK_PACKETS)
        self._guesses = Piece(8 * layout.BLOCK_PACKETS)
        self._columns = Piece(8 * layout.BLOCK_PACKETS)
        word[layout.BLOCK], word[layout.GUESSES] = self._block.address, self._guesses.address
        word[layout.COLUMNS] = self._columns.address
        self._spare_row = Piece(stride)
        self._failed = Piece(layout.PK_OCTETS + stride)
        word[layout.FAIL_RECORD], word[layout.FAIL_ROW] = self._failed.address, self._failed.address + layout.PK_OCTETS
        template = b"".join(
            schema.pack(function.allocate_new_fs())
            for schema, function in zip(self._chain.schemas, self._chain.functions, strict=True)
            if schema is not None
        )
        self._template = np.frombuffer(template or bytes(8), np.uint8)
        self._errors = np.zeros(len(self._chain.functions), np.int64)
        word[layout.TEMPLATE], word[layout.ERRORS] = self._template.ctypes.data, self._errors.ctypes.data

    def _set_up(self, classifier: FlowClassifier, time_outs: TimeOuts, *, common_clock: bool) -> None:
        word = self._context
        self._time_outs = time_outs
        word[layout.FIVE_TUPLE] = classifier.mode == "five-tuple"
        word[layout.COMMON_CLOCK] = common_clock
        word[layout.FAIL_NF] = -1
        word[layout.FOLLOWS] = 1
        seconds = (time_outs.tcp_idle_s, time_outs.tcp_closed_s, time_outs.udp_idle_s, time_outs.other_idle_s)
        limits = [_NEVER_NS if time_outs.never else int(silence * 1e9) for silence in seconds]
        word[layout.TIME_OUT_LEAST] = min(limits)
        for place, limit in enumerate(limits):
            word[layout.TIME_OUTS + 8 * place] = limit

    def _bind_tables(self) -> None:
        """Where the NFs' tables lie now."""
        self._tables_seen = Table.changes
        self._bound = [memory.rows if isinstance(memory, Table) else memory for memory in self._program.slots]
        for number, memory in enumerate(self._bound):
            at = layout.SLOTS + layout.SLOT_OCTETS * number
            self._context[at], self._context[at + layout.WORD] = place_of(memory)

    # ---------------------------------------------------------------- packets

    def process(self, burst: Burst) -> npt.NDArray[np.uint8]:
        """See ``Engine.process``. Raises ``CallerError`` for a burst that is not as ``Burst`` says."""
        if self._tables_seen != Table.changes:
            self._bind_tables()
        count = len(burst.offsets)
        codes = np.empty(count, _U8)
        if count > self._room:
            self._touched, self._room = np.zeros(count, np.int64), count
        self._last = count
        if self._plain is not None:
            self._plain.look_at(burst)
        done = self._process(burst, codes, self._touched)
        if done != count:
            self._last = self._go_on(burst, codes, done)
            return codes[: self._last]
        return codes

    def _go_on(self, burst: Burst, codes: Any, at: int) -> int:
        """It stopped: for want of room for records or flows, or because the next block has packets that are not plain;
        or an NF has failed. How far it came in the end."""
        if at == -1:
            raise CallerError("a burst whose columns are not contiguous, or whose frames cannot be written")
        at, count = (at if at >= 0 else -2 - at), len(burst)
        while at < count and not (at and self.stopping):
            is_read = 0
            if self._events.crowded:
                self._events.empty()
            elif not self._memory.grow():
                packets = min(layout.BLOCK_PACKETS, count - at)
                self._reader.read(burst, at, packets, self._block)
                self._code.finish_block(self._cx, self._block.address, packets)
                is_read = 1
            at = self._code.go_on(self._cx, _at(codes), _at(self._touched), at, count, is_read)
        if self._context[layout.FAIL_NF] >= 0:
            self._sample_error(burst)
        return at

    @property
    def stopping(self) -> bool:
        """See ``Engine.stopping``."""
        return bool(self._context[layout.STOPPING])

    @stopping.setter
    def stopping(self, wanted: bool) -> None:
        self._context[layout.STOPPING] = wanted

    @property
    def follows(self) -> bool:
        """See ``Engine.follows``."""
        return bool(self._context[layout.FOLLOWS])

    @follows.setter
    def follows(self, wanted: bool) -> None:
        self._context[layout.FOLLOWS] = wanted

    @property
    def touched(self) -> Rows:  # type: ignore[override]
        """See ``Engine.touched``."""
        return self._touched[: self._last if self.follows else 0].copy()

    def _sample_error(self, burst: Burst | None) -> None:
        word, shared = self._context, self._bound
        stage, site = word[layout.FAIL_NF], self._program.sites[word[layout.FAIL_FIRST_SITE]]
        word[layout.FAIL_NF], word[layout.FAIL_SITE] = -1, 0
        if self._sample:
            return
        if self._plain is not None and stage in self._plain.samples:
            self._sample = self._plain.samples[stage]
            return
        frames = bytearray(burst.data) if burst is not None and word[layout.FAIL_PACKET] else None
        record, row = self._failed.array[: layout.PK_OCTETS], self._failed.array[layout.PK_OCTETS :]
        failure = Failure(record.tobytes(), row.tobytes(), frames, shared)
        self._sample = error_sample(
            self._chain.functions[stage], self._chain.schemas[stage], self._offsets[stage], failure, site
        )

    # ---------------------------------------------------------------- sets of flows

    def pick(self, flows_max: int) -> tuple[FlowKeys, Epochs]:
        """See ``Engine.pick``."""
        most = min(flows_max, self._context[layout.ACTIVE])
        keys, epochs = _keys(most), np.zeros(most, np.uint32)
        count = self._code.pick(self._cx, _at(keys), _at(epochs), most)
        return FlowKeys(keys[:count]), epochs[:count]

    def pin(self, keys: Keys) -> tuple[Epochs, Statuses]:
        """See ``Engine.pin``."""
        every, epochs, statuses = keys_array(keys), np.zeros(len(keys), np.uint32), np.zeros(len(keys), np.uint8)
        self._code.pin(self._cx, _at(every), _at(epochs), _at(statuses), len(keys))
        return epochs, statuses

    def belonging(self) -> tuple[FlowKeys, npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """See ``Engine.belonging``."""
        keys, bonds = self.keys(), self._chain.bonds
        count = len(keys)
        values, phases = np.zeros((len(bonds), count), np.uint64), np.zeros(count, np.uint8)
        self._code.phases(self._cx, _at(phases), count)
        for number, bond in enumerate(bonds):
            self._code.field(self._cx, bond.offset, bond.octets, _at(values[number]), count)
        return keys, values.T, phases == flow_row.ACTIVE

    def unpin(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """See ``Engine.unpin``."""
        every, statuses = keys_array(keys), np.zeros(len(keys), np.uint8)
        numbers = None if epochs is None else _u32(epochs)
        self._code.unpin(self._cx, _at(every), 0 if numbers is None else _at(numbers), _at(statuses), len(keys))
        return statuses

    def depart(self, keys: Keys) -> tuple[Records, Statuses]:
        """See ``Engine.depart``."""
        every, statuses = keys_array(keys), np.zeros(len(keys), np.uint8)
        records = np.zeros((len(keys), self.record_size), np.uint8)
        self._code.depart(self._cx, _at(every), _at(records), _at(statuses), len(keys))
        return records, statuses

    def hold(self, keys: Keys, epochs: Epochs) -> Statuses:
        """See ``Engine.hold``."""
        every, numbers, statuses = keys_array(keys), _u32(epochs), np.zeros(len(keys), np.uint8)
        for start in range(0, len(keys), SLICE):
            self._memory.grow()
            count = min(SLICE, len(keys) - start)
            addresses = (_at(array[start:]) for array in (every, numbers, statuses))
            self._code.hold(self._cx, *addresses, count)
            if self._context[layout.OLD_INDEX]:
                self._code.grow(self._cx, MOVES * count)
        return statuses

    def install(self, keys: Keys, epochs: Epochs, records: Records) -> Statuses:
        """See ``Engine.install``."""
        every, numbers, statuses = keys_array(keys), _u32(epochs), np.zeros(len(keys), np.uint8)
        states = np.ascontiguousarray(records)
        self._code.install(self._cx, _at(every), _at(numbers), _at(states), _at(statuses), len(keys))
        return statuses

    def release(self, keys: Keys) -> Statuses:
        """See ``Engine.release``."""
        return self._drop(keys, flow_row.HELD)

    def forget(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """See ``Engine.forget``."""
        return self._drop(keys, flow_row.GONE, epochs)

    def _drop(self, keys: Keys, phase: int, epochs: Epochs | None = None) -> Statuses:
        every, statuses = keys_array(keys), np.zeros(len(keys), np.uint8)
        numbers = None if epochs is None else _u32(epochs)
        below = 0 if numbers is None else _at(numbers)
        self._code.drop(self._cx, _at(every), phase, below, _at(statuses), len(keys))
        return statuses

    # ---------------------------------------------------------------- the end of flows

    def idle(self, scan_max: int) -> tuple[FlowKeys, Counts]:
        """See ``Engine.idle``."""
        if self._time_outs.never:
            return FlowKeys(_keys(0)), np.zeros(0, np.uint32)
        most = min(scan_max, self._context[layout.ROWS_USED])
        keys, counts = _keys(most), np.zeros(most, np.uint32)
        found = self._code.idle(self._cx, most, _at(keys), _at(counts))
        return FlowKeys(keys[:found]), counts[:found]

    def expire(self, keys: Keys, packets: Counts | None = None) -> Statuses:
        """See ``Engine.expire``."""
        every, statuses, at = keys_array(keys), np.zeros(len(keys), np.uint8), 0
        counts = None if packets is None else _u32(packets)
        arrays = _at(every), 0 if counts is None else _at(counts), _at(statuses)
        while at < len(keys):
            at = self._code.expire(self._cx, *arrays, at, len(keys))
            self._events.empty()
        return statuses

    def farewell(self, keys: Keys, records: Records) -> None:
        """See ``Engine.farewell``."""
        every, states, at = keys_array(keys), np.ascontiguousarray(records), 0
        while at < len(keys):
            at = self._code.farewells(self._cx, _at(every), _at(states), self._spare_row.address, at, len(keys))
            self._events.empty()

    def copy(self, keys: Keys) -> tuple[Epochs, Records, Statuses]:
        """See ``Engine.copy``."""
        every, epochs, statuses = keys_array(keys), np.zeros(len(keys), np.uint32), np.zeros(len(keys), np.uint8)
        records = np.zeros((len(keys), self.record_size), np.uint8)
        self._code.copy(self._cx, _at(every), _at(epochs), _at(records), _at(statuses), len(keys))
        return epochs, records, statuses

    def keys(self) -> FlowKeys:
        """See ``Engine.keys``."""
        keys = _keys(self._context[layout.ACTIVE])
        return FlowKeys(keys[: self._code.living(self._cx, _at(keys), len(keys))])

    def take_emitted(self) -> list[tuple[bytes, Any]]:
        """See ``Engine.take_emitted``."""
        if self._context[layout.FAIL_NF] >= 0:
            self._sample_error(None)
        return self._events.take()

    # ---------------------------------------------------------------- the rest

    def poison(self) -> None:
        """See ``Engine.poison``: rubbish in every row, and no code that would hand it out."""
        word = self._context
        used = word[layout.ROWS_TOUCHED] * word[layout.STRIDE]
        rows = self._memory.rows.array[:used].reshape(-1, word[layout.STRIDE])
        rows[:, KEY_OCTETS:] = 0xA5
        del self._code, self._events, self.changes
        self.process = lambda burst: np.full(len(burst), NF_ERROR, np.uint8)  # type: ignore[method-assign]

    def statistics(self) -> EngineStatistics:
        """See ``Engine.statistics``."""
        word = self._context
        named = zip(self._chain.functions, self._errors.tolist(), strict=True)
        return EngineStatistics(
            packets=word[layout.PACKETS],
            flows=word[layout.ACTIVE],
            rows=word[layout.ROWS_USED],
            created=word[layout.CREATED],
            expired=word[layout.EXPIRED],
            refused=word[layout.REFUSED],
            nf_errors={function.name: count for function, count in named if count},
            nf_error_sample=self._sample,
        )


def _at(array: Any) -> int:
    """The address of a numpy array's first octet."""
    address: int = array.ctypes.data
    return address


def _keys(count: int) -> Any:
    return np.zeros((count, KEY_OCTETS), np.uint8)


def _u32(numbers: Any) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(numbers, np.uint32)
