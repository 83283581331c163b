"""The virtual switch: spreads flows over runtimes, and relays what they send to its destination.

Paper section 3.4. It has two ports. From the outside port come packets, each of which goes to the runtime that owns its
flow; from the inside port come processed packets, which go on to the next hop. Its liaison owns the table of
owners (an entry of it is what the paper calls a virtual switch actor), so that a redirect and the marker that answers
it on the data path cannot be separated by a packet.

Several switches share the keys by a static hash. A packet that comes to another than the owner of its key is passed on
to that one, once, from inside port to inside port.

A switch that begins again has lost its table. It asks all runtimes which flows they have (``nfactor.cluster.rebuild``);
until all have answered packets wait, and so do questions about flows.
"""

from functools import partial

import numpy as np

from nfactor.actors import handles
from nfactor.backends.base import Port
from nfactor.cluster.departures import EVER, Departures
from nfactor.cluster.earlier_lives import EarlierLives
from nfactor.cluster.hearing import Hearing
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.markers import Markers
from nfactor.cluster.messages import (
    Done,
    ExpireFlows,
    FlowStatuses,
    Member,
    NotifyClusterCfg,
    RedirectFlows,
    SendMarker,
    ViewTaken,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, LIAISON, MEMBERSHIP, count_of
from nfactor.cluster.other_switches import OtherSwitches
from nfactor.cluster.outcome_messages import NodeCounters, ReadCounters
from nfactor.cluster.ownership import split_by_owner
from nfactor.cluster.pump import pump
from nfactor.cluster.rebuild import Rebuild
from nfactor.cluster.recovery_messages import (
    AwaitTable,
    ClaimFlows,
    FindTurned,
    FlowsClaimed,
    FlowsReported,
    ForgetAliases,
    ForgoFlows,
    Heartbeat,
    Join,
    KnownState,
    LastHeard,
    LearnAliases,
    ReadState,
    RecoveryOver,
    ReportFlows,
    SignHeard,
    StepTaken,
    Witness,
)
from nfactor.cluster.relay import Relay
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.role import Later, Role, Task
from nfactor.cluster.view import View
from nfactor.cluster.waiting_room import WaitingRoom
from nfactor.compiled import outer_headers
from nfactor.dataplane.engine import Status, are
from nfactor.dataplane.owners import FOREIGN, Owners
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys

ORPHANS_PACKETS_MAX = 4096
"""Packets of flows whose runtime has died that wait until the flows are served again."""
ABOUT_FLOWS = (
    AwaitTable, RedirectFlows, ClaimFlows, ForgoFlows, ExpireFlows, ForgetAliases, LearnAliases, FindTurned,
    RecoveryOver,
)  # fmt: skip
"""Questions that need the table."""


class VirtualSwitch(Role):
    """``next_hop`` is the MAC address to which processed packets go."""

    def __init__(
        self,
        dispatcher: Owners,
        outside: Port,
        inside: Port,
        ledger: Ledger,
        *,
        next_hop: bytes,
        observed: bool,
        again: Member | None = None,
        orphans_max: int = ORPHANS_PACKETS_MAX,
    ) -> None:
        """``again``: how it is to be known, if it has been in the cluster before and has lost its table."""
        self._dispatcher = dispatcher
        self._outside, self._inside = outside, inside
        self._ledger = ledger
        self._reporter = Reporter(ledger, observed=observed)
        self.view = View()
        self._others = OtherSwitches(dispatcher, inside, ledger, self.view)
        self._relay = Relay(outside, ledger, next_hop, self._others.learn)
        self._markers = Markers(inside, ledger)
        self._runtimes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._addresses: dict[int, bytes] = {}
        self._dead: set[int] = set()
        """Runtimes that are dead and whose flows may still be claimed."""
        self._orphans = WaitingRoom(ledger, packets_max=orphans_max, reason="orphan_buffer_full")
        """Packets whose flows have no runtime now, and will have one in a moment."""
        self._hearing = Hearing()
        self._departures = Departures()
        self._own = inside.address
        self._earlier = EarlierLives(inside.address)
        self._again = again
        self._rebuild = Rebuild(dispatcher) if again is not None else None
        self._deferred: list[tuple[object, Later]] = []
        """Questions about flows that came before the table was there again."""

    def begin(self) -> None:
        """Begin to tell the outside what happens here."""
        self._hearing.begin(self.host.now())
        self._reporter.begin(self.ask)
        self._others.begin(self.ask, self.host.after)
        self._markers.begin(self.host.after)
        if self._again is not None:
            self.ask(COORDINATOR, MEMBERSHIP, Join(self._again), Done, lambda _: None)

    def tasks(self) -> list[Task]:
        """See ``Role``: relay in both directions."""
        return [
            (pump, (self._outside, self.packets_in, self.wake)),
            (pump, (self._inside, self.packets_out, self.wake)),
        ]

    # ---------------------------------------------------------------- packets

    def packets_in(self, burst: Burst) -> None:
        """From the outside."""
        self._ledger.received += len(burst)
        self._spread(burst)

    def packets_out(self, burst: Burst) -> None:
        """From runtimes, or from other switches, which pass on what is ours."""
        if not self.view.term:
            self._others.keep(burst)
            return
        if self._others.are_there and (theirs := self._others.sent(burst)).any():
            inwards, outwards = self._others.take(burst.select(np.flatnonzero(theirs)))
            self._relay.let_out(outwards)
            self._spread(inwards, passed_on=True)
            burst = burst.select(np.flatnonzero(~theirs))
        self._relay.pass_on(burst)

    def wake(self) -> None:
        """Tell the outside what became of packets."""
        self._reporter.wake()

    def _spread(self, burst: Burst, *, passed_on: bool = False) -> None:
        """Send each packet to the runtime that owns its flow; the order within a flow is kept."""
        if self._rebuild is not None:
            self._orphans.keep(burst)
            return
        owners, burst = self._dispatcher.assign(burst)
        for owner, packets in split_by_owner(burst, owners):
            if owner <= FOREIGN:
                self._others.pass_on(packets, FOREIGN - owner, passed_on=passed_on)
            elif owner < 0:
                self._ledger.drop(self._dispatcher.reasons[-1 - owner], packets)
            elif owner in self._dead:
                self._orphans.keep(packets)
            else:
                self._send(packets, owner)

    def _send(self, packets: Burst, runtime: int) -> None:
        outer_headers.readdress(packets, target=self._addresses[runtime], source=self._inside.address)
        taken = self._inside.send(packets)
        self._ledger.hand(self._names[runtime], taken)
        self._ledger.drop("port_full", packets.slice(taken, len(packets)))

    def _spread_orphans(self) -> None:
        """Some flows have a runtime again; the packets of the others wait on, in the same order."""
        for packets in self._orphans.take():
            self._spread(packets)
        self._reporter.wake()

    # ---------------------------------------------------------------- control

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> ViewTaken | Later:
        """Take the view: new flows go to its runtimes from now on, and frames of those that are in it no more are
        dropped. Packets of their flows wait until the flows are claimed. One with an earlier life of it is answered
        with the first that has this one: what that knew of what the dead had released is lost, and is said to be."""
        if self._earlier.is_one_in(message, self.host.node) and message.term > self.view.term:
            return self._earlier.wait()
        if self.view.take(message):
            runtimes = self.view.of_kind("runtime")
            self._dead |= {self._runtimes[name] for name in self._runtimes if name not in self.view}
            self._runtimes = {member.name: member.index for member in runtimes}
            self._names.update({member.index: member.name for member in runtimes})
            self._addresses.update({member.index: member.address for member in runtimes})
            self._others.follow(self.host.node)
            self._dispatcher.set_runtimes([member.index for member in runtimes])
            addresses = {member.address for member in runtimes}
            self._departures.follow(addresses)
            self._hearing.follow(addresses)
            self._relay.admit({member.address: member.name for member in runtimes})
            for burst in self._others.take_early():
                self.packets_out(burst)
            if self._rebuild is not None:
                self._ask_for_flows(self._rebuild)
        return self._earlier.taken(self._relay.released_by(self.view.unfinished, self._own))

    @handles(ReadState)
    def state(self, message: ReadState) -> KnownState:
        """For a coordinator that has begun again."""
        return self.view.state()

    # ---------------------------------------------------------------- beginning again

    def _ask_for_flows(self, rebuild: Rebuild) -> None:
        """Of all that live now, from the beginning: who has died meanwhile is spoken for by its replicas."""
        for runtime in rebuild.begin(self.view.term, self.view.names("runtime")):
            self._ask_next(rebuild, runtime)
        self._look_whether_rebuilt(rebuild)

    def _ask_next(self, rebuild: Rebuild, runtime: str) -> None:
        question = ReportFlows(self.host.node, rebuild.term, rebuild.told[runtime])
        self.ask(runtime, LIAISON, question, FlowsReported, partial(self._reported, rebuild, rebuild.term, runtime))

    def _reported(self, rebuild: Rebuild, term: int, runtime: str, answer: FlowsReported | None) -> None:
        if term != rebuild.term or answer is None:
            return  # there is a later view, with which all are asked anew
        for name, index in rebuild.take(runtime, answer, self.host.now(), self.view.names("runtime")):
            self._names.setdefault(index, name)
            if name not in self.view:
                self._dead.add(index)
        if answer.following:
            self._ask_next(rebuild, runtime)
        self._look_whether_rebuilt(rebuild)

    def _look_whether_rebuilt(self, rebuild: Rebuild) -> None:
        if rebuild.is_complete and self._rebuild is not None:
            self._rebuild = None
            rebuild.finish(self.host.now())
            self._others.tell_again(rebuild.aliases)
            self._departures.begin_anew()
            deferred, self._deferred = self._deferred, []
            for message, later in deferred:
                later.answer(self.act(message))
            self._spread_orphans()

    def act(self, message: object) -> object:
        """See ``Role``: while the table is not there, questions about flows wait."""
        if self._rebuild is not None and isinstance(message, ABOUT_FLOWS):
            later = Later()
            self._deferred.append((message, later))
            return later
        return super().act(message)

    @handles(AwaitTable)
    def has_table(self, message: AwaitTable) -> Done:
        """It is there when this is asked."""
        return Done()

    # ---------------------------------------------------------------- migration

    @handles(RedirectFlows)
    def redirect(self, message: RedirectFlows) -> FlowStatuses:
        """Step 2 of a migration: new owner, and a marker to the old one behind the last packet that was sent there."""
        keys, epochs, now = FlowKeys.of_octets(message.keys), unpack_u32(message.epochs), self.host.now()
        source = self._runtimes.get(message.source)
        target = next((index for index, name in self._names.items() if name == message.target), None)
        if source is None or target is None:
            return FlowStatuses(bytes([Status.UNKNOWN] * len(keys)))
        if message.target not in self.view:  # nothing is turned to the dead; what was, has to be claimed back
            statuses = self._dispatcher.turned(keys, epochs, target)
        else:
            statuses = self._dispatcher.redirect(keys, epochs, source=source, target=target, now=now)
        if are(statuses, Status.OK).any():
            self._markers.send(message.migration, self._addresses[source])
            self._departures.turned(self._addresses[source], count_of(message.migration), now)
        return FlowStatuses(statuses.tobytes())

    @handles(ForgetAliases)
    def forget_aliases(self, message: ForgetAliases) -> Done:
        """Flows of another switch have ended."""
        for alias, key in zip(FlowKeys.of_octets(message.aliases), FlowKeys.of_octets(message.keys), strict=True):
            self._dispatcher.unlearn(alias, key)
        return Done()

    @handles(LearnAliases)
    def learn_aliases(self, message: LearnAliases) -> FlowStatuses:
        """Of flows of another switch."""
        return self._others.learn_again(message)

    @handles(SendMarker)
    def send_marker(self, message: SendMarker) -> Done:
        """The first one was lost. A later one is as good: none of the flows' packets go to the source any more."""
        source = self._runtimes.get(message.source)
        if source is not None:
            self._markers.send(message.migration, self._addresses[source])
        return Done()

    @handles(ExpireFlows)
    def expire(self, message: ExpireFlows) -> FlowStatuses:
        """Forget flows that their runtime says have ended, if it has seen all of their packets, and nobody else knows
        them any more."""
        keys = FlowKeys.of_octets(message.keys)
        if message.runtime not in self.view:  # it may live, and hear that its flows have ended; others have them by now
            return FlowStatuses(bytes([Status.BUSY] * len(keys)))
        owner = self._runtimes[message.runtime]
        counts, taking_s = unpack_u32(message.packets), message.taking_s
        runtimes = [member.address for member in self.view.of_kind("runtime")]
        since = EVER if self.view.unfinished else self._departures.since(runtimes)  # the dead may have copies of them
        statuses = self._dispatcher.forget(
            keys, counts, owner=owner, now=self.host.now(), moved_before=since, taking_s=taking_s
        )
        self._others.tell_gone()
        return FlowStatuses(statuses.tobytes())

    # ---------------------------------------------------------------- failure

    @handles(Heartbeat)
    def heard(self, message: Heartbeat) -> None:
        """A runtime lives; or another life of one that does not: before the first view nobody knows which."""
        may_say = self._hearing.heard(message.address, self.host.now())
        if self.view.is_life(message.node, message.address):
            self._departures.heard(message.address, message.begun, message.standing)
            self._dispatcher.heard(self._runtimes[message.node], self.host.now())
            if may_say:
                self.host.tell(message.node, LIAISON, SignHeard(message.address, message.said_s))

    @handles(Witness)
    def witness(self, message: Witness) -> LastHeard:
        """When it was last heard of."""
        return LastHeard(self._hearing.silence_s(message.runtime, self.host.now(), dead_after_s=message.dead_after_s))

    @handles(ClaimFlows)
    def claim(self, message: ClaimFlows) -> FlowsClaimed:
        """Flows of a dead runtime have a new one, which gets what has waited for them."""
        keys = FlowKeys.of_octets(message.keys)
        claimer, dead = self._runtimes.get(message.runtime), self._dead_one(message.dead)
        if claimer is None or dead is None:
            return FlowsClaimed(bytes([Status.STALE] * len(keys)), ())
        statuses, owners = self._dispatcher.claim(
            keys,
            unpack_u32(message.epochs),
            unpack_u32(message.packets) if message.packets else None,
            dead=dead,
            claimer=claimer,
            now=self.host.now(),
        )
        self._spread_orphans()
        return FlowsClaimed(statuses.tobytes(), tuple(self._names[owner] for owner in owners))

    @handles(ForgoFlows)
    def forgo(self, message: ForgoFlows) -> FlowStatuses:
        """They stay with the dead one, where their packets wait until all of it is let go of, and in an epoch that no
        other claim has: not that of a source, either, which still has the states that it had sent there."""
        keys, dead = FlowKeys.of_octets(message.keys), self._dead_one(message.dead)
        if message.runtime not in self._runtimes or dead is None:
            return FlowStatuses(bytes([Status.STALE] * len(keys)))
        epochs, now = unpack_u32(message.epochs), self.host.now()
        return FlowStatuses(self._dispatcher.claim(keys, epochs, None, dead=dead, claimer=dead, now=now)[0].tobytes())

    def _dead_one(self, name: str) -> int | None:
        return next((index for index in self._dead if self._names[index] == name), None)

    @handles(FindTurned)
    def find_turned(self, message: FindTurned) -> FlowStatuses:
        """Of flows that were turned to a runtime by one that died before it had sent them, or that a dead one had."""
        keys = FlowKeys.of_octets(message.keys)
        runtime = next((index for index, name in self._names.items() if name == message.runtime), -1)
        return FlowStatuses(self._dispatcher.turned(keys, unpack_u32(message.epochs), runtime).tobytes())

    @handles(RecoveryOver)
    def recovery_over(self, message: RecoveryOver) -> StepTaken:
        """Flows that nobody has claimed are lost; what comes for them begins anew, elsewhere."""
        self.view.finish(message.node)
        self._relay.forget(message.node)
        for index in [index for index in self._dead if self._names[index] == message.node]:
            self._dead.discard(index)
            self._dispatcher.abandon(index)
        self._others.tell_gone()
        self._spread_orphans()
        return StepTaken()

    @handles(ReadCounters)
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        return self._ledger.counters()
