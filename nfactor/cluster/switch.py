"""The virtual switch: spreads flows over runtimes, and relays what they send to its destination.

Paper section 3.4. It has two ports. From the outside port come packets, each of which goes to the runtime that owns its
flow; from the inside port come processed packets, which go on to the next hop. Its liaison owns the table of
owners (an entry of it is what the paper calls a virtual switch actor), so that a redirect and the marker that answers
it on the data path cannot be separated by a packet.
"""

from functools import partial

from nfactor.actors import handles
from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    Done,
    ExpireFlows,
    FlowStatuses,
    NotifyClusterCfg,
    RedirectFlows,
    SendMarker,
    ViewTaken,
    unpack_u32,
)
from nfactor.cluster.outcome_messages import NodeCounters, ReadCounters
from nfactor.cluster.pump import pump
from nfactor.cluster.recovery_messages import (
    ClaimFlows,
    FlowsClaimed,
    Heartbeat,
    LastHeard,
    RecoveryOver,
    StepTaken,
    Witness,
)
from nfactor.cluster.relay import Relay
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.role import Role, Task
from nfactor.cluster.view import View
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import keys_list

ORPHANS_PACKETS_MAX = 4096
"""Packets of flows whose runtime has died that wait until the flows are served again."""
MARKER_RETRY_S = 0.001
"""A marker that the port refused (its queue was full) is tried again after this long."""


class VirtualSwitch(Role):
    """``next_hop`` is the MAC address to which processed packets go."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outside: Port,
        inside: Port,
        ledger: Ledger,
        *,
        next_hop: bytes,
        observed: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._outside = outside
        self._inside = inside
        self._ledger = ledger
        self._relay = Relay(outside, ledger, next_hop, dispatcher.learn)
        self._reporter = Reporter(ledger, observed=observed)
        self.view = View()
        self._runtimes: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._addresses: dict[int, bytes] = {}
        self._dead: set[int] = set()
        """Runtimes that are dead and whose flows may still be claimed."""
        self._orphans: list[Burst] = []
        self._heard: dict[str, float] = {}

    def begin(self) -> None:
        """Begin to tell the outside what happens here."""
        self._reporter.begin(self.ask)

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
        """From runtimes."""
        self._relay.pass_on(burst)

    def wake(self) -> None:
        """Tell the outside what became of packets."""
        self._reporter.wake()

    def _spread(self, burst: Burst) -> None:
        """Send each packet to the runtime that owns its flow; the order within a flow is kept."""
        owners, burst = self._dispatcher.assign(burst)
        for owner in dict.fromkeys(owners):
            packets = burst.where(owners, owner)
            if owner < 0:
                self._ledger.drop(self._dispatcher.reasons[-1 - owner], packets)
            elif owner in self._dead:
                self._wait(packets)
            else:
                self._send(packets, owner)

    def _send(self, packets: Burst, runtime: int) -> None:
        cluster_frame.readdress(packets, target=self._addresses[runtime], source=self._inside.address)
        taken = self._inside.send(packets)
        self._ledger.hand(self._names[runtime], taken)
        self._ledger.drop("port_full", packets.slice(taken, len(packets)))

    def _wait(self, packets: Burst) -> None:
        """Their flows have no runtime now, and will have one in a moment."""
        room = max(0, ORPHANS_PACKETS_MAX - self._ledger.buffered)
        self._ledger.drop("orphan_buffer_full", packets.slice(room, len(packets)))
        packets = packets.slice(0, room)
        if len(packets):
            self._orphans.append(packets)
            self._ledger.buffer(len(packets))

    def _spread_orphans(self) -> None:
        """Some flows have a runtime again; the packets of the others wait on, in the same order."""
        waiting, self._orphans = self._orphans, []
        for packets in waiting:
            self._ledger.buffer(-len(packets))
            self._spread(packets)
        self._reporter.wake()

    # ---------------------------------------------------------------- control

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> ViewTaken:
        """Take the view: new flows go to its runtimes from now on, and frames of those that are in it no more are
        dropped. Packets of their flows wait until the flows are claimed."""
        if not self.view.take(message):
            return ViewTaken()
        runtimes = self.view.of_kind("runtime")
        gone = self._runtimes.keys() - {member.name for member in runtimes}
        self._dead |= {self._runtimes[name] for name in gone}
        self._runtimes = {member.name: member.index for member in runtimes}
        self._names.update({member.index: member.name for member in runtimes})
        self._addresses.update({member.index: member.address for member in runtimes})
        self._dispatcher.set_runtimes([member.index for member in runtimes])
        self._relay.admit({member.address: member.name for member in runtimes})
        return ViewTaken(self._relay.released_by(gone, self._inside.address))

    @handles(RedirectFlows)
    def redirect(self, message: RedirectFlows) -> FlowStatuses:
        """Step 2 of a migration: new owner, and a marker to the old one behind the last packet that was sent there."""
        keys, epochs = keys_list(message.keys), unpack_u32(message.epochs)
        source, target = self._runtimes.get(message.source), self._runtimes.get(message.target)
        if source is None or target is None:
            return FlowStatuses(bytes([Status.UNKNOWN] * len(keys)))
        statuses = self._dispatcher.redirect(keys, epochs, source=source, target=target, now=self.host.now())
        if (statuses == Status.OK).any():
            self._mark(message.migration, source)
        return FlowStatuses(statuses.tobytes())

    @handles(SendMarker)
    def send_marker(self, message: SendMarker) -> Done:
        """The first one was lost. A later one is as good: none of the flows' packets go to the source any more."""
        source = self._runtimes.get(message.source)
        if source is not None:
            self._mark(message.migration, source)
        return Done()

    def _mark(self, migration: int, source: int) -> None:
        mine = self._inside.address
        self._send_marker(cluster_frame.marker(target=self._addresses[source], source=mine, migration=migration))

    def _send_marker(self, marker: Burst) -> None:
        if self._inside.send(marker):
            self._ledger.markers_sent += 1
        else:
            self.host.after(MARKER_RETRY_S, partial(self._send_marker, marker))

    @handles(ExpireFlows)
    def expire(self, message: ExpireFlows) -> FlowStatuses:
        """Forget flows that their runtime says have ended, if it has seen all of their packets."""
        keys = keys_list(message.keys)
        owner = self._runtimes.get(message.runtime, -1)
        counts = unpack_u32(message.packets)
        return FlowStatuses(self._dispatcher.forget(keys, counts, owner=owner, now=self.host.now()).tobytes())

    # ---------------------------------------------------------------- failure

    @handles(Heartbeat)
    def heard(self, message: Heartbeat) -> None:
        """A runtime lives."""
        self._heard[message.node] = self.host.now()

    @handles(Witness)
    def witness(self, message: Witness) -> LastHeard:
        """When it was last heard of."""
        heard = self._heard.get(message.node)
        return LastHeard(-1.0 if heard is None else self.host.now() - heard)

    @handles(ClaimFlows)
    def claim(self, message: ClaimFlows) -> FlowsClaimed:
        """Flows of a dead runtime have a new one, which gets what has waited for them."""
        keys = keys_list(message.keys)
        claimer = self._runtimes.get(message.runtime)
        dead = next((index for index in self._dead if self._names[index] == message.dead), None)
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

    @handles(RecoveryOver)
    def recovery_over(self, message: RecoveryOver) -> StepTaken:
        """Flows that nobody has claimed are lost; what comes for them begins anew, elsewhere."""
        for index in [index for index in self._dead if self._names[index] == message.node]:
            self._dead.discard(index)
            self._dispatcher.abandon(index)
        self._spread_orphans()
        return StepTaken()

    @handles(ReadCounters)
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        return self._ledger.counters()
