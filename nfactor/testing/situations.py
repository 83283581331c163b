"""What happened in a run that schedules are drawn for: counted as it really came about, not as it was drawn.

A fault that is drawn may hit nothing: the message for which it waits never comes, or the node is dead already. So runs
count, from the messages and bursts that arrive and the nodes that die, how often each situation occurred that the
protocols have a rule for. A test holds the sums over some seeds to minimums.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from nfactor.cluster.call_messages import Answer, Call, ControlCall
from nfactor.cluster.messages import FlowsInstalled, FlowStatuses, MigrationEnded, PrepareFlows, RedirectFlows
from nfactor.cluster.names import COORDINATOR
from nfactor.cluster.recovery_messages import FlowsClaimed, NodeRecovered, Recover
from nfactor.dataplane.engine import Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster

IDLE_MARKS = 10
"""A flow is idle when so many packets of others have come since its last one."""
FULL = ("flow_table_full", "migration_buffer_full", "orphan_buffer_full")
"""Reasons to drop a packet where something has no room."""


@attrs.define
class _Set:
    """Flows on their way."""

    source: str
    target: str
    keys: set[bytes]
    switches: set[str] = attrs.Factory(set)


class Situations:
    """Watches that cluster from now on; ``counts`` says how often each situation occurred."""

    def __init__(self, cluster: HeapCluster) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._network = network = cluster.network
        self._asked: dict[tuple[str, str, int, int], Any] = {}
        """Questions that came, by who asked, in which life, and number."""
        self._sets: dict[int, _Set] = {}
        """Migrations that are under way, by number."""
        self._recovered: dict[str, set[bytes]] = {}
        """By runtime that is being recovered, its flows that have been claimed."""
        self._last_marks: dict[int, int] = {}
        """Of each flow, its last packet that was processed."""
        self._looked_at = 0
        network.before = _both(self._came, network.before)
        network.lost = _both(self._lost, network.lost)
        network.arrived = _both(self._arrived, network.arrived)
        cluster.deaths.when_noted = self._runtime_dies
        cluster.killed, cluster.restarted = self._dies, self._begins_again

    def finish(self) -> Counter[str]:
        """Those of the whole run, when it is over."""
        cluster, counts = self._cluster, self.counts.copy()
        counts.update(self._network.met)
        for death in cluster.history.deaths:
            counts["two deaths overlap"] += death.overlaps
            counts["a runtime dies where there are failure domains"] += len(set(cluster.domains.values())) > 1
        for reason, _ in cluster.history.dropped:
            if reason in FULL:
                counts[f"a packet dropped as {reason}"] += 1
        counts["a runtime is launched"] += len(cluster.launched)
        counts["a runtime is declared dead, and lives"] += cluster.deaths.living
        counts["a node whose clock is not true"] += len(self._network.clocks)
        return +counts

    # ---------------------------------------------------------------- messages

    def _came(self, delivery: Delivery) -> None:
        message, inner = delivery.message, delivery.inner
        if isinstance(message, Call | ControlCall):
            number = message.node, message.actor, message.life, message.number
            if number in self._asked:
                self.counts["a question comes again"] += 1
            elif message.life < self._network.nodes[message.node].life:
                self.counts["a question of an earlier life comes late"] += 1
            self._asked[number] = inner
            self._question(delivery, inner)
        elif isinstance(message, Answer):
            question = self._asked.get((delivery.receiver, delivery.actor, message.life, message.number))
            self._answer(question, inner, delivery.receiver)

    def _question(self, delivery: Delivery, question: Any) -> None:
        match question:
            case PrepareFlows():
                keys = set(FlowKeys.of_octets(question.keys))
                if question.migration not in self._sets and any(keys & those for those in self._recovered.values()):
                    self.counts["flows set out whose recovery is not over"] += 1
                self._sets.setdefault(question.migration, _Set(question.source, delivery.receiver, keys))
            case RedirectFlows() if question.migration in self._sets:
                switches = self._sets[question.migration].switches
                switches.add(delivery.receiver)
                self.counts["several switches own keys of a set"] += len(switches) == 2
            case MigrationEnded():
                self._sets.pop(question.migration, None)
            case Recover():
                self._recovered.setdefault(question.node, set())
            case NodeRecovered():
                self._recovered.pop(question.node, None)

    def _answer(self, question: Any, answer: Any, asker: str) -> None:
        if isinstance(answer, FlowStatuses | FlowsClaimed):
            statuses = Counter(answer.statuses)
            ok = statuses.pop(Status.OK, 0)
            kind = type(question).__name__
            for status in statuses:
                self.counts[f"{kind} is answered with {Status(status).name}"] += 1
            if isinstance(question, PrepareFlows) and ok and statuses:
                self.counts["a target refuses some flows of a set"] += 1
        if isinstance(answer, FlowsClaimed) and question is not None and question.dead in self._recovered:
            keys = FlowKeys.of_octets(question.keys)
            claimed = {key for key, status in zip(keys, answer.statuses, strict=True) if status == Status.OK}
            self._recovered[question.dead] |= claimed

    def _lost(self, delivery: Delivery) -> None:
        message = delivery.message
        if isinstance(message, Call | ControlCall):
            self.counts["a question is lost"] += 1
        elif isinstance(message, Answer):
            self.counts["an answer is lost"] += 1
            self.counts["the last answer of a migration is lost"] += isinstance(delivery.inner, FlowsInstalled)

    # ---------------------------------------------------------------- packets

    def _arrived(self, sender: str, receiver: str, burst: Burst) -> None:
        switch = self._cluster.switches.get(receiver)
        if switch is None:
            return
        if sender in self._cluster.switches:
            bits = cluster_frame.label_bits(burst)
            self.counts["a packet is passed on to another switch"] += len(burst)
            told = np.count_nonzero(bits & cluster_frame.TEACH)
            self.counts["a switch learns an alias from another"] += int(told)
            self.counts["a packet for an alias at another switch"] += int(np.count_nonzero(bits & cluster_frame.ALIAS))
        elif sender in self._cluster.runtimes and sender not in switch.view:
            self.counts["a frame of a runtime that is fenced"] += len(burst)

    # ---------------------------------------------------------------- nodes

    def _dies(self, name: str) -> None:
        if name in self._cluster.switches:
            self.counts["a switch dies"] += 1
            self.counts["a switch dies in a migration"] += bool(self._sets)
        elif name == COORDINATOR:
            self.counts["the coordinator dies"] += 1
            self.counts["the coordinator dies in a recovery"] += bool(self._recovered)

    def _begins_again(self, name: str) -> None:
        role = "the coordinator" if name == COORDINATOR else f"a {name.partition('-')[0]}"
        self.counts[f"{role} begins again"] += 1

    def _runtime_dies(self, name: str) -> None:
        """Or will be declared dead."""
        counts, runtime = self.counts, self._cluster.runtimes[name]
        counts["a runtime dies"] += 1
        counts["a runtime dies while another is being recovered"] += bool(self._recovered)
        for flows in self._sets.values():
            counts["the source of a migration dies in it"] += flows.source == name
            if flows.target == name:
                counts["the target of a migration dies in it"] += 1
                copies = set(runtime.replicas._store.look(flows.source)[0])
                counts["a target dies that is the replica of flows on their way to it"] += bool(copies & flows.keys)
        counts["a runtime dies that has an idle flow"] += self._has_idle(name)

    def _has_idle(self, name: str) -> bool:
        history = self._cluster.history
        for entry in history.processed[self._looked_at :]:
            self._last_marks[history.flow_of[entry.mark]] = entry.mark
        self._looked_at = len(history.processed)
        flows = [self._cluster.flow_of_key.get(key, -1) for key in list(self._cluster.runtimes[name].engine.keys())]
        idle_since = max(history.flow_of, default=0) - IDLE_MARKS
        return any(0 < self._last_marks.get(flow, 0) <= idle_since for flow in flows)


def _both(one: Callable[..., None], other: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        one(*arguments)
        other(*arguments)

    return call
