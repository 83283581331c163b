"""An NF of a compiled chain that cannot be compiled: called back from machine code, packet by packet.

Its state is the same record as ever: the object that the NF is given stands over the row. What it emits goes into the
same buffer, in order. So a chain with one plain NF among compiled ones costs that NF's own calls and no more.
"""

import ctypes
import struct
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final

from nfactor.compiled import layout
from nfactor.compiled.memory_map import Words
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.nf import FORWARD, Flow
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.fields import Packet

FAILED: Final = -1
"""What a call gives when the NF raised."""
_RECORD: Final = struct.Struct("<qQiiiiiiIIHHHHHHBBBBBBB")
"""A packet record from ``PK_TIME`` to ``PK_MORE_FRAGMENTS``."""
_CALL: Final = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_FLOW_EXPIRES, _DEALLOCATE = 1, 2


class PlainCalls:
    """Calls to the NFs of a chain. ``offsets`` say where in a row each NF's state lies."""

    def __init__(
        self, chain: Chain, offsets: Sequence[int], context: Words, emit: Callable[[bytes, Any], None]
    ) -> None:
        self._functions = chain.functions
        self._schemas = chain.schemas
        self._offsets = offsets
        self._pkt = Packet()
        self._emit = emit
        self._flow_emitted: list[tuple[Any, Any]] = []
        self._pkt.records = self._flow_emitted
        self.samples: dict[int, str] = {}
        """By place in the chain: the traceback of the first exception."""
        self._packet_call = _CALL(self._process)
        self._end_call = _CALL(self._end)
        context[layout.PLAIN_PACKET] = ctypes.cast(self._packet_call, ctypes.c_void_p).value or 0
        context[layout.PLAIN_END] = ctypes.cast(self._end_call, ctypes.c_void_p).value or 0

    def look_at(self, burst: Burst) -> None:
        """The packets are those of this burst from now on."""
        self._pkt.data = burst.octets()

    def _process(self, stage: int, pk: int, row: int) -> int:
        """One packet; its verdict, or ``FAILED``."""
        try:
            function, pkt = self._functions[stage], self._pkt
            point(pkt, ctypes.string_at(pk, layout.PK_OCTETS))
            pkt.flow = ctypes.string_at(row, KEY_OCTETS)
            verdict = function.process_pkt(pkt, self._state(stage, row))
            if self._flow_emitted:
                self._pass_on()
            if not isinstance(verdict, int):
                raise TypeError(f"process_pkt returned {verdict!r}, which is no verdict; did you forget to return one?")
            return verdict if FORWARD <= verdict < layout.WORD_MAX else layout.WORD_MAX
        except Exception as error:
            return self._failed(stage, error)

    def _end(self, stage: int, what: int, row: int) -> int:
        """The flow ends, or leaves."""
        try:
            function, fs = self._functions[stage], self._state(stage, row)
            if what == _FLOW_EXPIRES:
                flow = Flow(ctypes.string_at(row, KEY_OCTETS), self._initiator(row))
                try:
                    function.flow_expires(flow, fs)
                finally:
                    self._flow_emitted += [(flow.key, record) for record in flow.records]
            function.deallocate_fs(fs)
            self._pass_on()
        except Exception as error:
            return self._failed(stage, error)
        return 0

    def _failed(self, stage: int, error: Exception) -> int:
        self._pass_on()
        if stage not in self.samples:
            self.samples[stage] = "".join(traceback.format_exception(error))
        return FAILED

    def _pass_on(self) -> None:
        for key, record in self._flow_emitted:
            self._emit(key, record)
        self._flow_emitted.clear()

    def _state(self, stage: int, row: int) -> Any:
        schema = self._schemas[stage]
        if schema is None:
            return self._functions[stage].allocate_new_fs()
        return schema.at(row + self._offsets[stage])

    def _initiator(self, row: int) -> int:
        return ctypes.string_at(row + layout.ROW_INITIATOR, 1)[0] & 1


def point(pkt: Packet, record: bytes) -> None:
    """Have the packet say what the packet record says."""
    (
        pkt.time,
        pkt.mark,
        pkt.start,
        pkt.end,
        pkt.l3,
        pkt.l4,
        pkt.payload,
        pkt.payload_end,
        pkt.length,
        pkt.fragment_id,
        pkt.ethertype,
        pkt.vlan,
        pkt.inner_vlan,
        pkt.linktype,
        source_port,
        target_port,
        pkt.version,
        pkt.protocol,
        pkt.tcp_flags,
        pkt.direction,
        foreign,
        fragment,
        more_fragments,
    ) = _RECORD.unpack_from(record, layout.PK_TIME)
    pkt.foreign, pkt.fragment, pkt.more_fragments = bool(foreign), bool(fragment), bool(more_fragments)
    pkt.endpoints, pkt.label = b"", None
    pkt.set_ports(source_port, target_port)
