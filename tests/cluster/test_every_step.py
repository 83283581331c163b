"""A crash of every node before every message of a migration, and of a recovery, one by one.

In ``make test`` every eleventh step (``NFACTOR_STEPS``), in ``make nightly`` all of them.
"""

import os

import attrs
import pytest

from nfactor.cluster.names import COORDINATOR
from nfactor.testing.draws import LONG_TRAFFIC_US, Schedule
from nfactor.testing.heap import Delivery
from nfactor.testing.schedules import Run

STRIDE = int(os.environ.get("NFACTOR_STEPS", "11"))
RUNTIMES = [f"runtime-{number}" for number in range(3)]
MIGRATIONS = Schedule("every step", 7, runtimes=3, flows=4, bursts=30, migrations=4)
RECOVERY = attrs.evolve(MIGRATIONS, kill_at=[(40, "runtime-1")], traffic_us=LONG_TRAFFIC_US, bursts=60)
MENDING = {
    "NotifyClusterCfg", "ViewTaken", "SetReplicas", "Recover", "ClaimFlows", "FlowsClaimed", "FinishFlows", "TakeBack",
    "RecoveryOver", "StepTaken", "Witness", "LastHeard",
}  # fmt: skip


def deliveries(schedule: Schedule) -> list[Delivery]:
    """Every message of an undisturbed run."""
    run, seen = Run(schedule), list[Delivery]()
    before = run.network.before

    def see(delivery: Delivery) -> None:
        seen.append(attrs.evolve(delivery, number=delivery.number - run.first))
        before(delivery)

    run.network.before = see
    run.judge()
    return [delivery for delivery in seen if delivery.kind != "Heartbeat"]


def with_death(schedule: Schedule, step: int, victim: str) -> Schedule:
    restarts = {} if victim.startswith("runtime") else {victim: 3_000}
    return attrs.evolve(
        schedule,
        kill_at=[*schedule.kill_at, (step, victim)],
        restart_after_us={**schedule.restart_after_us, **restarts},
    )


@pytest.mark.slow
@pytest.mark.parametrize("switches", [1, 2])
@pytest.mark.parametrize("victim", [*RUNTIMES, "switch-0", COORDINATOR])
def test_a_crash_before_any_message_of_migrations_breaks_no_promise(victim: str, switches: int) -> None:
    schedule = attrs.evolve(MIGRATIONS, switches=switches)
    steps = [delivery for delivery in deliveries(schedule) if delivery.number < 200]
    assert {"PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "StoreCommit"} <= {
        delivery.kind for delivery in steps
    }
    for delivery in steps[::STRIDE]:
        Run(with_death(schedule, delivery.number, victim)).judge()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["runtime-0", "runtime-2", "switch-0", COORDINATOR])
def test_a_second_crash_before_any_message_of_a_recovery_breaks_no_promise(victim: str) -> None:
    steps = [delivery for delivery in deliveries(RECOVERY) if delivery.kind in MENDING]
    assert {delivery.kind for delivery in steps} >= {"Recover", "ClaimFlows", "TakeBack", "RecoveryOver"}
    for delivery in steps[:: max(1, STRIDE // 4)]:
        Run(with_death(RECOVERY, delivery.number, victim)).judge()
