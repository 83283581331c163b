"""A crash of every node at every message of every protocol, one by one: before the message is handled, and behind it;
who died beginning again or not; and what it had sent arriving or not. Nodes that are dead at that message are left out,
as a second death would strike nobody; every other death is held to have struck.

In ``make test`` one of ``NFACTOR_STEPS`` of these, in ``make nightly`` all. Which messages are no steps is said below
(``NO_STEPS``).
"""

import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product

import attrs
import pytest

from nfactor.cluster.codec import CLASSES
from nfactor.cluster.names import COORDINATOR
from nfactor.testing.faults import LONG_TRAFFIC_US, Deed, Schedule, What
from nfactor.testing.heap import Delivery
from nfactor.testing.limits import Limits
from nfactor.testing.schedules import Run
from nfactor.testing.trace import UNTOLD

STRIDE = int(os.environ.get("NFACTOR_STEPS", "269"))
"""A prime, so that every choice has its turn."""
VICTIMS = ["runtime-0", "runtime-1", "runtime-2", "switch-0", COORDINATOR]
NEVER = Deed("no such message", 0, What.LOSE)
"""Deeds may strike for so long as there are any."""
AROUND = {"Answer", "Call", "ControlCall"}
"""What is inside counts."""
INSIDE = {"AliasSet", "EmittedRecords", "FlowSet", "Member", "Protection", "Released"}
"""Parts of other messages."""
ASKED = {
    "EndFlows", "FlowsEnded", "Migrate", "PollWorkload", "Workload", "ReadCounters", "NodeCounters", "ReadFalseAlarms",
    "FalseAlarms", "ReadFlow", "FlowRecord", "ReadMigrations", "MigrationCounts", "ReadView",
}  # fmt: skip
"""Questions of whoever drives a cluster, and their answers: on the heap nobody asks by messages."""
NO_STEPS = {*AROUND, *INSIDE, *ASKED, *UNTOLD}
"""Messages that no run here has. All others are steps of one."""

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
    "a recovery under strict-hold": (attrs.evolve(RECOVERY, mode="strict-hold"), MENDING | STORING),
    "a recovery where failure domains are told apart": (
        attrs.evolve(RECOVERY, domains=("a", "a", "b")), MENDING | STORING,
    ),
    "a runtime that is launched in place of a dead one": (
        attrs.evolve(RECOVERY, runtimes=2, launches=True), STORING | {"LaunchRuntime", "RuntimeLaunched", "Join"},
    ),
    "a source that dies with the only states": (
        attrs.evolve(LONG, mode="none", deeds=[Deed("RedirectFlows", 0, What.DIE)]), {"Recover", "FindTurned"},
    ),
    "a source that is declared dead, and lives": (
        attrs.evolve(LONG, deeds=[Deed("RedirectFlows", 0, What.ISOLATE, length_us=1_300_000)]),
        MENDING | STORING | {"CancelFlows"},
    ),
    "a switch of a NAT that begins again": (
        attrs.evolve(REBUILD, seed=11, flows_end=True, gatherings=6, switches=2, ports=12, block=2),
        REPORTING | {"ForgetAliases", "LearnAliases"},
    ),
}  # fmt: skip


@attrs.frozen
class Step:
    """A message: the first of its kind, the second ..."""

    kind: str
    before: int
    number: int
    """How many messages of any kind arrived before it."""
    alive: frozenset[str]
    """Who lives when it arrives, and (``alive_behind``) when it has been handled: also those that have begun again."""
    alive_behind: frozenset[str]


@cache
def steps_of(name: str, *, kept: bool) -> list[Step]:
    """Every message of that run in which nothing else happens, but for signs of life. ``kept``: what the dead had sent
    arrives; where nodes die in the run, other messages come if it does not."""
    run, steps, counts = Run(attrs.evolve(RUNS[name][0], keep_messages=kept)), list[Step](), Counter[str]()
    network, before, behind = run.network, run.network.before, run.network.behind

    def alive() -> frozenset[str]:
        return frozenset(name for name, node in network.nodes.items() if node.alive)

    def see(delivery: Delivery) -> None:
        before(delivery)
        if run.faults.strikes:
            steps.append(Step(delivery.kind, counts[delivery.kind], delivery.number, alive(), frozenset()))
            counts[delivery.kind] += 1

    def see_behind(delivery: Delivery) -> None:
        behind(delivery)
        if run.faults.strikes:
            steps[-1] = attrs.evolve(steps[-1], alive_behind=alive())

    network.before, network.behind = see, see_behind
    run.judge()
    return [step for step in steps if step.kind not in UNTOLD]


@attrs.frozen
class Death:
    """A schedule in which a node dies at a step, and when that is: how many messages have been handled by then."""

    schedule: Schedule
    victim: str
    number: int

    def strike(self) -> None:
        """Run it. The death has to strike, at that step."""
        run, died = Run(self.schedule), list[tuple[str, int]]()
        killed = run.cluster.killed

        def see(name: str) -> None:
            died.append((name, run.network.delivered))
            killed(name)

        run.cluster.killed = see
        run.judge()
        assert (self.victim, self.number) in died


def with_deaths(name: str, victim: str) -> Iterator[Death]:
    """A death of that node at each step at which it lives, in every way."""
    schedule = RUNS[name][0]
    agains = [0, 3_000] if victim.startswith("runtime") else [3_000]
    for kept in (True, False):
        for step, what, again_us in product(steps_of(name, kept=kept), [What.DIE, What.DIE_BEHIND], agains):
            is_behind = what is What.DIE_BEHIND
            if victim in (step.alive_behind if is_behind else step.alive):
                deed = Deed(step.kind, step.before, what, victim, again_us=again_us)
                struck = attrs.evolve(schedule, deeds=[*schedule.deeds, deed], keep_messages=kept)
                yield Death(struck, victim, step.number + is_behind)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("name", RUNS)
def test_a_crash_at_any_message_strikes_and_breaks_no_promise(name: str, victim: str) -> None:
    every = list(with_deaths(name, victim))
    first = sum(name.encode() + victim.encode()) % STRIDE
    for death in every[first % len(every) :: STRIDE]:
        try:
            death.strike()
        except (Exception, AssertionError) as error:
            drawn = death.schedule
            error.add_note(f"{victim} dies: {drawn.deeds[-1]}, what it had sent is {drawn.keep_messages=}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_has_the_steps_that_it_is_there_for(name: str, kept: bool) -> None:
    assert RUNS[name][1] <= {step.kind for step in steps_of(name, kept=kept)}


@pytest.mark.slow
def test_every_message_between_nodes_is_a_step_of_some_run() -> None:
    steps = {step.kind for name in RUNS for step in steps_of(name, kept=True)}
    assert NO_STEPS == {message.__name__ for message in CLASSES} - steps
