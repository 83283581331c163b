"""The reference engine: plain Python objects, one readable page, the definition of right.

Each flow actor is one ``Row``; the table is a dict from key to row. The compiled engine is judged by this one, so
where speed and clarity meet here, clarity wins; what is fast below (one ``Packet`` object for all packets, columns
turned into lists once per burst) is fast without being hard to read.
"""

import traceback
from collections import Counter, deque
from typing import Any

import numpy as np
import numpy.typing as npt

from nfactor.dataplane import flow_row, nf
from nfactor.dataplane.chain import NOBODY, Chain
from nfactor.dataplane.changes import TOUCHED, WHOLE, Rows
from nfactor.dataplane.engine import (
    FIRST_EPOCH,
    FLOWS_MAX,
    HELD,
    LATE,
    NF_ERROR,
    TABLE_FULL,
    Counts,
    EngineStatistics,
    Keys,
    Records,
    Status,
    Statuses,
    TimeOuts,
    reasons_of,
)
from nfactor.dataplane.flow_row import COUNT_MASK, FIN, RST, ProcessPkt, Row
from nfactor.dataplane.reference_changes import ReferenceChanges
from nfactor.dataplane.reference_sets import ReferenceSets
from nfactor.errors import CallerError, MalformedPacket
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.flow_key import FlowKeys
from nfactor.packet.headers import parse


class ReferenceEngine(ReferenceSets):
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
        self.chain = self._chain = chain
        self._classifier = classifier
        self._flows_max = flows_max
        self._time_outs = time_outs
        self._common_clock = common_clock
        self._rows: dict[bytes, Row] = {}
        self._active = 0
        self._clock_ns = 0
        self._scan: deque[Row] = deque()
        self._emitted: list[tuple[Any, Any]] = []
        self.touched: Rows = np.array([], object)
        self.changes = ReferenceChanges(chain, self._rows, self._pack)
        self._packets = self._created = self._expired = self._refused = 0
        self._errors: Counter[str] = Counter()
        self._error_sample = ""
        self.record_size = chain.record_size
        self._plan_codes()

    def _plan_codes(self) -> None:
        self.reasons, self._malformed, base = reasons_of(self._chain)
        self._process_pkts: list[ProcessPkt] = []
        self._drops: dict[ProcessPkt, range] = {}
        """The codes of each NF's drops."""
        for function, reasons in zip(self._chain.functions, self._chain.reasons, strict=True):
            self._process_pkts.append(function.process_pkt)
            self._drops[function.process_pkt] = range(base, base + len(reasons))
            base += len(reasons)

    # ---------------------------------------------------------------- packets

    def process(self, burst: Burst) -> npt.NDArray[np.uint8]:
        """See ``Engine.process``."""
        if len(burst) and (burst.offsets.min() < 0 or (burst.offsets + burst.lengths).max() > len(burst.data)):
            raise CallerError("a burst with a frame that lies outside its data")
        pkt, one = Packet(burst.octets()), self._process_one
        pkt.records = self._emitted
        codes = bytearray(len(burst))
        touched, rows = [], self._rows
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
            if self.follows:
                touched.append(rows.get(pkt.flow))  # type: ignore[arg-type]  # of None there is no row
        for row in filter(None, touched):
            row.dirty |= TOUCHED
        self.touched = np.array(touched, object)
        self._packets += len(burst)
        self._clock_ns = max(self._clock_ns, int(burst.times.max(initial=0)))
        return np.frombuffer(codes, np.uint8)

    def _process_one(self, pkt: Packet, offset: int, end: int, wire_length: int) -> int:
        """Parse one frame, find its flow actor, run the chain; the packet's code."""
        try:
            parse(pkt, offset, end, wire_length)
        except MalformedPacket as error:
            pkt.flow = None
            return self._malformed[error.reason]
        key, direction = self._classifier.classify(pkt)
        pkt.flow = key
        row = self._rows.get(key)
        if row is None:
            row = self._first_packet(key, direction)
            if row is None:
                pkt.flow = None
                return TABLE_FULL
        elif row.phase >= flow_row.HELD:
            return HELD if row.phase == flow_row.HELD else LATE
        elif pkt.time - row.last_ns > row.time_out_ns:
            self._begin_again(row, direction)
        pkt.direction = direction ^ row.initiator
        if pkt.direction >= NOBODY:
            row.initiator, pkt.direction = direction, 0
        if pkt.time > row.last_ns:  # a packet may have been overtaken by one that came by another switch
            row.last_ns = pkt.time
        row.packets += 1
        if pkt.tcp_flags & (FIN | RST):
            row.tcp_closes(pkt.tcp_flags, pkt.direction, self._time_outs)
        process_pkt = None
        try:
            for process_pkt, fs in row.steps:
                verdict = process_pkt(pkt, fs)
                if verdict != nf.FORWARD:
                    return self._verdict(process_pkt, verdict)
        except Exception as error:  # an author's bug costs its packet, never the burst
            return self._nf_error(process_pkt, error)
        return nf.FORWARD

    def _verdict(self, process_pkt: ProcessPkt, verdict: int) -> int:
        """The code of a verdict that is not FORWARD."""
        if verdict == nf.REPLY:
            return nf.REPLY
        drops = self._drops[process_pkt]
        if not isinstance(verdict, int):
            raise TypeError(f"process_pkt returned {verdict!r}, which is no verdict; did you forget to return one?")
        if not nf.DROP <= verdict < nf.DROP + len(drops):
            raise ValueError(f"the verdict {verdict!r} is none that this NF declares")
        return drops[verdict - nf.DROP]

    def _first_packet(self, key: bytes, direction: int) -> Row | None:
        if len(self._rows) >= self._flows_max:
            self._refused += 1
            return None
        row = self._rows[key] = Row(key, FIRST_EPOCH, flow_row.ACTIVE)
        self._begin(row, direction)
        self._active += 1
        return row

    def _begin(self, row: Row, direction: int) -> None:
        row.initiator, row.closing, row.dirty, row.lag = direction, 0, WHOLE, 0
        row.set_time_out(self._time_outs)
        row.steps = self._with_states(self._chain.new_states())
        self._created += 1

    def _begin_again(self, row: Row, direction: int) -> None:
        """The flow had ended by the clock of the packets, and its key comes back. That the scan had not come by yet
        makes no difference to an NF, or the outcome would hang on when packets and questions cross each other."""
        self._say_farewell(row)
        self._begin(row, direction)

    def _with_states(self, states: list[Any]) -> tuple[tuple[ProcessPkt, Any], ...]:
        return tuple(zip(self._process_pkts, states, strict=True))

    def _nf_error(self, process_pkt: ProcessPkt | None, error: Exception) -> int:
        owner = getattr(process_pkt, "__self__", process_pkt)
        self._errors[getattr(owner, "name", repr(owner))] += 1
        if not self._error_sample:
            self._error_sample = "".join(traceback.format_exception(error))
        return NF_ERROR

    # ---------------------------------------------------------------- states

    def _pack(self, row: Row) -> bytes:
        return self._chain.pack(row.header(self._age(row.last_ns)), row.states())

    def _unpack(self, row: Row, record: bytes) -> None:
        header, states = self._chain.unpack(record)
        row.steps = self._with_states(states)
        row.take(header, self._age(header.last_ns))
        row.set_time_out(self._time_outs)

    def _age(self, ns: int) -> int:
        """Of a time, and the time of an age; times stay what they are where the clock is common."""
        return ns if self._common_clock else self._clock_ns - ns

    # ---------------------------------------------------------------- the end of flows

    def idle(self, scan_max: int) -> tuple[FlowKeys, Counts]:
        """See ``Engine.idle``."""
        idle: list[Row] = []
        if not self._time_outs.never:
            if not self._next_to_scan():
                self._scan.extend(self._rows.values())
            for _ in range(scan_max):
                if not self._next_to_scan():
                    break
                row = self._scan.popleft()
                if row.phase == flow_row.ACTIVE and self._clock_ns - row.last_ns > row.time_out_ns:
                    row.phase = flow_row.LEAVING
                    idle.append(row)
        return FlowKeys.of(row.key for row in idle), np.array([row.packets & COUNT_MASK for row in idle], np.uint32)

    def _next_to_scan(self) -> bool:
        """Whether any row is left of those that were there when the scan began; what has gone since is passed over."""
        while self._scan and (self._rows.get((row := self._scan[0]).key) is not row or row.phase == flow_row.GONE):
            self._scan.popleft()
        return bool(self._scan)

    def expire(self, keys: Keys, packets: Counts | None = None) -> Statuses:
        """See ``Engine.expire``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase >= flow_row.HELD:
                statuses[index] = Status.UNKNOWN
            elif packets is not None and row.packets & COUNT_MASK != packets[index]:
                row.phase, row.packets = flow_row.ACTIVE, row.packets - int(packets[index])
                statuses[index] = Status.BUSY
            else:
                self._end(row)
        return statuses

    def farewell(self, keys: Keys, records: Records) -> None:
        """See ``Engine.farewell``."""
        for key, record in zip(keys, records, strict=True):
            row = Row(key, FIRST_EPOCH, flow_row.GONE)
            self._unpack(row, record.tobytes())
            self._say_farewell(row)

    def _end(self, row: Row) -> None:
        self._say_farewell(row)
        self._remove(row)
        self._active -= 1

    def _say_farewell(self, row: Row) -> None:
        flow = nf.Flow(row.key, row.initiator & 1)
        for function, fs in zip(self._chain.functions, row.states(), strict=True):
            try:
                function.flow_expires(flow, fs)
                function.deallocate_fs(fs)
            except Exception as error:  # costs what it had to say, never the flows of others
                self._nf_error(function.process_pkt, error)
        self._emitted += [(row.key, record) for record in flow.records]
        self._expired += 1

    def take_emitted(self) -> list[tuple[bytes, Any]]:
        """See ``Engine.take_emitted``."""
        emitted, self._emitted = self._emitted, []
        return emitted

    def poison(self) -> None:
        """See ``Engine.poison``: every row is ACTIVE and belongs to an epoch that cannot be, with states of no NF."""
        for row in self._rows.values():
            row.phase, row.epoch, row.packets = flow_row.ACTIVE, -1, -1
            row.steps = self._with_states([object()] * len(self._process_pkts))
        self._emitted = [(b"", object())]

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
