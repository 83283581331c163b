"""What may be asked about the flows of a runtime. Nothing of this changes anything."""

import numpy as np
import numpy.typing as npt

from nfactor.actors import ActorTable, handles, handles_keyed
from nfactor.cluster.expiry import Expiry
from nfactor.cluster.holding import Holding
from nfactor.cluster.intake import settled
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import FlowRecord, ReadFlow, Workload
from nfactor.cluster.outcome_messages import NodeCounters, ReadCounters
from nfactor.cluster.picking import Picking
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.role import Role
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.changes import packets_of
from nfactor.dataplane.engine import Engine, Epochs, Records, Status, are
from nfactor.dataplane.nf import Pool
from nfactor.packet.flow_key import FlowKeys


class FlowQuestions(Role, ActorTable[None]):
    """The base of ``FlowTable``, whose parts these are."""

    replicator: Replicator
    _engine: Engine
    _ledger: Ledger
    _holding: Holding
    _picking: Picking
    _expiry: Expiry
    _leaving: int

    def pools(self) -> dict[str, Pool]:
        """Those of the NFs, by ``NF.attribute``."""
        return self._engine.chain.pools()

    @property
    def chain(self) -> Chain:
        """What it runs."""
        return self._engine.chain

    @settled
    def keys(self) -> FlowKeys:
        """Flows that are here."""
        return self._engine.keys()

    @settled
    def copy(self, keys: FlowKeys) -> tuple[FlowKeys, Epochs, Records]:
        """Those of them that are still here, with their epochs and states."""
        epochs, records, statuses = self._engine.copy(keys)
        here = are(statuses, Status.OK)
        return keys.where(here), epochs[here], records[here]

    def may_have_ended(self, switch: str, keys: FlowKeys, records: Records) -> npt.NDArray[np.bool_]:
        """Which of these, with those states, an earlier life of that switch may have forgotten."""
        return self._expiry.may_have_ended(switch, keys, packets_of(records))

    @settled
    def workload(self) -> Workload:
        """The load as it will be when the migrations under way have ended, or two in quick succession would both act on
        what the first has already changed."""
        statistics = self._engine.statistics()
        return Workload(statistics.flows - self._leaving + self._holding.flows, statistics.packets)

    @handles(ReadCounters)
    @settled
    def counters(self, message: ReadCounters) -> NodeCounters:
        """This node's side of the accounting."""
        statistics = self._engine.statistics()
        return self._ledger.counters(
            nf_errors=statistics.nf_errors,
            nf_error_sample=statistics.nf_error_sample,
            nf_counters=self._engine.chain.counters() | self._picking.counters(),
            protection=self.replicator.protection(),
        )

    @handles_keyed(ReadFlow, creates=True)
    @settled
    def read(self, key: bytes, message: ReadFlow) -> FlowRecord:
        """One flow actor's state."""
        return FlowRecord(self._engine.read(key) or b"")
