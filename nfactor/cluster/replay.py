"""Carries a stream of packets through a cluster and accounts for every one of them.

A runtime may be killed on the way; then what it held is written off once its flows are served again.

The order of the end matters: first all packets come out or end, then all migrations end, then the flows end (which
emits their records), then the nodes are asked for their sums; and only then is anything believed.
"""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from nfactor.cluster.launcher import Cluster
from nfactor.cluster.ledger import AccountingError
from nfactor.cluster.liaison import MIGRATION_BATCH_FLOWS_MAX
from nfactor.cluster.losses import read_counters, read_members, settle_losses
from nfactor.cluster.messages import Migrate, Migrating, MigrationCounts, ReadMigrations
from nfactor.cluster.names import COORDINATOR, FLOWS
from nfactor.cluster.outcome_messages import EndFlows, FlowsEnded, NodeCounters
from nfactor.cluster.recovery_messages import NodeRecovered
from nfactor.packet.burst import Burst

MIGRATION_REQUESTS_MAX = 8
"""Requests to the coordinator under way at once; more wait, and so does the feeding."""
END_FLOWS_MAX = 4096
"""Flows that are ended by one request."""
KILL_WINDOW_PACKETS = 256
"""Packets inside at once in a replay in which a runtime is killed."""
KILL_BURST_PACKETS = 16
"""Packets fed at once in such a replay, at most."""
POLL_S = 0.001
"""How often the coordinator is asked whether all migrations have ended."""


class Source(Protocol):
    """Where packets come from, e.g. a capture reader."""

    def read_burst(self, packets_max: int) -> Burst | None:
        """The next packets, behind our header, or None at the end."""


@attrs.frozen
class Pace:
    """How packets are fed: at most ``burst_packets`` at once, ``gap_s`` apart (0: as fast as the window lets), and a
    migration each time ``migrate_every`` have gone in (0: never). When ``kill_at`` have gone in (0: never), the runtime
    with the most flows is killed."""

    burst_packets: int = 1024
    window_packets: int = 4096
    """Packets inside at once; less than any queue inside holds, so that none overflows."""
    gap_s: float = 0.0
    migrate_every: int = 0
    kill_at: int = 0

    @classmethod
    def of(cls, migrate_every: int, control_latency_s: float, kill_at: int = 0) -> "Pace":
        """Plenty at once where only throughput counts. With migrations, bursts so small and so far apart that packets
        of one flow are spread over all links, and that several arrive while a control message is under way: a migration
        then always begins, and ends, in the middle of traffic. Where a runtime is to be killed, few packets are inside:
        as senders do that wait for answers, so that not all there is goes to the dead runtime before it is missed."""
        if not (migrate_every or kill_at):
            return cls()
        burst = max(1, min(cls().burst_packets if not kill_at else KILL_BURST_PACKETS, (migrate_every or 1024) // 16))
        window = KILL_WINDOW_PACKETS if kill_at else cls().window_packets
        return cls(burst, window, control_latency_s / 2, migrate_every, kill_at)


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
    """The ledgers of those who live."""
    lost: dict[str, list[int]]
    """Marks of packets that died inside a node, by node."""
    recovered: tuple[NodeRecovered, ...]

    @property
    def nf_counters(self) -> dict[str, int]:
        """What the counters of network functions say, summed over the runtimes that live."""
        counts = sum((Counter(node.nf_counters) for node in self.nodes), Counter[str]())
        return {name: counts[name] for node in self.nodes for name in node.nf_counters}

    @property
    def unprotected_packets(self) -> int:
        """Packets that left without a replica although there was to be one."""
        return sum(node.protection.packets for node in self.nodes if node.protection is not None)

    @property
    def in_doubt(self) -> int:
        """Packets of which nobody knows whether a dead replica released them."""
        return sum(node.protection.in_doubt for node in self.nodes if node.protection is not None)

    @property
    def unprotected_s(self) -> float:
        """For how long that was so, on the runtime where it was longest."""
        return max((node.protection.seconds for node in self.nodes if node.protection is not None), default=0.0)


async def replay(
    cluster: Cluster, source: Source, pace: Pace, *, between: Callable[[], None] = lambda: None
) -> Outcome:
    """Feed the whole source through the cluster. ``between`` is called after each burst (progress, housekeeping).

    Raises ``AccountingError`` if the sums are off.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_write_off_losses, cluster)
        await _feed(cluster, source, pace, between)
        await cluster.outside.wait_empty()
        migrations = await _await_migrations(cluster)
        await cluster.outside.wait_empty()
        nursery.cancel_scope.cancel()
    for member in await read_members(cluster.node):
        if member.kind == "runtime":
            await _end_flows(cluster, member.name)
    return _account(cluster, await read_counters(cluster.node), migrations)


async def _feed(cluster: Cluster, source: Source, pace: Pace, between: Callable[[], None]) -> None:
    limit = trio.CapacityLimiter(MIGRATION_REQUESTS_MAX)

    async def migrate(*, task_status: trio.TaskStatus[None]) -> None:
        async with limit:
            task_status.started()
            await cluster.collector.call(COORDINATOR, COORDINATOR, Migrate(MIGRATION_BATCH_FLOWS_MAX), Migrating)

    fed = 0
    async with trio.open_nursery() as tasks:
        while True:
            size = pace.burst_packets
            for every in (pace.migrate_every, pace.kill_at if fed < pace.kill_at else 0):
                if every:
                    size = min(size, every - fed % every)
            burst = source.read_burst(size)
            if burst is None:
                break
            await cluster.outside.feed(burst)
            fed += len(burst)
            if pace.migrate_every and fed % pace.migrate_every == 0:
                await tasks.start(migrate)
            if fed == pace.kill_at:
                cluster.kill(await cluster.busiest())
            if pace.gap_s:
                await trio.sleep(pace.gap_s)
            between()


async def _write_off_losses(cluster: Cluster) -> None:
    """Whoever is killed, by whomever."""
    while True:
        dead = await cluster.outside.wait_recovered()
        await settle_losses(cluster.node, cluster.outside, dead)


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


def _account(cluster: Cluster, nodes: list[NodeCounters], migrations: MigrationCounts) -> Outcome:
    outside = cluster.outside
    dropped = dict(sorted(outside.dropped.items()))
    outcome = Outcome(
        packets_in=outside.packets_in,
        octets_in=outside.octets_in,
        packets_out=outside.packets_out,
        octets_out=outside.octets_out,
        created=sum(node.created for node in nodes),
        absorbed=sum(node.absorbed for node in nodes),
        buffered=sum(node.buffered for node in nodes),
        dropped=dropped,
        buffered_max=max(node.buffered_max for node in nodes if node.node in cluster.lives),
        migrations=migrations,
        nodes=tuple(nodes),
        lost=outside.lost,
        recovered=tuple(outside.recovered.values()),
    )
    came = outcome.packets_in + outcome.created
    lost = sum(map(len, outcome.lost.values()))
    went = outcome.packets_out + outcome.absorbed + sum(dropped.values()) + outcome.buffered + lost
    if came != went:
        raise AccountingError(f"{came} packets came in or were made, {went} are accounted for: {outcome}")
    counted = sum(sum(node.dropped.values()) for node in nodes) + sum(outside.told_by[node] for node in outcome.lost)
    if counted != sum(dropped.values()):
        raise AccountingError(
            f"{counted} packets were dropped, of {sum(dropped.values())} the outside was told: {outcome}"
        )
    return outcome
