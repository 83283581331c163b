"""Stories that a fourth critical reading has told: of replication, pools of numbers and the real wiring."""

from random import Random
from typing import Any

import pytest

from nfactor.actors import incarnation_now
from nfactor.cluster.lease_messages import LeaseNumbers, ReturnNumbers
from nfactor.cluster.leases import Leases
from nfactor.cluster.messages import NotifyClusterCfg
from nfactor.cluster.names import COORDINATOR
from nfactor.cluster.outside import NodeKilled, Outside
from nfactor.cluster.plan import runtime_member
from nfactor.cluster.view import View
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.lineage import EMIT_EVERY
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.pasts import Chain
from tests.cluster.test_found_by_reading import at_first, lose, who_has
from tests.cluster.test_found_by_schedules import begin_again, flow_with_a_replica_at, move, run

NAME = "nat.ports"


# ------------------------------------------------ 1: confirmations of a replica that is fenced already


def test_what_a_fenced_replica_confirms_is_not_let_go_of() -> None:
    """A replica slept, was declared dead, and woke when switch and outside had been told, but its primary had not."""
    cluster = flow_with_a_replica_at("runtime-2")
    flow = next(iter(cluster.key_of))
    cluster.network.pause("runtime-2")
    run(cluster, 0.01)
    cluster.feed(flow, 1)
    fed = cluster._last_mark

    def wake(delivery: Any) -> None:
        lose(cluster, delivery)
        cluster.network.resume("runtime-2")

    at_first(cluster, "NotifyClusterCfg", wake, receiver="runtime-0")
    run(cluster, 3.0)
    cluster.feed(flow, 1)
    run(cluster, 1.0)
    assert fed + 1 == cluster.state_of(cluster.runtimes["runtime-0"], cluster.key_of[flow]).count
    assert fed in {came.mark for came in cluster.history.out} | {mark for _, mark in cluster.history.dropped}


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_nothing_is_lost_with_a_replica_that_lives_and_is_declared_dead(seed: int) -> None:
    """One fault: coordinator and switch do not hear its words any more. Traffic goes on."""
    cluster = HeapCluster(Random(seed), runtimes=3, mode=Mode.parse("strict"))
    for flow in range(6):
        cluster.feed(flow)
    run(cluster, 0.1)
    cluster.network.cuts |= {("runtime-2", COORDINATOR), ("runtime-2", "switch-0")}
    run(cluster, 0.9)
    for mark in range(2000):
        cluster.feed(mark % 6)
        run(cluster, 0.0002)
    run(cluster, 4.0)
    assert "runtime-2" not in cluster.membership.view
    history, chain = cluster.history, Chain(cluster.history.processed)
    seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped}
    told = {step.mark for _, step in history.records}
    for runtime in cluster.living():
        for key in list(runtime.engine.keys()):
            state = cluster.state_of(runtime, key)
            marks = chain.of(state.born, state.count, state.digest) or []
            assert [] == [mark for mark in marks if mark not in seen]
            assert [] == [mark for number, mark in enumerate(marks, 1) if number % EMIT_EVERY == 0 and mark not in told]


# ------------------------------------------------ 2: numbers of flows that their source may bring back


def the_numbers_are_with_one_flow(mode: str, runtimes: int, first: int) -> None:
    soon_over: Any = {"time_outs": TimeOuts(udp_idle_s=2.0), "packet_step_s": 0.1}
    cluster = NatCluster(Random(1), runtimes=runtimes, mode=Mode.parse(mode), ports=64, block=2, **soon_over)
    cluster.network.rng.random = lambda: 1.0  # type: ignore[method-assign]  # the server is silent
    cluster.network.keep_messages = False
    run(cluster, 0.3)
    cluster.feed(first)
    run(cluster, 0.05)
    (home,) = who_has(cluster, first)
    away, *others = (name for name in cluster.runtimes if name != home)
    cluster._last_mark += 50  # the flow is over by the clock of the packets
    at_first(cluster, "FlowsInstalled", lambda delivery: lose(cluster, delivery))
    move(cluster, home, away)
    run(cluster, 0.01)
    cluster.feed(first)  # it begins again at its target, which gives its first life's number back: home has it
    run(cluster, 0.15)
    for flow in range(100, 118):
        cluster.feed(flow)
        run(cluster, 0.002)
    cluster.check_event()
    for name in (away, *others):
        cluster.kill(name)
    for _ in range(400):
        run(cluster, 0.01)
        cluster.check_event()


def test_a_number_is_not_free_while_a_source_may_bring_its_flow_back() -> None:
    the_numbers_are_with_one_flow("none", 2, 0)


def test_nor_if_target_and_its_replica_die() -> None:
    the_numbers_are_with_one_flow("strict", 3, 1)


# ------------------------------------------------ 3: who joins has no numbers


def no_port(cluster: NatCluster) -> list[int]:
    return [mark for reason, mark in cluster.history.dropped if reason == "nat_no_port"]


@pytest.mark.parametrize("mode", ["strict", "none"])
@pytest.mark.parametrize("how", ["launched", "again"])
def test_who_joins_has_numbers_before_its_first_packet(how: str, mode: str) -> None:
    cluster = NatCluster(Random(1), runtimes=2, mode=Mode.parse(mode), ports=512, block=64)
    run(cluster, 0.3)
    if how == "launched":
        cluster.launch(2, "")
    else:
        begin_again(cluster, "runtime-1")
    for flow in range(60):
        cluster.feed(flow)
        run(cluster, 0.002)
    run(cluster, 1.5)
    assert [] == no_port(cluster)


# ------------------------------------------------ 4: names of launched runtimes


def test_a_next_coordinator_asks_for_no_runtime_that_was_launched_before() -> None:
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"), launches=True)
    for flow in range(4):
        cluster.feed(flow)
    run(cluster, 0.2)
    cluster.kill("runtime-1")
    run(cluster, 4.0)
    cluster.restart("runtime-1")
    run(cluster, 4.0)
    cluster.kill("runtime-2")
    run(cluster, 4.0)
    begin_again(cluster, COORDINATOR)
    run(cluster, 4.0)
    cluster.kill("runtime-1")
    run(cluster, 7.0)
    assert 2 == len(cluster.living())
    assert 0 == cluster.runtimes["runtime-0"].flows.replicator.unprotected_flows()


# ------------------------------------------------ 5, 6: real wiring


def test_a_holder_that_lives_is_passed_its_numbers_where_lives_are_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``ProcessWorld``: addresses are of life 1, the host's life is a time."""
    view, asked = View(), list[Any]()
    leaser = Leases(view, [], begins=True)
    monkeypatch.setattr(leaser, "ask", lambda *question: asked.append(question))
    view.take(NotifyClusterCfg(1, (runtime_member(0, 1, ""), runtime_member(1, 1, ""))))
    life = incarnation_now()
    numbers = leaser.lease(LeaseNumbers("runtime-0", life, NAME, 4, 4, 1)).numbers
    leaser.give_back(ReturnNumbers("runtime-1", life + 1, NAME, 1, numbers))
    assert (1, 0) == (len(asked), leaser.book.free(NAME))


def test_a_second_death_of_one_name_is_counted_beside_the_first() -> None:
    class Nobody:
        def happened(self, event: Any) -> None: ...

    outside = Outside(None, (), Nobody(), window_packets_max=64, remember=True)  # type: ignore[arg-type]
    for marks in ([1, 2], [3]):
        outside.packets_in += len(marks)
        outside._open.update(marks)  # type: ignore[union-attr]
        outside.node_killed(NodeKilled("runtime-1", 0, outside.inside))
        outside.lose("runtime-1")
    assert (0, [1, 2, 3]) == (outside.inside, outside.lost["runtime-1"])
