"""Runs of schedules of faults, and their judgement.

A run has three parts: traffic with migrations and faults in it; quiet, in which faults have stopped; and a probe for
each flow, which has to come out. Everything is drawn from the seed (``nfactor.testing.draws``), so that a seed is a
whole run.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from nfactor.cluster.ledger import check_node
from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, OUTSIDE
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Kind, Mode
from nfactor.testing.checkers import Conditions, Violation, check
from nfactor.testing.draws import DEADLY_US, GATHERING_US, RECEIVER, ROUND_US, SENDER, Deed, Schedule, What, draw
from nfactor.testing.heap import Delivery, HeapNode
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.judged import finals_of
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.rest import (
    copies_are_of_flows,
    flows_are_free,
    migrations_are_counted,
    neighbours_agree,
    nothing_is_half_done,
    one_owner,
    owners_agree,
    probes_came,
)

QUIET_S = 6.0
"""After the last fault everything is served and protected again: 1 s until a death is seen, 5 s to mend it (DESIGN
section 7)."""
STRIKING_US = 2_500_000
"""From its beginning on, deeds may strike for so long: while the first death is made good for, too."""
IDLE_S, STEP_S = 2.0, 0.2
"""Where flows end, they do so after so much time by the clock of the packets, and from packet to packet it is so much
later."""
UNDER_WAY_PACKETS_MAX = 8
"""Packets of a flow in commits that die with the runtime that had sent them: of two bursts, at most."""
AGAIN_US = 3_000
"""A switch, or the coordinator, begins again so long after a death that was to be final."""


class Run:
    """One schedule on a heap."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.rng = Random(f"run {schedule.scenario} {schedule.seed}")
        outs = TimeOuts(udp_idle_s=IDLE_S) if schedule.flows_end else TimeOuts(never=True)
        make = partial(NatCluster, ports=schedule.ports, block=schedule.block) if schedule.ports else HeapCluster
        self.cluster = make(
            self.rng,
            runtimes=schedule.runtimes,
            switches=schedule.switches,
            mode=Mode.parse(schedule.mode),
            time_outs=outs,
            packet_step_s=STEP_S if schedule.flows_end else 0.001,
            reluctant=schedule.reluctant,
            domains=schedule.domains,
            launches=schedule.launches,
            limits=schedule.limits,
        )
        self.network = self.cluster.network
        self.network.keep_messages, self.network.keep_packets = schedule.keep_messages, schedule.keep_packets
        self.network.before, self.network.behind = self._before, self._behind
        self.network.after = self._after
        self.first = self.network.delivered
        """How many messages arrived before the traffic began."""
        self._start_us = self.network.now_us
        self._seen: dict[str, tuple[int, ...]] = {}
        """Of each runtime, how much there was in its table when it was last looked at."""
        self._terms: dict[tuple[str, int], int] = {}
        """Of each life of a node, the view that it last had."""
        self._striking = True
        self._steps: Counter[str] = Counter()
        """Messages of each kind so far."""
        self._deeds: dict[str, list[Deed]] = {}
        """Those whose round has begun, by kind."""
        self._before_round: dict[int, Counter[str]] = {}
        """Messages of each kind before each round."""
        self._behind_it: list[Deed] = []
        """What is to be done when the message that is being handled has been."""
        self._disturbed_us = 0
        """Until then faults go on."""

    def judge(self) -> None:
        """Run it; raises ``Violation``, or whatever the code under test raises."""
        self._plan()
        last_us = self._start_us + (self.schedule.rounds - 1) * ROUND_US
        self.network.run(last_us + self.schedule.traffic_us)
        self.network.port_loss = self.network.marker_loss = 0.0
        if self.schedule.deeds and self.schedule.traffic_us < STRIKING_US:
            self.network.run(last_us + STRIKING_US)
        self._striking = False
        self._wait(QUIET_S)
        self._check_quiet()
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
            at(self._moment(), partial(self.cluster.feed, self._any_flow(), self.rng.choice([1, 1, 2, 4])))
        for _ in range(schedule.migrations):
            at(self._moment(), self._migrate)
        for when, a, b in schedule.broken:
            at(when, partial(self.network.end_session, a, b))
        for when, a, b, length in schedule.cuts:
            at(when, partial(self.network.cuts.add, (a, b)))
            at(when + length, partial(self.network.cuts.discard, (a, b)))
        for when, name, length in schedule.pauses:
            at(when, partial(self._sleep, name, length))
        for number in range(schedule.rounds):
            at(number * ROUND_US, partial(self._begin_round, number))
        self.network.port_loss, self.network.marker_loss = schedule.port_loss, schedule.marker_loss

    def _at(self, offset_us: int, action: Callable[[], Any]) -> None:
        self.network.at(self._start_us + offset_us, action)

    def _begin_round(self, number: int) -> None:
        self._before_round[number] = self._steps.copy()
        for deed in self.schedule.deeds:
            if deed.round == number:
                self._deeds.setdefault(deed.kind, []).append(deed)

    def _moment(self) -> int:
        """When something is to happen: in some round, at any time or at a gathering."""
        some, length_us = self.schedule.gatherings, self.schedule.traffic_us
        begins = self.rng.randrange(self.schedule.rounds) * ROUND_US
        if not some:
            return begins + self.rng.randrange(length_us)
        gathers = self.rng.randrange(some) * length_us // some
        return begins + gathers + self.rng.randrange(min(GATHERING_US, length_us // some))

    def _any_flow(self) -> int:
        return self.rng.randrange(self.schedule.flows)

    def _migrate(self, source: str = "", target: str = "") -> None:
        names = [runtime.node.name for runtime in self.cluster.living()]
        if len(names) < 2:
            return
        if source not in names:
            source = self.rng.choice(names)
        if target not in names or target == source:
            target = self.rng.choice([name for name in names if name != source])
        order = SetMigrationTarget(target, self.rng.randint(1, 4))
        self.cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)

    def _before(self, delivery: Delivery) -> None:
        if not self._striking:
            return
        for at, name in self.schedule.kill_at:
            if delivery.number - self.first == at:
                self._kill(name, self.schedule.restart_after_us.get(name, 0))
        self._steps[delivery.kind] += 1
        for deed in self._deeds.get(delivery.kind, []):
            if deed.before == self._steps[delivery.kind] - self._before_round[deed.round][delivery.kind] - 1:
                if deed.what is What.DIE_BEHIND:
                    self._behind_it.append(deed)
                else:
                    self._do(deed, delivery)

    def _behind(self, delivery: Delivery) -> None:
        deeds, self._behind_it = self._behind_it, []
        for deed in deeds:
            self._do(deed, delivery)

    def _do(self, deed: Deed, delivery: Delivery) -> None:
        sender, receiver = delivery.sender, delivery.receiver
        name = {SENDER: sender, RECEIVER: receiver}.get(deed.who, deed.who)
        match deed.what:
            case What.DIE | What.DIE_BEHIND:
                self._kill(name, deed.again_us)
            case What.LOSE:
                self.network.end_session(sender, receiver)
            case What.CUT:
                self.network.cuts.add((sender, receiver))
                self._end_later(deed.length_us, partial(self.network.cuts.discard, (sender, receiver)))
            case What.MUTE:
                self.network.cuts.add((receiver, sender))
                self._end_later(deed.length_us, partial(self.network.cuts.discard, (receiver, sender)))
            case What.FADE:
                self.network.cuts.add((sender, receiver))
                self._end_later(deed.length_us, partial(self._fade_out, sender, receiver, deed.again_us))
            case What.SLEEP:
                self._sleep(name, deed.length_us)
            case What.STIR:
                for flow in (*range(self.schedule.flows), *range(self.schedule.flows)):
                    after_us = self.rng.randrange(self.rng.choice([300, GATHERING_US]))
                    self.network.at(self.network.now_us + after_us, partial(self.cluster.feed, flow))
                self._migrate(sender, receiver if self.rng.random() < 0.5 else "")

    def _fade_out(self, name: str, other: str, again_us: int) -> None:
        self._kill(name, again_us)
        self.network.cuts.discard((name, other))

    def _end_later(self, after_us: int, action: Callable[[], Any]) -> None:
        """A fault that has begun goes on for so long."""
        end_us = self.network.now_us + after_us
        self._disturbed_us = max(self._disturbed_us, end_us)
        self.network.at(end_us, action)

    def _kill(self, name: str, again_us: int) -> None:
        if name == OUTSIDE or not self.network.nodes[name].alive:
            return
        self.cluster.kill(name)
        if not again_us and name not in self.cluster.runtimes:
            again_us = AGAIN_US
        if again_us:
            self._end_later(again_us, partial(self.cluster.restart, name))

    def _sleep(self, name: str, length_us: int) -> None:
        node = self.network.nodes[name]
        if name in self.cluster.runtimes and not node.paused:
            self.cluster.pause(name, deadly=length_us > DEADLY_US)
            self._end_later(length_us, partial(self.network.resume, name))

    def _after(self, node: HeapNode) -> None:
        """(a) and (d), after every event."""
        cluster = self.cluster
        member = cluster.runtimes.get(node.name) or cluster.switches.get(node.name)
        if member is not None:
            check_node(member.ledger)
            self._check_view(node, member.view.term)
        runtime = cluster.runtimes.get(node.name)
        if runtime is not None:
            counts = runtime.engine.statistics()
            changed = counts.packets, counts.created, counts.flows, counts.rows
            if self._seen.get(node.name) != changed:  # else nothing came or went
                self._seen[node.name] = changed
                one_owner(cluster, flows_end=self.schedule.flows_end)
                cluster.check_event()

    def _check_view(self, node: HeapNode, term: int) -> None:
        """Nobody goes back to an earlier view, in which the dead may live."""
        life = node.name, node.life
        if term < self._terms.get(life, 0):
            raise Violation(f"(d) one owner: {node.name} went back from view {self._terms[life]} to {term}")
        self._terms[life] = term

    @property
    def _serves(self) -> bool:
        """Whether packets are to pass: where nothing may leave without a replica, there has to be one."""
        return self.cluster.mode.kind is not Kind.STRICT_HOLD or len(self.cluster.living()) > 1

    def _wait(self, seconds: float) -> None:
        cuts = [self._start_us + when + length for when, _, _, length in self.schedule.cuts]
        quiet_from = max(self.network.now_us, self._disturbed_us, *cuts)
        self.network.run(quiet_from + round(seconds * 1e6))

    # ---------------------------------------------------------------- judgement

    def _probe(self) -> None:
        """(i) Every flow is served."""
        before = len(self.cluster.history.flow_of)
        flows = sorted(self.cluster.key_of)
        for flow in flows:
            self.cluster.feed(flow)
        self.network.run(self.network.now_us + 300_000)
        marks = range(before + 1, before + 1 + len(flows))
        probes_came(self.cluster, dict(zip(flows, marks, strict=True)), QUIET_S)

    def _check_quiet(self) -> None:
        nothing_is_half_done(self.cluster, serves=self._serves)

    def _check_counts(self) -> None:
        history = self.cluster.history
        if self._serves and not (self.schedule.port_loss or history.switch_deaths or history.restarts):
            neighbours_agree(self.cluster)
        if not (history.deaths or history.switch_deaths or history.restarts):
            migrations_are_counted(self.cluster, all_move=not self.schedule.flows_end)
        copies_are_of_flows(self.cluster)
        owners_agree(self.cluster)
        if self._serves:  # else flows that have just arrived wait until they have a replica
            flows_are_free(self.cluster)

    def _check_history(self) -> None:
        cluster, schedule = self.cluster, self.schedule
        deaths = cluster.history.deaths
        lost = self.network.lost_messages["StoreCommit"] > 0
        slept = bool(schedule.pauses) or any(deed.what is What.SLEEP for deed in schedule.deeds)
        conditions = Conditions(
            strict=cluster.mode.strict,
            replicated=cluster.mode.replicates,
            lag_packets_max=None if lost else cluster.mode.every_packets + UNDER_WAY_PACKETS_MAX,
            lag_us_max=None if lost or slept or cluster.mode.kind is not Kind.EVERY else cluster.mode.every_ms * 1000,
            ports_lose=bool(schedule.port_loss or cluster.history.switch_deaths)
            or not (schedule.keep_packets and self._serves),
            flows_end=schedule.flows_end,
            idle_marks=round(IDLE_S / STEP_S) if schedule.flows_end else 0,
            limited=schedule.limits.small,
            drops_ahead=schedule.ports > 0,
            overlapping=any(death.overlaps for death in deaths),
        )
        check(cluster.history, finals_of(cluster), conditions, self.network.lost_packets)
        cluster.check_over(flows_end=schedule.flows_end or schedule.limits.small)


def run(scenario: str, seed: int) -> None:
    """Draw a seed's schedule and judge its run."""
    Run(draw(scenario, seed)).judge()
