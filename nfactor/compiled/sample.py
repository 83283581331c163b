"""What went wrong in a compiled NF, for people: the same packet, once more, by the interpreter.

Compiled code notes where it failed, and keeps the packet's record and the flow's row as they were then. With copies of
these and of the frame, the NF's own function is run as the reference engine runs it, and its traceback is the sample. A
state that was half changed may lead elsewhere this time; then the place alone is told.
"""

import ctypes
import traceback
from typing import Any

from nfactor.compiled.layout import ROW_INITIATOR
from nfactor.compiled.plain import point
from nfactor.compiled.program import Site
from nfactor.dataplane.nf import NF, Flow
from nfactor.dataplane.state import Schema
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.fields import Packet


def error_sample(function: NF, schema: Schema | None, offset: int, failed: "Failure", site: Site) -> str:
    """A traceback, or the place."""
    fs = None if schema is None else schema.unpack(failed.row, offset)
    held = _Held(failed.shared)
    try:
        if failed.frames is None:
            flow = Flow(failed.row[:KEY_OCTETS], failed.row[ROW_INITIATOR] & 1)
            function.flow_expires(flow, fs)
            function.deallocate_fs(fs)
        else:
            pkt = Packet(failed.frames)
            point(pkt, failed.packet)
            pkt.flow = failed.row[:KEY_OCTETS]
            verdict = function.process_pkt(pkt, fs)
            if site.line == 0:
                raise ValueError(f"the verdict {verdict!r} is none that this NF declares")
    except Exception as error:
        return "".join(traceback.format_exception(error))
    finally:
        held.put_back()
    return f'File "{site.file}", line {site.line}, in {function.name}: {site.what}\n'


class Failure:
    """What there was when an NF failed: copies of the packet record and of the row, and of the burst's frames (None if
    it was no packet that failed); and the memory of the NFs that running it again may write."""

    def __init__(self, packet: bytes, row: bytes, frames: bytearray | None, shared: list[Any]) -> None:
        self.packet = packet
        self.row = row
        self.frames = frames
        self.shared = [memory for memory in shared if isinstance(memory, ctypes.Structure | ctypes.Array)]


class _Held:
    """Memory as it was."""

    def __init__(self, shared: list[Any]) -> None:
        self._copies = [(memory, bytes(memory)) for memory in shared]

    def put_back(self) -> None:
        for memory, octets in self._copies:
            ctypes.memmove(ctypes.addressof(memory), octets, len(octets))
