"""Stories that an eighth critical reading has told: of a key's next life, and of packets that wait at a port."""

from collections.abc import Iterable
from random import Random

from nfactor.dataplane.engine import TimeOuts
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
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
