"""A cluster of real nodes, simulated: nothing is lost, repeated, reordered or unaccounted for, whatever moves."""

from collections import Counter
from typing import Any
from unittest import mock

import pytest
import trio

from nfactor.actors import Node
from nfactor.backends.memory import MemoryPort
from nfactor.cli.worlds import DATA_LATENCY_S
from nfactor.cluster import holding
from nfactor.cluster.ledger import AccountingError
from nfactor.cluster.messages import FlowRecord, InstallFlows, Migrate, PrepareFlows, ReadFlow, RedirectFlows
from nfactor.cluster.names import FLOWS, runtime_name
from nfactor.cluster.outside import Outside
from nfactor.cluster.replay import Pace
from nfactor.cluster.role import Role
from nfactor.dataplane import nf
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.engine import TimeOuts
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.testing import packets
from tests.cluster.harness import Inside, Run, mixed_traffic, run, traffic

FRAMES = traffic(flows=40, count=1500)


def key_of(frame: bytes) -> bytes:
    burst = packets.burst_of([frame])
    packet = Packet(burst.octets())
    parse(packet, 0, len(burst.data), len(frame))
    return FlowClassifier("auto").classify(packet)[0]


def per_flow(result: Run, frames: list[bytes]) -> dict[bytes, list[tuple[int, bytes]]]:
    """What came out, in order, by flow: marks and octets."""
    flows: dict[bytes, list[tuple[int, bytes]]] = {}
    for mark in result.out.marks:
        flows.setdefault(key_of(frames[mark - 1]), []).append((mark, result.out.frames[mark]))
    return flows


class Numbering(nf.NF):
    """Writes each packet's number within its flow into its payload: shows in the output what state processed it."""

    @nf.state
    class State:
        packets: nf.u32

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.packets += 1
        pkt.data[pkt.payload_end - 4 : pkt.payload_end] = fs.packets.to_bytes(4, "big")
        return nf.FORWARD


def with_numbering() -> list[nf.NF]:
    return [Firewall(), Numbering(), Monitor()]


ALONE = run(FRAMES, functions=with_numbering)


def test_one_runtime_gives_back_every_packet_in_order() -> None:
    assert ALONE.out.marks == list(range(1, len(FRAMES) + 1))
    assert ALONE.outcome.packets_out == ALONE.outcome.packets_in == len(FRAMES)
    assert sum(row.packets_ab + row.packets_ba for row in ALONE.rows()) == len(FRAMES)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("runtimes", "migrate_every"), [(3, 50), (2, 17)])
def test_migration_changes_nothing_that_can_be_seen_from_outside(seed: int, runtimes: int, migrate_every: int) -> None:
    moved = run(FRAMES, functions=with_numbering, runtimes=runtimes, migrate_every=migrate_every, seed=seed)
    assert per_flow(moved, FRAMES) == per_flow(ALONE, FRAMES)
    assert moved.rows() == ALONE.rows()
    assert moved.outcome.migrations.completed > 10
    assert moved.outcome.buffered_max > 0, "packets waited at a target: migrations happened in the middle of traffic"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("step_s", [0.001, 0.3])
def test_migration_changes_nothing_for_flows_that_are_hard_to_follow(seed: int, step_s: float) -> None:
    """With fragments, VLANs, IPv6, ICMP errors, ends of TCP, and (at 0.3 s a packet) flows that end of idleness."""
    frames, outs = mixed_traffic(60, 1200, seed), TimeOuts(tcp_idle_s=15, tcp_closed_s=2, udp_idle_s=10)
    alone = run(frames, step_s=step_s, time_outs=outs, seed=seed)
    moved = run(frames, step_s=step_s, time_outs=outs, seed=seed, runtimes=3, migrate_every=40)
    assert alone.outcome.dropped == moved.outcome.dropped == {}
    assert by_key(alone) == by_key(moved)
    assert sorted(moved.out.marks) == alone.out.marks
    assert moved.outcome.migrations.completed > 5


def by_key(result: Run) -> list[tuple[Any, ...]]:
    """Rows without the order in which flows of one key came to their ends."""
    fields = ("key", "first_mark", "packets_ab", "packets_ba", "octets_ab", "octets_ba", "initiator")
    return sorted(tuple(getattr(row, field) for field in fields) for row in result.rows())


def test_migrations_begin_with_packets_in_flight_on_every_link() -> None:
    sent: dict[tuple[bytes, bytes], float] = {}
    busy: list[int] = []
    send, ask = MemoryPort.send, Role.ask

    def watched_send(self: MemoryPort, burst: Burst) -> int:
        sent[self.address, burst.frame(0)[:6]] = trio.current_time()
        return send(self, burst)

    def watched_ask(self: Role, node: str, actor: str, message: object, *more: Any) -> None:
        if isinstance(message, Migrate):
            busy.append(sum(1 for time in sent.values() if trio.current_time() - time < DATA_LATENCY_S))
        ask(self, node, actor, message, *more)

    with mock.patch.object(MemoryPort, "send", watched_send), mock.patch.object(Role, "ask", watched_ask):
        run(FRAMES, runtimes=2, migrate_every=50)
    links = 2 + 2 * 2  # between the outside and the switch, and between the switch and each runtime, both ways
    assert busy.count(links) > 0.8 * len(busy), "all but where chance sent the last few packets to one runtime"


def test_one_seed_gives_one_digest_and_another_seed_another() -> None:
    first, again, other = (run(FRAMES[:400], runtimes=3, migrate_every=50, seed=seed) for seed in (7, 7, 8))
    assert first.digest == again.digest
    assert first.out.marks == again.out.marks
    assert first.digest != other.digest


def test_the_accounting_holds_after_every_burst() -> None:
    looks = []

    def look(inside: Inside) -> None:
        inside.check_accounting()
        looks.append(sum(ledger.buffered for ledger in inside.ledgers))

    rules = parse_rules(["deny udp from any to any"])
    result = run(FRAMES, runtimes=3, migrate_every=50, functions=lambda: [Firewall(rules), Monitor()], look=look)
    assert len(looks) > len(FRAMES) / 4, "bursts of a few packets at this pace"
    assert max(looks) > 0, "also while packets wait for their flows"
    assert {"firewall_rule": sum(1 for frame in FRAMES if frame[23] == 17)} == result.outcome.dropped


def test_a_migration_costs_three_requests_whatever_its_size() -> None:
    sent: Counter[str] = Counter()
    ask = Role.ask

    def counted(self: Role, node: str, actor: str, message: object, *more: Any) -> None:
        sent[type(message).__name__] += 1
        ask(self, node, actor, message, *more)

    with mock.patch.object(Role, "ask", counted):
        result = run(FRAMES, runtimes=3, migrate_every=300)
    sets = result.outcome.migrations.started
    assert max(event.flows for event in result.out.migrations) > 5
    for message in (PrepareFlows, RedirectFlows, InstallFlows):
        assert sent[message.__name__] == sets


def test_a_full_buffer_at_the_target_drops_and_counts() -> None:
    small = mock.patch.object(holding, "BUFFER_PACKETS_MAX", 1)
    result = run(FRAMES, runtimes=3, migrate_every=50, patches=small, look=Inside.check_accounting)
    assert result.outcome.buffered_max == 1
    assert result.outcome.dropped.keys() == {"migration_buffer_full"}


def test_a_cluster_whose_sum_is_off_is_an_error() -> None:
    """A packet that the outside forgets to have put in: every node is right, the whole is not."""

    def look(inside: Inside) -> None:
        if inside.cluster.outside.packets_in == 64:
            inside.cluster.outside.packets_in -= 1

    async def wait_empty(self: Outside) -> None:
        await trio.sleep(0.01)

    error = pytest.RaisesExc(AccountingError, match="63 packets came in or were made, 64 are accounted for")
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        run(FRAMES[:64], look=look, patches=mock.patch.object(Outside, "wait_empty", wait_empty))


def test_a_full_port_drops_and_counts() -> None:
    pace = Pace(burst_packets=64, window_packets=1024)
    result = run(FRAMES, runtimes=2, queue_packets_max=40, pace=pace, look=Inside.check_accounting)
    assert result.outcome.dropped.keys() == {"port_full"}
    assert result.outcome.packets_out + result.outcome.dropped["port_full"] == len(FRAMES)


def test_a_flow_actor_answers_through_a_ref_of_its_own() -> None:
    key = key_of(FRAMES[0])

    async def last(inside: Inside) -> None:
        await inside.cluster.outside.feed(packets.burst_of([FRAMES[0]]))
        await inside.cluster.outside.wait_empty()
        table = inside.cluster.node.ref(runtime_name(0), FLOWS)
        record = (await table.at(key).ask(ReadFlow(), FlowRecord)).record
        assert HEADER.unpack(record).packets == 1

    run([], last=last)


def test_flows_that_end_are_forgotten_by_runtime_and_switch() -> None:
    frames = [packets.udp("10.0.0.1", 1000 + number // 2, "10.0.0.2", 53) for number in range(1000)]
    flows: list[int] = []

    def look(inside: Inside) -> None:
        flows.append(inside.dispatchers[0].statistics().flows)

    pace = Pace(burst_packets=8, window_packets=64, gap_s=0.001)
    result = run(frames, runtimes=3, pace=pace, step_s=1.0, time_outs=TimeOuts(udp_idle_s=20), look=look)
    assert len(result.rows()) == 500
    assert max(flows) < 200, "of five hundred flows only the latest are known at a time"


def test_a_key_that_returns_after_its_flow_ended_is_a_new_flow_wherever_it_goes() -> None:
    one, two = packets.udp("10.0.0.1", 1, "10.0.0.2", 53), packets.udp("10.0.0.3", 2, "10.0.0.2", 53)
    frames = [one, *[two] * 40, one]
    result = run(frames, runtimes=3, step_s=1.0, time_outs=TimeOuts(udp_idle_s=20))
    assert [(1, 1), (2, 40), (42, 1)] == [(row.first_mark, row.packets_ab) for row in result.rows()]


def test_messages_of_one_node_go_through_the_codec_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Node.__init__

    def encoding(self: Node, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "encode_local": True})

    monkeypatch.setattr(Node, "__init__", encoding)
    moved = run(FRAMES, functions=with_numbering, runtimes=3, migrate_every=50)
    assert moved.rows() == ALONE.rows()
