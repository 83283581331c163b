"""What a cluster is made of: how many nodes, what they run, and where their wires come from."""

from collections.abc import Callable
from typing import Any, Protocol

import attrs

from nfactor.backends.base import Port, Transport
from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.membership import DEAD_AFTER_S
from nfactor.cluster.messages import Member
from nfactor.cluster.names import runtime_name, switch_name
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.owners import Owners
from nfactor.protocols.replication import Mode


class World(Protocol):
    """Where nodes get their wires from: one of the three worlds of DESIGN section 1."""

    def transport(self, node: str) -> Transport:
        """A new transport for that node."""

    def port(self, node: str, address: bytes) -> Port:
        """A new port of that node."""

    def incarnation(self, node: str) -> int:
        """A number that is higher for each life of the node."""

    def cut(self, node: str) -> None:
        """From now on nothing leaves that node, and nothing reaches it."""


@attrs.frozen
class ClusterPlan:
    """What to start. The factories are called once per node, so that nodes share nothing."""

    runtimes: int
    engine: Callable[[], Engine]
    owners: Callable[[], Owners]
    """The flow table of a virtual switch."""
    records: tuple[type, ...]
    """Every record class that NFs of the chain emit."""
    replication: Mode = attrs.Factory(Mode)
    dead_after_s: float = DEAD_AFTER_S
    lease_journal: list[Any] = attrs.Factory(list)
    """Who holds which numbers of pools; it outlives a coordinator that begins again in the same process."""
    switches: int = 1
    domains: tuple[str, ...] = ()
    """Failure domains of the runtimes, in order."""
    launches: bool = False
    """Where flows are replicated and one runtime is left, another is started."""
    threaded: bool = False
    """Engines run in worker threads: on real clocks alone, as a virtual one would not wait for them."""

    def domain(self, index: int) -> str:
        """The failure domain of that runtime; what is not told is one as well."""
        return self.domains[index] if index < len(self.domains) else ""


def members(plan: ClusterPlan) -> tuple[Member, ...]:
    """The view of the cluster that the coordinator gives to every node."""
    return (
        *(switch_member(index, 1) for index in range(plan.switches)),
        *(runtime_member(index, 1, plan.domain(index)) for index in range(plan.runtimes)),
    )


def switch_member(index: int, life: int) -> Member:
    """How a switch is known, in its first life or a later one."""
    return Member(switch_name(index), "switch", address(Kind.SWITCH_INSIDE, index, life), index)


def runtime_member(index: int, life: int, domain: str) -> Member:
    """The same of a runtime, in that failure domain."""
    return Member(runtime_name(index), "runtime", address(Kind.RUNTIME, index, life), index, domain)
