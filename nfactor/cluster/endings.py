"""Ends flows of a runtime, here and at their replicas, and has network functions say what they have to say at that."""

from collections.abc import Sequence

from nfactor.cluster.holding import where_ok
from nfactor.cluster.replicator import Replicator
from nfactor.dataplane.engine import Counts, Engine, Records, Status, are
from nfactor.packet.flow_key import FlowKeys


class Endings:
    """Nothing is half done in the engine when these are called."""

    def __init__(self, engine: Engine, replicator: Replicator) -> None:
        self._engine = engine
        self._replicator = replicator
        self.records = 0
        """Records that NFs have emitted so far, at whatever packet or end."""

    def end(self, keys: FlowKeys, packets: Counts | None = None) -> None:
        """Flows that are here (``packets``: ``Engine.expire``). Of those that stay, replicas are told that packets now
        count from where the key's next life began."""
        statuses = self._engine.expire(keys, packets)
        self._tell(where_ok(keys, statuses))
        if len(stayed := keys.where(are(statuses, Status.BUSY))):
            self._replicator.adopt(stayed)

    def farewell(self, keys: FlowKeys, records: Records) -> None:
        """Flows that have ended elsewhere, where NFs could say nothing any more."""
        self._engine.farewell(keys, records)
        self._tell([])

    def _tell(self, ended: Sequence[bytes]) -> None:
        emitted = self._engine.take_emitted()
        self.records += len(emitted)
        self._replicator.ended(ended, emitted)
