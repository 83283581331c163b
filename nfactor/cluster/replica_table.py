"""The flows of other runtimes, for which this runtime is the replica: stores their states, and releases what they hold.

The paper's replica actors (section 4.1.3), as one table. A commit is stored, and in the same breath its packets leave
by the egress, with a receipt behind them that tells the switch how far this primary's packets have come; its drops and
records go to the outside; and when those are known to have arrived, the primary may forget the commit.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from nfactor.actors import Actor, Ref, handles
from nfactor.cluster.egress import Egress
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    FlowStatuses,
    NotifyClusterCfg,
    PrepareFlows,
    ViewTaken,
    pack_u32,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, FLOWS, MEMBERSHIP
from nfactor.cluster.recovery_messages import (
    AdoptFlows,
    ClaimFlows,
    CommitsStored,
    FinishFlows,
    FlowsClaimed,
    ForgetReplicas,
    Recover,
    StepTaken,
    StoreCommit,
)
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.view import View
from nfactor.dataplane.changes import Copies, packets_of
from nfactor.dataplane.engine import Epochs, Records, Status
from nfactor.errors import PeerDown
from nfactor.packet import cluster_frame
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import ReplicaStore

RECOVERY_BATCH_FLOWS_MAX = 4096
"""Flows that are claimed by one question to the switch, at most."""


class ReplicaTable(Actor):
    """``switch`` owns the keys of all flows; ``flows`` is the flow table of this runtime; ``copies`` makes room for the
    flows of another."""

    def __init__(
        self,
        egress: Egress,
        ledger: Ledger,
        reporter: Reporter,
        copies: Callable[[], Copies],
        *,
        flows: Ref,
        switch: Ref,
    ) -> None:
        self._egress = egress
        self._ledger = ledger
        self._reporter = reporter
        self._flows = flows
        self._switch = switch
        self._view = View()
        self._store = ReplicaStore(copies)
        self._claims = 0

    async def started(self) -> None:
        """Begin to tell the outside what happens here."""
        self.context.start_soon(self._reporter.run)

    @handles(NotifyClusterCfg)
    def configure(self, message: NotifyClusterCfg) -> ViewTaken:
        """Who is in the cluster: nothing is stored for others."""
        self._view.take(message)
        return ViewTaken()

    @handles(StoreCommit)
    def store(self, message: StoreCommit) -> None:
        """Store the states, then release."""
        if message.primary not in self._view:
            return
        self._store.store(message.primary, message.sequence, message.changes, FlowKeys.of_octets(message.ended))
        burst = unpack_burst(message.packets)
        self._ledger.take(message.primary, len(burst) + sum(message.counts))
        if len(burst):
            switch = cluster_frame.sources(burst.slice(0, 1))[0]
            self._egress.packets(burst)
            self._egress.receipt(switch, message.address, message.sequence)
        self._egress.drops(message.reasons, message.counts, message.marks)
        self._egress.records(list(message.emitted))
        self._reporter.complete(message.primary, message.sequence)

    def completed(self, primary: str, sequence: int) -> None:
        """All that the primary's commits up to this one held has left: it may forget them."""
        if primary in self._view:
            answer = CommitsStored(self._ledger.node, sequence)
            self.context.node.ref(primary, FLOWS).tell_nowait(answer)

    @handles(ForgetReplicas)
    def forget(self, message: ForgetReplicas) -> None:
        """The flows have moved away from that primary."""
        self._store.forget(message.primary, FlowKeys.of_octets(message.keys), unpack_u32(message.epochs))

    # ---------------------------------------------------------------- recovery

    @handles(Recover)
    def recover(self, message: Recover) -> None:
        """Take over what that dead runtime had here."""
        self.context.start_soon(self._recover, message)

    async def _recover(self, message: Recover) -> None:
        (keys, epochs, records), taken = self._store.take(message.node), 0
        for start in range(0, len(keys), RECOVERY_BATCH_FLOWS_MAX):
            some = slice(start, start + RECOVERY_BATCH_FLOWS_MAX)
            taken += await self._take_over(message.node, keys[some], epochs[some] + np.uint32(1), records[some])
        step = StepTaken(message.recovery, self._ledger.node, taken)
        self.context.node.ref(COORDINATOR, MEMBERSHIP).tell_nowait(step)

    async def _take_over(self, dead: str, keys: FlowKeys, epochs: Epochs, records: Records) -> int:
        """Claim flows at the switch, with these epochs, and become their primary. Packets may be here before the
        switch's answer is, so the flows are held first. What the dead runtime was about to give to another that lives
        is given there in its stead; what had just ended says what it had to say. How many go on, here or there."""
        node, octets, new_epochs = self._ledger.node, keys.octets(), pack_u32(epochs)
        self._claims += 1
        claim = self._claims  # a number that no migration has
        await self._flows.ask(PrepareFlows(claim, node, octets, new_epochs), FlowStatuses)
        question = ClaimFlows(node, dead, octets, new_epochs, pack_u32(packets_of(records)))
        answer = await self._switch.ask(question, FlowsClaimed)
        statuses = np.frombuffer(answer.statuses, np.uint8)
        ours, ended = statuses == Status.OK, statuses == Status.UNKNOWN
        adopted = AdoptFlows(
            claim=claim,
            keys=keys.where(ours).octets(),
            epochs=pack_u32(epochs[ours]),
            records=records[ours].tobytes(),
            ended_keys=keys.where(ended).octets(),
            ended_records=records[ended].tobytes(),
        )
        taken = (await self._flows.ask(adopted, FlowStatuses)).statuses.count(Status.OK)
        elsewhere, owners = np.flatnonzero(statuses == Status.EXISTS), np.array(answer.owners, object)
        for owner in dict.fromkeys(answer.owners):
            places = elsewhere[owners == owner]
            states = FinishFlows(keys.array[places].tobytes(), pack_u32(epochs[places]), records[places].tobytes())
            with suppress(PeerDown):  # dead as well: its own replicas have what it had of them
                finished = await self._view.ask(self.context.node.ref(owner, FLOWS), states, FlowStatuses)
                taken += finished.statuses.count(Status.OK)
        return taken
