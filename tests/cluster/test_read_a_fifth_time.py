"""Stories that a fifth critical reading has told: of flows that a runtime holds, has let end, or begins anew."""

from random import Random

from nfactor.protocols.replication import Mode
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_reading import at_first, move_all, who_has
from tests.cluster.test_found_by_schedules import run

# ------------------------------------------------ 1: what a dead source was to send is let go of once


def test_a_flow_that_sets_out_again_for_the_target_of_a_dead_source_is_held_for_who_sends_it_now() -> None:
    """The target asked one switch after the other whose the flows of the dead one were. One had answered; a flow of
    its, which had been claimed elsewhere, set out for the target again, and was let go of when the other answered."""
    cluster = HeapCluster(Random(2), runtimes=4, switches=2, mode=Mode.parse("strict"))
    for flow in range(40):
        cluster.feed(flow)
    run(cluster, 0.1)
    mine = [flow for flow in range(40) if who_has(cluster, flow) == ["runtime-0"]]
    cluster.network.keep_messages = False

    def kill_source(_: Delivery) -> None:
        cluster.kill("runtime-0")
        at_first(cluster, "FindTurned", go_on)

    def go_on(_: Delivery) -> None:
        move_all(cluster, "runtime-2", "runtime-1")
        move_all(cluster, "runtime-3", "runtime-1")

    at_first(cluster, "FlowStatuses", kill_source, sender="runtime-1", receiver="runtime-0")
    move_all(cluster, "runtime-0", "runtime-1")
    run(cluster, 3.0)
    assert ["runtime-0"] == [event.node for event in cluster.recovered]
    came = [flow for flow in mine if who_has(cluster, flow) == ["runtime-1"]]
    assert 0 < len(came) < len(mine), "those of one switch came, the others were still held for the dead one"
    owners_agree(cluster)
