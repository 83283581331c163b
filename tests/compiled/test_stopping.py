"""A burst that is told to end early ends behind a block, and gone on with it is the same burst."""

from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
from hypothesis import given, strategies as st

from nfactor.compiled.engine import CompiledEngine
from nfactor.compiled.layout import BLOCK_PACKETS
from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.http import Http
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.check_nf import drawn_frames
from nfactor.testing.packets import burst_of, udp


class Careless(nf.NF):
    """Fails for short frames."""

    name = "careless"

    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        return nf.FORWARD if pkt.u16(pkt.start + 44) >= 0 else nf.DROP


def engines() -> tuple[CompiledEngine, ReferenceEngine]:
    chain = [Careless(), Http(), Monitor()]
    return CompiledEngine(Chain.of(chain), FlowClassifier("auto")), ReferenceEngine(
        Chain.of(chain), FlowClassifier("auto")
    )


@cache
def always_the_same_engines() -> tuple[CompiledEngine, ReferenceEngine]:
    return engines()


def in_pieces(engine: CompiledEngine, burst: Burst) -> Iterator[tuple[Burst, list[int], list[bytes | None]]]:
    """What ``process`` has done each time, until the whole burst is done."""
    while len(burst):
        engine.stopping = True
        codes = engine.process(burst).tolist()
        assert engine.stopping
        yield burst.slice(0, len(codes)), codes, list(engine.changes.keys_of(engine.touched))
        burst = burst.slice(len(codes), len(burst))


@given(st.integers(1, 300), st.randoms(use_true_random=False))
def test_a_burst_in_pieces_is_the_same_burst(count: int, rng: Random) -> None:
    compiled, reference = always_the_same_engines()
    frames = drawn_frames(rng, count)
    expected, burst = burst_of(frames, step_s=0.1), burst_of(frames, step_s=0.1)
    codes = reference.process(expected).tolist()
    pieces = list(in_pieces(compiled, burst))
    assert codes == [code for _, some, _ in pieces for code in some]
    assert list(reference.changes.keys_of(reference.touched)) == [key for _, _, keys in pieces for key in keys]
    assert reference.take_emitted() == compiled.take_emitted()
    assert expected.frames() == burst.frames()
    assert reference.statistics().nf_errors == compiled.statistics().nf_errors


def test_it_ends_behind_the_block_that_it_is_at_and_does_no_less_than_one() -> None:
    engine, _ = engines()
    whole = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2, bytes(20))] * 300)
    assert [BLOCK_PACKETS] * 4 + [300 - 4 * BLOCK_PACKETS] == [len(piece) for piece, _, _ in in_pieces(engine, whole)]
    engine.stopping = False
    assert len(engine.process(whole)) == 300


def test_a_burst_that_ends_early_makes_room_for_flows_first_where_there_is_none() -> None:
    """The first block of a piece is always done, whatever it takes."""
    engine, _ = engines()
    template = bytearray(udp("10.0.0.0", 1, "192.0.2.1", 2, bytes(20)))
    frames = [bytes(template[:26] + (0x0A000000 + number).to_bytes(4, "big") + template[30:]) for number in range(5000)]
    engine.process(burst_of(frames[:2100]))
    assert [BLOCK_PACKETS] == list({len(piece) for piece, _, _ in in_pieces(engine, burst_of(frames[2100:4980]))})
    assert np.unique(np.frombuffer(b"".join(engine.keys()), "V48")).size == 4980
