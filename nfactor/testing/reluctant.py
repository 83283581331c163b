"""A flow table that refuses to hold some of the flows that are to come, as one does that has no room.

Refusals are rare in a cluster that is large enough, and a protocol has a way for each.
"""

from random import Random
from typing import Any

import numpy as np

from nfactor.actors import handles
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.holding import Holding
from nfactor.cluster.messages import FlowStatuses, PrepareFlows, pack_u32, unpack_u32
from nfactor.dataplane.engine import Engine, Status
from nfactor.packet.flow_key import FlowKeys


class ReluctantFlowTable(FlowTable):
    """Refuses a flow with that probability; those that it has to take, because a switch gave them to it, it takes."""

    def __init__(self, rng: Random, reluctance: float, packets_max: int | None, engine: Engine, *args: Any) -> None:
        super().__init__(engine, *args)
        self._holding = Holding(engine, self._ledger, packets_max=packets_max)
        self._rng = rng
        self._reluctance = reluctance
        self.refused = 0

    @handles(PrepareFlows)
    def prepare(self, message: PrepareFlows) -> FlowStatuses:
        """See ``FlowTable``."""
        keys, epochs = FlowKeys.of_octets(message.keys), unpack_u32(message.epochs)
        statuses = np.full(len(keys), Status.FULL, np.uint8)
        wanted = np.array([self._rng.random() >= self._reluctance for _ in range(len(keys))], bool)
        some = PrepareFlows(message.migration, message.source, keys.where(wanted).octets(), pack_u32(epochs[wanted]))
        statuses[wanted] = np.frombuffer(super().prepare(some).statuses, np.uint8)
        self.refused += int(np.count_nonzero(statuses == Status.FULL))
        return FlowStatuses(statuses.tobytes())
