"""Buckets of flows: the same to everybody, and even."""

import numpy as np
import pytest

from nfactor.dataplane.buckets import BUCKETS, NO_BUCKET, buckets_of
from nfactor.functions.monitor import Monitor
from nfactor.testing.packets import burst_of, tcp, udp
from tests.dataplane.test_changes import both
from tests.dataplane.test_engines import A, B


def test_both_engines_and_numpy_find_the_same_buckets() -> None:
    frames = [*(udp(A, port, B, 9) for port in range(200)), udp(A, 1, B, 2)[:20], tcp("10.1.2.3", 5, B, 80)]
    found = []
    for engine in both(Monitor()):
        engine.process(burst_of(frames))
        rows = engine.touched
        found.append(engine.changes.buckets(rows).tolist())
        assert found[-1][200] == NO_BUCKET
        keys = engine.changes.keys_of(rows)
        there = [place for place in range(len(frames)) if place != 200]
        assert [found[-1][place] for place in there] == buckets_of(keys.array[there]).tolist()
    assert found[0] == found[1]
    assert max(found[0][:200]) < BUCKETS
    assert len(set(found[0])) > 190


@pytest.mark.parametrize("pattern", ["addresses in a row", "addresses a power of two apart", "ports", "IPv6"])
def test_flows_of_any_pattern_spread_evenly_over_the_buckets(pattern: str) -> None:
    """Of 64 flows a bucket a random hash has 32 to 110 in one; of three shares, 1 % more in one than in another."""
    count = 64 * BUCKETS
    numbers = np.arange(count, dtype=np.uint32)
    keys = np.zeros((count, 48), np.uint8)
    keys[:, 32:40] = (4, 0, 0, 80, 6, 4, 0, 0)
    keys[:, 16:20] = (192, 0, 2, 1)
    if pattern == "ports":
        keys[:, 32:34] = (numbers % 60_000).astype(">u2").view(np.uint8).reshape(-1, 2)
        keys[:, 3] = numbers // 60_000
    elif pattern == "IPv6":
        keys[:, 12:16] = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    else:
        apart = numbers if pattern == "addresses in a row" else numbers << np.uint32(12)
        keys[:, 0:4] = apart.astype(">u4").view(np.uint8).reshape(-1, 4)
        keys[:, 4] = numbers >> 20 if pattern != "addresses in a row" else 0
    counts = np.bincount(buckets_of(keys), minlength=BUCKETS)
    assert 16 < counts.min()
    assert counts.max() < 140
    shares = np.bincount(np.arange(BUCKETS) % 3, counts)
    assert shares.max() / shares.min() < 1.03
