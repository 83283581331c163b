"""Counters of network functions in a whole cluster: what reports sum up, and what dies with a runtime."""

from collections.abc import Sequence

import attrs
import pytest

from nfactor.dataplane import nf
from nfactor.functions.monitor import Monitor
from tests.cluster.harness import Run, run, traffic

NAME = "counting.packets"


@nf.state
class Counted:
    packets: nf.u32


@nf.record
class Total:
    packets: nf.u32


class Counting(nf.NF):
    """Counts each packet twice: for the runtime, and in the state of its flow, which is told when that ends."""

    State = Counted
    records = (Total,)

    def __init__(self) -> None:
        self.packets = nf.Counter()

    def process_pkt(self, pkt: nf.Packet, fs: Counted) -> int:
        self.packets.add()
        fs.packets += 1
        return nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: Counted) -> None:
        flow.emit(Total(fs.packets))


@attrs.frozen
class Counts:
    """What a run counted."""

    run: Run
    by_runtime: list[int]
    """By the counter of each runtime that ever was, the dead one's too, as far as it had got."""
    in_states: int
    """By the states of all flows, wherever they ended."""

    @property
    def reported(self) -> list[int]:
        """By runtime, as those that live say."""
        return [node.nf_counters[NAME] for node in self.run.outcome.nodes if node.nf_counters]

    @property
    def total(self) -> int:
        """What the report says."""
        return self.run.outcome.nf_counters[NAME]


def counted(frames: Sequence[bytes], **options: object) -> Counts:
    """Those packets through a cluster."""
    made: list[Counting] = []

    def functions() -> list[nf.NF]:
        made.append(Counting())
        return [made[-1], Monitor()]

    result = run(frames, functions=functions, **options)  # type: ignore[arg-type]
    told = sum(row.packets for _, row in result.out.rows if isinstance(row, Total))
    return Counts(result, [one.packets.value for one in made if one.packets.value], told)


@pytest.mark.slow
@pytest.mark.parametrize("replication", ["none", "strict", "every=4"])
def test_counters_add_up_to_the_packets_whichever_runtime_had_their_flows(replication: str) -> None:
    """A counter stays where it has counted, and flows move: the sum is that of one runtime that had all packets."""
    frames = traffic(flows=20, count=600)
    counts = counted(frames, runtimes=3, migrate_every=50, replication=replication)
    assert counts.run.outcome.migrations.flows > 20
    assert len(counts.reported) == 3
    assert min(counts.reported) > 0
    assert 600 == sum(counts.reported) == counts.total == counts.in_states


@pytest.mark.slow
@pytest.mark.parametrize("migrate_every", [0, 40])
def test_what_a_runtime_had_counted_dies_with_it_and_what_its_flows_had_counted_does_not(migrate_every: int) -> None:
    """The report has the counters of those that live, to the last packet. The dead one's are in no replica; the states
    of its flows are."""
    frames = traffic(flows=20, count=600)
    counts = counted(frames, runtimes=3, migrate_every=migrate_every, kill_at=300, replication="strict")
    lost = sum(map(len, counts.run.outcome.lost.values()))
    assert len(counts.reported) == 2
    (dead,) = without(counts.by_runtime, counts.reported)
    assert dead > 50
    assert sum(counts.reported) == counts.total == sum(counts.by_runtime) - dead
    assert 600 - lost == counts.in_states > counts.total


def without(some: Sequence[int], others: Sequence[int]) -> list[int]:
    """Those of some that are not among the others, each of which is among them."""
    left = list(some)
    for other in others:
        left.remove(other)
    return left
