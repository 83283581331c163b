"""A crash of every node at every message of every protocol, one by one: before the message is handled, and behind it;
who died beginning again or not; and what it had sent arriving or not.

In ``make test`` one of ``NFACTOR_STEPS`` of these, in ``make nightly`` all.
"""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import product

import attrs
import pytest

from nfactor.cluster.names import COORDINATOR
from nfactor.testing.faults import LONG_TRAFFIC_US, Deed, Schedule, What
from nfactor.testing.heap import Delivery
from nfactor.testing.limits import Limits
from nfactor.testing.schedules import Run
from nfactor.testing.trace import UNTOLD

STRIDE = int(os.environ.get("NFACTOR_STEPS", "211"))
"""A prime, so that every choice has its turn."""
VICTIMS = ["runtime-0", "runtime-1", "runtime-2", "switch-0", COORDINATOR]
NEVER = Deed("no such message", 0, What.LOSE)
"""Deeds may strike for so long as there are any."""

MIGRATIONS = Schedule("every step", 7, runtimes=3, flows=4, bursts=30, migrations=4, deeds=[NEVER])
LONG = attrs.evolve(MIGRATIONS, traffic_us=LONG_TRAFFIC_US, bursts=60)
RECOVERY = attrs.evolve(LONG, kill_at=[(80, "runtime-1")])
REBUILD = attrs.evolve(LONG, kill_at=[(40, "switch-0")], restart_after_us={"switch-0": 3_000}, migrations=6)

MOVING = {"PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "FlowStatuses"}
STORING = {"StoreCommit", "CommitsStored"}
MENDING = {"NotifyClusterCfg", "ViewTaken", "SetReplicas", "Recover", "ClaimFlows", "FlowsClaimed", "TakeBack",
           "RecoveryOver", "StepTaken", "Witness", "LastHeard"}  # fmt: skip
REPORTING = {"Join", "ReportFlows", "FlowsReported"}
LEASING = {"LeaseNumbers", "NumbersLeased", "ReturnNumbers", "TakeNumbers"}

RUNS: dict[str, tuple[Schedule, set[str]]] = {
    "migrations": (MIGRATIONS, MOVING | STORING),
    "migrations at two switches": (attrs.evolve(MIGRATIONS, switches=2), MOVING | STORING),
    "migrations under every": (attrs.evolve(MIGRATIONS, mode="every=4"), MOVING | STORING),
    "refused flows": (attrs.evolve(MIGRATIONS, reluctant=0.5), MOVING | STORING),
    "a recovery": (RECOVERY, MENDING | STORING),
    "a recovery at two switches": (attrs.evolve(RECOVERY, switches=2), MENDING | STORING),
    "a recovery without replicas": (attrs.evolve(RECOVERY, mode="none"), MENDING - {"ClaimFlows", "FlowsClaimed"}),
    "a runtime that begins again": (
        attrs.evolve(RECOVERY, restart_after_us={"runtime-1": 3_000}), (MENDING - {"Witness", "LastHeard"}) | {"Join"},
    ),
    "a switch that begins again": (REBUILD, MOVING | STORING | REPORTING),
    "one of two switches that begins again": (attrs.evolve(REBUILD, switches=2), MOVING | STORING | REPORTING),
    "a source that dies": (
        attrs.evolve(LONG, deeds=[Deed("InstallFlows", 0, What.DIE)]), MENDING | STORING | {"FinishFlows"},
    ),
    "a target that dies": (attrs.evolve(LONG, deeds=[Deed("FlowsInstalled", 0, What.DIE)]), MENDING),
    "no room for what the dead one had": (
        attrs.evolve(RECOVERY, limits=Limits(flows=2), flows=6), MENDING | STORING | {"ForgoFlows"},
    ),
    "markers that are lost": (attrs.evolve(LONG, marker_loss=0.5, migrations=8), MOVING | STORING | {"SendMarker"}),
    "a coordinator that begins again": (
        attrs.evolve(LONG, kill_at=[(40, COORDINATOR)], restart_after_us={COORDINATOR: 3_000}),
        MOVING | STORING | {"ReadState", "KnownState", "NotifyClusterCfg"},
    ),
    "ends of flows": (
        attrs.evolve(LONG, flows_end=True, gatherings=6), MOVING | STORING | {"ExpireFlows", "ForgetReplicas"},
    ),
    "numbers of a pool": (
        attrs.evolve(LONG, seed=11, flows_end=True, gatherings=6, switches=2, ports=12, block=2),
        MOVING | STORING | LEASING,
    ),
}  # fmt: skip


@attrs.frozen
class Step:
    """A message: the first of its kind, the second ..."""

    kind: str
    before: int


def steps_of(schedule: Schedule) -> list[Step]:
    """Every message of a run in which nothing else happens, but for signs of life."""
    run, steps, counts = Run(schedule), list[Step](), Counter[str]()
    before = run.network.before

    def see(delivery: Delivery) -> None:
        if run.faults.strikes:
            steps.append(Step(delivery.kind, counts[delivery.kind]))
            counts[delivery.kind] += 1
        before(delivery)

    run.network.before = see
    run.judge()
    return [step for step in steps if step.kind not in UNTOLD]


def with_deaths(schedule: Schedule, steps: list[Step], victim: str) -> Iterator[Schedule]:
    """A death of that node at each of these steps, in every way."""
    agains = [0, 3_000] if victim.startswith("runtime") else [3_000]
    for step, what, again_us, kept in product(steps, [What.DIE, What.DIE_BEHIND], agains, [True, False]):
        deed = Deed(step.kind, step.before, what, victim, again_us=again_us)
        yield attrs.evolve(schedule, deeds=[*schedule.deeds, deed], keep_messages=kept)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("name", RUNS)
def test_a_crash_at_any_message_breaks_no_promise(name: str, victim: str) -> None:
    schedule, kinds = RUNS[name]
    steps = steps_of(schedule)
    assert kinds <= {step.kind for step in steps}
    every = list(with_deaths(schedule, steps, victim))
    first = sum(name.encode() + victim.encode()) % STRIDE
    for drawn in every[first % len(every) :: STRIDE]:
        try:
            Run(drawn).judge()
        except Exception as error:
            error.add_note(f"{victim} dies: {drawn.deeds[-1]}, what it had sent is {drawn.keep_messages=}")
            raise
