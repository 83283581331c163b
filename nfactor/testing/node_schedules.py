"""Runs of schedules of faults with whole nodes on trio, under both engines, and their judgement.

As on the event heap a run has three parts: traffic with migrations and faults in it; quiet, in which faults have
stopped; and a probe for each flow, which has to come out. It is judged by the same promises, and by one that the heap
cannot ask for: what an engine by itself makes of the packets that each flow's last state includes is what came out,
octet for octet, and that state. Both engines have to give the same run: who processed what when, what came out when,
and what became of each flow.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs
import numpy as np
import trio

from nfactor.backends.memory import open_memory_network
from nfactor.cluster.launcher import open_cluster
from nfactor.dataplane.chain import HEADER
from nfactor.protocols.replication import Kind, Mode
from nfactor.testing import packets
from nfactor.testing.checkers import ON_THE_WAY_US, Conditions, check
from nfactor.testing.judged import finals_of
from nfactor.testing.lineage import History
from nfactor.testing.node_cluster import HEADER_OCTETS, IDLE_S, STEP_S, Engines, NodeCluster, engine_of, engines
from nfactor.testing.node_draws import NodeSchedule, Trouble, What, draw, moment
from nfactor.testing.node_world import CONTROL_LATENCY_S, CONTROL_US_MAX, Failure, NodeWorld
from nfactor.testing.pasts import Chain, Final, pasts_of
from nfactor.testing.rest import (
    copies_are_of_flows,
    flows_are_free,
    migrations_are_counted,
    neighbours_agree,
    nothing_is_half_done,
    owners_agree,
    probes_came,
)
from nfactor.testing.setback import set_back_within_bound
from nfactor.testing.simulate import Simulation, simulate
from nfactor.testing.violation import Violation

QUIET_S = 6.0
"""After the last fault everything is served and protected again: 1 s until a death is seen, 5 s to mend it (DESIGN
section 7)."""
PROBE_S = 0.3
LOOK_S = 0.02
"""So often it is looked at what must hold at every moment, besides whenever something happens."""
WINDOW_PACKETS = 1 << 20
"""Of the outside: it never waits."""


@attrs.frozen
class Seen:
    """What a run came to."""

    history: History
    came: dict[int, bytes]
    """By mark: the frame that came out."""
    finals: dict[int, Final]
    struck: Counter[str]
    """How often each fault struck."""


class NodeRun:
    """One schedule of whole nodes."""

    def __init__(self, schedule: NodeSchedule) -> None:
        self.schedule = schedule
        self.struck: Counter[str] = Counter()
        """How often each fault struck, when it has been judged."""
        self._tell: Callable[[str], object] = lambda line: None

    def follow(self, tell: Callable[[str], object]) -> None:
        """Call ``tell`` with a line for each thing that happens."""
        self._tell = tell

    def judge(self) -> None:
        """Run it under each engine; raises ``Violation``, or whatever the code under test raises. Under ``every`` the
        runs are not compared: in which order the flows that lag behind are told is an engine's own affair."""
        first, *others = (self._run(engine) for engine in engines())
        if Mode.parse(self.schedule.mode).kind is not Kind.EVERY:
            for other in others:
                same(first, other)
        self.struck = first.struck

    def _run(self, engine: Engines) -> Seen:
        self._tell(f"--- {engine} engine")
        run = _Run(self.schedule, engine, self._tell)
        try:
            return simulate(run.main, seed=self.schedule.seed, digest=False).value
        except BaseExceptionGroup as group:
            raise _first_of(group) from group


def same(one: Seen, other: Seen) -> None:
    """(f) Both engines have made the same of the same."""
    for field in attrs.fields(Seen):
        if getattr(one, field.name) != getattr(other, field.name):
            raise Violation(f"(f) transparency: the {field.name} of the run is another under the compiled engine")


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first


class _Run:
    """One schedule under one engine."""

    def __init__(self, schedule: NodeSchedule, engine: Engines, tell: Callable[[str], object]) -> None:
        self.schedule = schedule
        self._engine = engine
        self._tell = tell
        self._rng = Random(f"run {schedule.scenario} {schedule.seed}")
        self._struck: Counter[str] = Counter()
        self._open: dict[int, Failure] = {}

    async def main(self, simulation: Simulation) -> Seen:
        """Run it and judge it."""
        self.nodes = nodes = NodeCluster(self.schedule, self._engine, self._rng, self._tell)
        async with open_memory_network(
            rng=simulation.random("network"),
            data_latency_s=self.schedule.data_latency_us * 1e-6,
            control_latency_s=CONTROL_LATENCY_S,
            control_jitter_s=CONTROL_LATENCY_S,
        ) as network:
            self.world = NodeWorld(network, self.schedule.mistreated, simulation.random("faults"))
            opened = open_cluster(
                self.world, nodes.plan(), nodes, window_packets_max=WINDOW_PACKETS, launcher=nodes.here
            )
            async with opened as cluster, trio.open_nursery() as nursery:
                nodes.open(cluster, nursery)
                nursery.start_soon(self._keep_looking)
                await self._drive()
                finals = await self._check()
                nursery.cancel_scope.cancel()
        return Seen(nodes.history, nodes.came, finals, self._counts())

    def _counts(self) -> Counter[str]:
        struck, history = self._struck + self.world.counts(), self.nodes.history
        died = sum(count for what, count in struck.items() if what.endswith("dies"))
        struck["second deaths"] += max(0, died - 1)
        struck["declared dead, and live"] += len(history.deaths) - struck["runtime dies"]
        struck["flows moved"] += sum(event.flows for event in history.ended)
        return struck

    async def _keep_looking(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            self.nodes.look()

    # ---------------------------------------------------------------- what happens

    async def _drive(self) -> None:
        start_s = trio.current_time()
        plan = self._plan()
        for time_us, _, action in sorted(plan, key=lambda planned: planned[:2]):
            await trio.sleep_until(start_s + time_us * 1e-6)
            action()
            self.nodes.look()
        self.world.heal()

    def _plan(self) -> list[tuple[int, int, Callable[[], Any]]]:
        schedule, rng, nodes = self.schedule, self._rng, self.nodes
        actions: list[tuple[int, Callable[[], Any]]] = []
        for _ in range(schedule.bursts):
            feed = partial(nodes.feed, rng.randrange(schedule.flows), rng.choice([1, 1, 2, 4]))
            actions.append((moment(rng, schedule), feed))
        actions += [(moment(rng, schedule), nodes.migrate) for _ in range(schedule.migrations)]
        for number, trouble in enumerate(schedule.troubles):
            actions.append((trouble.at_us, partial(self._strike, number, trouble)))
            if trouble.over_us > trouble.at_us:
                actions.append((trouble.over_us, partial(self._end, number, trouble)))
        return [(time_us, number, action) for number, (time_us, action) in enumerate(actions)]

    def _strike(self, number: int, trouble: Trouble) -> None:
        if trouble.what is What.DIE:
            [name] = trouble.who
            if self.nodes.kill(name):
                self._struck[f"{name.partition('-')[0]} dies"] += 1
            return
        self._tell(f"{'':14}  {trouble.what.value}: {', '.join(trouble.who)}")
        self._struck[trouble.what.name.lower()] += 1
        self._open[number] = self.world.fail(trouble, self.nodes.everybody())

    def _end(self, number: int, trouble: Trouble) -> None:
        if trouble.what is What.DIE:
            [name] = trouble.who
            self.nodes.restart(name)
            self._struck[f"{name.partition('-')[0]} begins again"] += 1
            return
        self._tell(f"{'':14}  no more: {trouble.what.value}: {', '.join(trouble.who)}")
        self.world.mend(self._open.pop(number))

    # ---------------------------------------------------------------- judgement

    async def _check(self) -> dict[int, Final]:
        nodes = self.nodes
        await trio.sleep(QUIET_S)
        nothing_is_half_done(nodes, serves=nodes.serves)
        if nodes.serves:
            probes = {flow: nodes.feed(flow)[0] for flow in sorted(nodes.key_of)}
            await trio.sleep(PROBE_S)
            probes_came(nodes, probes, QUIET_S, limited=False)
        nothing_is_half_done(nodes, serves=nodes.serves)
        finals = finals_of(nodes)
        self._check_history(finals)
        self._check_counts()
        return finals

    def _check_history(self, finals: dict[int, Final]) -> None:
        schedule, history, mode = self.schedule, self.nodes.history, self.nodes.mode
        late = schedule.mistreated.late or any(trouble.what in (What.CUT, What.PART) for trouble in schedule.troubles)
        slower_us = max((trouble.slower_us for trouble in schedule.troubles), default=0)
        conditions = Conditions(
            strict=mode.strict,
            replicated=mode.replicates,
            lag_packets_max=None if late else mode.every_packets,
            under_way_us=CONTROL_US_MAX + slower_us,
            lag_us_max=None if late or mode.kind is not Kind.EVERY else mode.every_ms * 1000,
            ports_lose=self._ports_lose or not self.nodes.serves,
            flows_end=schedule.flows_end,
            idle_marks=round(IDLE_S / STEP_S) if schedule.flows_end else 0,
            on_the_way_us=ON_THE_WAY_US + slower_us,
            overlapping=any(death.overlaps for death in history.deaths),
            holds=not self.nodes.serves,
        )
        lost: set[int] = set()
        if self._ports_lose:
            seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped}
            lost = history.flow_of.keys() - seen
            died = history.deaths or history.switch_deaths
            if not died and len(lost) > (count := self.world.counts()["packets_lost"]):
                raise Violation(f"(a) conservation: {len(lost)} packets are nowhere, and ports lost {count}")
        check(history, finals, conditions, lost)
        self._struck["bounds judged"] += set_back_within_bound(history, pasts_of(history, finals), conditions)
        self._check_against_one(finals)

    @property
    def _ports_lose(self) -> bool:
        cuts = any(trouble.what in (What.CUT, What.PART) for trouble in self.schedule.troubles)
        return cuts or self.schedule.mistreated.port_loss > 0 or bool(self.nodes.history.switch_deaths)

    def _check_against_one(self, finals: dict[int, Final]) -> None:
        """(f) An engine that is left alone makes the same of the packets that a flow's state includes."""
        log = Chain(self.nodes.history.processed)
        for flow, final in finals.items():
            marks = log.of(final.born, final.count, final.digest)
            assert marks is not None, "this has been judged"
            key = self.nodes.key_of[flow]
            frames, record = self._alone(marks, key)
            here = self.nodes.runtimes[final.node].engine.read(key)
            if record is None or here is None or record[HEADER.size :] != here[HEADER.size :]:
                raise Violation(f"(f) transparency: one engine by itself brings flow {flow} to another state")
            for mark, frame in zip(marks, frames, strict=True):
                if self.nodes.came.get(mark, frame) != frame:
                    raise Violation(f"(f) transparency: packet {mark} of flow {flow} leaves one engine as another")

    def _alone(self, marks: list[int], key: bytes) -> tuple[list[bytes], bytes | None]:
        engine = engine_of("reference", self.schedule)
        fed = [self.nodes.fed[mark] for mark in marks]
        burst = attrs.evolve(
            packets.burst_of([frame for frame, _ in fed]),
            times=np.array([time for _, time in fed], np.int64),
            marks=np.array(marks, np.uint64),
        )
        engine.process(burst)
        return [frame[HEADER_OCTETS:] for frame in burst.frames()], engine.read(key)

    def _check_counts(self) -> None:
        history, nodes = self.nodes.history, self.nodes
        if nodes.serves and not (self._ports_lose or history.restarts):
            neighbours_agree(nodes)
        if not (history.deaths or history.switch_deaths or history.restarts):
            migrations_are_counted(nodes, all_move=not self.schedule.flows_end)
        copies_are_of_flows(nodes)
        owners_agree(nodes)
        if nodes.serves:  # else flows that have just arrived wait until they have a replica
            flows_are_free(nodes)


def run(seed: int) -> NodeRun:
    """Draw a seed's schedule and judge its run."""
    run = NodeRun(draw(seed))
    run.judge()
    return run
