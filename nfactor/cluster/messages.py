"""Every message that crosses between the nodes of a cluster, in one place, with its tag.

The names of the paper's Table 2 are kept for the coordinator's calls. Keys travel as the concatenation of 48-octet flow
keys, epochs and counts as little-endian ``uint32``, statuses as one octet each (``nfactor.dataplane.engine.Status``),
flow records as the concatenation of equal-sized records: a message about a million flows is a handful of byte strings.
"""

import numpy as np

from nfactor.actors import message
from nfactor.dataplane.engine import Counts, Epochs, Records, Statuses

# ---------------------------------------------------------------- the view of the cluster


@message(tag=10)
class Member:
    """One node as the others know it."""

    name: str
    kind: str
    """``runtime`` or ``switch``."""
    address: bytes
    """MAC of the port through which runtimes and switches reach it."""
    index: int
    """Its number among its kind."""
    domain: str = ""
    """What it may fail together with (a host, a rack): replicas are chosen in others where there are any."""


@message(tag=11, system=True)
class NotifyClusterCfg:
    """Coordinator → every node: who is in the cluster. Reply: ``ViewTaken``. From then on nothing that comes from a
    node that is not in it is believed."""

    term: int
    """Rises with every view; a node ignores a lower one."""
    members: tuple[Member, ...]


@message(tag=12)
class Done:
    """It was done; there is nothing to say about it."""


# ---------------------------------------------------------------- load and migration


@message(tag=13)
class Released:
    """A watermark: what a replica that is dead had released of a primary's commits, as far as the teller has seen."""

    replica: str
    """Empty: ``switch`` is an earlier life of who tells, and what it knew is lost."""
    primary: bytes
    """Its address, which is another in each of its lives: commits of each are counted anew."""
    sequence: int
    """The last commit of which something came."""
    switch: bytes = b""
    """Address of the switch that tells; empty: the outside does, of drops and records."""
    marks: bytes = b""
    """Without a primary: packets that came from that replica behind its last receipt, little-endian ``uint64``; or, as
    the outside tells, those for which its port had no room."""


@message(tag=14)
class ViewTaken:
    """The view is taken; of those that were dropped with it, this had come."""

    released: tuple[Released, ...] = ()


@message(tag=15, system=True)
class ReadView:
    """Anyone → membership. Reply: ``NotifyClusterCfg``, the present view."""


@message(tag=20, system=True)
class PollWorkload:
    """Coordinator → runtime. Reply: ``Workload``."""


@message(tag=21)
class Workload:
    """How busy a runtime is."""

    flows: int
    """Flows that it processes, less those that are leaving, and with those that are coming."""
    packets: int
    """Packets that it has processed since it started."""


@message(tag=22, system=True)
class SetMigrationTarget:
    """Coordinator → source runtime: move up to ``flows`` flows to ``target``. Reply: ``Migrating``, at once."""

    target: str
    flows: int


@message(tag=23)
class Migrating:
    """How many flows the source picked; 0 if none was free to go."""

    flows: int
    migration: int = 0
    """Its number, if there is one."""


@message(tag=24)
class MigrationEnded:
    """Source runtime → coordinator → outside: what became of a set of flows. Reply: ``Done``."""

    migration: int
    source: str
    target: str
    flows: int
    """Flows that the target owns now."""
    failed: int
    """Flows that stayed at the source."""
    buffered: int
    """Packets of the set that waited at the target."""


@message(tag=25, system=True)
class Migrate:
    """Outside → coordinator: start a migration of up to ``flows`` flows, wherever it helps. Reply: ``Migrating``."""

    flows: int


@message(tag=26, system=True)
class ReadMigrations:
    """Anyone → coordinator. Reply: ``MigrationCounts``."""


@message(tag=27)
class MigrationCounts:
    """Migrations since the coordinator began."""

    started: int
    """Sets that a source set out with."""
    ended: int
    completed: int
    """Sets of which at least one flow arrived."""
    failed: int
    """Sets of which none did."""
    flows: int
    """Flows that arrived, summed over all sets."""


@message(tag=30)
class PrepareFlows:
    """Step 1, source → target: buffer packets of these flows, which will come. Reply: ``FlowStatuses``."""

    migration: int
    source: str
    keys: bytes
    epochs: bytes


@message(tag=31, system=True)
class RedirectFlows:
    """Step 2, source → switch: the flows' packets go to ``target`` from now on. Reply: ``FlowStatuses``, and a marker
    on the data path to the source."""

    migration: int
    source: str
    target: str
    keys: bytes
    epochs: bytes


@message(tag=28, system=True)
class SendMarker:
    """Source → switch: the marker of a migration whose flows were turned has not come; send another. Reply:
    ``Done``."""

    migration: int
    source: str


@message(tag=32)
class InstallFlows:
    """Step 3, source → target: the states. Flows of this migration that are not among them will not come. Reply:
    ``FlowsInstalled``, when the target's own replica has them."""

    migration: int
    source: str
    keys: bytes
    epochs: bytes
    records: bytes


@message(tag=33, system=True)
class FlowsInstalled:
    """The target owns the flows whose status is OK."""

    statuses: bytes
    buffered: int
    """Packets of the set that had waited."""


@message(tag=34)
class CancelFlows:
    """Source → target: nothing will come of this migration. Reply: ``Done``."""

    migration: int


@message(tag=35)
class FlowStatuses:
    """One status per key, in the order of the request."""

    statuses: bytes


@message(tag=36)
class ExpireFlows:
    """Runtime → switch: these flows have had so many packets and are idle; may they end? Reply: ``FlowStatuses``."""

    runtime: str
    keys: bytes
    packets: bytes
    taking_s: float
    """When it counted them, by a clock of its own that stands still while it takes no packets from its port."""


# ---------------------------------------------------------------- inside a runtime


@message(tag=49)
class ReadFlow:
    """Anyone → one flow actor: its record, which stays where it is. Reply: ``FlowRecord``."""


@message(tag=50)
class FlowRecord:
    """The record of one flow; empty if the flow is not here."""

    record: bytes


def pack_u32(values: Epochs | Counts) -> bytes:
    """Little-endian, whatever the machine."""
    return values.astype("<u4").tobytes()


def unpack_u32(octets: bytes) -> Epochs:
    """The inverse of ``pack_u32``."""
    return np.frombuffer(octets, "<u4").astype(np.uint32)


def unpack_statuses(octets: bytes) -> Statuses:
    """``uint8[n]``."""
    return np.frombuffer(octets, np.uint8)


def unpack_records(octets: bytes, record_size: int) -> Records:
    """``uint8[n, record_size]``."""
    return np.frombuffer(octets, np.uint8).reshape(-1, record_size)
