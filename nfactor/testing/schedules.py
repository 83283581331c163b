"""Schedules of faults, drawn from a seed or listed one by one, and the judgement of each run.

A run has three parts: traffic with migrations and faults in it; quiet, in which faults have stopped; and a probe for
each flow, which has to come out. Everything is drawn from the seed, so that a seed is a whole run.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import COORDINATOR, LIAISON, OUTSIDE
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Kind, Mode
from nfactor.testing.checkers import Conditions, Final, Violation, check
from nfactor.testing.heap import Delivery, HeapNode
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.rest import copies_are_of_flows, flows_are_free, migrations_are_counted, neighbours_agree

QUIET_S = 6.0
"""After the last fault everything is served and protected again: 1 s until a death is seen, 5 s to mend it (DESIGN
section 7)."""
KILL_WITHIN_DELIVERIES = 160
"""A node that is to die does so before one of so many messages."""
SENDER, RECEIVER = "sender", "receiver"
STEPS = (
    *("PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "FlowStatuses", "ForgetReplicas"),
    *("StoreCommit", "CommitsStored", "Outcomes", "SetReplicas", "ClaimFlows", "FlowsClaimed", "TakeBack", "StepTaken"),
)
"""Messages at which it matters most who dies: before another hears of a step, or before it does itself."""
DEADLY_US = 1_000_000
"""Who is silent for longer than this may be declared dead."""
TRAFFIC_US = 30_000
LONG_TRAFFIC_US = 2_500_000


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
    keep_messages: bool = True
    keep_packets: bool = True
    """Whether what a node had sent when it died arrives."""
    flows_end: bool = False
    kill_at: list[tuple[int, str]] = attrs.Factory(list)
    """Deliveries of messages (counted from the beginning of the traffic) before which a node dies."""
    kill_in: list[tuple[str, int, str]] = attrs.Factory(list)
    """Steps in the middle of which a runtime dies: the kind of a message, how many of them go before, and whether it is
    their SENDER or RECEIVER."""
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
    port_loss: float = 0.0
    skew_s: float = 0.0


SCENARIOS = ("migration", "replication", "recovery", "cluster", "restarts", "nat")


def draw(scenario: str, seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = Random(f"{scenario} {seed}")
    schedule = Schedule(scenario, seed)
    schedule.runtimes = rng.choice([2, 3, 3, 4])
    schedule.flows, schedule.bursts = rng.randint(2, 6), rng.randint(25, 60)
    modes = {
        "migration": ["none"],
        "replication": ["strict", "strict", "strict-hold", "every=4"],
        "recovery": ["strict", "strict", "strict-hold", "every=4", "none"],
        "cluster": ["strict", "strict", "strict-hold", "every=4", "none"],
        "restarts": ["strict", "strict", "strict-hold", "every=4", "none"],
        "nat": ["strict", "strict", "strict-hold", "every=4", "none"],
    }
    schedule.mode = rng.choice(modes[scenario])
    schedule.migrations = rng.randint(2, 8) if scenario != "replication" else rng.randint(0, 2)
    schedule.keep_messages, schedule.keep_packets = rng.random() < 0.5, rng.random() < 0.7
    names = [f"runtime-{number}" for number in range(schedule.runtimes)]
    switches = ["switch-0"]
    if scenario in ("cluster", "restarts"):
        schedule.switches = rng.choice([1, 1, 2])
        switches = [f"switch-{number}" for number in range(schedule.switches)]
    if scenario in ("recovery", "cluster", "restarts"):
        schedule.traffic_us = rng.choice([TRAFFIC_US, LONG_TRAFFIC_US])
    if scenario in ("recovery", "cluster"):
        deaths = rng.choice([1, 1, 2]) if schedule.runtimes > 2 else 1
        for name in rng.sample(names, deaths):
            if rng.random() < 0.3:
                schedule.kill_at.append((rng.randint(0, KILL_WITHIN_DELIVERIES), name))
            else:
                schedule.kill_in.append((rng.choice(STEPS), rng.randint(0, 7), rng.choice([SENDER, RECEIVER])))
    if scenario == "restarts":
        for name in rng.sample([*names, *switches, *switches, COORDINATOR, COORDINATOR], rng.choice([1, 1, 2, 3])):
            schedule.kill_at.append((rng.randint(0, KILL_WITHIN_DELIVERIES), name))
            if not name.startswith("runtime") or rng.random() < 0.7:
                schedule.restart_after_us[name] = rng.choice([200, 3_000, 50_000, 1_500_000])
    if scenario in ("migration", "replication", "cluster"):
        _draw_disturbances(rng, schedule, [*names, *switches, COORDINATOR, OUTSIDE], names)
    schedule.flows_end = rng.random() < 0.15
    if scenario == "nat":
        _draw_nat(rng, schedule, names)
    return schedule


def _draw_nat(rng: Random, schedule: Schedule, runtimes: list[str]) -> None:
    schedule.traffic_us = rng.choice([TRAFFIC_US, LONG_TRAFFIC_US])
    schedule.ports, schedule.block = rng.choice([4, 12, 40]), rng.choice([1, 2, 4])
    schedule.flows_end = rng.random() < 0.5
    for name in rng.sample([*runtimes, COORDINATOR], rng.choice([0, 1, 1, 2])):
        schedule.kill_at.append((rng.randint(0, KILL_WITHIN_DELIVERIES), name))
        if name == COORDINATOR or rng.random() < 0.5:
            schedule.restart_after_us[name] = rng.choice([200, 3_000, 50_000, 1_500_000])
    if rng.random() < 0.4:
        _draw_disturbances(rng, schedule, [*runtimes, "switch-0", COORDINATOR, OUTSIDE], runtimes)


def _draw_disturbances(rng: Random, schedule: Schedule, everybody: list[str], runtimes: list[str]) -> None:
    for _ in range(rng.randint(0, 3)):
        a, b = rng.sample(everybody, 2)
        schedule.broken.append((rng.randrange(schedule.traffic_us), a, b))
    for _ in range(rng.randint(0, 2)):
        length = rng.choice([500, 5_000, 300_000])
        a, b = rng.sample(everybody, 2)
        schedule.cuts.append((rng.randrange(schedule.traffic_us), a, b, length))
    for _ in range(rng.randint(0, 2)):
        length = rng.choice(
            [500, 5_000, 300_000, 2_500_000] if schedule.scenario in ("cluster", "nat") else [500, 5_000, 300_000]
        )
        schedule.pauses.append((rng.randrange(schedule.traffic_us), rng.choice(runtimes), length))
    if rng.random() < 0.3:
        schedule.port_loss = rng.choice([0.005, 0.05, 0.2])
    schedule.skew_s = rng.choice([0.0, 0.0, 3600.0])


class Run:
    """One schedule on a heap."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.rng = Random(f"run {schedule.scenario} {schedule.seed}")
        outs = TimeOuts(udp_idle_s=2.0) if schedule.flows_end else TimeOuts(never=True)
        make = partial(NatCluster, ports=schedule.ports, block=schedule.block) if schedule.ports else HeapCluster
        self.cluster = make(
            self.rng,
            runtimes=schedule.runtimes,
            switches=schedule.switches,
            mode=Mode.parse(schedule.mode),
            time_outs=outs,
            packet_step_s=0.2 if schedule.flows_end else 0.001,
            domains=schedule.domains,
            launches=schedule.launches,
        )
        self.network = self.cluster.network
        self.network.keep_messages, self.network.keep_packets = schedule.keep_messages, schedule.keep_packets
        self.network.before = self._before
        self.network.after = self._after
        self.first = self.network.delivered
        """How many messages arrived before the traffic began."""
        self._start_us = self.network.now_us
        self._seen: dict[str, tuple[int, ...]] = {}
        """Of each runtime, how much there was in its table when it was last looked at."""
        self._killing = True
        self._steps: Counter[tuple[str, int, str]] = Counter()

    def judge(self) -> None:
        """Run it; raises ``Violation``, or whatever the code under test raises."""
        self._plan()
        self.network.run(self._start_us + self.schedule.traffic_us)
        self._stop_faults()
        self._wait(QUIET_S)
        if self._serves:
            self._probe()
        self._check_quiet()
        self._check_history()
        self._check_counts()

    # ---------------------------------------------------------------- what happens

    def _plan(self) -> None:
        schedule, at = self.schedule, self._at
        if schedule.skew_s:
            for runtime in self.cluster.runtimes.values():
                runtime.node.skew_s = self.rng.uniform(0, schedule.skew_s)
        for _ in range(schedule.bursts):
            flow = self.rng.randrange(schedule.flows)
            at(self.rng.randrange(schedule.traffic_us), partial(self.cluster.feed, flow, self.rng.choice([1, 1, 2, 4])))
        for _ in range(schedule.migrations):
            at(self.rng.randrange(schedule.traffic_us), self._migrate)
        for when, a, b in schedule.broken:
            at(when, partial(self.network.end_session, a, b))
        for when, a, b, length in schedule.cuts:
            at(when, partial(self.network.cuts.add, (a, b)))
            at(when + length, partial(self.network.cuts.discard, (a, b)))
        for when, name, length in schedule.pauses:
            at(when, partial(self.cluster.pause, name, deadly=length > DEADLY_US))
            at(when + length, partial(self.network.resume, name))
        if schedule.port_loss:
            at(0, partial(setattr, self.network, "port_loss", schedule.port_loss))

    def _at(self, offset_us: int, action: Callable[[], Any]) -> None:
        self.network.at(self._start_us + offset_us, action)

    def _migrate(self) -> None:
        names = [runtime.node.name for runtime in self.cluster.living()]
        if len(names) < 2:
            return
        source, target = self.rng.sample(names, 2)
        order = SetMigrationTarget(target, self.rng.randint(1, 4))
        self.cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)

    def _before(self, delivery: Delivery) -> None:
        if not self._killing:
            return
        for at, name in self.schedule.kill_at:
            if delivery.number - self.first == at and self.network.nodes[name].alive:
                self.cluster.kill(name)
                if name in self.schedule.restart_after_us:
                    when = self.network.now_us + self.schedule.restart_after_us[name]
                    self.network.at(when, partial(self.cluster.restart, name))
        for step in self.schedule.kill_in:
            kind, before, who = step
            name = delivery.sender if who == SENDER else delivery.receiver
            if kind == delivery.kind and name in self.cluster.runtimes:
                self._steps[step] += 1
                if self._steps[step] == before + 1:
                    self.cluster.kill(name)

    def _after(self, node: HeapNode) -> None:
        """(a) and (d), after every event."""
        cluster = self.cluster
        member = cluster.runtimes.get(node.name) or cluster.switches.get(node.name)
        if member is not None:
            member.ledger.counters()  # raises AccountingError
        runtime = cluster.runtimes.get(node.name)
        if runtime is not None:
            counts = runtime.engine.statistics()
            changed = counts.packets, counts.created, counts.flows, counts.rows
            if self._seen.get(node.name) != changed:  # else nothing came or went
                self._seen[node.name] = changed
                self._check_one_owner()
                cluster.check_event()

    def _check_one_owner(self) -> None:
        """Of each flow; two flows of one key may be there for a moment, when the switch has let the first one end and
        its runtime does not know yet."""
        owners: dict[tuple[bytes, int], str] = {}
        for runtime in self.cluster.living():
            for key in list(runtime.engine.keys()):
                life = key, self.cluster.state_of(runtime, key).born if self.schedule.flows_end else 0
                if life in owners:
                    flow = self.cluster.flow_of_key[key]
                    raise Violation(f"(d) one owner: flow {flow} is at {owners[life]} and at {runtime.node.name}")
                owners[life] = runtime.node.name

    def _stop_faults(self) -> None:
        self.network.port_loss = 0.0
        self._killing = False

    @property
    def _serves(self) -> bool:
        """Whether packets are to pass: where nothing may leave without a replica, there has to be one."""
        return self.cluster.mode.kind is not Kind.STRICT_HOLD or len(self.cluster.living()) > 1

    def _wait(self, seconds: float) -> None:
        cuts = [when + length for when, _, _, length in self.schedule.cuts]
        pauses = [when + length for when, _, length in self.schedule.pauses]
        restarts = [self.schedule.traffic_us + after for after in self.schedule.restart_after_us.values()]
        longest = max(cuts + pauses + restarts, default=0)
        quiet_from = max(self.network.now_us, self._start_us + longest)
        self.network.run(quiet_from + round(seconds * 1e6))

    # ---------------------------------------------------------------- judgement

    def _probe(self) -> None:
        """(i) Every flow is served."""
        before = len(self.cluster.history.flow_of)
        flows = sorted(self.cluster.key_of)
        for flow in flows:
            self.cluster.feed(flow)
        self.network.run(self.network.now_us + 300_000)
        history = self.cluster.history
        seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped}
        for flow, mark in zip(flows, range(before + 1, before + 1 + len(flows)), strict=True):
            if mark not in seen:
                raise Violation(f"(i) liveness: flow {flow} is not served, {QUIET_S} s after the last fault")

    def _check_quiet(self) -> None:
        """(i) Nothing is half done, and everything is protected."""
        cluster = self.cluster
        living = cluster.living()
        for runtime in living:
            name = runtime.node.name
            if runtime.liaison.migrations_open:
                raise Violation(f"(i) liveness: {runtime.liaison.migrations_open} migrations of {name} never ended")
            if runtime.ledger.buffered and self._serves:
                raise Violation(f"(i) liveness: {runtime.ledger.buffered} packets wait at {name} for ever")
            unprotected = runtime.flows.replicator.unprotected_flows()
            if cluster.mode.replicates and len(living) > 1 and unprotected:
                raise Violation(f"(i) liveness: {unprotected} flows of {name} are never protected again")
            if runtime.engine.statistics().rows != runtime.engine.statistics().flows:
                raise Violation(f"(i) liveness: {name} still waits for flows, or remembers some that left")
        for switch in cluster.switches.values():
            if switch.ledger.buffered:
                raise Violation(f"(i) liveness: {switch.ledger.buffered} packets wait at {switch.node.name} for ever")

    def _check_counts(self) -> None:
        history = self.cluster.history
        if self._serves and not (self.schedule.port_loss or history.switch_deaths or history.restarts):
            neighbours_agree(self.cluster)
        if not (history.deaths or history.switch_deaths or history.restarts):
            migrations_are_counted(self.cluster, all_move=not self.schedule.flows_end)
            if not (self.schedule.broken or self.schedule.cuts):
                copies_are_of_flows(self.cluster)
        if self._serves:  # else flows that have just arrived wait until they have a replica
            flows_are_free(self.cluster)

    def _check_history(self) -> None:
        cluster, schedule = self.cluster, self.schedule
        finals: dict[int, Final] = {}
        for runtime in cluster.living():
            for key in list(runtime.engine.keys()):
                state = cluster.state_of(runtime, key)
                if not state.count:
                    continue  # no packet of it came so far
                finals[cluster.flow_of_key[key]] = Final(runtime.node.name, state.born, state.count, state.digest)
        deaths = cluster.history.deaths
        conditions = Conditions(
            strict=cluster.mode.strict,
            replicated=cluster.mode.replicates,
            lag_packets_max=cluster.mode.every_packets + 8,
            ports_lose=bool(schedule.port_loss or cluster.history.switch_deaths)
            or not (schedule.keep_packets and self._serves),
            flows_end=schedule.flows_end,
            overlapping=len({self._failure(death.node) for death in deaths}) > 1,
        )
        check(cluster.history, finals, conditions, self.network.lost_packets)
        cluster.check_over(flows_end=schedule.flows_end)

    def _failure(self, node: str) -> str:
        """What failed when that runtime did: its domain, where there are others."""
        domain = self.cluster.domains[self.cluster.runtimes[node].number]
        return domain if len({*self.cluster.domains.values()}) > 1 else node


def run(scenario: str, seed: int) -> None:
    """Draw a seed's schedule and judge its run."""
    Run(draw(scenario, seed)).judge()
