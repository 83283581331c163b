"""Schedules of faults: what there is to draw, and how it is drawn from a seed.

Random faults at random moments seldom hit anything: a migration takes a millisecond, and so does a commit. So traffic
comes in gatherings of a few milliseconds around orders to migrate, and most faults are *deeds*: they wait for a step of
a protocol, known by the kind of its message, and strike there, some of them together.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from random import Random

import attrs

from nfactor.cluster.names import COORDINATOR, OUTSIDE
from nfactor.testing.limits import FLOWS_MAX, Limits

KILL_WITHIN_DELIVERIES = 160
"""A node that is to die does so before one of so many messages."""
SENDER, RECEIVER = "sender", "receiver"
DEADLY_US = 1_000_000
"""Who is silent for longer than this may be declared dead."""
TRAFFIC_US = 30_000
LONG_TRAFFIC_US = 2_500_000
GATHERING_US = 2_500
"""Packets that come together do within so long."""
ROUND_US = 1_700_000
"""A death is seen and made good for within so long; then there may be another one."""

MOVING = ("PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "FlowStatuses")
STORING = ("StoreCommit", "StoreCommit", "CommitsStored", "Outcomes", "ForgetReplicas")
MENDING = ("NotifyClusterCfg", "SetReplicas", "Recover", "ClaimFlows", "FlowsClaimed", "FinishFlows", "TakeBack",
           "StepTaken", "RecoveryOver", "Witness", "ViewTaken")  # fmt: skip
BEGINNING = ("Join", "ReportFlows", "FlowsReported", "ReadState", "KnownState", "NotifyClusterCfg")
ENDING = ("ExpireFlows", "FlowStatuses")
"""Messages at which it matters most what happens: before another hears of a step, or before it does itself."""


class What(Enum):
    """What happens at a step."""

    DIE = "a node dies before the message is handled"
    DIE_BEHIND = "it dies when the message has been handled"
    LOSE = "the session between the two ends, which loses the message and what else is on its way"
    CUT = "nothing more comes from the sender to the receiver for a while"
    MUTE = "the same the other way: the message is handled, and whoever sent it does not hear of it"
    FADE = "nothing more comes from the sender to the receiver, and after a while the sender dies"
    SLEEP = "a runtime does nothing for a while, and hears everything later"
    STIR = "packets come, and flows set out from the sender, perhaps to the receiver"


@attrs.frozen
class Deed:
    """A fault at a step of a protocol: at the message of that kind before which there were so many."""

    kind: str
    """The class of the message; of a question or an answer, the class of what is inside."""
    before: int
    what: What
    who: str = SENDER
    """SENDER, RECEIVER or the name of a node."""
    length_us: int = 0
    """Of a cut or a sleep."""
    round: int = 0
    """Messages are counted from the beginning of that round on."""
    again_us: int = 0
    """So long after its death the node begins again (0: a runtime never does)."""


@attrs.define
class Schedule:
    """What a run is made of. Times are from the beginning of the traffic, in microseconds."""

    scenario: str
    seed: int
    runtimes: int = 3
    switches: int = 1
    mode: str = "strict"
    flows: int = 4
    bursts: int = 40
    migrations: int = 4
    traffic_us: int = TRAFFIC_US
    """For so long there is traffic: shorter than it takes to see that somebody is dead, or longer than all that follows
    from it."""
    rounds: int = 1
    """So often traffic begins, ``ROUND_US`` apart."""
    gatherings: int = 0
    """Around so many moments packets come, and flows set out; 0: at any time."""
    keep_messages: bool = True
    keep_packets: bool = True
    """Whether what a node had sent when it died arrives."""
    flows_end: bool = False
    reluctant: float = 0.0
    """The part of flows that a target of a migration refuses to hold."""
    kill_at: list[tuple[int, str]] = attrs.Factory(list)
    """Deliveries of messages (counted from the beginning of the traffic) before which a node dies."""
    deeds: list[Deed] = attrs.Factory(list)
    pauses: list[tuple[int, str, int]] = attrs.Factory(list)
    """When, who, for how long."""
    broken: list[tuple[int, str, str]] = attrs.Factory(list)
    """When a session between two nodes ends."""
    cuts: list[tuple[int, str, str, int]] = attrs.Factory(list)
    """When nothing from one node reaches another, and for how long."""
    restart_after_us: dict[str, int] = attrs.Factory(dict)
    """Who of those that are killed begins again, and how long after."""
    domains: tuple[str, ...] = ()
    """Failure domains of the runtimes, in order."""
    launches: bool = False
    """Runtimes are started where too few are left."""
    ports: int = 0
    """Of a NAT through which flows go, if any; and how many a runtime is leased at once."""
    block: int = 1
    limits: Limits = attrs.Factory(Limits)
    port_loss: float = 0.0
    marker_loss: float = 0.0
    """Of frames that nodes send to each other: markers, and receipts."""
    skew_s: float = 0.0


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
    schedule.skew_s = rng.choice([0.0, 0.0, 3600.0])
