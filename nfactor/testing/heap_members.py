"""What a judge may look at of a node on the event heap."""

from collections import deque

import attrs

from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.switch import VirtualSwitch
from nfactor.cluster.view import View
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet.burst import Burst
from nfactor.testing.heap_node import HeapNode
from nfactor.testing.reluctant import ReluctantFlowTable


@attrs.frozen
class Runtime:
    """The roles of one runtime, and what a judge may look at."""

    number: int
    node: HeapNode
    engine: ReferenceEngine
    flows: ReluctantFlowTable
    replicas: ReplicaTable
    liaison: Liaison
    ledger: Ledger
    waiting: deque[Burst]
    """What its port has received and it has not taken."""

    @property
    def name(self) -> str:
        """The node's."""
        return self.node.name

    @property
    def refused(self) -> int:
        """Flows that it did not want to take."""
        return self.flows.refused

    @property
    def view(self) -> View:
        """What it knows of the cluster."""
        return self.liaison.view


@attrs.frozen
class Switch:
    """The same of a switch."""

    number: int
    node: HeapNode
    role: VirtualSwitch
    dispatcher: Dispatcher
    ledger: Ledger

    @property
    def name(self) -> str:
        """The node's."""
        return self.node.name

    @property
    def view(self) -> View:
        """What it knows of the cluster."""
        return self.role.view
