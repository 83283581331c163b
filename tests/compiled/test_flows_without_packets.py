"""A flow that is here before its first packet: that packet says which way is forth, in both engines."""

import numpy as np
import pytest

from nfactor.dataplane.chain import NOBODY, FlowHeader
from nfactor.dataplane.engine import TimeOuts
from nfactor.functions.monitor import Monitor, MonitorState
from nfactor.testing import packets
from nfactor.testing.twins import Twins

FORTH, BACK = (
    packets.udp(*ends, bytes(4)) for ends in (("10.0.0.1", 1000, "10.9.0.2", 53), ("10.9.0.2", 53, "10.0.0.1", 1000))
)
EPOCH = np.array([3], np.uint32)


def installed() -> Twins:
    """Both engines, with a flow that has begun anew in a later epoch, as one of which nobody has the state."""
    twins = Twins(lambda: [Monitor()], time_outs=TimeOuts(never=True))
    twins.process(packets.burst_of([FORTH]))
    keys, chain = list(twins.reference.keys()), twins.reference.chain
    twins.do("expire", keys)
    twins.do("hold", keys, EPOCH)
    new = chain.pack(FlowHeader(last_ns=0, epoch=0, packets=0, initiator=NOBODY, closing=0), chain.new_states())
    twins.do("install", keys, EPOCH, np.frombuffer(new, np.uint8).reshape(1, -1))
    twins.reference.take_records(), twins.compiled.take_records()
    return twins


@pytest.mark.slow  # to compile
@pytest.mark.parametrize("first", [FORTH, BACK], ids=["forth", "back"])
def test_the_first_packet_of_a_flow_that_was_installed_empty_says_which_way_is_forth(first: bytes) -> None:
    """It began at its target after a crash as if ``a`` had begun it, whoever had: what functions say of the two
    directions was turned round."""
    twins, other = installed(), BACK if first == FORTH else FORTH
    twins.process(packets.burst_of([first, first, other, first]))
    twins.check_all()
    [key] = twins.reference.keys()
    header, (state,) = twins.reference.chain.unpack(twins.reference.read(key) or b"")
    assert isinstance(state, MonitorState)
    assert (3, 1) == (state.packets_ab, state.packets_ba)
    assert (first != FORTH) == header.initiator


@pytest.mark.slow  # to compile
def test_a_flow_may_end_before_any_packet_has_come() -> None:
    twins = installed()
    twins.do("expire", list(twins.reference.keys()))
    twins.check_all()
