"""What replication asks of an engine: which flows a burst touched, copies of records, farewells for others."""

import numpy as np
import pytest

from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.engine import Status
from nfactor.testing.packets import tcp, udp
from tests.dataplane.test_engines import A, B, engine_of, move, process, rows

pytestmark = pytest.mark.usefixtures("kind_of_engine")


def test_each_packet_says_which_flow_it_touched_and_a_malformed_one_none() -> None:
    engine = engine_of()
    broken = udp(A, 1, B, 2)[:20]
    process(engine, [udp(A, 1, B, 2), broken, udp(B, 2, A, 1), tcp(A, 1, B, 2)])
    first, none, again, other = engine.changes.keys_of(engine.touched)
    assert first == again != other
    assert none == bytes(48)
    assert set(engine.keys()) == {first, other}


def test_copies_are_what_departs_and_the_flows_stay() -> None:
    engine, target = engine_of(), engine_of()
    process(engine, [udp(A, 1, B, 2), udp(A, 1, B, 2), udp(A, 3, B, 4)])
    keys = [*engine.keys(), bytes(48)]
    epochs, records, statuses = engine.copy(keys)
    assert ([1, 1, 0], [Status.OK, Status.OK, Status.UNKNOWN]) == (epochs.tolist(), statuses.tolist())
    assert not records[2].any()
    assert HEADER.unpack(records[0].tobytes()).packets == 2
    assert engine.statistics().flows == 2
    picked, _ = engine.pick(1)
    assert engine.copy(picked)[2].tolist() == [Status.OK], "also while they leave"
    target.hold(keys[:1], np.array([2], np.uint32))
    assert target.copy(keys[:1])[2].tolist() == [Status.UNKNOWN], "not before they are there"
    departed, _ = engine.depart(picked)
    assert departed[0].tolist() == records[keys.index(picked[0])].tolist()


def test_a_farewell_for_a_flow_that_ended_elsewhere_leaves_the_table_alone() -> None:
    dead, engine = engine_of(), engine_of()
    process(dead, [udp(A, 1, B, 2), udp(B, 2, A, 1)])
    keys = dead.keys()
    process(engine, [udp(A, 1, B, 2)], first_mark=7)  # a new flow of the same key
    engine.farewell(keys, dead.copy(keys)[1])
    ((key, row),) = engine.take_emitted()
    assert (keys[0], 1, 1, 1) == (key, row.packets_ab, row.packets_ba, row.first_mark)
    assert [(7, 1)] == [(row.first_mark, row.packets_ab) for row in rows(engine)]


def test_records_come_with_the_flow_that_they_are_about() -> None:
    engine = engine_of()
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4)])
    keys = engine.keys()
    engine.expire(keys)
    assert keys == [key for key, _ in engine.take_emitted()]


def test_flows_that_stay_after_all_may_have_a_higher_epoch() -> None:
    engine, other = engine_of(), engine_of()
    process(engine, [udp(A, 1, B, 2)])
    keys, epochs = engine.pick(1)
    engine.unpin(keys, epochs + 4)
    assert engine.copy(keys)[0].tolist() == [5]
    assert move(engine, other) == keys, "and go on as others do"


def test_a_poisoned_engine_gives_nothing_that_could_pass_for_right() -> None:
    engine = engine_of()
    process(engine, [udp(A, 1, B, 2)])
    (key,) = engine.keys()
    engine.poison()
    assert process(engine, [udp(A, 1, B, 2)]) == ["nf_error"]
    try:
        _, records, _ = engine.copy([key])
    except Exception:  # as good: nobody can take it for a record
        return
    raise AssertionError(f"a record came out of a poisoned engine: {records}")
