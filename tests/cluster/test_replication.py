"""Replication and the death of a runtime: what survives is what one undisturbed runtime would have made of it."""

import pytest

from tests.cluster.harness import Inside, Run, run
from tests.cluster.test_cluster import ALONE, FRAMES, per_flow, with_numbering


def undisturbed(result: Run) -> Run:
    """One runtime, fed the same without what is said to be lost."""
    lost = {mark for marks in result.outcome.lost.values() for mark in marks}
    assert len(lost) == sum(map(len, result.outcome.lost.values()))
    return run(FRAMES, functions=with_numbering, without=lost)


@pytest.mark.parametrize("runtimes", [1, 2, 3])
@pytest.mark.parametrize("mode", ["strict", "every=7"])
def test_replication_changes_nothing_that_can_be_seen_from_outside(runtimes: int, mode: str) -> None:
    result = run(FRAMES, functions=with_numbering, runtimes=runtimes, replication=mode, look=Inside.check_nodes)
    assert per_flow(result, FRAMES) == per_flow(ALONE, FRAMES)
    assert result.rows() == ALONE.rows()
    unprotected = result.outcome.unprotected_packets
    assert unprotected == (len(FRAMES) if runtimes == 1 else 0), "alone there is nobody to replicate to"


@pytest.mark.parametrize("seed", range(4))
def test_flows_migrate_and_are_replicated(seed: int) -> None:
    result = run(
        FRAMES, functions=with_numbering, runtimes=3, replication="strict", migrate_every=50, seed=seed,
        look=Inside.check_nodes,
    )  # fmt: skip
    assert per_flow(result, FRAMES) == per_flow(ALONE, FRAMES)
    assert result.rows() == ALONE.rows()
    assert result.outcome.migrations.completed > 10
    assert result.outcome.unprotected_packets == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("runtimes", "mode"), [(2, "strict"), (3, "strict"), (4, "strict-hold")])
@pytest.mark.parametrize("migrate_every", [0, 17, 50])
def test_a_crash_loses_only_what_it_says(seed: int, runtimes: int, mode: str, migrate_every: int) -> None:
    result = run(
        FRAMES, functions=with_numbering, runtimes=runtimes, replication=mode, kill_at=500 + 37 * seed,
        migrate_every=migrate_every, seed=seed, look=Inside.check_nodes,
    )  # fmt: skip
    (lost,) = result.outcome.lost.values()
    assert 0 < len(lost) <= 256, "packets were on their way, and no more than the window"
    alone = undisturbed(result)
    assert per_flow(result, FRAMES) == per_flow(alone, FRAMES)
    assert result.rows() == alone.rows()
    assert result.outcome.recovered[0].flows > 0
    assert (result.outcome.unprotected_packets > 0) == (runtimes == 2), "two of three still protect each other"
