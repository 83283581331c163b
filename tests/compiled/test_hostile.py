"""Hostile packets and careless network functions: nothing outside the burst and outside the flow's state is touched."""

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.compiled import layout
from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.errors import CallerError
from nfactor.functions.http import Http
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.check_nf import drawn_frames
from nfactor.testing.packets import burst_of, tcp, udp
from nfactor.testing.twins import Twins

CANARY = 0xA7
GUARD = 4096


@nf.state
class Small:
    cells: Annotated[list[int], nf.array(nf.u8, 8)]
    name: Annotated[bytes, nf.octets(5)]


class Scribbler(nf.NF):
    """Writes wherever the packet says: into the frames, into its state, into memory of its own."""

    State = Small
    name = "scribbler"

    def __init__(self) -> None:
        self.scratch = nf.numbers(nf.u16, 4)

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        where = pkt.u32(pkt.start + 26) - pkt.u16(pkt.start + 34) * 65_537
        if pkt.mark % 4 == 0:
            pkt.data[where] = 1
        elif pkt.mark % 4 == 1:
            fs.cells[where % 40 - 20] = 2
        elif pkt.mark % 4 == 2:
            self.scratch[where % 12 - 6] = 3
        else:
            fs.name = pkt.data[pkt.start : pkt.start + where % 100]
        return nf.FORWARD


def guarded(burst: Burst) -> tuple[Burst, Any]:
    """The burst in the middle of a larger piece of memory that is all canaries."""
    around = np.full(len(burst.data) + 2 * GUARD, CANARY, np.uint8)
    around[GUARD:-GUARD] = burst.data
    inside = around[GUARD:-GUARD]
    return Burst(inside, burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks), around


def engine_of(*functions: nf.NF) -> CompiledEngine:
    return CompiledEngine(Chain.of(functions), FlowClassifier("auto"))


@given(st.lists(st.binary(max_size=120), max_size=70), st.randoms(use_true_random=False))
def test_no_packet_and_no_nf_changes_an_octet_outside_the_burst(junk: list[bytes], rng: Any) -> None:
    frames = junk + drawn_frames(rng, 20) + [udp("10.0.0.1", 1, "10.0.0.2", 2)[: rng.randrange(60)]]
    burst, around = guarded(burst_of(frames))
    engine = engine_of(Scribbler(), Http(), Monitor())
    engine.process(burst)
    assert (around[:GUARD] == CANARY).all()
    assert (around[-GUARD:] == CANARY).all()


def test_a_scribbling_nf_means_the_same_to_both_engines_and_leaves_the_states_of_others_alone() -> None:
    from random import Random

    twins = Twins(lambda: [Monitor(), Scribbler()])
    for seed in range(20):
        twins.process(burst_of(drawn_frames(Random(seed), 64)))
    twins.check_all()


def test_states_end_where_the_next_row_begins() -> None:
    """Canaries in what is left of each row behind the states, and around the rows in use."""
    engine = engine_of(Scribbler())
    frames = [tcp("10.0.0.1", port, "10.0.0.2", 80, bytes(40)) for port in range(1, 40)]
    engine.process(burst_of(frames))
    stride, used = engine._context[layout.STRIDE], engine._context[layout.ROWS_TOUCHED]
    rows = engine._memory.rows.array[: stride * (used + 4)].reshape(-1, stride)
    states_end = layout.ROW_STATES + engine.record_size - layout.HEADER_OCTETS
    rows[:used, states_end:] = CANARY
    rows[used:] = CANARY
    before = rows[:used, :48].copy()
    for mark in range(1, 9):
        engine.process(burst_of(frames, first_mark=mark))
    assert (rows[:used, states_end:] == CANARY).all()
    assert (rows[used:] == CANARY).all()
    assert (rows[:used, :48] == before).all()


@pytest.mark.parametrize(("offset", "length"), [(-16, 58), (0, 1 << 20), (200, 100), (1 << 40, 10)])
def test_columns_that_point_outside_the_data_are_refused_by_both_engines(offset: int, length: int) -> None:
    burst = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)] * 4)
    burst.offsets[2], burst.lengths[2] = offset, length
    twins = Twins(lambda: [Monitor()])
    for engine in (twins.reference, twins.compiled):
        with pytest.raises(CallerError, match="outside its data"):
            engine.process(burst)


@pytest.mark.parametrize("column", ["data", "offsets", "lengths", "wire_lengths", "times", "marks"])
def test_a_burst_that_is_not_contiguous_is_refused(column: str) -> None:
    burst = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)] * 4)
    columns = {name: getattr(burst, name) for name in ("data", "offsets", "lengths", "wire_lengths", "times", "marks")}
    columns[column] = np.repeat(columns[column], 2)[::2]
    with pytest.raises(CallerError, match="not contiguous"):
        engine_of(Monitor()).process(Burst(**columns))


def test_frames_that_cannot_be_written_are_refused() -> None:
    burst = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)])
    burst.data.flags.writeable = False
    with pytest.raises(CallerError, match="cannot be written"):
        engine_of(Monitor()).process(burst)


def test_an_empty_burst_is_no_packets_whatever_its_arrays_look_like() -> None:
    twins = Twins(lambda: [Monitor()])
    assert twins.process(burst_of([])) == []
    none = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)]).select(np.zeros(0, np.intp))
    assert twins.process(none) == []
