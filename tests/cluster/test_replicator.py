"""The primary's side of replication without a network: what goes to whom, what is protected, what leaves and when."""

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from nfactor.cluster.backlog import UNSTORED_OCTETS_MAX, UNSTORED_PACKETS_MAX
from nfactor.cluster.egress import Egress
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.recovery_messages import ForgetReplicas, StoreCommit
from nfactor.cluster.replication_clock import REREPLICATION_FLOWS_MAX
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.reporter import Reporter
from nfactor.dataplane import nf
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.monitor import Monitor
from nfactor.packet.burst import Burst
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import keys_list
from nfactor.protocols.replication import Mode, ReplicaStore, Watermark
from nfactor.testing.packets import burst_of, udp

NAMES = ("one", "two", "three")
SWITCH = bytes(6)
"""Where its packets come from, as ``burst_of`` makes them."""
MALFORMED = "malformed_ipv4_header"
CHANGE = 48 + 24 + 40
"""A change of the reference engine, with the monitor's state."""


@nf.record
class Said:
    what: nf.u32


class Wire:
    """A port that keeps the marks of what is sent."""

    address = bytes(6)

    def __init__(self) -> None:
        self.marks: list[int] = []

    def send(self, burst: Burst) -> int:
        self.marks += burst.marks.tolist()
        return len(burst)


@attrs.define
class Replica:
    """A replica, messages to it that have not arrived, and what it has not told yet that it stored."""

    store: ReplicaStore
    under_way: deque[StoreCommit | ForgetReplicas] = attrs.field(factory=deque)
    stored: deque[StoreCommit] = attrs.field(factory=deque)
    released: int = 0


class World:
    """A primary and its replicas; ``protected`` is worked out from what they have told, flow by flow."""

    def __init__(self, mode: str, function: nf.NF | None = None) -> None:
        chain = Chain.of([function or Monitor()])
        self.engine = ReferenceEngine(chain, FlowClassifier("auto"), common_clock=True)
        self.wire, self.now, self.room = Wire(), 0.0, 0
        self.ledger = Ledger("primary")
        egress = Egress(self.wire, self.ledger, Reporter(self.ledger, observed=False))  # type: ignore[arg-type]
        self.replicas = {name: Replica(ReplicaStore(self.engine.changes.copies)) for name in NAMES}
        self.replicator = Replicator(
            Mode.parse(mode),
            self.engine,
            egress,
            self.ledger,
            send=self._send,
            forget=self._forget,
            now=lambda: self.now,
            room=self._room,
        )
        self.released: list[int] = []
        self.protected: dict[bytes, str] = {}
        self.mark = 0

    def _send(self, replica: str, message: Any) -> None:
        self.replicas[replica].under_way.append(message)

    def _forget(self, replica: str, message: Any, then: Callable[[], None]) -> None:
        self._send(replica, message)
        then()

    def _room(self) -> None:
        self.room += 1

    def packets(self, flows: list[int], payload: bytes = b"") -> None:
        frames = [udp("10.0.0.1", flow, "10.0.0.2", 9, payload) for flow in flows]
        burst = burst_of(frames, first_mark=self.mark + 1)
        self.mark += len(flows)
        self.ledger.received += len(flows)
        codes = self.engine.process(burst)
        self.replicator.commit(burst, self.engine.touched, codes, self.engine.take_emitted())

    def end(self, count: int) -> None:
        keys = self.engine.keys()[:count]
        self.engine.expire(keys)
        for key in keys:
            self.protected.pop(key, None)
        self.replicator.ended(keys, self.engine.take_emitted())

    def store(self, name: str) -> None:
        """The next message arrives."""
        replica = self.replicas[name]
        if replica.under_way:
            message = replica.under_way.popleft()
            if isinstance(message, ForgetReplicas):
                replica.store.forget("primary", keys_list(message.keys), np.frombuffer(message.epochs, "<u4"))
                return
            replica.store.store("primary", message.sequence, message.changes, keys_list(message.ended))
            self.released += unpack_burst(message.packets).marks.tolist()
            replica.released = message.sequence
            replica.stored.append(message)

    def tell(self, name: str) -> None:
        """A replica tells that it has stored everything that arrived."""
        stored, ended = self.replicas[name].stored, set[bytes]()
        if stored:
            here = set(self.engine.keys())
            for later in self.replicas[name].under_way:
                ended.update(keys_list(later.ended) if isinstance(later, StoreCommit) else ())
            for message in stored:
                for start in range(0, len(message.changes), CHANGE):
                    key = message.changes[start : start + 48]
                    if key in here and key not in ended:
                        self.protected[key] = name
                for key in keys_list(message.ended):
                    self.protected.pop(key, None)
            self.replicator.stored(name, stored[-1].sequence)
            stored.clear()

    def view(self, names: list[str]) -> None:
        """These live; of the others nothing more will come."""
        came = {
            name: Watermark({SWITCH: self.replicas[name].released}, set(), self.replicas[name].released)
            for name in NAMES
        }
        for name in NAMES:
            if name not in names:
                self.replicas[name] = Replica(ReplicaStore(self.engine.changes.copies))
        self.protected = {key: name for key, name in self.protected.items() if name in names}
        self.replicator.set_replicas(names, came)
        while self.replicator.moves and names:
            self.replicator.protect_more(REREPLICATION_FLOWS_MAX)

    def settle(self) -> None:
        for name in NAMES:
            while self.replicas[name].under_way:
                self.store(name)
            self.tell(name)


STEPS = st.one_of(
    st.tuples(st.just("packets"), st.lists(st.integers(1, 9), min_size=1, max_size=6)),
    st.tuples(st.just("end"), st.integers(1, 3)),
    st.tuples(st.just("store"), st.sampled_from(NAMES)),
    st.tuples(st.just("tell"), st.sampled_from(NAMES)),
    st.tuples(st.just("view"), st.permutations(NAMES).flatmap(lambda n: st.integers(1, 3).map(lambda k: n[:k]))),
)


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=40), st.sampled_from(["strict", "strict-hold"]))
def test_what_leaves_is_stored_and_what_is_said_to_be_protected_is(steps: list[Any], mode: str) -> None:
    """Packets, ends of flows, messages that arrive and answers that do, replicas that die and come back empty, in any
    order. At the end every packet has left once, a flow's in order, and each flow is at one replica as it is here."""
    world = World(mode)
    world.view(list(NAMES))
    for step, value in steps:
        getattr(world, step)(value)
        world.ledger.counters()
        assert world.replicator.unprotected_flows() == len(world.engine.keys()) - len(world.protected)
    world.settle()
    assert sorted(world.released) == list(range(1, world.mark + 1)), "all of them, and none twice"
    assert world.wire.marks == [], "nothing without a replica"
    assert world.replicator.unprotected_flows() == 0
    kept = [dict(zip(keys, records.tolist(), strict=True)) for keys, _, records in map(_all, world.replicas.values())]
    assert sum(map(len, kept)) == len(world.engine.keys())
    keys = world.engine.keys()
    expected = dict(zip(keys, world.engine.copy(keys)[1].tolist(), strict=True))
    assert {key: record for some in kept for key, record in some.items()} == expected


def _all(replica: Replica) -> Any:
    return replica.store.take("primary")


def test_without_replicas_packets_pass_unprotected_and_for_so_long_until_what_was_there_is_stored() -> None:
    world = World("strict")
    world.view([])
    world.packets([1, 2])
    assert world.wire.marks == [1, 2]
    protection = world.replicator.protection()
    assert protection is not None
    assert (protection.flows, protection.packets) == (2, 2)
    world.now = 3.0
    world.view(["one"])
    world.packets([3])
    world.store("one")
    world.tell("one")
    world.now = 9.0
    protection = world.replicator.protection()
    assert protection is not None
    assert (protection.flows, protection.packets, protection.seconds) == (1, 2, 3.0), "a flow is new, and waits"
    assert world.wire.marks == [1, 2]


def test_the_interval_goes_on_if_the_only_replica_dies_before_it_has_stored_anything() -> None:
    world = World("strict")
    world.view([])
    world.packets([1])
    world.view(["one"])
    world.now = 2.0
    world.view([])
    world.now = 5.0
    world.view(["two"])
    world.settle()
    world.now = 6.0
    protection = world.replicator.protection()
    assert protection is not None
    assert (protection.flows, protection.seconds) == (0, 5.0)


def test_under_strict_hold_nothing_leaves_without_a_replica_and_who_waits_for_storage_waits() -> None:
    world, called = World("strict-hold"), []
    world.view([])
    assert world.replicator.is_full
    world.packets([1, 1, 2])
    world.replicator.adopt(world.engine.keys())
    world.replicator.when_stored(lambda: called.append("stored"))
    assert (world.wire.marks, called, world.ledger.buffered) == ([], [], 3)
    world.view(["two"])
    assert not world.replicator.is_full
    world.settle()
    assert (sorted(world.released), called, world.ledger.buffered) == ([1, 2, 3], ["stored"], 0)


@pytest.mark.parametrize("large", [False, True])
def test_it_is_full_while_too_many_packets_wait_and_says_when_there_is_room(large: bool) -> None:
    """Or too many octets: when their replica dies they may all have to go in one message."""
    world, octets = World("strict"), 8192 if large else 0
    world.view(["one"])
    for _ in range(1 + UNSTORED_OCTETS_MAX // (512 * 8292) if large else UNSTORED_PACKETS_MAX // 512):
        assert not world.replicator.is_full
        world.packets([1] * 512, bytes(octets))
    assert world.replicator.is_full
    before = world.room
    world.settle()
    assert not world.replicator.is_full
    assert world.room > before


@pytest.mark.parametrize("mode", ["strict", "every=1"])
def test_what_has_no_flow_and_what_an_nf_drops_is_told_and_the_rest_goes_its_way(mode: str) -> None:
    """A malformed packet waits for nobody; a packet that an NF dropped is told of by whoever has stored its flow."""

    class Odd(Monitor):
        drop_reasons = ("odd",)

        def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
            super().process_pkt(pkt, fs)
            return nf.drop(0) if pkt.mark % 2 else nf.FORWARD

    world = World(mode, Odd())
    world.view(["one", "two"])
    frames = [udp("10.0.0.1", flow, "10.0.0.2", 9) for flow in range(1, 9)]
    burst = burst_of([*frames, frames[0][:20]], first_mark=1)
    world.ledger.received += len(burst)
    codes = world.engine.process(burst)
    keys = world.engine.keys()
    world.replicator.commit(burst, world.engine.touched, codes, [(key, Said(7)) for key in keys])
    messages = [message for replica in world.replicas.values() for message in replica.under_way]
    told = sum(sum(message.counts) for message in messages if isinstance(message, StoreCommit))
    world.settle()
    if mode == "strict":
        assert (sorted(world.released), told, dict(world.ledger.dropped)) == ([2, 4, 6, 8], 4, {MALFORMED: 1})
        assert sum(len(message.emitted) for message in messages if isinstance(message, StoreCommit)) == 2
    else:
        assert (world.wire.marks, told) == ([2, 4, 6, 8], 0)
        assert dict(world.ledger.dropped) == {MALFORMED: 1, "odd_odd": 4}
    assert sum(len(replica.store) for replica in world.replicas.values()) == 8


def test_flows_that_came_are_stored_where_their_buckets_are_and_only_with_replicas_somewhere() -> None:
    world = World("every=1000")
    world.view([])
    world.packets(list(range(1, 30)))
    world.replicator.adopt(world.engine.keys())
    world.view(["one", "two"])
    world.settle()
    world.replicator.adopt(world.engine.keys())
    world.settle()
    assert world.replicator.unprotected_flows() == 0
    assert sum(len(replica.store) for replica in world.replicas.values()) == 29
    world.replicator.stored("three", 1)  # it is dead, and what it says says nothing
    silent = World("none")
    silent.view(["one"])
    silent.packets([1])
    silent.replicator.adopt(silent.engine.keys())
    silent.end(1)
    assert silent.replicator.protection() is None
    assert not silent.replicas["one"].under_way


def test_of_a_burst_without_any_flow_nothing_is_sent() -> None:
    world = World("strict")
    world.view(["one"])
    burst = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 9)[:20]])
    world.ledger.received += 1
    world.replicator.commit(burst, *_processed(world, burst))
    assert not world.replicas["one"].under_way
    assert dict(world.ledger.dropped) == {MALFORMED: 1}


def _processed(world: World, burst: Burst) -> Any:
    codes = world.engine.process(burst)
    return world.engine.touched, codes, world.engine.take_emitted()
