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
from nfactor.cluster.names import COORDINATOR
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Kind, Mode
from nfactor.testing.balance import Balance
from nfactor.testing.checkers import ON_THE_WAY_US, Conditions, check
from nfactor.testing.custody import Custody
from nfactor.testing.draws import draw
from nfactor.testing.faults import GATHERING_US, ROUND_US, Schedule
from nfactor.testing.heap import CONTROL_US
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_node import HeapNode
from nfactor.testing.judged import finals_of
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.pasts import pasts_of
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
from nfactor.testing.setback import set_back_within_bound
from nfactor.testing.situations import Situations
from nfactor.testing.striking import Striking
from nfactor.testing.violation import Violation

IN_TURN_US = 50
"""A message waits for those before it on its way, each of which arrives a microsecond after the last, at least."""
QUIET_S = 5.0
"""So long after the last fault everything is served and protected again (DESIGN section 7)."""
UNSEEN_S = 1.0
"""It may take so much longer if the coordinator has not seen by then that a runtime is dead."""
STRIKING_US = 2_500_000
"""From its beginning on, deeds may strike for so long: while the first death is made good for, too."""
IDLE_S, STEP_S = 2.0, 0.2
"""Where flows end, they do so after so much time by the clock of the packets, and from packet to packet it is so much
later."""


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
            clocks=schedule.clocks,
        )
        self.network = self.cluster.network
        self.network.keep_messages, self.network.keep_packets = schedule.keep_messages, schedule.keep_packets
        self.network.links_keep = schedule.links_keep
        self.faults = Striking(schedule, self.cluster, self.rng)
        self._quiet_s = 0.0
        self._bounded = 0
        self.situations = Situations(self.cluster)
        self._balance = Balance(self.cluster)
        self.custody = Custody(self.cluster)
        self.network.after = self._after
        self._start_us = self.network.now_us
        self._seen: dict[str, tuple[int, ...]] = {}
        """Of each runtime, how much there was in its table when it was last looked at."""
        self._terms: dict[tuple[str, int], int] = {}
        """Of each life of a node, the view that it last had."""

    def judge(self) -> None:
        """Run it; raises ``Violation``, or whatever the code under test raises."""
        self._plan()
        last_us = self._start_us + (self.schedule.rounds - 1) * ROUND_US
        self.network.run(last_us + self.schedule.traffic_us)
        self.faults.calm()
        if self.schedule.deeds and self.schedule.traffic_us < STRIKING_US:
            self.network.run(last_us + STRIKING_US)
        self.faults.stop()
        self.network.run(max(self.network.now_us, self.faults.ends_us))
        self._quiet_s = QUIET_S + (0.0 if self.cluster.deaths.are_seen else UNSEEN_S)
        self.network.run(self.network.now_us + round(self._quiet_s * 1e6))
        self._check_quiet()
        if self._serves:
            self._probe()
        self._check_quiet()
        self._check_history()
        self._check_counts()

    def seen(self) -> Counter[str]:
        """What situations there were in it, and how often each (``nfactor.testing.situations``)."""
        bounded = {"a death whose loss is held to the bound in packets": self._bounded}
        return self.situations.finish() + self.faults.struck + Counter(bounded)

    # ---------------------------------------------------------------- what happens

    def _plan(self) -> None:
        for _ in range(self.schedule.bursts):
            self._at(self._moment(), partial(self.cluster.feed, self._any_flow(), self.rng.choice([1, 1, 2, 4])))
        for _ in range(self.schedule.migrations):
            self._at(self._moment(), self.faults.migrate)
        self.faults.plan()

    def _at(self, offset_us: int, action: Callable[[], Any]) -> None:
        self.network.at(self._start_us + offset_us, action)

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

    def _after(self, node: HeapNode) -> None:
        """(a) and (d), after every event."""
        cluster = self.cluster
        if node.name == COORDINATOR:
            cluster.deaths.note_declared()
        member = cluster.runtimes.get(node.name) or cluster.switches.get(node.name)
        if member is not None:
            check_node(member.ledger)
            self._balance.look(member)
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

    # ---------------------------------------------------------------- judgement

    def _probe(self) -> None:
        """(i) Every flow is served."""
        before = len(self.cluster.history.flow_of)
        flows = sorted(self.cluster.key_of)
        for flow in flows:
            self.cluster.feed(flow)
        self.network.run(self.network.now_us + 300_000)
        marks = range(before + 1, before + 1 + len(flows))
        probes = dict(zip(flows, marks, strict=True))
        probes_came(self.cluster, probes, self._quiet_s, limited=self.schedule.limits.small)

    def _check_quiet(self) -> None:
        nothing_is_half_done(self.cluster, serves=self._serves)

    def _check_counts(self) -> None:
        history = self.cluster.history
        if self._serves:
            self.custody.check()
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
        slept = bool(schedule.pauses or self.faults.slept)
        slower_us = sum(schedule.slow_us.values())
        conditions = Conditions(
            strict=cluster.mode.strict,
            replicated=cluster.mode.replicates,
            lag_packets_max=None if lost else cluster.mode.every_packets,
            under_way_us=CONTROL_US[1] + IN_TURN_US + slower_us,
            lag_us_max=None if lost or slept or cluster.mode.kind is not Kind.EVERY else cluster.mode.every_ms * 1000,
            ports_lose=bool(schedule.port_loss or cluster.history.switch_deaths)
            or not (schedule.keep_packets and self._serves),
            flows_end=schedule.flows_end,
            idle_marks=round(IDLE_S / STEP_S) if schedule.flows_end else 0,
            limited=schedule.limits.small,
            drops_ahead=schedule.ports > 0,
            holds=not self._serves,
            on_the_way_us=ON_THE_WAY_US + slower_us + self.faults.slept_us,
            overlapping=any(death.overlaps for death in deaths),
        )
        check(cluster.history, finals_of(cluster), conditions, self.network.lost_packets)
        set_back_within_bound(cluster.history, pasts_of(cluster.history, finals_of(cluster)), conditions)
        certain = (conditions.strict and not conditions.overlapping) or not deaths
        if self._serves and conditions.ports_lose and certain:
            self.custody.check_included()
        exact = cluster.mode.kind is Kind.EVERY and not (lost or conditions.overlapping)
        self._bounded = sum(bool(death.protected) for death in deaths) if exact else 0
        cluster.check_over(flows_end=schedule.flows_end or schedule.limits.small)


def run(scenario: str, seed: int) -> Counter[str]:
    """Draw a seed's schedule and judge its run; what situations there were in it."""
    drawn = Run(draw(scenario, seed))
    drawn.judge()
    return drawn.seen()
