"""Engines: what happens to packets and to sets of flows. ``conftest`` runs it all with both of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nfactor.compiled.engines import EngineKind, open_engine
from nfactor.dataplane import nf
from nfactor.dataplane.chain import HEADER, Chain
from nfactor.dataplane.engine import FORWARD, HELD, Engine, Status, TimeOuts
from nfactor.errors import CallerError
from nfactor.functions.monitor import FlowRow, Monitor
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.packets import burst_of, tcp, udp

A, B = "10.0.0.1", "10.0.0.2"


pytestmark = pytest.mark.usefixtures("kind_of_engine")

KIND: EngineKind = "reference"


def engine_of(
    *functions: nf.NF, flows_max: int = 1000, time_outs: TimeOuts | None = None, common_clock: bool = False
) -> Engine:
    return open_engine(
        KIND,
        Chain.of(functions or [Monitor()]),
        FlowClassifier("auto"),
        flows_max=flows_max,
        time_outs=time_outs or TimeOuts(),
        common_clock=common_clock,
    )


def process(engine: Engine, frames: Sequence[bytes], **columns: Any) -> list[str]:
    return [engine.reasons[code] for code in engine.process(burst_of(frames, **columns)).tolist()]


def rows(engine: Engine) -> list[FlowRow]:
    engine.expire(engine.keys())
    return engine.take_records()


def move(source: Engine, target: Engine, flows_max: int = 100) -> list[bytes]:
    keys, epochs = source.pick(flows_max)
    assert not target.hold(keys, epochs + 1).any()
    records, statuses = source.depart(keys)
    assert not statuses.any()
    assert not target.install(keys, epochs + 1, records).any()
    return list(keys)


def test_both_directions_reach_one_flow_actor() -> None:
    engine = engine_of()
    process(engine, [tcp(B, 5000, A, 80), tcp(A, 80, B, 5000, b"abc"), tcp(B, 5000, A, 80)])
    (row,) = rows(engine)
    assert (2, 1, 108, 57, 1) == (row.packets_ab, row.packets_ba, row.octets_ab, row.octets_ba, row.first_mark)


def test_octets_are_those_on_the_wire_not_those_captured() -> None:
    engine = engine_of()
    burst = burst_of([tcp(A, 1, B, 2)])
    burst.wire_lengths[0] = 1500
    engine.process(burst)
    assert rows(engine)[0].octets_ab == 1500


def test_a_malformed_packet_is_a_counted_drop_and_makes_no_flow() -> None:
    engine = engine_of()
    broken = bytearray(tcp(A, 1, B, 2))
    broken[14] = 0x43  # an IPv4 header of 12 octets
    assert process(engine, [bytes(broken)]) == ["malformed_ipv4_header"]
    assert engine.statistics().flows == 0


class _Failing(nf.NF):
    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        if pkt.mark == 2:
            raise ZeroDivisionError("in the NF")
        return nf.FORWARD


class _Picky(nf.NF):
    drop_reasons = ("first", "second")

    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        return (nf.FORWARD, nf.DROP, nf.drop(0), nf.drop(1), nf.REPLY, 99)[pkt.mark - 1]


def test_an_exception_in_an_nf_costs_its_packet_and_is_counted_with_a_traceback() -> None:
    engine = engine_of(_Failing(), Monitor())
    assert process(engine, [udp(A, 1, B, 2)] * 3) == ["forward", "nf_error", "forward"]
    statistics = engine.statistics()
    assert statistics.nf_errors == {"_failing": 1}
    assert "in the NF" in statistics.nf_error_sample
    assert rows(engine)[0].packets_ab == 2


def test_verdicts_have_names_and_an_undeclared_one_is_an_error() -> None:
    engine = engine_of(_Picky())
    expected = ["forward", "_picky", "_picky_first", "_picky_second", "reply", "nf_error"]
    assert process(engine, [udp(A, 1, B, 2)] * 6) == expected


def test_a_full_table_refuses_new_flows_and_serves_the_old() -> None:
    engine = engine_of(flows_max=1)
    frames = [udp(A, 1, B, 2), udp(A, 3, B, 4), udp(B, 2, A, 1)]
    assert process(engine, frames) == ["forward", "flow_table_full", "forward"]
    assert engine.statistics().refused == 1


def test_a_flow_that_moves_goes_on_as_if_it_had_not() -> None:
    frames = [tcp(B, 5000, A, 80), tcp(A, 80, B, 5000), udp(A, 1, B, 2), tcp(B, 5000, A, 80, b"x")]
    alone = engine_of()
    process(alone, frames)
    first, second = engine_of(), engine_of()
    process(first, frames[:2])
    move(first, second)
    process(second, frames[2:], first_mark=3)
    assert rows(alone) == rows(second)


class _Counting(nf.NF):
    def __init__(self) -> None:
        self.allocated = 0

    def allocate_new_fs(self) -> None:
        self.allocated += 1

    def deallocate_fs(self, fs: None) -> None:
        self.allocated -= 1

    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        return nf.FORWARD


def test_what_a_runtime_allocates_for_a_flow_it_deallocates_when_the_flow_leaves_or_ends() -> None:
    here, there = _Counting(), _Counting()
    source, target = engine_of(here), engine_of(there)
    process(source, [udp(A, 1, B, 2), udp(A, 3, B, 4)])
    move(source, target, 1)
    assert (1, 1) == (here.allocated, there.allocated)
    rows(source), rows(target)
    assert (0, 0) == (here.allocated, there.allocated)


def test_how_far_tcp_has_closed_and_how_many_packets_came_move_with_the_flow() -> None:
    outs = TimeOuts(tcp_idle_s=100, tcp_closed_s=5)
    source, target = engine_of(time_outs=outs), engine_of(time_outs=outs)
    process(source, [tcp(A, 1, B, 2), tcp(A, 1, B, 2, flags=0x11)])
    move(source, target)
    process(target, [tcp(B, 2, A, 1, flags=0x11)])
    process(target, [udp(A, 7, B, 7)], start_s=6)
    keys, counts = target.idle(10)
    assert (1, [3]) == (len(keys), counts.tolist()), "closed by a FIN on either side of the move; three packets in all"


def test_states_of_an_epoch_lower_than_was_announced_are_stale() -> None:
    source, target = engine_of(), engine_of()
    process(source, [udp(A, 1, B, 2)])
    keys, epochs = source.pick(1)
    target.hold(keys, epochs + 2)
    records, _ = source.depart(keys)
    assert target.install(keys, epochs + 1, records).tolist() == [Status.STALE]


def test_a_flow_that_was_kept_may_be_picked_again() -> None:
    engine = engine_of()
    process(engine, [udp(A, 1, B, 2)])
    keys, _ = engine.pick(1)
    assert engine.unpin(keys).tolist() == [Status.OK]
    assert engine.pick(1)[0] == keys


def test_packets_of_held_flows_come_back_and_late_ones_are_dropped() -> None:
    source, target = engine_of(), engine_of()
    frame = udp(A, 1, B, 2)
    process(source, [frame])
    keys, epochs = source.pick(1)
    assert process(source, [frame]) == ["forward"], "a leaving flow still processes packets"
    target.hold(keys, epochs + 1)
    assert target.process(burst_of([frame])).tolist() == [HELD]
    records, _ = source.depart(keys)
    assert process(source, [frame]) == ["late"]
    target.install(keys, epochs + 1, records)
    assert target.process(burst_of([frame])).tolist() == [FORWARD]
    assert rows(target)[0].packets_ab == 3


def test_statuses_say_why_a_key_was_refused() -> None:
    engine = engine_of(flows_max=2)
    process(engine, [udp(A, 1, B, 2)])
    (key,), epochs = engine.pick(5)
    one = np.array([1], np.uint32)
    assert engine.pick(5)[0] == [], "a flow is never in two migrations"
    assert engine.hold([key], one).tolist() == [Status.EXISTS]
    engine.depart([key])
    assert engine.hold([key], epochs).tolist() == [Status.STALE], "the epoch it left with is not higher"
    other, third = bytes([1]) * 48, bytes([2]) * 48
    assert engine.hold([other, third], np.array([1, 1], np.uint32)).tolist() == [Status.OK, Status.FULL]
    assert engine.install([third], one, np.zeros((1, engine.record_size), np.uint8)).tolist() == [Status.UNKNOWN]
    assert engine.release([other]).tolist() == [Status.OK]
    assert engine.forget([key, key]).tolist() == [Status.OK, Status.UNKNOWN]
    assert engine.statistics().rows == 0


def test_a_flow_that_comes_back_needs_a_higher_epoch() -> None:
    first, second = engine_of(), engine_of()
    process(first, [udp(A, 1, B, 2)])
    (key,) = move(first, second)
    assert move(second, first) == [key]
    assert HEADER.unpack(first.read(key) or b"").epoch == 3
    assert second.read(key) is None


def test_flows_are_idle_by_the_clock_of_the_packets() -> None:
    outs = TimeOuts(tcp_idle_s=100, tcp_closed_s=5, udp_idle_s=20)
    engine = engine_of(time_outs=outs)
    reset = tcp(A, 9, B, 80, flags=0x04)
    process(engine, [tcp(A, 1, B, 80), reset, udp(A, 1, B, 2)])
    assert engine.idle(10)[0] == []
    process(engine, [udp(A, 7, B, 7)], start_s=6)
    keys, counts = engine.idle(10)
    assert (1, [1]) == (len(keys), counts.tolist()), "the flow that was reset"
    process(engine, [udp(A, 7, B, 7)], start_s=21)
    assert len(engine.idle(10)[0]) == 1, "the UDP flow; the other is pinned"
    process(engine, [udp(A, 7, B, 7)], start_s=101)
    assert len(engine.idle(10)[0]) == 1, "the TCP flow"


def test_a_flow_that_may_end_sets_out_for_nowhere_until_it_is_decided() -> None:
    """Or the switch forgets a flow that moves, and counts its packets from nought while the runtime counts on."""
    engine = engine_of(time_outs=TimeOuts(udp_idle_s=1))
    process(engine, [udp(A, 1, B, 2)])
    process(engine, [udp(A, 3, B, 4)], start_s=5)
    keys, _ = engine.idle(10)
    assert (1, 0) == (len(keys), len(engine.idle(10)[0]))
    assert keys[0] not in engine.pick(10)[0]
    engine.unpin(keys)
    assert engine.pick(10)[0] == keys


def test_packets_that_come_between_the_question_whether_a_flow_may_end_and_the_answer_are_its_next_life() -> None:
    engine = engine_of(time_outs=TimeOuts(udp_idle_s=1))
    process(engine, [udp(A, 1, B, 2), udp(A, 1, B, 2)])
    process(engine, [udp(A, 3, B, 4)], start_s=5)
    keys, counts = engine.idle(10)
    process(engine, [udp(B, 2, A, 1)], start_s=6)
    assert engine.expire(keys, counts).tolist() == [Status.BUSY]
    assert [(row.packets_ab, row.first_mark) for row in engine.take_records()] == [(2, 1)]
    assert keys[0] in engine.pick(10)[0], "it is pinned no more"
    assert HEADER.unpack(engine.read(keys[0]) or b"").packets == 1, "and counts as the switch does, from nought"


def test_a_key_that_comes_back_after_its_time_out_is_a_new_flow_scanned_or_not() -> None:
    engine = engine_of(time_outs=TimeOuts(udp_idle_s=5))
    process(engine, [udp(A, 1, B, 2), udp(B, 2, A, 1)])
    process(engine, [udp(B, 2, A, 1)], start_s=6, first_mark=3)
    assert [(1, 1, 1), (1, 0, 3)] == [(row.packets_ab, row.packets_ba, row.first_mark) for row in rows(engine)]


@pytest.mark.parametrize(("common_clock", "idle"), [(False, 1), (True, 0)])
def test_idle_time_travels_as_an_age_unless_all_packets_are_stamped_by_one_clock(common_clock: bool, idle: int) -> None:
    def engine() -> Engine:
        outs = TimeOuts(udp_idle_s=5, tcp_idle_s=1000)
        return engine_of(time_outs=outs, common_clock=common_clock)

    source, target = engine(), engine()
    process(source, [udp(A, 1, B, 2)], start_s=4)
    process(target, [tcp(A, 1, B, 2)], start_s=3)
    move(source, target)
    process(target, [tcp(A, 1, B, 2)], start_s=8.5)
    assert idle == len(target.idle(10)[0]), "of age 0 at second 3 it is idle at 8.5; of second 4 it is not"


def test_replays_that_count_like_other_tools_never_expire_a_flow() -> None:
    engine = engine_of(time_outs=TimeOuts(never=True))
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4)], step_s=1e6)
    assert engine.idle(10)[0] == []


def test_what_is_no_chain_is_refused_when_it_is_built() -> None:
    with pytest.raises(CallerError, match="at least one"):
        Chain.of([])
    with pytest.raises(CallerError, match="stands twice"):
        Chain.of([Monitor(), Monitor()])
    with pytest.raises(CallerError, match="not a network function"):
        Chain.of([Monitor])  # type: ignore[list-item]
