"""What judges ask of a cluster, wherever it runs: its nodes, and what is in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.owners import Owners
from nfactor.dataplane.state import schema_of
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.checkers import Final
from nfactor.testing.lineage import History, LineageState


class JudgedNode(Protocol):
    """A runtime or a switch."""

    @property
    def name(self) -> str:
        """The node's."""

    @property
    def number(self) -> int:
        """Of the runtime or the switch."""

    @property
    def ledger(self) -> Ledger:
        """Its counts."""


class JudgedRuntime(JudgedNode, Protocol):
    """One life of a runtime."""

    @property
    def engine(self) -> Engine:
        """The last function of its chain is a ``Lineage``."""

    @property
    def flows(self) -> FlowTable:
        """Its flows."""

    @property
    def replicas(self) -> ReplicaTable:
        """What it keeps for others."""

    @property
    def liaison(self) -> Liaison:
        """Its migrations."""

    @property
    def refused(self) -> int:
        """Flows that it did not want to take."""


class JudgedSwitch(JudgedNode, Protocol):
    """One life of a switch."""

    @property
    def dispatcher(self) -> Owners:
        """Which flow is where."""


class JudgedCluster(Protocol):
    """All of them, and what came of it."""

    @property
    def history(self) -> History:
        """So far."""

    @property
    def mode(self) -> Mode:
        """Of replication."""

    @property
    def flow_of_key(self) -> Mapping[bytes, int]:
        """The number of each flow."""

    @property
    def runtimes(self) -> Mapping[str, JudgedRuntime]:
        """The latest life of each."""

    @property
    def switches(self) -> Mapping[str, JudgedSwitch]:
        """The same."""

    def living(self) -> Sequence[JudgedRuntime]:
        """Runtimes that live and that the coordinator counts as living."""


def state_of(engine: Engine, key: bytes) -> Any:
    """The state of a flow's lineage, or None."""
    _, records, statuses = engine.copy(FlowKeys.of([key]))
    if statuses[0]:
        return None
    return schema_of(LineageState).unpack(records[0].tobytes(), engine.record_size - STATE_OCTETS)


def finals_of(cluster: JudgedCluster) -> dict[int, Final]:
    """What each flow has come to, but those of which no packet came so far."""
    finals: dict[int, Final] = {}
    for runtime in cluster.living():
        for key in list(runtime.engine.keys()):
            state = state_of(runtime.engine, key)
            if state.count:
                finals[cluster.flow_of_key[key]] = Final(runtime.name, state.born, state.count, state.digest)
    return finals


STATE_OCTETS = schema_of(LineageState).size
