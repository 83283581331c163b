"""Failure domains: flows survive the death of all runtimes of one; and runtimes that are started where few are left."""

import pytest

from nfactor.protocols.dealing import Deal
from nfactor.testing.faults import Schedule
from nfactor.testing.schedules import Run


def test_buckets_are_dealt_to_replicas_that_do_not_fail_with_the_primary() -> None:
    deal = Deal()
    assert deal.change(["near", "far"], apart=["far"]).all()
    assert (deal._holders == 1).all()
    assert deal.change(["near"]).all(), "far is dead: rather near than nobody"
    assert (deal._holders == 0).all()
    assert not deal.change(["near", "far"], apart=["far"]).any(), "a bucket never leaves a replica that lives"


@pytest.mark.parametrize("before", range(0, 180, 2))
def test_no_flow_is_lost_when_a_whole_domain_dies(before: int) -> None:
    """Two of four runtimes at once, before any message, while flows migrate between all: as if one had died. (What one
    of them had turned to the other was lost with both.)"""
    schedule = Schedule("replication", before, runtimes=4, domains=("a", "a", "b", "b"), bursts=60, migrations=6)
    schedule.kill_at = [(before, "runtime-0"), (before, "runtime-1")]
    run = Run(schedule)
    run.judge()
    assert before > 120 or {"runtime-0", "runtime-1"} == {death.node for death in run.cluster.history.deaths}


def test_without_domains_the_same_two_may_have_been_replicas_of_each_other() -> None:
    """So the test above can fail."""
    lost = 0
    for before in range(0, 180, 2):
        schedule = Schedule("replication", before, runtimes=4, domains=("a", "b", "a", "b"), bursts=60, migrations=6)
        schedule.kill_at = [(before, "runtime-0"), (before, "runtime-1")]
        run = Run(schedule)
        run.judge()
        born = {came.born for came in run.cluster.history.out}
        lost += len(born) > len(run.cluster.key_of)
    assert lost > 10


@pytest.mark.parametrize("runtimes", [1, 2, 3])
@pytest.mark.parametrize("mode", ["strict", "strict-hold", "every=4"])
def test_a_runtime_is_started_where_there_is_none_to_replicate_to(runtimes: int, mode: str) -> None:
    for before in range(0, 100, 7):
        schedule = Schedule("replication", before, runtimes=runtimes, mode=mode, launches=True)
        schedule.kill_at = [(before, "runtime-0")]
        run = Run(schedule)
        run.judge()
        living = [runtime.node.name for runtime in run.cluster.living()]
        assert len(living) == max(2, runtimes - 1)
        assert "runtime-0" not in living


def test_what_is_launched_goes_into_a_domain_where_nobody_lives() -> None:
    schedule = Schedule("replication", 1, runtimes=2, domains=("a", "b"), launches=True)
    schedule.kill_at = [(30, "runtime-0")]
    run = Run(schedule)
    run.judge()
    assert "a" == run.cluster.domains[2]


def test_another_is_launched_when_the_first_does_not_come() -> None:
    schedule = Schedule("replication", 1, runtimes=2, launches=True)
    run = Run(schedule)
    launch, asked = run.cluster.launch, []

    def fail_once(index: int, domain: str) -> None:
        asked.append(index)
        if len(asked) > 1:
            launch(index, domain)

    run.cluster.launch = fail_once  # type: ignore[method-assign]
    run.cluster.kill("runtime-0")
    run.network.run(run.network.now_us + 20_000_000)
    assert [2, 3] == asked
    assert ["runtime-1", "runtime-3"] == [runtime.node.name for runtime in run.cluster.living()]
    run.judge()
