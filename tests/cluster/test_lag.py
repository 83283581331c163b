"""Replication whose states follow the packets: how far a flow's may lag behind at its replica."""

from typing import Any

from hypothesis import given, settings, strategies as st

from nfactor.cluster.lag import LAG_STEPS, STEPS_PER_TIME
from nfactor.cluster.recovery_messages import StoreCommit
from nfactor.cluster.replication_clock import ReplicationClock
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.changes import packets_of
from nfactor.packet.flow_key import keys_list
from nfactor.protocols.replication import Mode
from tests.cluster.test_replicator import CHANGE, NAMES, STEPS, Replica, World


def test_under_every_a_state_follows_after_so_many_packets_of_its_flow_or_when_time_has_passed() -> None:
    world = World("every=4")
    world.view(["one", "two"])
    world.packets([1, 3, 1, 2, 1])
    assert world.wire.marks == [1, 2, 3, 4, 5], "at once"
    assert not any(replica.under_way for replica in world.replicas.values()), "none has had four"
    world.packets([1, 2])
    assert sum(map(_flows_told, world.replicas.values())) == 2, "one has, and another of this burst half as many"
    world.settle()
    assert world.replicator.unprotected_flows() == 1
    for _ in range(LAG_STEPS - 1):
        world.replicator.step()
    world.settle()
    assert world.replicator.unprotected_flows() == 1, "it may lag yet"
    world.replicator.step()
    world.settle()
    assert world.replicator.unprotected_flows() == 0
    world.packets([1])
    world.replicator.catch_up()
    assert sum(map(_flows_told, world.replicas.values())) == 1
    world.settle()
    for _ in range(LAG_STEPS):
        world.replicator.step()
    assert not any(replica.under_way for replica in world.replicas.values()), "everything was told"
    world.end(3)
    world.settle()
    assert [len(replica.store) for replica in world.replicas.values()] == [0, 0, 0]


def test_under_every_without_a_replica_packets_pass_unprotected_and_nothing_is_kept_of_them() -> None:
    world = World("every=4")
    world.view([])
    world.packets([4] * 5)
    world.replicator.catch_up()
    protection = world.replicator.protection()
    assert protection is not None
    assert (protection.flows, protection.packets) == (1, 5)
    world.view(["one"])
    world.settle()
    assert world.replicator.unprotected_flows() == 0


class LateHost:
    """A host whose timers are late, as those of a busy machine are."""

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self.now_s = 5.0
        self._due: list[tuple[float, Any]] = []

    def now(self) -> float:
        return self.now_s

    def after(self, seconds: float, call: Any) -> None:
        assert seconds >= 0
        self._due.append((self.now_s + seconds + self._late_s, call))

    def run(self, until_s: float) -> None:
        while self._due and min(self._due, key=lambda due: due[0])[0] <= until_s:
            self._due.sort(key=lambda due: due[0])
            self.now_s, call = self._due.pop(0)
            call()


class Steps:
    """When a clock made its steps, each of which takes so long."""

    def __init__(self, host: LateHost, takes_s: float = 0.0) -> None:
        self._host = host
        self._takes_s = takes_s
        self.made_s: list[float] = []

    def step(self) -> None:
        self._host.now_s += self._takes_s
        self.made_s.append(self._host.now_s)

    def resend(self) -> None:
        pass


@given(st.sampled_from([10, 20, 100, 1000]), st.floats(0, 0.0015))
def test_a_flow_lags_no_longer_than_was_said_though_timers_are_late(every_ms: int, late_s: float) -> None:
    steps = Steps(host := LateHost(late_s))
    ReplicationClock(host, steps, Mode.parse(f"every=8/{every_ms}ms"), lambda: None)  # type: ignore[arg-type]
    host.run(8.0)
    lags = [told - listed for listed, told in zip(steps.made_s, steps.made_s[LAG_STEPS:], strict=False)]
    assert 0 < max(lags) <= every_ms / 1000 + 1e-9
    assert len(steps.made_s) <= 3.0 / (every_ms / 1000 / STEPS_PER_TIME) + 2, "and no more often than that"


def test_a_step_that_takes_longer_than_a_step_is_followed_by_the_next_at_once() -> None:
    steps = Steps(host := LateHost(0.0), takes_s=0.0015)
    ReplicationClock(host, steps, Mode.parse("every=8/10ms"), lambda: None)  # type: ignore[arg-type]
    host.run(5.1)
    assert len(steps.made_s) > 20


def _flows_told(replica: Replica) -> int:
    """In messages under way."""
    return sum(len(message.changes) // CHANGE for message in replica.under_way if isinstance(message, StoreCommit))


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=40), st.integers(1, 5))
def test_under_every_no_replica_lags_behind_further_than_was_said(steps: list[Any], packets_max: int) -> None:
    """Whatever happens to flows, of each one that lives at most K - 1 packets are told of in no message, or none for as
    long as it takes; and the flows that count as protected are those that replicas have."""
    world = World(f"every={packets_max}")
    world.view(list(NAMES))
    for number, (step, value) in enumerate(steps):
        getattr(world, step)(value)
        world.ledger.counters()
        assert world.replicator.unprotected_flows() == len(world.engine.keys()) - len(world.protected)
        world.replicator.step()
        assert _lag_max(world) < packets_max
        if number % 5 == 4:
            for _ in range(LAG_STEPS):
                world.replicator.step()
            assert _lag_max(world) == 0
    assert sorted(world.wire.marks) == list(range(1, world.mark + 1))


def _lag_max(world: World) -> int:
    """By how many packets the copy of a flow lags behind at most, once everything has arrived that is under way."""
    told: dict[bytes, int] = {}
    for replica in world.replicas.values():
        keys, _, records = replica.store.look("primary")
        told.update(zip(keys, packets_of(records).tolist(), strict=True))
        for message in replica.under_way:
            if isinstance(message, StoreCommit):
                for start in range(0, len(message.changes), CHANGE):
                    header = message.changes[start + 48 : start + 48 + HEADER.size]
                    told[message.changes[start : start + 48]] = HEADER.unpack(header).packets
                for key in keys_list(message.ended):
                    told.pop(key, None)
    keys = world.engine.keys()
    counts = packets_of(world.engine.copy(keys)[1]).tolist()
    return max((count - told.get(key, 0) for key, count in zip(keys, counts, strict=True)), default=0)
