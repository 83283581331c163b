"""What is drawn for a schedule besides, of a stream of its own: what goes on for a while, everywhere at once.

The rest of a seed's schedule is the same without it. Most schedules have none of it but clocks, so that what they find
is not hidden by it.
"""

from collections.abc import Callable
from random import Random

from nfactor.cluster.names import COORDINATOR, OUTSIDE
from nfactor.testing.faults import (
    BEGINNING,
    MENDING,
    MOVING,
    RECEIVER,
    SENDER,
    STORING,
    Deed,
    Schedule,
    What,
)
from nfactor.testing.heap import Clock

_WITH_DEATHS = ("recovery", "cluster", "restarts", "nat")
"""Scenarios in which runtimes may be declared dead."""
_SHORT_US = (500, 5_000, 50_000, 300_000)
_DEADLY_US = 2_500_000
_WITHOUT_COORDINATOR_US = (1_100_000, 1_600_000, 2_500_000)
_SLOWER_US = (2_000, 50_000)
_DRIFT_MAX = 1e-3
_OFFSET_MAX_S = 3600.0
_DOMAINS = {2: ("ab",), 3: ("aab", "aba", "abb"), 4: ("aabb", "abab", "aaab", "abcc")}


def draw_more(schedule: Schedule, runtimes: list[str], switches: list[str]) -> None:
    """Add it to a schedule of nodes of these names."""
    rng = Random(f"more {schedule.scenario} {schedule.seed}")
    everybody = [*runtimes, *switches, COORDINATOR, OUTSIDE]
    if rng.random() < 0.3:
        schedule.clocks |= {
            name: Clock(rng.uniform(0, _OFFSET_MAX_S), rng.uniform(-_DRIFT_MAX, _DRIFT_MAX))
            for name in rng.sample(everybody, rng.randint(1, len(everybody)))
        }
    if schedule.scenario in ("recovery", "cluster", "restarts"):
        if rng.random() < 0.13:
            schedule.domains = tuple(rng.choice(_DOMAINS[schedule.runtimes]))
        schedule.launches = rng.random() < 0.13
    if schedule.scenario in ("replication", "recovery") and rng.random() < 0.12:
        _draw_one_death(rng, schedule)
    elif rng.random() < 0.36:
        every = [*_ALWAYS, *(_WHERE_RUNTIMES_DIE if schedule.scenario in _WITH_DEATHS else ())]
        for draw in rng.sample(every, rng.choice([1, 1, 2])):
            draw(rng, schedule, everybody)
    schedule.links_keep = rng.random() < 0.3
    if schedule.scenario in _WITH_DEATHS and rng.random() < 0.12:
        _draw_unheard(rng, schedule, runtimes)


def _draw_one_death(rng: Random, schedule: Schedule) -> None:
    """A runtime dies whose states lag behind, and nothing else happens: how much is lost can be said exactly."""
    schedule.mode = f"every={rng.choice([1, 2, 4, 8])}"
    schedule.rounds, schedule.flows_end, schedule.migrations = 1, False, rng.randint(0, 3)
    schedule.broken, schedule.cuts, schedule.pauses, schedule.kill_at = [], [], [], []
    kind, before = rng.choice(STORING), rng.choice([0, 1, 2, 3, 5, 8, 13])
    stir = Deed(kind, before, What.STIR)
    what, who = rng.choice([What.DIE, What.DIE_BEHIND]), rng.choice([SENDER, RECEIVER, "runtime-0", "runtime-1"])
    schedule.deeds = [*([stir] if rng.random() < 0.5 else []), Deed(kind, before, what, who)]


def _step(rng: Random, schedule: Schedule) -> tuple[str, int]:
    kinds = [*MOVING, *STORING]
    if schedule.scenario in _WITH_DEATHS:
        kinds += [*MENDING, *(BEGINNING if schedule.scenario == "restarts" else ())]
    return rng.choice(kinds), rng.choice([0, 1, 2, 3, 5])


def _moment(rng: Random, schedule: Schedule) -> int:
    return rng.randrange(schedule.traffic_us)


def _draw_partition(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """Two groups, at a step or at any time."""
    for _ in range(rng.choice([1, 1, 2])):
        length_us, number = rng.choice(_SHORT_US), rng.randrange(schedule.rounds)
        if rng.random() < 0.5:
            schedule.deeds.append(Deed(*_step(rng, schedule), What.SPLIT, length_us=length_us, round=number))
        else:
            group = tuple(rng.sample(everybody, rng.randint(1, len(everybody) - 1)))
            schedule.splits.append((_moment(rng, schedule), group, length_us))


def _draw_isolation(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """Of one node; where runtimes may be declared dead, mostly of one for so long that it is, though it lives."""
    runtimes = [name for name in everybody if name.startswith("runtime")]
    deadly = schedule.scenario in _WITH_DEATHS and rng.random() < 0.8
    name = rng.choice(runtimes if deadly else everybody)
    length_us, number = _DEADLY_US if deadly else rng.choice(_SHORT_US), rng.randrange(schedule.rounds)
    if rng.random() < 0.5:
        who = rng.choice([SENDER, RECEIVER, name])
        schedule.deeds.append(Deed(*_step(rng, schedule), What.ISOLATE, who, length_us, number))
    else:
        schedule.splits.append((_moment(rng, schedule), (name,), length_us))


def _draw_lone_coordinator(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """For longer than it takes to miss anybody."""
    length_us, number = rng.choice(_WITHOUT_COORDINATOR_US), rng.randrange(schedule.rounds)
    if rng.random() < 0.5:
        schedule.deeds.append(Deed(*_step(rng, schedule), What.ISOLATE, COORDINATOR, length_us, number))
    else:
        schedule.splits.append((_moment(rng, schedule), (COORDINATOR,), length_us))


def _draw_unheard(rng: Random, schedule: Schedule, runtimes: list[str]) -> None:
    """Nothing of a runtime reaches the coordinator for longer than it takes to miss it, or the other way round;
    switches hear of it all the time, so that it is not declared dead."""
    name, at_us = rng.choice(runtimes), _moment(rng, schedule)
    ends = rng.choice([(name, COORDINATOR), (name, COORDINATOR), (COORDINATOR, name)])
    schedule.cuts.append((at_us, *ends, _DEADLY_US))


def _draw_slow_nodes(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    for name in rng.sample(everybody, rng.choice([1, 2])):
        schedule.slow_us[name] = rng.randint(*_SLOWER_US)


def _draw_sleeps(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """Of nodes that are no runtimes, too."""
    others = [name for name in everybody if name.startswith("switch") or name == COORDINATOR]
    for _ in range(rng.choice([1, 2])):
        length_us, number = rng.choice(_SHORT_US), rng.randrange(schedule.rounds)
        if rng.random() < 0.5:
            deed = Deed(*_step(rng, schedule), What.SLEEP, rng.choice([SENDER, RECEIVER, *others]), length_us, number)
            schedule.deeds.append(deed)
        else:
            schedule.pauses.append((_moment(rng, schedule), rng.choice(others), length_us))


def _draw_end(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """Of a flow that its switch has let go of, of which its owner does not hear: one of them dies, or the answer is
    lost."""
    schedule.flows_end = True
    if schedule.mode == "none":
        schedule.mode = "strict"
    schedule.migrations = rng.choice([0, schedule.migrations])  # who has moved just now may not end yet
    before, number = rng.choice([0, 0, 1, 2, 4, 8]), rng.randrange(schedule.rounds)
    what = rng.choice([What.DIE_BEHIND, What.DIE_BEHIND, What.MUTE])
    schedule.deeds.append(Deed("ExpireFlows", before, what, SENDER, _SHORT_US[-1], number))


def _draw_late_words(rng: Random, schedule: Schedule, everybody: list[str]) -> None:
    """Somebody sleeps while it is told something, and hears it when there is another life of who has told it."""
    (kind, before), number = _step(rng, schedule), rng.randrange(schedule.rounds)
    schedule.keep_messages = True
    schedule.deeds.append(Deed(kind, before, What.SLEEP, RECEIVER, _SHORT_US[-1], number))
    schedule.deeds.append(Deed(kind, before + 1, What.DIE_BEHIND, SENDER, 0, number, again_us=rng.choice([200, 3_000])))


_Draw = Callable[[Random, Schedule, list[str]], None]
_ALWAYS: list[_Draw] = [
    _draw_partition,
    _draw_partition,
    _draw_isolation,
    _draw_lone_coordinator,
    _draw_slow_nodes,
    _draw_slow_nodes,
    _draw_sleeps,
]
_WHERE_RUNTIMES_DIE: list[_Draw] = [_draw_isolation, *[_draw_end] * 4, *[_draw_late_words] * 2]
