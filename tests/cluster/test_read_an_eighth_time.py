"""Stories that an eighth critical reading has told: of a key's next life, and of packets that wait at a port."""

from collections.abc import Iterable
from random import Random

from nfactor.cluster.pump import Gate
from nfactor.dataplane.engine import TimeOuts
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, who_has
from tests.cluster.test_found_by_schedules import run
from tests.cluster.test_groups import Grouped


class Drawn(Random):
    """Draws what was said."""

    def __init__(self, draws: Iterable[float]) -> None:
        super().__init__(0)
        self._draws = iter(draws)

    def random(self) -> float:
        return next(self._draws)


# ------------------------------------------------ 1: a packet that waits at a port


def test_a_flow_of_which_a_packet_waits_at_a_port_is_not_let_go_of_however_long_it_waits() -> None:
    """A runtime had asked whether a flow may end, and heard that a packet of it was on its way. That waited at its port
    behind others, as there was no replica any more. When there was one again, more than a second later, it took the
    first of the others, asked for the second time, and was told that nothing of the flow would come any more; then it
    took the packet. It had a flow that its switch did not know, whose next packet went to another runtime."""
    cluster = HeapCluster(
        Random(1), runtimes=2, mode=Mode.parse("strict-hold"), time_outs=TimeOuts(udp_idle_s=2.0), packet_step_s=0.2
    )
    runtime, network = cluster.runtimes["runtime-0"], cluster.network
    for flow in range(4):
        cluster.feed(flow)
        run(cluster, 0.01)
    idle, busy = (flow for flow in range(4) if who_has(cluster, flow) == ["runtime-0"])
    questions = list[str]()

    def look(delivery: Delivery) -> None:
        if delivery.kind == "ExpireFlows":
            questions.append(delivery.sender)

    network.before = look
    network.cuts.add(("runtime-0", "switch-0"))
    for _ in range(15):
        cluster.feed(busy)
        run(cluster, 0.01)
    assert ["runtime-0"] == who_has(cluster, idle), "it is asked about, but the question does not arrive"
    cluster.kill("runtime-1")
    run(cluster, 1.5)
    for flow in (busy,) * 6 + (idle,):
        cluster.feed(flow)
        run(cluster, 0.01)
    assert [] == questions
    network.cuts.clear()
    run(cluster, 3.0)
    assert ["runtime-0"] == questions
    assert 7 == len(runtime.waiting), "one has come of which the question knew nothing"
    cluster.restart("runtime-1")
    run(cluster, 1.0)
    assert len(questions) > 1, "it is asked about again, before the packet is processed"
    owners_agree(cluster)
    for _ in range(3):
        cluster.feed(idle)
        run(cluster, 0.01)
    assert ["runtime-0"] == who_has(cluster, idle)
    assert 4 == cluster.state_of(runtime, cluster.key_of[idle]).count, "a next life, which began with what had waited"


def test_the_clock_of_a_gate_stands_still_while_somebody_waits_before_it() -> None:
    now, is_full = 5.0, False
    gate = Gate(lambda: is_full, lambda: now)
    began = gate.open_s
    now, is_full = 6.0, True
    assert 1.0 == gate.open_s - began, "nobody has come to it"
    assert not gate.is_open()
    now = 7.0
    assert not gate.is_open()
    now, is_full = 8.0, False
    assert 1.0 == gate.open_s - began, "it may be full no more, but nobody has come in"
    assert gate.is_open()
    now = 8.5
    assert gate.is_open()
    assert 1.5 == gate.open_s - began


# ------------------------------------------------ 3: what a target holds of a group that it refused


def test_a_replica_claims_the_next_life_of_a_key_whose_last_one_it_holds_as_a_target() -> None:
    """It had refused one of a group, and held the other for as long as the rest of the set was under way, which a cut
    made long. That flow ended at its source, and its key began anew, in the first epoch, at a runtime of which the
    target was the replica, and which died. The target had the claim, and its own hold of a later epoch refused it."""
    cluster = Grouped(
        Random(1), runtimes=4, switches=2, mode=Mode.parse("strict"), reluctant=0.0, time_outs=TimeOuts(udp_idle_s=2.0),
        packet_step_s=0.02,
    )  # fmt: skip
    source, target, elsewhere = (cluster.runtimes[name] for name in ("runtime-0", "runtime-1", "runtime-2"))
    held, refused, others = 6, 2, (10, 14)  # of one group
    for flow in range(16):
        cluster.feed(flow)
    key = cluster.key_of[held]
    run(cluster, 0.05)
    for name in ("runtime-1", "runtime-2", "runtime-3"):
        cluster.order(name, "runtime-0", 50, [])
    run(cluster, 1.5)

    def refuse_and_cut(delivery: Delivery) -> None:
        keys = FlowKeys.of_octets(delivery.inner.keys)
        target.flows._reluctance = 0.5
        target.flows._rng = Drawn(float(each != cluster.key_of[refused]) for each in keys)
        cluster.network.cuts.add(("runtime-0", "switch-1"))

    at_first(cluster, "PrepareFlows", refuse_and_cut)
    cluster.order("runtime-0", "runtime-1", 50, [])
    run(cluster, 0.05)
    while key in list(source.engine.keys()):
        for flow in (refused, *others):
            cluster.feed(flow)
        run(cluster, 0.002)
    assert key in list(target.flows._holding.held_from("runtime-0")[0])
    cluster.switches["switch-0"].dispatcher.set_runtimes([elsewhere.number])
    cluster.feed(held)
    run(cluster, 0.02)
    assert ["runtime-2"] == who_has(cluster, held)
    assert key in list(target.replicas.copies_of("runtime-2")[0])
    cluster.kill("runtime-2")
    run(cluster, 3.0)
    cluster.network.cuts.clear()
    run(cluster, 2.0)
    assert ["runtime-1"] == who_has(cluster, held)
    assert 0 == target.flows._holding.flows
    cluster.feed(held)
    run(cluster, 0.1)
    assert 2 == cluster.state_of(target, key).count
    owners_agree(cluster)
