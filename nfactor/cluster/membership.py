"""Who is in the cluster: hears signs of life, declares runtimes dead, and leads the recovery of their flows.

It runs on the coordinator's node, as an actor of its own, for it must never wait while the coordinator waits. The order
of a recovery's steps is the machine's in ``nfactor.protocols.recovery``; this file is its shell.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.liaison import HEARTBEAT_S
from nfactor.cluster.messages import Done, Member, NotifyClusterCfg, ReadView, Released, ViewTaken
from nfactor.cluster.names import FLOWS, LIAISON, REPLICAS
from nfactor.cluster.recovery_messages import (
    FalseAlarms,
    Heartbeat,
    LastHeard,
    NodeRecovered,
    ReadFalseAlarms,
    Recover,
    RecoveryOver,
    SetReplicas,
    StepTaken,
    TakeBack,
    Witness,
)
from nfactor.cluster.view import View
from nfactor.errors import PeerDown
from nfactor.protocols.recovery import Recovery

DEAD_AFTER_S = 1.0
"""A runtime that has been silent for so long, to the coordinator and to every switch, is dead (DESIGN section 7)."""

_Order: TypeAlias = Callable[[str], Awaitable[None]]


class Membership(Actor):
    """Owns the view of one cluster, which begins with ``members``. ``observer`` takes views as well, and is told what
    was recovered."""

    def __init__(
        self, members: tuple[Member, ...], view: View, *, replicated: bool, dead_after_s: float, observer: Ref | None
    ) -> None:
        self._members = members
        self._view = view
        self._replicated = replicated
        self._dead_after_s = dead_after_s
        self._observer = observer
        self._heard: dict[str, float] = {}
        self._suspected: set[str] = set()
        self._dead: deque[str] = deque()
        self._recovery: Recovery | None = None
        self._packets: list[Released] = []
        self._outcomes: list[Released] = []
        """How far replicas that died had come, as the switches and the outside say."""
        self._recoveries = 0
        self._false_alarms = 0
        self._changed = trio.Event()

    async def started(self) -> None:
        """The cluster is ready when every node knows it, and every runtime its replicas."""
        now = trio.current_time()
        self._heard = {member.name: now for member in self._members if member.kind == "runtime"}
        self._take_view()
        await self._each(self._names("switch"), self._give_view)
        await self._each(self._names("runtime"), self._give_view)
        if self._observer is not None:
            await self._observer.ask(self._notice(), ViewTaken)
        await self._each(self._names("runtime"), self._give_replicas)
        self.context.start_soon(self._watch)
        self.context.start_soon(self._recover_all)

    @handles(ReadView)
    def read_view(self, message: ReadView) -> NotifyClusterCfg:
        """The present view."""
        return self._notice()

    # ---------------------------------------------------------------- signs of life

    @handles(Heartbeat)
    def heard(self, message: Heartbeat) -> None:
        """A runtime lives."""
        self._heard[message.node] = trio.current_time()

    async def _watch(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT_S)
            for name in self._names("runtime"):
                if self._silent(name) and name not in self._suspected:
                    self._suspected.add(name)
                    self.context.start_soon(self._inquire, name)

    def _silent(self, name: str) -> bool:
        return trio.current_time() - self._heard[name] > self._dead_after_s

    async def _inquire(self, name: str) -> None:
        """A second witness: that we do not hear a runtime may be our own fault."""
        seen = []
        for switch in self._names("switch"):
            heard = await self._view.ask(self.context.node.ref(switch, LIAISON), Witness(name), LastHeard)
            seen.append(0 <= heard.seconds <= self._dead_after_s)
        self._suspected.discard(name)
        if any(seen):
            self._false_alarms += 1
        elif self._silent(name) and name in self._view:
            self._members = tuple(member for member in self._members if member.name != name)
            self._take_view()
            self._dead.append(name)
            if self._recovery is not None:
                self._recovery.died(name)
            self._change()

    @handles(ReadFalseAlarms)
    def read_false_alarms(self, message: ReadFalseAlarms) -> FalseAlarms:
        """How often a switch knew better."""
        return FalseAlarms(self._false_alarms)

    # ---------------------------------------------------------------- recovery

    async def _recover_all(self) -> None:
        while True:
            while not self._dead:
                await self._changed.wait()
            dead = self._dead.popleft()
            await self._recover(dead)
            if self._observer is not None and self._recovery is not None:
                seconds = trio.current_time() - self._heard[dead]
                await self._observer.tell(NodeRecovered(dead, self._recovery.flows, seconds))
            self._recovery = None

    async def _recover(self, dead: str) -> None:
        self._recoveries += 1
        recovery = self._recovery = Recovery(self._recoveries, dead)
        if self._observer is not None:
            self._outcomes += (await self._observer.ask(self._notice(), ViewTaken)).released
        await self._step(recovery, self._names("switch"), self._give_view)
        await self._step(recovery, self._names("runtime"), self._give_view)
        await self._step(recovery, self._names("runtime"), self._give_replicas)
        await self._order(recovery, self._names("runtime"), Recover(recovery.number, dead), REPLICAS)
        await self._order(recovery, self._names("runtime"), TakeBack(recovery.number, dead), LIAISON)
        over = RecoveryOver(recovery.number, dead)
        recovery.begin([*self._names("switch"), *self._names("runtime")])
        self._tell(self._names("switch"), over, LIAISON)
        self._tell(self._names("runtime"), over, FLOWS)
        await self._finish(recovery)

    async def _step(self, recovery: Recovery, nodes: list[str], order: _Order) -> None:
        """A step whose orders are answered at once."""
        recovery.begin(nodes)

        async def one(node: str) -> None:
            await order(node)
            recovery.answered(node)

        await self._each(nodes, one)
        await self._finish(recovery)

    async def _order(self, recovery: Recovery, nodes: list[str], message: object, actor: str) -> None:
        """A step that takes the nodes a while; they say when it is done."""
        recovery.begin(nodes)
        self._tell(nodes, message, actor)
        await self._finish(recovery)

    async def _finish(self, recovery: Recovery) -> None:
        while recovery.waiting:
            await self._changed.wait()
        recovery.proceed()

    @handles(StepTaken)
    def step_taken(self, message: StepTaken) -> None:
        """A node has done its part."""
        if self._recovery is not None and message.recovery == self._recovery.number:
            self._recovery.answered(message.node, message.flows)
            self._change()

    # ---------------------------------------------------------------- orders

    def _take_view(self) -> None:
        self._view.take(NotifyClusterCfg(self._view.term + 1, self._members))

    def _notice(self) -> NotifyClusterCfg:
        return NotifyClusterCfg(self._view.term, self._members)

    def _names(self, kind: str) -> list[str]:
        return [member.name for member in self._members if member.kind == kind]

    async def _give_view(self, node: str) -> None:
        taken = await self._view.ask(self.context.node.ref(node, LIAISON), self._notice(), ViewTaken)
        self._packets += taken.released

    async def _give_replicas(self, runtime: str) -> None:
        """All other runtimes in turn, each runtime beginning with another."""
        runtimes = self._names("runtime")
        if runtime in runtimes:
            place = runtimes.index(runtime)
            replicas = (*runtimes[place + 1 :], *runtimes[:place]) if self._replicated else ()
            order = SetReplicas(self._view.term, replicas, tuple(self._packets), tuple(self._outcomes))
            await self._view.ask(self.context.node.ref(runtime, FLOWS), order, Done)

    async def _each(self, nodes: Iterable[str], order: _Order) -> None:
        """To all at once; who dies meanwhile is not waited for."""

        async def one(node: str) -> None:
            try:
                await order(node)
            except PeerDown:
                if node in self._view:
                    raise

        async with trio.open_nursery() as orders:
            for node in nodes:
                orders.start_soon(one, node)

    def _tell(self, nodes: Iterable[str], message: object, actor: str) -> None:
        for node in nodes:
            self.context.node.ref(node, actor).tell_nowait(message)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
