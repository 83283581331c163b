"""The flows of other runtimes, for which this runtime is the replica: stores their states, and releases what they hold.

The paper's replica actors (section 4.1.3), as one table. A commit is stored, and in the same breath its packets leave
by the egress, with a receipt behind them that tells the switch how far this primary's packets have come; its drops and
records go to the outside; and when those are known to have arrived, the primary may forget the commit.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import attrs
import numpy as np

from nfactor.actors import handles
from nfactor.cluster.egress import Egress
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    FlowStatuses,
    pack_u32,
    unpack_records,
    unpack_u32,
)
from nfactor.cluster.names import FLOWS, LIAISON
from nfactor.cluster.ownership import owner_of
from nfactor.cluster.recovery_messages import (
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
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.engine import Epochs, Records, Status
from nfactor.packet import cluster_frame
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import FlowKeys, keys_list
from nfactor.protocols.replication import Replica, ReplicaStore

RECOVERY_BATCH_FLOWS_MAX = 4096
"""Flows that are claimed by one question to a switch, at most."""


class ReplicaTable(Role):
    """``flows`` is the flow table of this runtime."""

    def __init__(
        self, egress: Egress, ledger: Ledger, reporter: Reporter, record_size: int, flows: FlowTable, view: View
    ) -> None:
        self._egress = egress
        self._ledger = ledger
        self._reporter = reporter
        self._record_size = record_size
        self._flows = flows
        self.view = view
        self._store = ReplicaStore()
        self._claims = 0
        reporter.completed = self._completed

    def begin(self) -> None:
        """Begin to tell the outside what happens here."""
        self._reporter.begin(self.ask)

    @handles(StoreCommit)
    def store(self, message: StoreCommit) -> None:
        """Store the states, then release."""
        if message.primary not in self.view:
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

    def _completed(self, primary: str, sequence: int) -> None:
        """All that the primary's commits up to this one held has left: it may forget them."""
        if primary in self.view:
            self.host.tell(primary, FLOWS, CommitsStored(self._ledger.node, sequence))

    @handles(ForgetReplicas)
    def forget(self, message: ForgetReplicas) -> None:
        """The flows have moved away from that primary."""
        self._store.forget(message.primary, keys_list(message.keys), unpack_u32(message.epochs))

    # ---------------------------------------------------------------- recovery

    @handles(Recover)
    def recover(self, message: Recover) -> Later:
        """Take over what that dead runtime had here: one batch for one switch after another."""
        flows, switches = self._store.take(message.node), self.view.names("switch")
        batches: dict[str, list[list[bytes]]] = {}
        for key in flows:
            mine = batches.setdefault(owner_of(key, switches), [[]])
            if len(mine[-1]) == RECOVERY_BATCH_FLOWS_MAX:
                mine.append([])
            mine[-1].append(key)
        takeover = _Takeover(
            message.node,
            Later(),
            iter(
                [(switch, {key: flows[key] for key in batch}) for switch, every in batches.items() for batch in every]
            ),
        )
        self._claim_next(takeover)
        return takeover.over

    def _claim_next(self, takeover: "_Takeover") -> None:
        """Claim flows at their switch, to become their primary. Packets may be here before the switch's answer is, so
        the flows are held first."""
        switch, flows = next(takeover.batches, ("", {}))
        if not flows:
            takeover.over.answer(StepTaken(takeover.taken))
            return
        self._claims += 1
        node, keys = self.host.node, FlowKeys.of(flows)
        epochs = np.array([flow.epoch + 1 for flow in flows.values()], np.uint32)
        packets = np.array([HEADER.unpack(flow.record).packets for flow in flows.values()], np.uint32)
        self._flows.expect(self._claims, node, keys, epochs)  # a number that no migration has
        claim = ClaimFlows(node, takeover.dead, keys.octets(), pack_u32(epochs), pack_u32(packets))
        then = partial(self._claimed, takeover, self._claims, flows, epochs)
        self.ask(switch, LIAISON, claim, FlowsClaimed, then)

    def _claimed(
        self,
        takeover: "_Takeover",
        claim: int,
        flows: dict[bytes, Replica],
        epochs: Epochs,
        answer: FlowsClaimed | None,
    ) -> None:
        """Become the primary of what is ours now. What the dead runtime was about to give to another that lives is
        given there in its stead; what had just ended says what it had to say."""
        assert answer is not None, "switches do not leave"
        statuses = np.frombuffer(answer.statuses, np.uint8)
        keys, records = FlowKeys.of(flows), _records(flows.values(), self._record_size)
        ours, ended = statuses == Status.OK, statuses == Status.UNKNOWN
        takeover.taken += self._flows.adopt(claim, keys.where(ours), epochs[ours], records[ours])
        self._flows.farewell(keys.where(ended), records[ended])
        others = np.flatnonzero(statuses == Status.EXISTS)
        takeover.finishing = 1 + len(dict.fromkeys(answer.owners))
        for owner in dict.fromkeys(answer.owners):
            mine = others[[other == owner for other in answer.owners]]
            states = FinishFlows(keys.array[mine].tobytes(), pack_u32(epochs[mine]), records[mine].tobytes())
            self.ask(owner, FLOWS, states, FlowStatuses, partial(self._finished, takeover))
        self._finished(takeover, None)  # our own part

    def _finished(self, takeover: "_Takeover", answer: FlowStatuses | None) -> None:
        """None: that one is dead as well; its own replicas have what it had of them."""
        takeover.finishing -= 1
        if answer is not None:
            takeover.taken += answer.statuses.count(Status.OK)
        if not takeover.finishing:
            self._claim_next(takeover)


@attrs.define
class _Takeover:
    """The flows of a dead runtime whose replicas were here, on their way to a new primary."""

    dead: str
    over: Later
    batches: Iterator[tuple[str, dict[bytes, Replica]]]
    """Of one switch each."""
    taken: int = 0
    """How many go on, here or elsewhere."""
    finishing: int = 0
    """Runtimes that were given states and have not answered, and we ourselves."""


def _records(flows: Iterable[Replica], size: int) -> Records:
    return np.frombuffer(b"".join(flow.record for flow in flows), np.uint8).reshape(-1, size)
