"""Schedules for whole nodes on trio: what there is to draw, and how it is drawn from a seed.

What the event heap leaves out is here: the link with its sessions, datagrams that are lost, doubled, reordered and
corrupted, wires on which messages and packets are cut off together, partitions of groups, and both engines. Such a run
costs a hundred times one on the heap, so faults come where they may hit something: at the moments around which packets
gather and flows set out.
"""

from collections.abc import Iterator
from enum import Enum
from random import Random

import attrs

from nfactor.cluster.names import COORDINATOR, OUTSIDE, runtime_name, switch_name

NODES = "nodes"
"""What the scenario is called."""
TRAFFIC_US = (60_000, 400_000, 3_000_000)
"""So long there is traffic: until nobody knows of a death yet, or longer than it takes to make good for one."""
GATHERING_US = 2_500
"""Packets that come together do within so long, and most faults as well."""
LENGTHS_US = (5_000, 300_000, 2_500_000)
"""Of cuts and partitions: for the last of them runtimes are declared dead."""
AGAIN_US = (200, 3_000, 50_000, 1_500_000)
"""So long after its death a node begins again."""
SECOND_US = (0, 300, 30_000, 1_010_000, 2_500_000)
"""So long after one death there is another: at once, or as the first is found out, or when it is made good for."""
SLOW_US = (1_000, 20_000, 200_000)


class What(Enum):
    """What happens to nodes."""

    DIE = "a node dies"
    CUT = "nothing from one node reaches another"
    PART = "nothing passes between a group of nodes and all others"
    SLOW = "all that reaches a node does so later"


@attrs.frozen
class Trouble:
    """A fault. Times are in microseconds, from the beginning of the traffic."""

    at_us: int
    what: What
    who: tuple[str, ...]
    """A node; the group that is parted; whom a cut keeps from whom."""
    length_us: int = 0
    again_us: int = 0
    """So long after its death the node begins again (0: never)."""
    delay_us: int = 0
    """Of what is slow."""

    @property
    def over_us(self) -> int:
        """Then it is over."""
        return self.at_us + self.length_us + self.again_us

    @property
    def slower_us(self) -> int:
        """What reaches a slow node does so later by that at most (``NodeWorld.fail``)."""
        return self.delay_us + self.delay_us // 2


@attrs.frozen
class Mistreated:
    """What happens to datagrams, and (``port_loss``) to packets: probabilities."""

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    port_loss: float = 0.0

    @property
    def late(self) -> bool:
        """Whether messages may have to be sent again. Each time takes a link ``resend_after_max_s`` at most, and may be
        in vain, so there is no bound on how late they are. (One that comes twice comes in time.)"""
        return max(self.loss, self.corrupt, self.reorder) > 0


@attrs.define
class NodeSchedule:
    """What a run is made of."""

    seed: int
    runtimes: int = 3
    switches: int = 1
    mode: str = "strict"
    flows: int = 6
    bursts: int = 60
    migrations: int = 4
    traffic_us: int = TRAFFIC_US[0]
    gatherings: int = 0
    """Around so many moments packets come, flows set out and faults strike; 0: at any time."""
    data_latency_us: int = 100
    flows_end: bool = False
    domains: tuple[str, ...] = ()
    """Failure domains of the runtimes, in order."""
    launches: bool = False
    """Runtimes are started where too few are left."""
    mistreated: Mistreated = attrs.Factory(Mistreated)
    troubles: list[Trouble] = attrs.Factory(list)

    @property
    def scenario(self) -> str:
        """As the command calls it."""
        return NODES


def draw(seed: int) -> NodeSchedule:
    """The schedule of a seed."""
    rng = Random(f"{NODES} {seed}")
    schedule = NodeSchedule(seed)
    schedule.mode = rng.choice(["strict", "strict", "strict-hold", "every=4", "every=3/20ms", "none"])
    schedule.runtimes, schedule.switches = rng.choice([2, 3, 3, 4]), rng.choice([1, 1, 2, 3])
    schedule.flows, schedule.bursts = rng.randint(3, 12), rng.randint(40, 90)
    schedule.migrations = rng.randint(2, 10)
    schedule.traffic_us, schedule.gatherings = rng.choice(TRAFFIC_US), rng.choice([0, 4, 8])
    schedule.data_latency_us = rng.choice([1, 20, 100, 1_000])
    schedule.flows_end = rng.random() < 0.2
    if rng.random() < 0.15:
        schedule.domains = tuple(rng.choice("ab") for _ in range(schedule.runtimes))
    schedule.launches = rng.random() < 0.15
    if rng.random() < 0.5:
        loss, duplicate, corrupt, reorder = (rng.choice([0.0, 0.005, 0.02, 0.05]) for _ in range(4))
        schedule.mistreated = Mistreated(loss, duplicate, corrupt, reorder, rng.choice([0.0, 0.0, 0.002, 0.02]))
    schedule.troubles = sorted(_troubles(rng, schedule), key=lambda trouble: trouble.at_us)
    if schedule.mode.startswith("every") and rng.random() < 0.6:
        _leave_to_the_bound(schedule)
    return schedule


def _leave_to_the_bound(schedule: NodeSchedule) -> None:
    """Nothing but a runtime's death and lossy ports: a message that is late sets flows back further than was said, and
    of who dies before the first death is made good for no bound is judged. And few flows, so that packets come faster
    than time alone makes states follow."""
    schedule.mistreated = Mistreated(port_loss=schedule.mistreated.port_loss)
    deaths = [trouble for trouble in schedule.troubles if trouble.what is What.DIE]
    schedule.troubles = [attrs.evolve(death, who=(runtime_name(0),)) for death in deaths[:1]]
    schedule.flows, schedule.bursts = 1 + schedule.flows % 3, 3 * schedule.bursts
    schedule.flows_end = False


def moment(rng: Random, schedule: NodeSchedule) -> int:
    """When something is to happen: at any time or at a gathering."""
    some, length_us = schedule.gatherings, schedule.traffic_us
    if not some:
        return rng.randrange(length_us)
    return rng.randrange(some) * length_us // some + rng.randrange(GATHERING_US)


def _troubles(rng: Random, schedule: NodeSchedule) -> Iterator[Trouble]:
    runtimes = [runtime_name(number) for number in range(schedule.runtimes)]
    switches = [switch_name(number) for number in range(schedule.switches)]
    everybody = [*runtimes, *switches, COORDINATOR, OUTSIDE]
    if rng.random() < 0.75:
        at_us = moment(rng, schedule)
        yield _death(rng, at_us, runtimes, switches)
        if rng.random() < 0.4:
            yield _death(rng, at_us + rng.choice(SECOND_US), runtimes, switches)
    for _ in range(rng.choice([0, 0, 1, 2])):
        yield Trouble(moment(rng, schedule), What.CUT, tuple(rng.sample(everybody, 2)), rng.choice(LENGTHS_US))
    if rng.random() < 0.3:
        group = rng.sample(everybody, rng.randint(1, len(everybody) - 1))
        yield Trouble(moment(rng, schedule), What.PART, tuple(sorted(group)), rng.choice(LENGTHS_US))
    if rng.random() < 0.3:
        who, length_us = rng.choice(everybody), rng.choice(LENGTHS_US)
        yield Trouble(moment(rng, schedule), What.SLOW, (who,), length_us, delay_us=rng.choice(SLOW_US))


def _death(rng: Random, at_us: int, runtimes: list[str], switches: list[str]) -> Trouble:
    name = rng.choice([*runtimes, *runtimes, *switches, COORDINATOR])
    again = name not in runtimes or rng.random() < 0.6
    return Trouble(at_us, What.DIE, (name,), again_us=rng.choice(AGAIN_US) if again else 0)
