"""Flows that have left a runtime: where copies of them are, which are kept until the flows are protected elsewhere."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from nfactor.cluster.messages import pack_u32
from nfactor.cluster.recovery_messages import ForgetReplicas
from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.changes import epochs_of
from nfactor.dataplane.engine import Epochs, Records
from nfactor.packet.flow_key import FlowKeys, places_of
from nfactor.protocols.dealing import Deal
from nfactor.protocols.replication import Outstanding

Forget: TypeAlias = Callable[[str, object, Callable[[], None]], None]


class Departed:
    """Of a runtime's replicator; ``forget`` tells a message to the table of replicas on a runtime, for certain, and
    calls when it has been heard."""

    def __init__(self, node: str, deal: Deal, outstanding: Outstanding, forget: Forget) -> None:
        self._node = node
        self._deal = deal
        self._outstanding = outstanding
        self._forget = forget
        self._flows: dict[int, tuple[FlowKeys, Epochs]] = {}
        """By migration, and of which epoch their last state here is."""
        self._being_forgotten: Counter[int] = Counter()
        """By migration, how many words about that have not been heard."""

    def left_over(self) -> list[int]:
        """Migrations of whose flows there may be copies."""
        return [*self._flows, *self._being_forgotten]

    def left(self, migration: int, keys: FlowKeys, records: Records) -> None:
        """Flows left for another runtime."""
        self._flows[migration] = keys, epochs_of(records)

    def moved(self, migration: int, keys: FlowKeys) -> None:
        """They are protected where they are now. Copies of them are where their buckets are, which leave no replica."""
        if migration not in self._flows:
            return
        departed, epochs = self._flows.pop(migration)
        places = places_of(keys, departed)
        gone = np.zeros(len(departed), bool)
        gone[places[places >= 0]] = True
        if not gone.all():
            self._flows[migration] = departed.where(~gone), epochs[~gone]
        if gone.any():  # behind what was sent there and lost, and comes again: it may hold copies of them
            self._being_forgotten[migration] += 1
            self._outstanding.when_done(partial(self._forget_there, migration, departed.where(gone), epochs[gone]))

    def _forget_there(self, migration: int, keys: FlowKeys, epochs: Epochs) -> None:
        holders = self._deal.holders(buckets_of(keys.array))
        for number in np.unique(holders[holders >= 0]).tolist():
            those = holders == number
            message = ForgetReplicas(self._node, keys.where(those).octets(), pack_u32(epochs[those]))
            self._being_forgotten[migration] += 1
            self._forget(self._deal.name(number), message, partial(self._forgotten, migration))
        self._forgotten(migration)

    def _forgotten(self, migration: int) -> None:
        self._being_forgotten[migration] -= 1
        if not self._being_forgotten[migration]:
            del self._being_forgotten[migration]
