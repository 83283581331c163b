"""The reference engine: plain Python objects, one readable page, the definition of right.

Each flow actor is one ``_Row``; the table is a dict from key to row. The compiled engine is judged by this one, so
where speed and clarity meet here, clarity wins; what is fast below (one ``Packet`` object for all packets, columns
turned into lists once per burst) is fast without being hard to read.
"""

import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain, FlowHeader
from nfactor.dataplane.engine import (
    FIRST_EPOCH,
    FLOWS_MAX,
    HELD,
    Counts,
    Engine,
    EngineStatistics,
    Epochs,
    Keys,
    Records,
    Status,
    Statuses,
    TimeOuts,
)
from nfactor.errors import MalformedPacket
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import MALFORMED_REASONS, TCP, UDP, Packet
from nfactor.packet.flow_key import KEY_PROTOCOL
from nfactor.packet.headers import parse

_ACTIVE, _LEAVING, _HELD, _GONE = range(4)

_FIN: Final = 0x01
_RST: Final = 0x04
_CLOSED_BOTH: Final = 3
_CLOSED_RESET: Final = 4

_COUNT_MASK: Final = 0xFFFF_FFFF
_NEVER_NS: Final = 1 << 63


_ProcessPkt = Callable[[Packet, Any], int]


class _Row:
    """A flow actor: its key, its phase, and the states of the chain."""

    __slots__ = ("closing", "epoch", "initiator", "key", "last_ns", "packets", "phase", "steps", "time_out_ns")

    def __init__(self, key: bytes, epoch: int, phase: int) -> None:
        self.key = key
        self.epoch = epoch
        self.phase = phase
        self.initiator = 0
        self.closing = 0
        self.last_ns = 0
        self.packets = 0
        self.time_out_ns = 0
        """Longer than this without a packet, and the flow has ended; follows from the protocol and ``closing``."""
        self.steps: tuple[tuple[_ProcessPkt, Any], ...] = ()
        """For each NF of the chain, what processes a packet and this flow's state for it."""

    def states(self) -> list[Any]:
        """The NFs' states, in chain order."""
        return [fs for _, fs in self.steps]


class ReferenceEngine(Engine):
    """See ``Engine``; ``classifier`` decides what a flow is."""

    def __init__(
        self,
        chain: Chain,
        classifier: FlowClassifier,
        *,
        flows_max: int = FLOWS_MAX,
        time_outs: TimeOuts = TimeOuts(),  # noqa: B008 - frozen
        common_clock: bool = False,
    ) -> None:
        """``common_clock``: all runtimes' packets are stamped by one clock, as in a replay, so times need not travel as
        ages and nothing is lost on the way."""
        self._chain = chain
        self._classifier = classifier
        self._flows_max = flows_max
        self._time_outs = time_outs
        self._common_clock = common_clock
        self._rows: dict[bytes, _Row] = {}
        self._active = 0
        self._clock_ns = 0
        self._scan: deque[bytes] = deque()
        self._records: list[Any] = []
        self._packets = self._created = self._expired = self._refused = 0
        self._errors: Counter[str] = Counter()
        self._error_sample = ""
        self.record_size = chain.record_size
        self._plan_codes()

    def _plan_codes(self) -> None:
        """Number the reasons: fixed ones first, then each NF's, so that a verdict plus an NF's base is its code."""
        names = ["forward", "reply", "held", "late", "flow_table_full", "nf_error"]
        self._late, self._full, self._error = 3, 4, 5
        self._malformed = {}
        for reason in MALFORMED_REASONS:
            self._malformed[reason] = len(names)
            names.append(f"malformed_{reason}")
        self._process_pkts: list[_ProcessPkt] = []
        self._drops: dict[_ProcessPkt, range] = {}
        """The codes of each NF's drops."""
        for function, reasons in zip(self._chain.functions, self._chain.reasons, strict=True):
            self._process_pkts.append(function.process_pkt)
            self._drops[function.process_pkt] = range(len(names), len(names) + len(reasons))
            names += reasons
        assert len(names) <= 256, "codes are one octet"
        self.reasons = tuple(names)

    # ---------------------------------------------------------------- packets

    def process(self, burst: Burst) -> npt.NDArray[np.uint8]:
        """See ``Engine.process``."""
        pkt = Packet(burst.octets())
        pkt.records = self._records
        one = self._process_one
        codes = bytearray(len(burst))
        columns = zip(
            burst.offsets.tolist(),
            burst.lengths.tolist(),
            burst.wire_lengths.tolist(),
            burst.times.tolist(),
            burst.marks.tolist(),
            strict=True,
        )
        for index, (offset, length, wire_length, pkt.time, pkt.mark) in enumerate(columns):
            codes[index] = one(pkt, offset, offset + length, wire_length)
        self._packets += len(burst)
        self._clock_ns = max(self._clock_ns, int(burst.times.max(initial=0)))
        return np.frombuffer(codes, np.uint8)

    def _process_one(self, pkt: Packet, offset: int, end: int, wire_length: int) -> int:
        """Parse one frame, find its flow actor, run the chain; the packet's code."""
        try:
            parse(pkt, offset, end, wire_length)
        except MalformedPacket as error:
            return self._malformed[error.reason]
        key, direction = self._classifier.classify(pkt)
        row = self._rows.get(key)
        if row is None:
            row = self._first_packet(key, direction)
            if row is None:
                return self._full
        elif row.phase >= _HELD:
            return HELD if row.phase == _HELD else self._late
        elif pkt.time - row.last_ns > row.time_out_ns:
            self._begin_again(row, direction)
        pkt.direction = direction ^ row.initiator
        row.last_ns = pkt.time
        row.packets += 1
        if pkt.tcp_flags & (_FIN | _RST):
            row.closing |= _CLOSED_RESET if pkt.tcp_flags & _RST else 1 << pkt.direction
            row.time_out_ns = self._time_out_ns(row)
        process_pkt = None
        try:
            for process_pkt, fs in row.steps:
                verdict = process_pkt(pkt, fs)
                if verdict:
                    return self._verdict(process_pkt, verdict)
        except Exception as error:  # an author's bug costs its packet, never the burst
            return self._nf_error(process_pkt, error)
        return nf.FORWARD

    def _verdict(self, process_pkt: _ProcessPkt, verdict: int) -> int:
        """The code of a verdict that is not FORWARD."""
        if verdict == nf.REPLY:
            return nf.REPLY
        drops = self._drops[process_pkt]
        if not nf.DROP <= verdict < nf.DROP + len(drops):
            raise ValueError(f"the verdict {verdict!r} is none that this NF declares")
        return drops[verdict - nf.DROP]

    def _first_packet(self, key: bytes, direction: int) -> _Row | None:
        if len(self._rows) >= self._flows_max:
            self._refused += 1
            return None
        row = self._rows[key] = _Row(key, FIRST_EPOCH, _ACTIVE)
        self._begin(row, direction)
        self._active += 1
        return row

    def _begin(self, row: _Row, direction: int) -> None:
        row.initiator, row.closing = direction, 0
        row.time_out_ns = self._time_out_ns(row)
        row.steps = self._with_states(self._chain.new_states())
        self._created += 1

    def _begin_again(self, row: _Row, direction: int) -> None:
        """The flow had ended by the clock of the packets, and its key comes back. That the scan had not come by yet
        makes no difference to an NF, or the outcome would hang on when packets and questions cross each other."""
        self._say_farewell(row)
        self._begin(row, direction)

    def _with_states(self, states: list[Any]) -> tuple[tuple[_ProcessPkt, Any], ...]:
        return tuple(zip(self._process_pkts, states, strict=True))

    def _nf_error(self, process_pkt: _ProcessPkt | None, error: Exception) -> int:
        owner = getattr(process_pkt, "__self__", process_pkt)
        self._errors[getattr(owner, "name", repr(owner))] += 1
        if not self._error_sample:
            self._error_sample = "".join(traceback.format_exception(error))
        return self._error

    # ---------------------------------------------------------------- sets of flows

    def pick(self, flows_max: int) -> tuple[list[bytes], Epochs]:
        """See ``Engine.pick``."""
        picked: list[_Row] = []
        for row in reversed(self._rows.values()):
            if len(picked) == flows_max:
                break
            if row.phase == _ACTIVE:
                row.phase = _LEAVING
                picked.append(row)
        return [row.key for row in picked], np.array([row.epoch for row in picked], np.uint32)

    def unpin(self, keys: Keys) -> Statuses:
        """See ``Engine.unpin``."""
        return self._each(keys, _LEAVING, lambda row: setattr(row, "phase", _ACTIVE))

    def depart(self, keys: Keys) -> tuple[Records, Statuses]:
        """See ``Engine.depart``."""
        records = np.zeros((len(keys), self.record_size), np.uint8)
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase != _LEAVING:
                statuses[index] = Status.UNKNOWN
                continue
            records[index] = np.frombuffer(self._pack(row), np.uint8)
            row.phase, row.steps = _GONE, ()
            self._active -= 1
        return records, statuses

    def hold(self, keys: Keys, epochs: Epochs) -> Statuses:
        """See ``Engine.hold``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            row = self._rows.get(key)
            if row is None:
                if len(self._rows) >= self._flows_max:
                    statuses[index] = Status.FULL
                    continue
                self._rows[key] = _Row(key, epoch, _HELD)
            elif row.phase != _GONE:
                statuses[index] = Status.EXISTS
            elif row.epoch >= epoch:
                statuses[index] = Status.STALE
            else:
                row.phase, row.epoch = _HELD, epoch
        return statuses

    def install(self, keys: Keys, epochs: Epochs, records: Records) -> Statuses:
        """See ``Engine.install``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            row = self._rows.get(key)
            if row is None or row.phase != _HELD:
                statuses[index] = Status.UNKNOWN
            elif epoch < row.epoch:
                statuses[index] = Status.STALE
            else:
                self._unpack(row, records[index].tobytes())
                row.epoch, row.phase = epoch, _ACTIVE
                self._active += 1
        return statuses

    def release(self, keys: Keys) -> Statuses:
        """See ``Engine.release``."""
        return self._each(keys, _HELD, self._remove)

    def forget(self, keys: Keys) -> Statuses:
        """See ``Engine.forget``."""
        return self._each(keys, _GONE, self._remove)

    def _each(self, keys: Keys, phase: int, action: Callable[[_Row], None]) -> Statuses:
        """Do ``action`` for every key whose row is in that phase; UNKNOWN for the others."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase != phase:
                statuses[index] = Status.UNKNOWN
            else:
                action(row)
        return statuses

    def _remove(self, row: _Row) -> None:
        del self._rows[row.key]

    def _pack(self, row: _Row) -> bytes:
        header = FlowHeader(
            last_ns=row.last_ns if self._common_clock else self._clock_ns - row.last_ns,
            epoch=row.epoch,
            packets=row.packets & _COUNT_MASK,
            initiator=row.initiator,
            closing=row.closing,
        )
        return self._chain.pack(header, row.states())

    def _unpack(self, row: _Row, record: bytes) -> None:
        header, states = self._chain.unpack(record)
        row.steps = self._with_states(states)
        row.last_ns = header.last_ns if self._common_clock else self._clock_ns - header.last_ns
        row.packets, row.initiator, row.closing = header.packets, header.initiator, header.closing
        row.time_out_ns = self._time_out_ns(row)

    # ---------------------------------------------------------------- the end of flows

    def idle(self, scan_max: int) -> tuple[list[bytes], Counts]:
        """See ``Engine.idle``."""
        idle: list[_Row] = []
        if not self._time_outs.never:
            if not self._scan:
                self._scan.extend(self._rows)
            for _ in range(min(scan_max, len(self._scan))):
                row = self._rows.get(self._scan.popleft())
                if row is not None and row.phase == _ACTIVE and self._clock_ns - row.last_ns > row.time_out_ns:
                    idle.append(row)
        return [row.key for row in idle], np.array([row.packets & _COUNT_MASK for row in idle], np.uint32)

    def _time_out_ns(self, row: _Row) -> int:
        outs = self._time_outs
        if outs.never:
            return _NEVER_NS
        protocol = row.key[KEY_PROTOCOL]
        if protocol == TCP:
            closed = row.closing >= _CLOSED_RESET or row.closing == _CLOSED_BOTH
            seconds = outs.tcp_closed_s if closed else outs.tcp_idle_s
        else:
            seconds = outs.udp_idle_s if protocol == UDP else outs.other_idle_s
        return int(seconds * 1e9)

    def expire(self, keys: Keys, packets: Counts | None = None) -> Statuses:
        """See ``Engine.expire``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase != _ACTIVE:
                statuses[index] = Status.UNKNOWN
            elif packets is not None and row.packets & _COUNT_MASK != packets[index]:
                statuses[index] = Status.BUSY
            else:
                self._end(row)
        return statuses

    def read(self, key: bytes) -> bytes | None:
        """See ``Engine.read``."""
        row = self._rows.get(key)
        return None if row is None or row.phase >= _HELD else self._pack(row)

    def _end(self, row: _Row) -> None:
        self._say_farewell(row)
        self._remove(row)
        self._active -= 1

    def _say_farewell(self, row: _Row) -> None:
        flow = nf.Flow(row.key, row.initiator)
        for function, fs in zip(self._chain.functions, row.states(), strict=True):
            function.flow_expires(flow, fs)
            function.deallocate_fs(fs)
        self._records += flow.records
        self._expired += 1

    def keys(self) -> list[bytes]:
        """See ``Engine.keys``."""
        return [row.key for row in self._rows.values() if row.phase <= _LEAVING]

    def take_records(self) -> list[Any]:
        """See ``Engine.take_records``."""
        records, self._records = self._records, []
        return records

    def statistics(self) -> EngineStatistics:
        """See ``Engine.statistics``."""
        return EngineStatistics(
            packets=self._packets,
            flows=self._active,
            rows=len(self._rows),
            created=self._created,
            expired=self._expired,
            refused=self._refused,
            nf_errors=dict(self._errors),
            nf_error_sample=self._error_sample,
        )
