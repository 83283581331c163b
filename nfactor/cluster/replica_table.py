"""The flows of other runtimes, for which this runtime is the replica: stores their states, and releases what they hold.

The paper's replica actors (section 4.1.3), as one table. A commit is stored, and in the same breath its packets leave
by the egress, with a receipt behind them that tells the switch how far this primary's packets have come; its drops and
records go to the outside; and when those are known to have arrived, the primary may forget the commit.
"""

from collections.abc import Iterable
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
    unpack_records,
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
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.engine import Status
from nfactor.errors import PeerDown
from nfactor.packet import cluster_frame
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import keys_list
from nfactor.protocols.replication import Replica, ReplicaStore

RECOVERY_BATCH_FLOWS_MAX = 4096
"""Flows that are claimed by one question to the switch, at most."""


class ReplicaTable(Actor):
    """``switch`` owns the keys of all flows; ``flows`` is the flow table of this runtime."""

    def __init__(
        self, egress: Egress, ledger: Ledger, reporter: Reporter, record_size: int, *, flows: Ref, switch: Ref
    ) -> None:
        self._egress = egress
        self._ledger = ledger
        self._reporter = reporter
        self._record_size = record_size
        self._flows = flows
        self._switch = switch
        self._view = View()
        self._store = ReplicaStore()
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
        records = unpack_records(message.records, self._record_size)
        self._store.store(
            message.primary,
            message.sequence,
            keys_list(message.keys),
            unpack_u32(message.epochs),
            [record.tobytes() for record in records],
            keys_list(message.ended),
        )
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
        self._store.forget(message.primary, keys_list(message.keys), unpack_u32(message.epochs))

    # ---------------------------------------------------------------- recovery

    @handles(Recover)
    def recover(self, message: Recover) -> None:
        """Take over what that dead runtime had here."""
        self.context.start_soon(self._recover, message)

    async def _recover(self, message: Recover) -> None:
        flows, taken = self._store.take(message.node), 0
        keys = list(flows)
        for start in range(0, len(keys), RECOVERY_BATCH_FLOWS_MAX):
            batch = {key: flows[key] for key in keys[start : start + RECOVERY_BATCH_FLOWS_MAX]}
            taken += await self._take_over(message.node, batch)
        step = StepTaken(message.recovery, self._ledger.node, taken)
        self.context.node.ref(COORDINATOR, MEMBERSHIP).tell_nowait(step)

    async def _take_over(self, dead: str, flows: dict[bytes, Replica]) -> int:
        """Claim flows at the switch, and become their primary. Packets may be here before the switch's answer is, so
        the flows are held first. What the dead runtime was about to give to another that lives is given there in its
        stead; what had just ended says what it had to say. How many go on, here or there."""
        epochs = {key: flow.epoch + 1 for key, flow in flows.items()}
        packets = [HEADER.unpack(flow.record).packets for flow in flows.values()]
        node, octets, new_epochs = self._ledger.node, b"".join(flows), _u32(epochs.values())
        self._claims += 1
        claim = self._claims  # a number that no migration has
        await self._flows.ask(PrepareFlows(claim, node, octets, new_epochs), FlowStatuses)
        answer = await self._switch.ask(ClaimFlows(node, dead, octets, new_epochs, _u32(packets)), FlowsClaimed)
        sets: dict[int, list[bytes]] = {status: [] for status in Status}
        for key, status in zip(flows, answer.statuses, strict=True):
            sets[status].append(key)
        ours, ended, taken = sets[Status.OK], sets[Status.UNKNOWN], 0
        adopted = AdoptFlows(
            claim=claim,
            keys=b"".join(ours),
            epochs=_u32(epochs[key] for key in ours),
            records=b"".join(flows[key].record for key in ours),
            ended_keys=b"".join(ended),
            ended_records=b"".join(flows[key].record for key in ended),
        )
        taken += (await self._flows.ask(adopted, FlowStatuses)).statuses.count(Status.OK)
        for owner in dict.fromkeys(answer.owners):
            keys = [key for key, other in zip(sets[Status.EXISTS], answer.owners, strict=True) if other == owner]
            states = FinishFlows(
                b"".join(keys), _u32(epochs[key] for key in keys), b"".join(flows[key].record for key in keys)
            )
            with suppress(PeerDown):  # dead as well: its own replicas have what it had of them
                finished = await self._view.ask(self.context.node.ref(owner, FLOWS), states, FlowStatuses)
                taken += finished.statuses.count(Status.OK)
        return taken


def _u32(values: Iterable[int]) -> bytes:
    return pack_u32(np.fromiter(values, np.uint32))
