"""Counters and pools: the same in both engines, and a number is never with two."""

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.errors import CallerError
from nfactor.testing import check_nf
from nfactor.testing.packets import burst_of, udp
from nfactor.testing.twins import Twins


@nf.state
class Held:
    number: nf.u32
    """1 + the number that the flow has."""


class Numbered(nf.NF):
    """Each flow has a number while it lives; without one its packets are dropped."""

    State = Held
    drop_reasons = ("none_left",)

    def __init__(self, size: int = 3) -> None:
        self.ids = nf.Pool(size, 2)
        self.given = nf.Counter()
        self.octets = nf.Counter()

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        self.octets.add(pkt.length)
        if fs.number == 0:
            number = self.ids.take()
            if number == nf.NONE_LEFT:
                return nf.drop(0)
            self.given.add()
            fs.number = 1 + number
        return nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: Any) -> None:
        if fs.number:
            self.ids.give_back(fs.number - 1)


def flows(*ports: int) -> Any:
    return burst_of([udp("10.0.0.1", port, "10.0.0.2", 53) for port in ports])


def test_flows_have_numbers_of_their_own_and_give_them_back_when_they_end() -> None:
    """In both engines: three flows find a number, the fourth does not until one of them has ended."""
    twins = Twins(lambda: [Numbered()])
    assert ["forward", "forward", "forward", "numbered_none_left"] == twins.process(flows(1, 2, 3, 4))
    first = twins.do("keys")[:1]
    twins.do("expire", first)
    assert ["forward", "numbered_none_left"] == twins.process(flows(4, 1))
    counts = {"numbered.given": 4, "numbered.octets": 252, "numbered.ids.none_left": 2, "numbered.ids.stray": 0}
    assert [counts] * 2 == [engine.chain.counters() for engine in (twins.reference, twins.compiled)]


def test_numbers_move_with_their_flows_between_engines() -> None:
    check_nf(lambda: Numbered(7))


def test_a_leased_pool_begins_empty_and_keeps_what_is_given_back_for_who_looks_after_it() -> None:
    """In both engines, and what is put in is there for the next burst: nothing is compiled again."""
    twins = Twins(lambda: [Numbered()])
    pools = [engine.chain.pools()["numbered.ids"] for engine in (twins.reference, twins.compiled)]
    for pool in pools:
        pool.lease()
    assert ["numbered_none_left"] == twins.process(flows(1))
    for pool in pools:
        pool.put([2])
    assert ["forward", "numbered_none_left"] == twins.process(flows(1, 2))
    twins.do("expire", twins.do("keys"))
    assert ["numbered_none_left"] == twins.process(flows(2))
    assert [[2], [2]] == [pool.collect().tolist() for pool in pools]


def test_what_cannot_be_of_the_pool_is_refused_and_counted() -> None:
    pool = nf.Pool(2)
    for stray in (2, -1, 0):  # the last one is a number of the pool, but none is out
        pool.give_back(stray)
    assert (3, 2) == (pool.refused_stray, pool.free)


@pytest.mark.parametrize(("size", "block"), [(0, 1), ((1 << 24) + 1, 1), (4, 0)])
def test_a_pool_of_no_or_too_many_numbers_is_a_mistake(size: int, block: int) -> None:
    with pytest.raises(CallerError, match="Pool"):
        nf.Pool(size, block)


def test_pools_and_counters_are_named_after_their_attribute() -> None:
    chain = Chain.of([Numbered()])
    assert (["numbered.ids"], 2) == (list(chain.pools()), chain.pools()["numbered.ids"].block)


class PoolMachine(RuleBasedStateMachine):
    """A leased pool beside a model: a queue of free numbers, and one of those that rest."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nf.Pool(6)
        self.pool.lease()
        self.free: deque[int] = deque()
        self.resting: list[int] = []
        self.out: set[int] = set()
        self.elsewhere = set(range(6))

    @precondition(lambda self: self.elsewhere)
    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        given = data.draw(st.lists(st.sampled_from(sorted(self.elsewhere)), unique=True))
        self.pool.put(np.array(given, np.uint32))
        self.free.extend(given)
        self.elsewhere -= set(given)

    @rule()
    def take(self) -> None:
        expected = self.free.popleft() if self.free else nf.NONE_LEFT
        assert expected == self.pool.take()
        self.out |= {expected} - {nf.NONE_LEFT}

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.out)))
        self.pool.give_back(number)
        self.out.remove(number)
        self.resting.append(number)

    @rule()
    def collect(self) -> None:
        assert self.resting == self.pool.collect().tolist()
        self.elsewhere |= set(self.resting)
        self.resting = []

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.free) == self.pool.free


TestPool = PoolMachine.TestCase
