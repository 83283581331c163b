"""The virtual switch: spreads flows over runtimes, and relays what they send to its destination.

Paper section 3.4. It has two ports. From the outside port come packets, each of which goes to the runtime that owns its
flow; from the inside port come processed packets, which go on to the next hop. Its liaison owns the table of
owners (an entry of it is what the paper calls a virtual switch actor), so that a redirect and the marker that answers
it on the data path cannot be separated by a packet.
"""

import trio

from nfactor.actors import Actor, Ref, handles
from nfactor.backends.base import Port
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    Done,
    ExpireFlows,
    FlowStatuses,
    NodeCounters,
    NotifyClusterCfg,
    ReadCounters,
    RedirectFlows,
    unpack_u32,
)
from nfactor.cluster.reporter import Reporter
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import keys_list

BURSTS_PER_PASS_MAX = 16
"""Bursts of either side that are relayed before other tasks of the node get their turn."""
MARKER_RETRY_S = 0.001
"""A marker that the port refused (its queue was full) is tried again after this long."""


class VirtualSwitch(Actor):
    """``next_hop`` is the MAC address to which processed packets go."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outside: Port,
        inside: Port,
        ledger: Ledger,
        *,
        next_hop: bytes,
        observer: Ref | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._outside = outside
        self._inside = inside
        self._ledger = ledger
        self._next_hop = next_hop
        self._reporter = Reporter(ledger, observer)
        self._term = -1
        self._runtimes: dict[str, int] = {}
        self._addresses: dict[int, bytes] = {}

    async def started(self) -> None:
        """Begin to relay in both directions."""
        self.context.start_soon(self._pump_in)
        self.context.start_soon(self._pump_out)
        self.context.start_soon(self._reporter.run)

    # ---------------------------------------------------------------- packets

    async def _pump_in(self) -> None:
        while True:
            await self._outside.wait_readable()
            for _ in range(BURSTS_PER_PASS_MAX):
                burst = self._outside.receive()
                if burst is None:
                    break
                self._spread(burst)
            self._reporter.wake()

    def _spread(self, burst: Burst) -> None:
        """Send each packet to the runtime that owns its flow; the order within a flow is kept."""
        self._ledger.received += len(burst)
        owners, burst = self._dispatcher.assign(burst)
        for owner in dict.fromkeys(owners):
            packets = burst.where(owners, owner)
            if owner < 0:
                self._ledger.drop(self._dispatcher.reasons[-1 - owner], packets)
            else:
                self._send(self._inside, packets, self._addresses[owner])

    async def _pump_out(self) -> None:
        while True:
            await self._inside.wait_readable()
            for _ in range(BURSTS_PER_PASS_MAX):
                burst = self._inside.receive()
                if burst is None:
                    break
                self._ledger.received += len(burst)
                self._send(self._outside, burst, self._next_hop)
            self._reporter.wake()

    def _send(self, port: Port, packets: Burst, target: bytes) -> None:
        cluster_frame.readdress(packets, target=target, source=port.address)
        taken = port.send(packets)
        self._ledger.sent += taken
        self._ledger.drop("port_full", packets.slice(taken, len(packets)))

    # ---------------------------------------------------------------- control

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> Done:
        """Take the view: new flows go to its runtimes from now on."""
        if message.term > self._term:
            self._term = message.term
            runtimes = [member for member in message.members if member.kind == "runtime"]
            self._runtimes = {member.name: member.index for member in runtimes}
            self._addresses.update({member.index: member.address for member in runtimes})
            self._dispatcher.set_runtimes([member.index for member in runtimes])
        return Done()

    @handles(RedirectFlows)
    def redirect(self, message: RedirectFlows) -> FlowStatuses:
        """Step 2 of a migration: new owner, and a marker to the old one behind the last packet that was sent there."""
        keys, epochs = keys_list(message.keys), unpack_u32(message.epochs)
        source, target = self._runtimes.get(message.source), self._runtimes.get(message.target)
        if source is None or target is None:
            return FlowStatuses(bytes([Status.UNKNOWN] * len(keys)))
        statuses = self._dispatcher.redirect(keys, epochs, source=source, target=target, now=trio.current_time())
        if (statuses == Status.OK).any():
            marker = cluster_frame.marker(
                target=self._addresses[source],
                source=self._inside.address,
                migration=message.migration,
            )
            self._send_marker(marker)
        return FlowStatuses(statuses.tobytes())

    def _send_marker(self, marker: Burst) -> None:
        if self._inside.send(marker):
            self._ledger.markers_sent += 1
        else:
            self.context.start_soon(self._send_marker_later, marker)

    async def _send_marker_later(self, marker: Burst) -> None:
        """Later is as good: none of the flows' packets go to the source any more."""
        await trio.sleep(MARKER_RETRY_S)
        self._send_marker(marker)

    @handles(ExpireFlows)
    def expire(self, message: ExpireFlows) -> FlowStatuses:
        """Forget flows that their runtime says have ended, if it has seen all of their packets."""
        keys = keys_list(message.keys)
        owner = self._runtimes.get(message.runtime, -1)
        counts = unpack_u32(message.packets)
        return FlowStatuses(self._dispatcher.forget(keys, counts, owner=owner, now=trio.current_time()).tobytes())

    @handles(ReadCounters)
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        return self._ledger.counters()
