"""What schedules in which nodes begin again have found in the code, each as the shortest story that shows it."""

from nfactor.testing.heap import Delivery
from nfactor.testing.rest import owners_agree
from tests.cluster.test_found_by_schedules import begin_again, cluster_of, move, owner_of, run


def test_an_order_about_replicas_counts_though_the_view_has_gone_on_when_it_arrives() -> None:
    """It was lost once, and a switch began again meanwhile. The replica of the dead one took it for an old order, and
    gave what it claimed to the dead one: that is, to its next life, which knew nothing yet."""
    cluster, orders, given = cluster_of(2), list[Delivery](), list[Delivery]()
    cluster.feed(0)
    cluster.feed(1)
    run(cluster, 0.1)
    assert "runtime-1" == owner_of(cluster, 1)

    def look(delivery: Delivery) -> None:
        if delivery.kind == "SetReplicas":
            orders.append(delivery)
            if len(orders) == 1:
                cluster.network.end_session(delivery.sender, delivery.receiver)
                cluster.network.at(cluster.network.now_us, lambda: begin_again(cluster, "switch-0"))
        elif delivery.kind == "StoreCommit" and not cluster.recovered:
            given.append(delivery)

    cluster.network.before = look
    begin_again(cluster, "runtime-1")
    run(cluster, 3.0)
    assert [] == given
    assert 0 == cluster.runtimes["runtime-0"].flows.replicator.unprotected_flows()


def test_a_flow_that_comes_when_its_target_has_reported_to_a_new_switch_is_in_its_sources_report() -> None:
    """The switch had turned it and died. Its target reported before the state came, its source when it knew that it
    had come: nobody said of it, and its next packet began a second flow."""
    cluster = cluster_of(2, "none")
    cluster.feed(0)
    run(cluster, 0.1)

    def lose_first(delivery: Delivery) -> None:
        if delivery.kind == "InstallFlows":
            cluster.network.before = lambda delivery: None
            cluster.network.end_session("runtime-0", "runtime-1")
            begin_again(cluster, "switch-0")
            cluster.network.cuts.add(("switch-0", "runtime-0"))

    cluster.network.before = lose_first
    move(cluster, "runtime-0", "runtime-1")
    run(cluster, 0.6)
    cluster.network.cuts.clear()
    run(cluster, 1.0)
    owners_agree(cluster)
    assert not cluster.runtimes["runtime-0"].liaison.migrations_open
