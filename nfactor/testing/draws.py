"""How a schedule of faults is drawn from its seed.

What is drawn besides, of a stream of its own so that the rest stays as it is, is in ``nfactor.testing.more_draws``.
"""

from collections.abc import Iterator, Sequence
from random import Random

from nfactor.cluster.names import COORDINATOR, OUTSIDE
from nfactor.testing.faults import (
    BEGINNING,
    ENDING,
    LONG_TRAFFIC_US,
    MENDING,
    MOVING,
    RECEIVER,
    SENDER,
    STORING,
    TRAFFIC_US,
    Deed,
    Schedule,
    What,
)
from nfactor.testing.heap import Clock
from nfactor.testing.limits import FLOWS_MAX, Limits
from nfactor.testing.more_draws import draw_more

KILL_WITHIN_DELIVERIES = 160
"""A node that is to die does so before one of so many messages."""

SCENARIOS = ("migration", "replication", "recovery", "cluster", "restarts", "nat")
_MODES = ("strict", "strict", "strict-hold", "every=4", "none")
_REPLICATED = ("strict", "strict", "strict-hold", "every=4")
_SHORT_US, _DEADLY_US = (500, 5_000, 300_000), 2_500_000
_FADING_US = (200, 1_000, 5_000, 30_000, 30_000)
_AGAIN_US = (200, 3_000, 50_000, 1_500_000)


def draw(scenario: str, seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = Random(f"{scenario} {seed}")
    schedule = Schedule(scenario, seed)
    schedule.runtimes = rng.choice([2, 3, 3, 4])
    schedule.flows, schedule.bursts = rng.randint(2, 6), rng.randint(25, 60)
    schedule.mode = rng.choice({"migration": ("none",), "replication": _REPLICATED}.get(scenario, _MODES))
    schedule.migrations = rng.randint(2, 8) if scenario != "replication" else rng.randint(0, 3)
    schedule.gatherings = rng.choice([0, 3, 6, 10])
    schedule.keep_messages, schedule.keep_packets = rng.random() < 0.4, rng.random() < 0.7
    schedule.switches = rng.choice([1, 1, 2] if scenario != "nat" else [1, 2, 3])
    schedule.reluctant = rng.choice([0.0, 0.0, 0.0, 0.3, 1.0])
    schedule.flows_end = rng.random() < {"nat": 0.5, "replication": 0.4, "migration": 0.3}.get(scenario, 0.15)
    if scenario in ("recovery", "cluster", "restarts"):
        schedule.rounds = rng.choice([1, 1, 2, 3])
    if scenario in ("recovery", "cluster", "restarts", "nat") and schedule.rounds == 1:
        schedule.traffic_us = rng.choice([TRAFFIC_US, LONG_TRAFFIC_US])
    schedule.bursts, schedule.migrations = schedule.bursts * schedule.rounds, schedule.migrations * schedule.rounds
    if rng.random() < 0.15:
        schedule.limits = Limits(
            flows=rng.choice([1, 3, FLOWS_MAX]),
            switch_flows=rng.choice([2, FLOWS_MAX, FLOWS_MAX]),
            buffer_packets=rng.choice([0, 3, 4096]),
        )
    names = [f"runtime-{number}" for number in range(schedule.runtimes)]
    switches = [f"switch-{number}" for number in range(schedule.switches)]
    _DRAWN[scenario](rng, schedule, names, switches)
    draw_more(schedule, names, switches)
    return schedule


def _draw_migration(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    for _ in range(rng.randint(0, 3)):
        schedule.deeds += _trouble(rng, ENDING if schedule.flows_end and rng.random() < 0.5 else MOVING)
    _draw_disturbances(rng, schedule, [*names, *switches, COORDINATOR, OUTSIDE], names)


def _draw_replication(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    for _ in range(rng.randint(0, 3)):
        schedule.deeds += _trouble(rng, ENDING if schedule.flows_end and rng.random() < 0.5 else (*STORING, *MOVING))
    _draw_disturbances(rng, schedule, [*names, *switches, COORDINATOR, OUTSIDE], names)


def _draw_recovery(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    schedule.marker_loss = rng.choice([0.0, 0.0, 0.0, 0.5])
    for number in range(schedule.rounds):
        schedule.deeds += _deaths(rng, schedule, names, number)
        for _ in range(rng.choice([0, 0, 1, 2])):
            schedule.deeds += _trouble(rng, (*MOVING, *STORING, *MENDING), number)
    schedule.deeds += _doom(rng)


def _draw_cluster(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    for number in range(schedule.rounds):
        schedule.deeds += _deaths(rng, schedule, names, number)
        for _ in range(rng.choice([0, 1, 2])):
            schedule.deeds += _trouble(rng, (*MOVING, *STORING, *MENDING, *ENDING), number)
    _draw_disturbances(rng, schedule, [*names, *switches, COORDINATOR, OUTSIDE], names)
    schedule.deeds += _doom(rng)


def _draw_restarts(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    everybody = [*names, *switches, *switches, COORDINATOR, COORDINATOR]
    if rng.random() < 0.3:
        for name in rng.sample(everybody, rng.choice([1, 1, 2, 3])):
            schedule.kill_at.append((rng.randint(0, KILL_WITHIN_DELIVERIES), name))
            if not name.startswith("runtime") or rng.random() < 0.7:
                schedule.restart_after_us[name] = rng.choice(_AGAIN_US)
    for number in range(schedule.rounds):
        for _ in range(rng.choice([1, 1, 2])):
            kind, before = _step(rng, (*MOVING, *STORING, *MENDING, *BEGINNING))
            who = rng.choice([SENDER, RECEIVER, *everybody])
            schedule.deeds.append(_death(rng, kind, before, who, number, again=0.7))
            if rng.random() < 0.5:
                schedule.deeds.append(Deed(kind, before, What.LOSE, round=number))
        if rng.random() < 0.3:
            schedule.deeds += _trouble(rng, (*MOVING, *STORING, *MENDING, *BEGINNING), number)


def _draw_nat(rng: Random, schedule: Schedule, names: list[str], switches: list[str]) -> None:
    schedule.ports, schedule.block = rng.choice([4, 12, 40]), rng.choice([1, 2, 4])
    for name in rng.sample([*names, *switches, COORDINATOR], rng.choice([0, 1, 1, 2])):
        schedule.kill_at.append((rng.randint(0, KILL_WITHIN_DELIVERIES), name))
        if name not in names or rng.random() < 0.5:
            schedule.restart_after_us[name] = rng.choice(_AGAIN_US)
    if rng.random() < 0.4:
        _draw_disturbances(rng, schedule, [*names, *switches, COORDINATOR, OUTSIDE], names)


_DRAWN = {
    "migration": _draw_migration,
    "replication": _draw_replication,
    "recovery": _draw_recovery,
    "cluster": _draw_cluster,
    "restarts": _draw_restarts,
    "nat": _draw_nat,
}


def _step(rng: Random, kinds: Sequence[str]) -> tuple[str, int]:
    return rng.choice(kinds), rng.choice([0, 0, 1, 1, 2, 3, 5])


def _deaths(rng: Random, schedule: Schedule, names: list[str], number: int) -> Iterator[Deed]:
    """In one round one or two runtimes die, or are thought to; the second of them perhaps while the first is made good
    for."""
    again = 0.0 if schedule.rounds == 1 else 0.6
    if rng.random() < 0.25:
        kind, before = _step(rng, (*MOVING, *STORING, "SetMigrationTarget"))
        yield Deed(kind, before, What.SLEEP, rng.choice([SENDER, RECEIVER]), _DEADLY_US, number)
    else:
        kind, before = _step(rng, (*MOVING, *STORING))
        yield _death(rng, kind, before, rng.choice([SENDER, RECEIVER]), number, again=again)
        if rng.random() < 0.5:
            yield Deed(kind, before, What.STIR, round=number)
    if schedule.runtimes > 2 and rng.random() < 0.35:
        kind, before = _step(rng, rng.choice([MENDING, (*MOVING, *STORING)]))
        yield _death(rng, kind, before, rng.choice([SENDER, RECEIVER, *names]), number, again=again)
    if rng.random() < 0.2:
        yield Deed("NotifyClusterCfg", rng.randint(0, 3), What.LOSE, round=number)
    for _ in range(rng.choice([0, 1, 2])):
        yield Deed(*_step(rng, MENDING), What.STIR, round=number)


def _doom(rng: Random) -> Iterator[Deed]:
    """Now and then a target dies when it has promised to hold flows, and its source and a switch do not hear of each
    other for longer than it takes to miss it."""
    if rng.random() < 0.12:
        number = rng.randint(0, 1)
        yield Deed("FlowStatuses", 2 * number, What.DIE_BEHIND)  # to every second question of these
        yield Deed("RedirectFlows", number, rng.choice([What.CUT, What.MUTE]), length_us=_DEADLY_US)


def _death(rng: Random, kind: str, before: int, who: str, number: int, *, again: float) -> Deed:
    again_us = rng.choice(_AGAIN_US) if rng.random() < again else 0
    if rng.random() < 0.4:
        return Deed(kind, before, What.FADE, SENDER, rng.choice(_FADING_US), number, again_us)
    return Deed(kind, before, rng.choice([What.DIE, What.DIE_BEHIND]), who, 0, number, again_us)


def _trouble(rng: Random, kinds: Sequence[str], number: int = 0) -> Iterator[Deed]:
    """Something at a step that kills nobody."""
    kind, before = _step(rng, kinds)
    what = rng.choice([What.LOSE, What.MUTE, What.CUT, What.SLEEP, What.STIR])
    yield Deed(kind, before, what, rng.choice([SENDER, RECEIVER]), rng.choice(_SHORT_US), number)
    if rng.random() < 0.5:
        yield Deed(kind, before, What.STIR, round=number)


def _draw_disturbances(rng: Random, schedule: Schedule, everybody: list[str], runtimes: list[str]) -> None:
    for _ in range(rng.randint(0, 2)):
        a, b = rng.sample(everybody, 2)
        schedule.broken.append((rng.randrange(schedule.traffic_us), a, b))
    for _ in range(rng.randint(0, 2)):
        length = rng.choice(_SHORT_US)
        a, b = rng.sample(everybody, 2)
        schedule.cuts.append((rng.randrange(schedule.traffic_us), a, b, length))
    for _ in range(rng.randint(0, 2)):
        length = rng.choice([*_SHORT_US, _DEADLY_US] if schedule.scenario in ("cluster", "nat") else _SHORT_US)
        schedule.pauses.append((rng.randrange(schedule.traffic_us), rng.choice(runtimes), length))
    if rng.random() < 0.3:
        schedule.port_loss = rng.choice([0.005, 0.05, 0.2])
    if rng.choice([False, False, True]):
        schedule.clocks = {name: Clock(offset_s=1000.0 * number) for number, name in enumerate(runtimes)}
