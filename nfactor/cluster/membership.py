"""Who is in the cluster: hears signs of life, declares runtimes dead, and leads the recovery of their flows.

It runs on the coordinator's node, as a role of its own. The order of a recovery's steps is the machine's in
``nfactor.protocols.recovery``; this file is its shell.
"""

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeAlias

from nfactor.actors import handles
from nfactor.cluster.launching import Launching
from nfactor.cluster.liaison import HEARTBEAT_S
from nfactor.cluster.messages import Done, Member, NotifyClusterCfg, ReadView, Released, ViewTaken
from nfactor.cluster.names import COLLECTOR, FLOWS, LIAISON, OUTSIDE, REPLICAS
from nfactor.cluster.recovery_messages import (
    FalseAlarms,
    Heartbeat,
    Join,
    LastHeard,
    NodeRecovered,
    ReadFalseAlarms,
    Recover,
    RecoveryOver,
    SetReplicas,
    SignHeard,
    StepTaken,
    TakeBack,
    Witness,
)
from nfactor.cluster.role import Later, Role
from nfactor.cluster.survey import Survey
from nfactor.cluster.suspicions import Suspicions
from nfactor.cluster.view import View
from nfactor.protocols.recovery import Recovery, Step

DEAD_AFTER_S = 1.0
"""A runtime that has been silent for so long, to the coordinator and to every switch, is dead (DESIGN section 7)."""

DRAIN_S = 0.05
"""When a runtime begins again at once, its earlier life is fenced so long after: what that had released for others and
was still under way has arrived by then."""

_Order: TypeAlias = tuple[str, str, object, type]
"""A node, a role on it, what it is told, and what it answers."""


class Membership(Role):
    """Owns the view of one cluster, which begins with ``members``. ``observed``: the outside takes views as well, and
    is told what was recovered. ``ready`` is called when every node knows the cluster, and every runtime its replicas.
    ``again``: another life of it has led this cluster, so the nodes are asked what they know of it."""

    def __init__(
        self,
        members: tuple[Member, ...],
        view: View,
        *,
        replicated: bool,
        dead_after_s: float,
        observed: bool,
        ready: Callable[[], None] = lambda: None,
        again: bool = False,
        launches: bool = False,
    ) -> None:
        """``launches``: the outside can start runtimes; it is asked to where there is none to replicate to."""
        self._members = members
        self._all = {member.name: member.domain for member in members}
        """Everybody who ever was in it, in the order of joining, and in which failure domain."""
        self.view = view
        self._replicated = replicated
        self._observed = observed
        self._ready = ready
        self._again = again
        self._launches = launches
        self._launching: Launching | None = None
        self._suspicions = Suspicions(dead_after_s)
        self._joining: list[tuple[Member, Later]] = []
        """Nodes that want to be in it, and cannot yet."""
        self._unfenced: dict[str, int] = {}
        """Runtimes that are dead, and of which the switches may still take frames: the first view without each."""
        self._fences: dict[int, NotifyClusterCfg] = {}
        """By what asks switches and the outside to take a view: which. Runtimes get the same one, and no later one."""
        self._waiting: deque[Recovery] = deque()
        """Recoveries whose dead are fenced, and that have to wait for the one that is on its way."""
        self._recovery: Recovery | None = None
        self._admissions: dict[int, tuple[Member, Later]] = {}
        """Who has joined, and is told when all know of it."""
        self._unknown: set[bytes] = set()
        """Addresses of nodes that have joined, and whose frames a switch may still refuse."""
        self._open: set[str] = set()
        """Nodes that are dead, and whose recovery is not over."""
        self._untold: set[str] = set()
        """Those of whose death not every runtime knows yet."""
        self._overtaken = False
        """Somebody has died since flows began to go back to their sources: replicas of a source take them instead."""
        self._released: dict[tuple[str, bytes, bytes], Released] = {}
        """How far replicas that died had come with each primary, as each life of a switch says, and the outside."""
        self._recoveries = 0
        self._begun = False

    def begin(self) -> None:
        """Tell everybody the first view, and the runtimes their replicas; then watch."""
        if self._launches:
            self._launching = Launching(self.ask, self.host, self._launch_where_needed)
        if self._again:
            dead_after_s, then = self._suspicions.dead_after_s, self._take_up
            Survey(self.ask, self._members, dead_after_s, self.host, observed=self._observed, then=then)
        else:
            self._take_members(self._members, ())

    def _take_up(
        self, term: int, members: tuple[Member, ...], unfinished: Collection[str], gone: dict[str, Member]
    ) -> None:
        """What nodes know of the cluster, of which this is another life. What was not finished is done again: each step
        of a recovery may be."""
        self.view.known.update(gone)
        self.view.take(NotifyClusterCfg(term, members))
        self._take_members(members, unfinished)

    def _take_members(self, members: tuple[Member, ...], unfinished: Collection[str]) -> None:
        self._members = members
        self._all |= {name: self._all.get(name, "") for name in unfinished}
        self._all |= {member.name: member.domain for member in members}
        now = self.host.now()
        for name in self._all:
            self._suspicions.heard(name, now)
        self._watch()
        self._take_view()
        self._open.update(unfinished)
        self._untold.update(unfinished)
        self._unfenced.update(dict.fromkeys(unfinished, self.view.term))
        self._start_step(Recovery(0, ""))  # its first steps are those of a beginning, too
        for name in sorted(unfinished):
            self._start_recovery(name)
        self._look_who_may_join()  # a switch that has begun again waits for that before it takes a view
        self._launch_where_needed()

    @handles(Join)
    def wants_in(self, message: Join) -> Later:
        """A node has begun, or begun again. A runtime that was in the cluster has lost its flows: they are recovered
        before its next life may come in, under the same name."""
        later = Later()
        self._joining.append((message.member, later))
        self._look_who_may_join()
        return later

    def _look_who_may_join(self) -> None:
        if not self.view.term:
            return
        joining, self._joining = self._joining, []
        for member, later in joining:
            earlier = next((known for known in self._members if known.name == member.name), None)
            if earlier is not None and earlier.kind == "runtime" and earlier.address != member.address:
                self.host.after(DRAIN_S, partial(self._lose_life, earlier))
                self._joining.append((member, later))
            elif member.name in self._open:
                self._joining.append((member, later))
            elif not self.view.was_declared_dead(member):  # else it lives, and has not heard that it was in it
                self._admit(member, later)

    def _lose_life(self, earlier: Member) -> None:
        if self.view.is_life(earlier.name, earlier.address):
            self._declare_dead(earlier.name)

    def _admit(self, member: Member, later: Later) -> None:
        if member not in self._members:  # else another life of this role has let it in: it has not heard of that
            self._unknown.add(member.address)
        others = tuple(known for known in self._members if known.name != member.name)
        self._members = tuple(sorted((*others, member), key=lambda known: (known.kind != "switch", known.index)))
        self._all[member.name] = member.domain
        self._suspicions.heard(member.name, self.host.now())
        self._take_view()
        admission = Recovery(0, "")
        self._admissions[id(admission)] = member, later
        self._start_step(admission)
        if member.kind == "switch":
            self._close_again(member.name)

    def _close_again(self, switch: str) -> None:
        """It has begun again, and runtimes that have not heard that a recovery is over report flows of the dead one: it
        is to let go of them, though an earlier life of it has."""
        recovery = self._recovery
        if recovery is not None and recovery.step is Step.CLOSING and switch not in recovery.waiting:
            recovery.waiting.add(switch)
            self._order(recovery, switch, LIAISON, RecoveryOver(recovery.number, recovery.dead), StepTaken)

    def _order(self, recovery: Recovery, node: str, actor: str, message: object, reply: type) -> None:
        self.ask(node, actor, message, reply, partial(self._answered, recovery, node))

    @handles(ReadView)
    def read_view(self, message: ReadView) -> NotifyClusterCfg:
        """The present view."""
        return self._notice()

    # ---------------------------------------------------------------- signs of life

    @handles(Heartbeat)
    def heard(self, message: Heartbeat) -> None:
        """A runtime lives; or another life of one that does not."""
        if self.view.is_life(message.node, message.address):
            self._suspicions.heard(message.node, self.host.now())
            self.host.tell(message.node, LIAISON, SignHeard(message.address, message.said_s))

    def _watch(self) -> None:
        for name in self._suspicions.to_ask_about(self._names("runtime"), self.host.now()):
            self._inquire(name)
        self.host.after(HEARTBEAT_S, self._watch)

    def _inquire(self, name: str) -> None:
        """A second witness: that we do not hear a runtime may be our own fault."""
        question = Witness(self.view.known[name].address, self._suspicions.dead_after_s)
        for switch in self._names("switch"):
            self.ask(switch, LIAISON, question, LastHeard, partial(self._witnessed, name))

    def _witnessed(self, name: str, answer: LastHeard | None) -> None:
        switches = len(self._names("switch"))
        if self._suspicions.is_dead(name, answer, switches, self.host.now()) and name in self.view:
            self._declare_dead(name)

    def _declare_dead(self, name: str) -> None:
        """Fence it and tell everybody at once, whatever else is on its way: others may be waiting for its answer."""
        self._members = tuple(member for member in self._members if member.name != name)
        self._open.add(name)
        self._untold.add(name)
        self._overtaken = True
        self._forget_released(name)
        self._unfenced[name] = self.view.term + 1
        self._take_view()  # questions to it end with that, and steps of other recoveries
        self._start_recovery(name)
        self._launch_where_needed()

    def _launch_where_needed(self) -> None:
        if self._launching is not None and self._replicated:
            runtimes = [member for member in self._members if member.kind == "runtime"]
            domains = {name: domain for name, domain in self._all.items() if name.startswith("runtime")}
            self._launching.look(runtimes, domains)

    def _start_recovery(self, name: str) -> None:
        self._recoveries += 1
        self._start_step(Recovery(self._recoveries, name))

    @handles(ReadFalseAlarms)
    def read_false_alarms(self, message: ReadFalseAlarms) -> FalseAlarms:
        """How often a switch knew better."""
        return FalseAlarms(self._suspicions.false_alarms)

    # ---------------------------------------------------------------- recovery

    def _start_step(self, recovery: Recovery) -> None:
        """Give the orders of the present step, all at once. Each is answered, or its node declared dead."""
        orders = self._orders(recovery)
        if recovery.step is Step.FENCING:
            self._fences[id(recovery)] = self._notice()
        recovery.begin([node for node, *_ in orders])
        for order in orders:
            self._order(recovery, *order)
        if not orders:
            self._proceed(recovery)

    def _orders(self, recovery: Recovery) -> list[_Order]:
        switches, runtimes = self._names("switch"), self._names("runtime")
        number, dead = recovery.number, recovery.dead
        match recovery.step:
            case Step.FENCING:
                outside: list[_Order] = [(OUTSIDE, COLLECTOR, self._notice(), ViewTaken)] if self._observed else []
                return [*outside, *((name, LIAISON, self._notice(), ViewTaken) for name in switches)]
            case Step.VIEWING:
                fenced = self._fences[id(recovery)]
                there = [member for member in self._members if member in fenced.members and member.kind == "runtime"]
                return [(member.name, LIAISON, fenced, ViewTaken) for member in there]
            case Step.REPLACING:
                return [(name, FLOWS, self._replicas_of(name), Done) for name in self._known_runtimes()]
            case Step.CLAIMING:
                return [(name, REPLICAS, Recover(number, dead), StepTaken) for name in runtimes]
            case Step.RETURNING:
                return [(name, LIAISON, TakeBack(number, dead), StepTaken) for name in runtimes]
            case Step.CLOSING:
                over = RecoveryOver(number, dead)
                let_go: list[_Order] = [(name, LIAISON, over, StepTaken) for name in switches]
                return [*let_go, *((name, FLOWS, over, StepTaken) for name in runtimes)]
            case Step.OVER:
                return []

    def _answered(self, recovery: Recovery, node: str, answer: Any) -> None:
        if isinstance(answer, ViewTaken) and recovery.step is Step.FENCING:
            self._released.update({(told.replica, told.primary, told.switch): told for told in answer.released})
        if node not in recovery.waiting:
            return
        recovery.answered(node, answer.flows if isinstance(answer, StepTaken) else 0)
        if not recovery.waiting:
            self._proceed(recovery)

    def _proceed(self, recovery: Recovery) -> None:
        if recovery.step in (Step.CLAIMING, Step.RETURNING) and not self._may_return_or_close(recovery):
            return
        step = recovery.proceed()
        if step is Step.VIEWING:
            fenced = self._fences[id(recovery)].term
            self._unfenced = {name: term for name, term in self._unfenced.items() if term > fenced}
        if step is Step.REPLACING:
            del self._fences[id(recovery)]
            if id(recovery) in self._admissions:  # before it has a view it can be nobody's replica, nor have any
                self._unknown.discard(self._admissions[id(recovery)][0].address)
            self._told(recovery.dead)
        if recovery.number == 0 and step is Step.CLAIMING:
            self._admitted(recovery)
        elif step is Step.REPLACING and self._recovery is not None:
            self._waiting.append(recovery)  # one after the other from here on
        elif step is Step.OVER:
            self._over(recovery)
        else:
            if step is Step.REPLACING:
                self._recovery = recovery
            self._start_step(recovery)

    def _may_return_or_close(self, recovery: Recovery) -> bool:
        """Not while somebody is dead and not all know: whoever has its replicas takes back what it was to take back.
        Flows go back once more if somebody has died meanwhile."""
        if self._untold:
            return False
        again, self._overtaken = recovery.step is Step.RETURNING and self._overtaken, False
        if again:
            self._start_step(recovery)
        return not again

    def _told(self, dead: str) -> None:
        """Every runtime knows that it is dead."""
        self._untold.discard(dead)
        held = self._recovery
        if held is not None and not held.waiting and held.step in (Step.CLAIMING, Step.RETURNING):
            self._proceed(held)

    def _admitted(self, admission: Recovery) -> None:
        _, later = self._admissions.pop(id(admission), (None, None))
        if later is not None:
            later.answer(Done())
        if not self._begun:
            self._begun = True
            self._ready()
        self._look_who_may_join()
        self._next()

    def _over(self, recovery: Recovery) -> None:
        self._open.discard(recovery.dead)
        self._forget_released(recovery.dead)
        if self._observed:
            seconds = self._suspicions.silence_s(recovery.dead, self.host.now())
            told = NodeRecovered(recovery.dead, recovery.flows, seconds)
            self.ask(OUTSIDE, COLLECTOR, told, Done, lambda _: None)
        self._look_who_may_join()
        self._next()

    def _next(self) -> None:
        self._recovery = self._waiting.popleft() if self._waiting else None
        if self._recovery is not None:
            self._start_step(self._recovery)

    # ---------------------------------------------------------------- orders

    def _take_view(self) -> None:
        self.view.take(NotifyClusterCfg(self.view.term + 1, self._members))

    def _notice(self) -> NotifyClusterCfg:
        return NotifyClusterCfg(self.view.term, self._members)

    def _names(self, kind: str) -> list[str]:
        return [member.name for member in self._members if member.kind == kind]

    def _known_runtimes(self) -> list[str]:
        """Those whose frames every switch takes: what another released for others would be lost."""
        members = [member for member in self._members if member.kind == "runtime"]
        return [member.name for member in members if member.address not in self._unknown]

    def _replicas_of(self, runtime: str) -> SetReplicas:
        """All other runtimes in turn, each runtime beginning with another. One that is dead and may still release
        something is a replica until it is known how far it came."""
        runtimes = sorted({*self._known_runtimes(), *self._unfenced}, key=[*self._all].index)
        place = runtimes.index(runtime)
        replicas = (*runtimes[place + 1 :], *runtimes[:place]) if self._replicated else ()
        apart = tuple(name for name in replicas if self._all[name] != self._all[runtime])
        packets = tuple(told for told in self._released.values() if told.switch)
        outcomes = tuple(told for told in self._released.values() if not told.switch)
        return SetReplicas(self.view.term, replicas, apart, packets, outcomes)

    def _forget_released(self, replica: str) -> None:
        """That was an earlier life of it."""
        self._released = {names: told for names, told in self._released.items() if told.replica != replica}
