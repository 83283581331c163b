"""What judges ask of a cluster, wherever it runs: its nodes, and what is in them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.owners import Owners
from nfactor.dataplane.state import schema_of
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.lineage import Death, History, LineageState
from nfactor.testing.pasts import Final


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


def death_of(cluster: JudgedCluster, runtime: JudgedRuntime, now_us: int, *, overlaps: bool) -> Death:
    """What is known of a runtime that dies now."""
    protected = {}
    for key in runtime.flows.replicator.protected_flows():
        state = state_of(runtime.engine, key)
        if state is not None and state.count:
            protected[cluster.flow_of_key[key]] = state.born, state.count, state.digest
    released: dict[int, int] = {}
    for came in cluster.history.out:
        released[came.born] = max(released.get(came.born, 0), came.count)
    return Death(runtime.name, now_us, protected, released, overlaps)


def mends(
    cluster: JudgedCluster, dying: JudgedRuntime, domains: Mapping[int, str], recovered: Sequence[NodeRecovered]
) -> bool:
    """Whether a death is not made good for: its recovery is not over, or flows have not another replica yet. Those in
    the same failure domain as who is dying now are one with this one."""
    domain = domains[dying.number] if len({*domains.values()}) > 1 else None
    others = {name for name, runtime in cluster.runtimes.items() if domains[runtime.number] != domain}
    over = Counter(event.node for event in recovered if event.node in others)
    died = Counter(death.node for death in cluster.history.deaths if death.node in others)
    unprotected = any(runtime.flows.replicator.unprotected_flows() for runtime in cluster.living())
    return died.total() > 0 and (unprotected or died != over)


STATE_OCTETS = schema_of(LineageState).size
