"""Carries out the faults of a schedule in a run: deeds at their steps, everything else at its time."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import COORDINATOR, LIAISON, OUTSIDE
from nfactor.testing.faults import DEADLY_US, GATHERING_US, RECEIVER, ROUND_US, SENDER, Deed, Schedule, What
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster

AGAIN_US = 3_000
"""A switch, or the coordinator, begins again so long after a death that was to be final."""


class Striking:
    """Faults of that schedule in that cluster, until ``stop``."""

    def __init__(self, schedule: Schedule, cluster: HeapCluster, rng: Random) -> None:
        self.schedule = schedule
        self.struck: Counter[str] = Counter()
        """How many faults of each kind found somebody to strike."""
        self.slept = False
        self.slept_us = 0
        """The longest sleep that was not taken for a death."""
        self._cluster = cluster
        self._network = cluster.network
        self._rng = rng
        self._first = self._network.delivered
        """How many messages arrived before the traffic began."""
        self._start_us = self._network.now_us
        self._disturbed_us = 0
        self.strikes = True
        """Whether deeds and deaths at a step still happen."""
        self._steps: Counter[str] = Counter()
        """Messages of each kind so far."""
        self._deeds: dict[str, list[Deed]] = {}
        """Those whose round has begun, by kind."""
        self._before_round: dict[int, Counter[str]] = {}
        """Messages of each kind before each round."""
        self._behind_it: list[Deed] = []
        """What is to be done when the message that is being handled has been."""
        self._network.before, self._network.behind = self._before, self._behind

    @property
    def ends_us(self) -> int:
        """When all is over that has begun or will begin at its time."""
        schedule = self.schedule
        ends = [when + length for when, _, _, length in schedule.cuts]
        ends += [when + length for when, _, length in schedule.splits]
        return max(self._disturbed_us, self._start_us + max(ends, default=0))

    def plan(self) -> None:
        """What has its time."""
        schedule, at, network = self.schedule, self._at, self._network
        for when, a, b in schedule.broken:
            at(when, partial(self._count, What.LOSE, network.end_session, a, b))
        for when, a, b, length in schedule.cuts:
            at(when, partial(self._count, What.CUT, network.cuts.add, (a, b)))
            at(when + length, partial(network.cuts.discard, (a, b)))
        for when, group, length in schedule.splits:
            what = What.SPLIT if len(group) > 1 else What.ISOLATE
            at(when, partial(self._count, what, self._split, frozenset(group), length))
        for when, name, length in schedule.pauses:
            at(when, partial(self._count, What.SLEEP, self._sleep, name, length))
        for number in range(schedule.rounds):
            at(number * ROUND_US, partial(self._begin_round, number))
        network.port_loss, network.marker_loss = schedule.port_loss, schedule.marker_loss
        network.slow_us = dict(schedule.slow_us)

    def calm(self) -> None:
        """The traffic is over: ports and nodes are as they should be, and deeds strike on."""
        self._network.port_loss = self._network.marker_loss = 0.0
        self._network.slow_us = {}

    def stop(self) -> None:
        """No deed strikes any more."""
        self.strikes = False

    def _at(self, offset_us: int, action: Callable[[], Any]) -> None:
        self._network.at(self._start_us + offset_us, action)

    def _begin_round(self, number: int) -> None:
        self._before_round[number] = self._steps.copy()
        for deed in self.schedule.deeds:
            if deed.round == number:
                self._deeds.setdefault(deed.kind, []).append(deed)

    def migrate(self, source: str = "", target: str = "") -> None:
        """Order some flows from one runtime to another."""
        names = [runtime.node.name for runtime in self._cluster.living()]
        if len(names) < 2:
            return
        if source not in names:
            source = self._rng.choice(names)
        if target not in names or target == source:
            target = self._rng.choice([name for name in names if name != source])
        order = SetMigrationTarget(target, self._rng.randint(1, 4))
        self._cluster.coordinator.ask(source, LIAISON, order, Migrating, lambda _: None)

    # ---------------------------------------------------------------- deeds

    def _before(self, delivery: Delivery) -> None:
        if not self.strikes:
            return
        for at, name in self.schedule.kill_at:
            if delivery.number - self._first == at:
                self._kill(name, self.schedule.restart_after_us.get(name, 0))
        self._steps[delivery.kind] += 1
        for deed in self._deeds.get(delivery.kind, []):
            if deed.before == self._steps[delivery.kind] - self._before_round[deed.round][delivery.kind] - 1:
                if deed.what is What.DIE_BEHIND:
                    self._behind_it.append(deed)
                else:
                    self._strike(deed, delivery)

    def _behind(self, delivery: Delivery) -> None:
        deeds, self._behind_it = self._behind_it, []
        for deed in deeds:
            self._strike(deed, delivery)

    def _strike(self, deed: Deed, delivery: Delivery) -> None:
        self._count(deed.what, self._do, deed, delivery)

    def _count(self, what: What, act: Callable[..., object], *arguments: Any) -> None:
        """Do it, and count it if there was anybody to do it to."""
        if act(*arguments) is not False:
            self.struck[f"{what.name}: {what.value}"] += 1

    def _do(self, deed: Deed, delivery: Delivery) -> bool:
        """Whether there was anybody to do it to."""
        sender, receiver = delivery.sender, delivery.receiver
        name = {SENDER: sender, RECEIVER: receiver}.get(deed.who, deed.who)
        match deed.what:
            case What.DIE | What.DIE_BEHIND:
                return self._kill(name, deed.again_us)
            case What.LOSE:
                self._network.end_session(sender, receiver)
            case What.CUT:
                self._network.cuts.add((sender, receiver))
                self._end_later(deed.length_us, partial(self._network.cuts.discard, (sender, receiver)))
            case What.MUTE:
                self._network.cuts.add((receiver, sender))
                self._end_later(deed.length_us, partial(self._network.cuts.discard, (receiver, sender)))
            case What.FADE:
                self._network.cuts.add((sender, receiver))
                self._end_later(deed.length_us, partial(self._fade_out, sender, receiver, deed.again_us))
            case What.SPLIT:
                others = sorted(self._network.nodes.keys() - {sender, receiver})
                self._split(
                    frozenset([sender, *(other for other in others if self._rng.random() < 0.5)]), deed.length_us
                )
            case What.ISOLATE:
                self._split(frozenset([name]), deed.length_us)
            case What.SLEEP:
                return self._sleep(name, deed.length_us)
            case What.STIR:
                for flow in (*range(self.schedule.flows), *range(self.schedule.flows)):
                    after_us = self._rng.randrange(self._rng.choice([300, GATHERING_US]))
                    self._network.at(self._network.now_us + after_us, partial(self._cluster.feed, flow))
                self.migrate(sender, receiver if self._rng.random() < 0.5 else "")
        return True

    def _fade_out(self, name: str, other: str, again_us: int) -> None:
        self._kill(name, again_us)
        self._network.cuts.discard((name, other))

    def _end_later(self, after_us: int, action: Callable[[], Any]) -> None:
        """A fault that has begun goes on for so long."""
        end_us = self._network.now_us + after_us
        self._disturbed_us = max(self._disturbed_us, end_us)
        self._network.at(end_us, action)

    def _kill(self, name: str, again_us: int) -> bool:
        if name == OUTSIDE or not self._network.nodes[name].alive:
            return False
        self._cluster.kill(name)
        if not again_us and name not in self._cluster.runtimes:
            again_us = AGAIN_US
        if again_us:
            self._end_later(again_us, partial(self._cluster.restart, name))
        return True

    def _split(self, group: frozenset[str], length_us: int) -> None:
        if length_us > DEADLY_US and len(group) == 1:
            for name in group & self._cluster.runtimes.keys():
                self._cluster.deaths.silence(name)
            self.struck["the coordinator hears nobody for longer than a second"] += COORDINATOR in group
        self._network.splits.append(group)
        self._end_later(length_us, partial(self._network.splits.remove, group))

    def _sleep(self, name: str, length_us: int) -> bool:
        """Only of a runtime does anybody ask whether it is dead: a switch, or the coordinator, never sleeps so long."""
        node, deadly = self._network.nodes[name], length_us > DEADLY_US
        if node.paused or name == OUTSIDE or (deadly and name not in self._cluster.runtimes):
            return False
        self._cluster.pause(name, deadly=deadly)
        self.slept = True
        self.struck["a switch or the coordinator sleeps"] += name not in self._cluster.runtimes
        self.slept_us = max(self.slept_us, 0 if deadly else length_us)
        self._end_later(length_us, partial(self._network.resume, name))
        return True
