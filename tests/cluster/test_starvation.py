"""Flows that go to another replica do not hold packets up: what is done at once is bounded, however many they are.

(``tests/cluster/test_replicating_anew.py`` says what is sent, this how long packets take meanwhile.)
"""

from random import Random
from unittest.mock import patch

import attrs
import numpy as np
import pytest

from nfactor.cluster import replication_clock
from nfactor.cluster.names import runtime_name, switch_name
from nfactor.cluster.replication_clock import REREPLICATION_FLOWS_MAX
from nfactor.packet import cluster_frame
from nfactor.protocols.replication import Mode
from nfactor.testing import packets
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.limits import Limits
from tests.cluster.working import Working

OWNERS, REPLICA, SWITCH = (runtime_name(0), runtime_name(1)), runtime_name(2), switch_name(0)
FLOWS = 24_000
"""12,000 at each owner: six times what is sent at once."""
WORK = {"octet_us": 0.004, "packet_us": 2.0, "event_us": 2.0}
"""About 0.5 us for a state of some hundred octets, to pack or to unpack: a core that does 250 MB/s."""
PACKETS, EVERY_US = 800, 100
"""So many come, one so often: it takes six times 10 ms until all flows are on their way."""
TIMES_P99, TIMES_MAX = 2.0, 2.5
"""So many times as long as else a packet may take."""


@attrs.frozen
class Took:
    """How long packets took from where they come from to where they go."""

    p99_us: float
    max_us: float


class Protected:
    """Flows of two runtimes, all with the third for their replica, and nothing under way."""

    def __init__(self) -> None:
        self.cluster = HeapCluster(
            Random(1),
            runtimes=3,
            mode=Mode.parse("strict"),
            domains=("here", "here", "there"),
            limits=Limits(flows=FLOWS, switch_flows=FLOWS),
        )
        self.network = self.cluster.network
        self.cluster.switches[SWITCH].dispatcher.set_runtimes([0, 1])
        self._mark = 0
        for start in range(0, FLOWS, 2000):
            self.feed(range(start, start + 2000))
            self.run_us(20_000)
        assert (0, FLOWS) == (self.unprotected, sum(map(self._flows, OWNERS)))
        self._work = Working(self.network, **WORK)
        self.network.before = lambda delivery: self._work.unpacks(delivery.message)

    def _flows(self, name: str) -> int:
        return self.cluster.runtimes[name].engine.statistics().flows

    @property
    def unprotected(self) -> int:
        """Flows that no replica is known to have."""
        return sum(self.cluster.runtimes[name].flows.replicator.unprotected_flows() for name in OWNERS)

    def run_us(self, time_us: int) -> None:
        """So long."""
        self.network.run(self.network.now_us + time_us, events_max=1_000_000)

    def feed(self, flows: range) -> None:
        """A packet of each."""
        frames = [packets.udp("10.0.0.1", 1 + flow, "10.9.0.2", 53, bytes(16)) for flow in flows]
        burst = packets.burst_of(frames, first_mark=self._mark + 1)
        marks = np.arange(self._mark + 1, self._mark + 1 + len(flows), dtype=np.int64)
        self._mark += len(flows)
        burst = attrs.evolve(burst, times=marks * 1000)
        outside = self.cluster._outside
        entry = self.cluster.switches[SWITCH].role._outside.address
        cluster_frame.readdress(burst, target=entry, source=outside.address)
        outside.send(burst)

    def packets_take(self) -> Took:
        """How long packets take that come steadily, each of another flow; but those that the network function drops."""
        history, came_us = self.cluster.history, dict[int, int]()
        seen, dropped = len(history.out), len(history.dropped)
        for flow in range(0, 7 * PACKETS, 7):
            came_us[self._mark + 1] = self.network.now_us
            self.feed(range(flow, flow + 1))
            self.run_us(EVERY_US)
        self.run_us(300_000)
        out = history.out[seen:]
        there = [came.mark for came in out] + [mark for _, mark in history.dropped[dropped:]]
        assert list(came_us) == sorted(there)
        took_us = [came.time_us - came_us[came.mark] for came in out]
        return Took(float(np.percentile(took_us, 99)), max(took_us))

    def lose_replica(self) -> None:
        """It dies. Go on when its flows are about to go to another."""
        told: list[Delivery] = []

        def look(delivery: Delivery) -> None:
            self._work.unpacks(delivery.message)
            told.extend([delivery] if delivery.kind == "SetReplicas" else [])

        self.network.before = look
        self.network.kill(REPLICA)
        while not told:
            self.run_us(50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flows_at_once", "holds_up"), [(REREPLICATION_FLOWS_MAX, False), (FLOWS, True)], ids=["as it is", "all at once"]
)
def test_packets_are_not_held_up_by_flows_that_go_to_another_replica(flows_at_once: int, holds_up: bool) -> None:
    """But if all of them went at once."""
    cluster = Protected()
    without = cluster.packets_take()
    with patch.object(replication_clock, "REREPLICATION_FLOWS_MAX", flows_at_once):
        cluster.lose_replica()
        assert 0 < cluster.unprotected
        meanwhile = cluster.packets_take()
    assert 0 == cluster.unprotected
    assert (holds_up, holds_up) == (
        meanwhile.p99_us > TIMES_P99 * without.p99_us,
        meanwhile.max_us > TIMES_MAX * without.max_us,
    ), (without, meanwhile)
