"""Runs a chain on a few packets: the shortest test of a network function of one's own."""

from collections.abc import Sequence
from typing import Any

import attrs

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import FORWARD, REPLY
from nfactor.dataplane.nf import NF
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import HEADER_OCTETS
from nfactor.testing.packets import burst_of


@attrs.frozen
class ChainRun:
    """What became of the packets."""

    verdicts: list[str]
    """Per packet ``forward``, ``reply`` or the reason of a drop."""
    frames: list[bytes]
    """The frames that came out, as the chain left them."""
    records: list[Any]
    """What the NFs emitted, the ends of all flows included."""


def run_chain(functions: Sequence[NF], frames: Sequence[bytes], *, step_s: float = 0.0) -> ChainRun:
    """Process Ethernet ``frames`` (see ``nfactor.testing.packets``), ``step_s`` apart, and then end all flows.

    An exception in an NF is raised as ``AssertionError`` with its traceback: in a test it is a bug, not a dropped
    packet.
    """
    engine = ReferenceEngine(Chain.of(functions), FlowClassifier("auto"))
    burst = burst_of(frames, step_s=step_s)
    codes = engine.process(burst).tolist()
    engine.expire(engine.keys())
    statistics = engine.statistics()
    if statistics.nf_errors:
        raise AssertionError(f"an NF raised:\n{statistics.nf_error_sample}")
    out = [frame[HEADER_OCTETS:] for frame, code in zip(burst.frames(), codes, strict=True) if code in (FORWARD, REPLY)]
    return ChainRun([engine.reasons[code] for code in codes], out, engine.take_records())
