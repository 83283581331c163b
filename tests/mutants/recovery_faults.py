"""Faults in recovery, fencing and the end of flows, written one by one."""

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import attrs
import numpy as np

from nfactor.cluster.addresses import life_of
from nfactor.cluster.departures import Departures
from nfactor.cluster.expiry import Expiry
from nfactor.cluster.fence import Fence
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.liaison import HEARTBEAT_S, Liaison
from nfactor.cluster.membership import Membership
from nfactor.cluster.messages import FlowStatuses, Member, NotifyClusterCfg, PrepareFlows, unpack_u32
from nfactor.cluster.outside import Collector
from nfactor.cluster.recovery_messages import StepTaken
from nfactor.cluster.relay import Relay
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.role import Role
from nfactor.cluster.switch import VirtualSwitch
from nfactor.cluster.view import View
from nfactor.dataplane import dispatch
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Status
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.protocols import recovery
from nfactor.protocols.recovery import Step
from tests.mutants.mutant import OWN, Fault, Mutant, both, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


@written("what a dead replica has released comes when it has gone out through another", needed=1, by="c")
def the_switch_passes_on_frames_of_the_dead() -> Fault:
    """No fencing."""
    admit = Relay.admit
    return patched(Relay, admit=lambda self, runtimes: admit(self, {**self._known, **runtimes}))


@written("who is declared dead wakes and tells what has been told through another", needed=1, by="c")
def the_outside_believes_the_dead() -> Fault:
    """Outcomes that a dead replica told count, though it was said how far it had come."""
    outcomes = Collector.outcomes

    def mutant(self: Collector, message: Any) -> Any:
        with patched(View, __contains__=lambda self, node: True):
            return outcomes(self, message)

    return patched(Collector, outcomes=mutant)


@written("recovery", needed=21, by="h")
def commits_of_the_dead_are_stored() -> Fault:
    """What comes of a primary that is dead, after its copies were taken."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: Any) -> None:
        with patched(View, __contains__=lambda self, node: True):
            store(self, message)

    return patched(ReplicaTable, store=mutant)


@written("recovery", needed=6, by="e")
def replicas_claim_with_the_epoch_of_their_copy() -> Fault:
    """It is not raised, so the switch refuses."""
    claim_next = ReplicaTable._claim_next

    def mutant(self: ReplicaTable, takeover: Any) -> None:
        for batch in takeover.batches[:1]:
            takeover.batches[0] = attrs.evolve(batch, epochs=batch.epochs - np.uint32(1))
        claim_next(self, takeover)

    return patched(ReplicaTable, _claim_next=mutant)


@written("recovery", needed=54, by="d")
def who_claims_does_not_hold() -> Fault:
    """Packets that are quicker than the switch's answer find no flow."""
    adopt, expect = FlowTable.adopt, FlowTable.expect

    def later(self: FlowTable, claim: int, keys: Any, epochs: Any, records: Any) -> int:
        expect(self, claim, self.host.node, keys, epochs)
        return adopt(self, claim, keys, epochs, records)

    def never(self: FlowTable, migration: int, source: str, keys: Any, epochs: Any) -> Any:
        if source == self.host.node:
            return np.zeros(len(keys), np.uint8)
        return expect(self, migration, source, keys, epochs)

    return patched(FlowTable, adopt=later, expect=never)


def _order(*steps: Step) -> Fault:
    """Recoveries go through their steps in that order; the beginning of the cluster, recovery 0, as ever."""
    following = dict(pairwise(steps))
    proceed = recovery.Recovery.proceed

    def mutant(self: recovery.Recovery) -> Step:
        if self.number == 0:
            return proceed(self)
        with patched(recovery, FOLLOWING=following):
            return proceed(self)

    return patched(recovery.Recovery, proceed=mutant)


@written("recovery", needed=6, by="e")
def the_switch_lets_go_before_replicas_claim() -> Fault:
    """What is forgotten cannot be claimed."""
    return _order(Step.FENCING, Step.VIEWING, Step.REPLACING, Step.CLOSING, Step.CLAIMING, Step.RETURNING, Step.OVER)


@written("recovery", needed=172, by="e")
def sources_take_back_before_replicas_claim() -> Fault:
    """An old state in place of a newer one."""
    return _order(Step.FENCING, Step.VIEWING, Step.REPLACING, Step.RETURNING, Step.CLAIMING, Step.CLOSING, Step.OVER)


@written("recovery", needed=1)
def replicas_claim_before_replicas_are_replaced() -> Fault:
    """What is claimed has no replica for a while."""
    return _order(Step.FENCING, Step.VIEWING, Step.CLAIMING, Step.REPLACING, Step.RETURNING, Step.CLOSING, Step.OVER)


@written("what a dead replica has released comes when it has gone out through another", needed=1, by="c")
def the_dead_are_fenced_last() -> Fault:
    """The switch says how far they had come, and passes their frames on until it is told that the recovery is over:
    replicas claim meanwhile."""
    admit, forget = Relay.admit, Relay.forget

    def all_but_new_lives(self: Relay, runtimes: Any) -> None:
        lives = set(runtimes.values())
        admit(self, {**{address: name for address, name in self._known.items() if name not in lives}, **runtimes})

    def at_last(self: Relay, replica: str) -> None:
        admit(self, {address: name for address, name in self._known.items() if name != replica})
        forget(self, replica)

    return patched(Relay, admit=all_but_new_lives, forget=at_last)


@written("recovery", needed=4, by="i")
def a_second_death_waits_for_the_first_recovery() -> Fault:
    """It is neither fenced nor told; whoever waits for its answer waits on."""
    declare = Membership._declare_dead

    def mutant(self: Membership, name: str) -> None:
        if self._recovery is None:
            declare(self, name)

    return patched(Membership, _declare_dead=mutant)


@written("recovery", needed=40, by="i")
def a_second_death_is_never_declared() -> Fault:
    """While a recovery is under way nobody listens."""
    over = Membership._over

    def mutant(self: Membership, some: recovery.Recovery) -> None:
        over(self, some)
        if some.number:
            self._watch = lambda: None  # type: ignore[method-assign]

    return patched(Membership, _over=mutant)


@written("recovery", needed=62, by="h")
def who_took_over_does_not_finish_a_migration_of_the_dead() -> Fault:
    """The target waits for states that only the replica has."""
    claimed = ReplicaTable._claimed

    def mutant(self: ReplicaTable, takeover: Any, claim: int, answer: Any) -> None:
        statuses = bytes(Status.STALE if status == Status.EXISTS else status for status in answer.statuses)
        claimed(self, takeover, claim, attrs.evolve(answer, statuses=statuses, owners=()))

    return patched(ReplicaTable, _claimed=mutant)


@written("recovery", needed=49, by="d")
def a_step_is_over_before_the_migrations_to_the_dead_have_come_back() -> Fault:
    """Whoever takes back says so at once."""

    def mutant(self: Liaison, message: Any) -> Any:
        for migration in list(self._migrations.values()):
            if migration.target == message.node and not migration.machine.over:
                self._carry_out(migration, migration.machine.died())
        return StepTaken()

    return patched(Liaison, take_back=mutant)


@written("recovery", needed=15, by="a")
def migrations_to_the_dead_do_not_come_back() -> Fault:
    """What was on its way is on its way for ever."""
    return patched(Liaison, take_back=lambda self, message: StepTaken())


@written("a source dies that was to take back", needed=1, by="e")
def sources_take_back_though_not_all_know_who_else_is_dead() -> Fault:
    """What a dead source was to take back is let go of by the switches before anybody claims it."""
    return patched(Membership, _may_return_or_close=lambda self, recovery: True)


@written("recovery", needed=13, by="i")
def flows_that_were_to_come_from_the_dead_are_waited_for_for_ever() -> Fault:
    """Nobody lets go of them."""
    return patched(FlowTable, recovery_over=lambda self, message: StepTaken())


@written("recovery", needed=60, by="i")
def a_dead_sources_flows_are_held() -> Fault:
    """A question of the dead that comes late is answered as if it lived."""
    prepare = FlowTable.prepare

    def mutant(self: FlowTable, message: PrepareFlows) -> Any:
        with patched(View, __contains__=lambda self, node: True):
            return prepare(self, message)

    return both(_the_dead_are_heard(), patched(FlowTable, prepare=mutant))


@written("cluster", needed=65, by=OWN)
def a_dead_sources_states_are_installed() -> Fault:
    """Its replicas have claimed, and then it speaks."""
    install = FlowTable.install

    def mutant(self: FlowTable, message: Any) -> Any:
        with patched(View, __contains__=lambda self, node: True):
            return install(self, message)

    return both(_the_dead_are_heard(), patched(FlowTable, install=mutant))


def _the_dead_are_heard() -> Fault:
    """Their questions, at runtimes."""
    hears = Role._hears

    def mutant(self: Role, call: Any) -> bool:
        with patched(View, is_dead=lambda self, node: False):
            return hears(self, call)

    return patched(Role, _hears=mutant)


@written("recovery", needed=2, by="i")
def packets_of_flows_without_a_runtime_wait_for_ever() -> Fault:
    """The switch keeps them after the flows have another owner."""
    return patched(VirtualSwitch, _spread_orphans=lambda self: None)


@written("recovery", needed=2, by="b")
def packets_of_flows_without_a_runtime_go_on_in_the_wrong_order() -> Fault:
    """The last burst first."""
    spread = VirtualSwitch._spread_orphans

    def mutant(self: VirtualSwitch) -> None:
        self._orphans._bursts.reverse()
        spread(self)

    return patched(VirtualSwitch, _spread_orphans=mutant)


@written("recovery", needed=14, by="i")
def new_flows_go_to_the_dead() -> Fault:
    """The switch spreads over those that there were."""
    return patched(Dispatcher, set_runtimes=_add_runtimes)


def _add_runtimes(self: Dispatcher, runtimes: list[int]) -> None:
    self._runtimes = list(dict.fromkeys([*self._runtimes, *runtimes]))


@written("recovery", needed=3, by="i")
def flows_that_nobody_claimed_are_not_forgotten() -> Fault:
    """Their packets go to the dead."""
    return patched(Dispatcher, abandon=lambda self, owner: 0)


@written("recovery", needed=31, by="d")
def the_switch_gives_a_flow_to_whoever_claims_it() -> Fault:
    """It does not look whether the owner is the one that died."""
    claim = Dispatcher.claim

    def mutant(self: Dispatcher, keys: Any, epochs: Any, packets: Any, *, dead: int, claimer: int, now: float) -> Any:
        for key, epoch in zip(keys, epochs.tolist(), strict=True):
            if key in self._entries:
                self._entries[key].owner = dead
                self._entries[key].epoch = min(self._entries[key].epoch, epoch - 1)
        return claim(self, keys, epochs, packets, dead=dead, claimer=claimer, now=now)

    return patched(Dispatcher, claim=mutant)


@written("recovery", needed=294, by="c")
def a_flow_that_is_forgone_keeps_its_epoch() -> Fault:
    """Its source can take it back, and it ends twice."""

    def forgo(self: VirtualSwitch, message: Any) -> FlowStatuses:
        return FlowStatuses(bytes([Status.OK] * len(unpack_u32(message.epochs))))

    return patched(VirtualSwitch, forgo=forgo)


@written("recovery", needed=3, by="d")
def an_older_view_takes_the_place_of_a_newer_one() -> Fault:
    """Who was declared dead is back."""
    take = View.take

    def mutant(self: View, message: NotifyClusterCfg) -> bool:
        self.term = min(self.term, message.term - 1)
        return take(self, message)

    return patched(View, take=mutant)


@written("replication", needed=8, by="e")
def a_flow_is_forgotten_without_counting_its_packets() -> Fault:
    """The switch lets a flow end while packets are on their way to it."""
    return patched(dispatch, _seen_all=lambda entry, count, taking_s: True)


@written("migration", needed=40, by="f")
def a_flow_ends_though_packets_came_since_it_was_asked_about() -> Fault:
    """They are the key's next life."""
    expire = ReferenceEngine.expire
    return patched(ReferenceEngine, expire=lambda self, keys, packets=None: expire(self, keys, None))


@written("replication", needed=19, by="i")
def a_flow_that_may_not_end_stays_pinned() -> Fault:
    """It neither ends nor moves any more."""
    answered = Expiry._answered

    def mutant(self: Expiry, *what: Any) -> None:
        with patched(type(self._engine), unpin=lambda self, keys, epochs=None: None):
            answered(self, *what)

    return patched(Expiry, _answered=mutant)


@written("replication", needed=78, by="a")
def a_flow_that_just_moved_is_forgotten() -> Fault:
    """Its tombstone stands where its next life may begin."""
    return patched(Departures, since=lambda self, runtimes: math.inf)


@written("replication", needed=8, by="f")
def a_flow_ends_though_it_is_not_idle() -> Fault:
    """It has rested for a tenth of its time-out."""
    idle = ReferenceEngine.idle

    def mutant(self: ReferenceEngine, scan_max: int) -> Any:
        for row in self._rows.values():
            row.time_out_ns //= 10
        found = idle(self, scan_max)
        for row in self._rows.values():
            row.time_out_ns *= 10
        return found

    return patched(ReferenceEngine, idle=mutant)


@written("restarts", needed=2, by="i")
def packets_of_a_switch_that_has_begun_again_are_dropped() -> Fault:
    """Runtimes take packets of the first lives of switches alone, and count all others as ``fenced``."""
    admit = Fence.admit

    def mutant(self: Fence, switches: Iterable[Member]) -> set[bytes]:
        return admit(self, [member for member in switches if life_of(member.address) == 1])

    return patched(Fence, admit=mutant)


@written("cluster", needed=7, by="i")
def witnesses_are_not_believed() -> Fault:
    """A runtime that the coordinator does not hear is dead, whatever the switches say."""
    witnessed = Membership._witnessed
    return patched(Membership, _witnessed=lambda self, name, answer: witnessed(self, name, None))


@written("cluster", needed=3, by="i")
def who_has_missed_one_sign_of_life_is_dead() -> Fault:
    """It is asked about, and the answer is taken for what it was a second ago."""
    init = Membership.__init__

    def hasty(self: Membership, *what: Any, **more: Any) -> None:
        init(self, *what, **{**more, "dead_after_s": 1.05 * HEARTBEAT_S})

    return patched(Membership, __init__=hasty)
