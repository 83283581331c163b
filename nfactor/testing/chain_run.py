"""Runs a chain on a few packets: the shortest test of a network function of one's own."""

from collections.abc import Sequence
from typing import Any

import attrs

from nfactor.dataplane.aliases import teach
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import FORWARD, REPLY
from nfactor.dataplane.nf import NF
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import unwrap
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
    packet. Packets go through a switch of their own, one after the other, so that answers to rewritten packets find the
    flow that they belong to.
    """
    engine = ReferenceEngine(Chain.of(functions), FlowClassifier("auto"))
    switch = Dispatcher(FlowClassifier("auto"))
    switch.set_runtimes([0])
    burst = burst_of(frames, step_s=step_s)
    codes: list[int] = []
    out: list[bytes] = []
    records: list[Any] = []
    for index in range(len(burst)):
        (owner,), packet = switch.assign(burst.slice(index, index + 1))
        if owner < 0:
            packet = burst.slice(index, index + 1)  # malformed, as the engine will say
        code = engine.process(packet)
        packet, emitted = teach(engine, packet, code, engine.take_emitted())
        switch.learn(packet)
        codes += code.tolist()
        records += [record for _, record in emitted]
        if code[0] in (FORWARD, REPLY):
            start, _, _ = unwrap(packet.octets(), int(packet.offsets[0]), int(packet.offsets[0] + packet.lengths[0]))
            out.append(packet.octets()[start : int(packet.offsets[0] + packet.lengths[0])].tobytes())
    engine.expire(engine.keys())
    statistics = engine.statistics()
    if statistics.nf_errors:
        raise AssertionError(f"an NF raised:\n{statistics.nf_error_sample}")
    return ChainRun([engine.reasons[code] for code in codes], out, [*records, *engine.take_records()])
