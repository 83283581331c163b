"""Flows that belong together: which they are, and that they set out as one or not at all."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor import nf
from nfactor.dataplane import together
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import Engine, Status
from nfactor.errors import CallerError
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.packets import burst_of, udp
from nfactor.testing.twins import Twins


@nf.state
class Named:
    packets: nf.u8
    name: nf.u16


class Naming(nf.NF):
    """A flow's name is what the first packet's payload begins with."""

    State = Named
    together = "name"

    def process_pkt(self, pkt: nf.Packet, fs: Named) -> int:
        fs.packets += 1
        if fs.packets == 1:
            fs.name = pkt.u16(pkt.payload)
        return nf.FORWARD


@nf.state
class Port:
    port: nf.u32


class SamePort(nf.NF):
    """Flows from one port belong together."""

    State = Port
    together = "port"

    def process_pkt(self, pkt: nf.Packet, fs: Port) -> int:
        fs.port = pkt.source_port
        return nf.FORWARD


def frame(number: int, name: int, port: int = 0) -> bytes:
    return udp(f"10.0.0.{number}", port or 1000 + number, "10.9.0.2", 53, name.to_bytes(2, "big"))


def nobody(keys: FlowKeys) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return np.zeros(len(keys), bool)


def numbers(keys: FlowKeys) -> list[int]:
    return [key[3] for key in keys]


Columns = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=25)


@given(Columns)
def test_groups_are_the_least_that_hold_together_what_any_bond_binds(rows: list[tuple[int, int]]) -> None:
    groups = together.groups_of(np.array(rows, np.uint64).reshape(len(rows), 2)).tolist()
    expected = list(range(len(rows)))
    for _ in rows:
        for place, row in enumerate(rows):
            for other, values in enumerate(rows):
                if any(a == b != 0 for a, b in zip(row, values, strict=True)):
                    expected[place] = min(expected[place], expected[other])
    assert expected == groups


@given(Columns, st.lists(st.booleans(), min_size=25, max_size=25), st.integers(0, 30))
def test_whole_groups_are_chosen_of_free_flows_and_as_many_as_were_asked_for(
    rows: list[tuple[int, int]], free: list[bool], flows_max: int
) -> None:
    groups = together.groups_of(np.array(rows, np.uint64).reshape(len(rows), 2))
    places, passed_over = together.choose(groups, np.array(free[: len(rows)], bool), flows_max)
    chosen = set(places.tolist())
    for place, group in enumerate(groups):
        assert (place in chosen) == (int(group) in chosen)
    assert all(free[place] for place in chosen)
    assert len(chosen) <= flows_max or len({int(groups[place]) for place in chosen}) == 1
    may_go = any(all(free[other] for other in np.flatnonzero(groups == group)) for group in groups)
    assert bool(chosen) == (may_go and flows_max > 0)
    assert 0 == passed_over


def test_both_engines_say_the_same_of_flows_and_pin_the_same() -> None:
    twins = Twins(lambda: [Naming(), SamePort()])
    twins.process(burst_of([frame(1, 7), frame(2, 0), frame(3, 7, 999), frame(4, 9, 999), frame(5, 0)]))
    keys, values, _ = twins.do("belonging")
    assert [[7, 1001], [0, 1002], [7, 999], [9, 999], [0, 1005]] == values.tolist()
    assert [0, 1, 0, 0, 4] == together.groups_of(values).tolist()
    epochs, statuses = twins.do("pin", keys[1:2])
    assert ([1], [Status.OK]) == (epochs.tolist(), statuses.tolist())
    epochs, statuses = twins.do("pin", [*keys[1:2], bytes(48)])
    assert ([1, 0], [Status.UNKNOWN] * 2) == (epochs.tolist(), statuses.tolist())
    assert [True, False, True, True, True] == twins.do("belonging")[2].tolist()
    twins.check_all()


def test_a_group_is_picked_whole_and_one_with_a_pinned_flow_is_not() -> None:
    engine: Engine = Twins(lambda: [Naming()]).compiled
    engine.process(burst_of([frame(1, 7), frame(2, 8), frame(3, 7), frame(4, 0), frame(5, 7), frame(6, 8)]))
    picked = together.pick(engine, 3, nobody)
    assert [6, 2] == numbers(picked.keys), "the youngest group; the next one would be too many"
    assert ([1, 1], [1, 1], 0) == (picked.epochs.tolist(), picked.groups.tolist(), picked.passed_over)
    picked = together.pick(engine, 2, nobody)
    assert ([5, 3, 1], [0, 0, 0]) == (numbers(picked.keys), picked.groups.tolist()), "one group at least"
    engine.process(burst_of([frame(7, 8)]))
    assert [4] == numbers(together.pick(engine, 9, nobody).keys), "7 belongs to 6 and 2, which are on their way"


def test_a_group_that_is_too_large_stays_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "GROUP_FLOWS_MAX", 2)
    engine: Engine = Twins(lambda: [Naming()]).reference
    engine.process(burst_of([frame(1, 7), frame(2, 7), frame(3, 7), frame(4, 8)]))
    picked = together.pick(engine, 9, nobody)
    assert ([4], 3) == (numbers(picked.keys), picked.passed_over)


def test_what_is_barred_is_not_picked_nor_what_belongs_to_it() -> None:
    engine: Engine = Twins(lambda: [Naming()]).compiled
    engine.process(burst_of([frame(1, 7), frame(2, 7), frame(3, 8)]))
    picked = together.pick(engine, 9, lambda keys: np.array([key[3] == 1 for key in keys]))
    assert [3] == numbers(picked.keys)


def test_one_refusal_is_that_of_the_whole_group() -> None:
    statuses = np.array([Status.OK, Status.FULL, Status.OK, Status.OK], np.uint8)
    answers = together.as_one(statuses, np.array([0, 1, 1, 3]))
    assert [Status.OK, Status.FULL, Status.BUSY, Status.OK] == answers.tolist()


@pytest.mark.parametrize("field", ["nothing", "signed"])
def test_a_bond_has_to_be_an_unsigned_field_of_the_state(field: str) -> None:
    @nf.state
    class Signed:
        signed: nf.i32

    class Wrong(nf.NF):
        State = Signed
        together = field

    with pytest.raises(CallerError, match=rf"^wrong\.together: '{field}' is no unsigned field of its State$"):
        Chain.of([Wrong()])
