"""Carries a stream of packets through a cluster and accounts for every one of them.

The order of the end matters: first all packets come out or end, then all migrations end, then the flows end (which
emits their records), then the nodes are asked for their sums; and only then is anything believed.
"""

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from nfactor.cluster.launcher import Cluster
from nfactor.cluster.ledger import AccountingError, check_node
from nfactor.cluster.liaison import MIGRATION_BATCH_FLOWS_MAX
from nfactor.cluster.messages import (
    EndFlows,
    FlowsEnded,
    Migrate,
    Migrating,
    MigrationCounts,
    NodeCounters,
    ReadCounters,
    ReadMigrations,
)
from nfactor.cluster.names import COORDINATOR, FLOWS, LIAISON
from nfactor.packet.burst import Burst

MIGRATION_REQUESTS_MAX = 8
"""Requests to the coordinator under way at once; more wait, and so does the feeding."""
END_FLOWS_MAX = 4096
"""Flows that are ended by one request."""
POLL_S = 0.001
"""How often the coordinator is asked whether all migrations have ended."""


class Source(Protocol):
    """Where packets come from, e.g. a capture reader."""

    def read_burst(self, packets_max: int) -> Burst | None:
        """The next packets, behind our header, or None at the end."""


@attrs.frozen
class Pace:
    """How packets are fed: at most ``burst_packets`` at once, ``gap_s`` apart (0: as fast as the window lets), and a
    migration each time ``migrate_every`` have gone in (0: never)."""

    burst_packets: int = 1024
    window_packets: int = 4096
    """Packets inside at once; less than any queue inside holds, so that none overflows."""
    gap_s: float = 0.0
    migrate_every: int = 0

    @classmethod
    def of(cls, migrate_every: int, control_latency_s: float) -> "Pace":
        """Plenty at once where only throughput counts. With migrations, bursts so small and so far apart that packets
        of one flow are spread over all links, and that several arrive while a control message is under way: a migration
        then always begins, and ends, in the middle of traffic."""
        if not migrate_every:
            return cls()
        burst = max(1, min(cls().burst_packets, migrate_every // 16))
        return cls(burst_packets=burst, gap_s=control_latency_s / 2, migrate_every=migrate_every)


@attrs.frozen
class Outcome:
    """What a replay did; the sums have been checked."""

    packets_in: int
    octets_in: int
    packets_out: int
    octets_out: int
    created: int
    absorbed: int
    buffered: int
    dropped: dict[str, int]
    buffered_max: int
    """The most packets that one runtime held for coming flows at once."""
    migrations: MigrationCounts
    nodes: tuple[NodeCounters, ...]


async def replay(
    cluster: Cluster, source: Source, pace: Pace, *, between: Callable[[], None] = lambda: None
) -> Outcome:
    """Feed the whole source through the cluster. ``between`` is called after each burst (progress, housekeeping).

    Raises ``AccountingError`` if the sums are off.
    """
    await _feed(cluster, source, pace, between)
    await cluster.outside.wait_empty()
    migrations = await _await_migrations(cluster)
    await cluster.outside.wait_empty()
    for member in cluster.members:
        if member.kind == "runtime":
            await _end_flows(cluster, member.name)
    nodes = [await _counters(cluster, member.name, member.kind) for member in cluster.members]
    return _account(cluster, nodes, migrations)


async def _feed(cluster: Cluster, source: Source, pace: Pace, between: Callable[[], None]) -> None:
    limit = trio.CapacityLimiter(MIGRATION_REQUESTS_MAX)
    coordinator = cluster.node.ref(COORDINATOR, COORDINATOR)

    async def migrate(*, task_status: trio.TaskStatus[None]) -> None:
        async with limit:
            task_status.started()
            await coordinator.ask(Migrate(MIGRATION_BATCH_FLOWS_MAX), Migrating)

    fed = 0
    async with trio.open_nursery() as requests:
        while True:
            size = pace.burst_packets
            if pace.migrate_every:
                size = min(size, pace.migrate_every - fed % pace.migrate_every)
            burst = source.read_burst(size)
            if burst is None:
                break
            await cluster.outside.feed(burst)
            fed += len(burst)
            if pace.migrate_every and fed % pace.migrate_every == 0:
                await requests.start(migrate)
            if pace.gap_s:
                await trio.sleep(pace.gap_s)
            between()


async def _await_migrations(cluster: Cluster) -> MigrationCounts:
    coordinator = cluster.node.ref(COORDINATOR, COORDINATOR)
    while True:
        counts = await coordinator.ask(ReadMigrations(), MigrationCounts)
        if counts.started == counts.ended:
            return counts
        await trio.sleep(POLL_S)


async def _end_flows(cluster: Cluster, runtime: str) -> None:
    table = cluster.node.ref(runtime, FLOWS)
    while True:
        ended = await table.ask(EndFlows(END_FLOWS_MAX), FlowsEnded)
        await cluster.outside.wait_records(runtime, ended.records)
        if ended.left == 0:
            return


async def _counters(cluster: Cluster, name: str, kind: str) -> NodeCounters:
    actor = FLOWS if kind == "runtime" else LIAISON
    counters = await cluster.node.ref(name, actor).ask(ReadCounters(), NodeCounters)
    check_node(counters)
    return counters


def _account(cluster: Cluster, nodes: list[NodeCounters], migrations: MigrationCounts) -> Outcome:
    outside = cluster.outside
    dropped: dict[str, int] = {}
    for node in nodes:
        for reason, count in node.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    outcome = Outcome(
        packets_in=outside.packets_in,
        octets_in=outside.octets_in,
        packets_out=outside.packets_out,
        octets_out=outside.octets_out,
        created=sum(node.created for node in nodes),
        absorbed=sum(node.absorbed for node in nodes),
        buffered=sum(node.buffered for node in nodes),
        dropped=dropped,
        buffered_max=max(node.buffered_max for node in nodes),
        migrations=migrations,
        nodes=tuple(nodes),
    )
    came = outcome.packets_in + outcome.created
    went = outcome.packets_out + outcome.absorbed + sum(dropped.values()) + outcome.buffered
    if came != went:
        raise AccountingError(f"{came} packets came in or were made, {went} are accounted for: {outcome}")
    return outcome
