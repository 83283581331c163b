"""Buckets are dealt to replicas: evenly, for good, and anew when one dies."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.dataplane.buckets import BUCKETS
from nfactor.protocols.dealing import NOBODY, Deal, batches

EVERY = np.arange(BUCKETS, dtype=np.uint16)
NAMES = [f"runtime-{number}" for number in range(6)]


def held(deal: Deal) -> list[str]:
    return [deal.name(number) if number != NOBODY else "" for number in deal.holders(EVERY).tolist()]


@given(st.lists(st.permutations(NAMES).flatmap(lambda names: st.integers(0, 6).map(lambda n: names[:n])), max_size=8))
def test_a_bucket_leaves_no_replica_that_lives_and_has_one_if_there_is_any(views: list[list[str]]) -> None:
    deal = Deal()
    before = held(deal)
    assert set(before) == {""}
    for replicas in views:
        dealt = deal.change(replicas)
        after = held(deal)
        for there, was, now, new in zip(EVERY, before, after, dealt.tolist(), strict=True):
            assert new == (was not in replicas), there
            assert now == was or new
        assert set(after) <= (set(replicas) or {""})
        assert [name for _, name in deal.numbered()] == list(deal.replicas) == replicas
        assert all(deal.name(number) == name for number, name in deal.numbered())
        before = after


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 255])
def test_buckets_are_dealt_evenly_and_those_of_the_dead_too(count: int) -> None:
    deal, names = Deal(), [f"runtime-{number}" for number in range(count)]
    deal.change(names)
    shares = np.unique(held(deal), return_counts=True)[1]
    assert len(shares) == count
    assert shares.max() - shares.min() <= 1
    if count > 1:
        deal.change(names[1:])
        shares = np.unique(held(deal), return_counts=True)[1]
        assert shares.max() - shares.min() <= 2


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 12))
def test_batches_hold_whole_buckets_and_no_more_flows_than_said(counts: list[int], most: int) -> None:
    cuts = batches(np.array(counts, np.intp), most)
    assert [first for first, _ in cuts] == [0, *(behind for _, behind in cuts[:-1])]
    assert cuts[-1][1] == len(counts)
    for first, behind in cuts:
        assert behind - first == 1 or sum(counts[first:behind]) <= most
        assert behind == len(counts) or sum(counts[first : behind + 1]) > most, "and no fewer than fit"
