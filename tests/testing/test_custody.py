"""The judge of packets that nobody has heard of: whose excuse counts, and for how many packets."""

from nfactor.cluster.names import OUTSIDE
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime
from nfactor.testing.schedules import Run
from nfactor.testing.wires import Crossing, Life, life_of
from tests.testing.test_judges_of_clusters import says, wait, with_a_flow

SWITCH: Life = ("switch-0", 1)


def with_a_packet_missing() -> tuple[Run, HeapCluster, Runtime, Runtime]:
    """Its last packet has left through the flow's replica and the switch; but nobody has seen it outside."""
    judge, cluster, owner, other = with_a_flow()
    judge.custody.check()
    assert 2 == cluster.history.out.pop().mark
    return judge, cluster, owner, other


def was_last(cluster: HeapCluster, sender: Life, receiver: Life) -> None:
    """What is missing."""
    cluster.network.wires.last[2] = Crossing(sender, receiver)


def test_a_packet_that_came_to_who_lives_is_lost_by_nobody() -> None:
    judge, cluster, *_ = with_a_packet_missing()
    cluster.network.lost_packets.append(2)
    says("a", "packet 2 was last at outside", judge.custody.check, cluster.network.lost_packets.clear)


def test_a_packet_that_came_to_no_node_was_lost_by_a_port() -> None:
    judge, cluster, *_ = with_a_packet_missing()
    cluster.network.lost_packets.append(2)
    del cluster.network.wires.last[2]
    says("a", "packet 2 never came to any node", judge.custody.check, cluster.network.lost_packets.clear)


def test_who_has_begun_again_has_no_excuse_for_what_came_to_its_later_life() -> None:
    judge, cluster, *_ = with_a_packet_missing()
    was_last(cluster, (OUTSIDE, 1), SWITCH)
    cluster.kill("switch-0")
    cluster.restart("switch-0")
    again = lambda: was_last(cluster, (OUTSIDE, 1), ("switch-0", 2))  # noqa: E731
    says("a", "packet 2 was last at switch-0", judge.custody.check, again)


def test_a_packet_in_a_commit_is_its_primarys_until_a_replica_has_confirmed_it() -> None:
    judge, cluster, owner, other = with_a_flow()
    cluster.network.cuts.add((owner.node.name, other.node.name))
    cluster.feed(0)
    wait(cluster)
    cluster.kill(owner.node.name)
    judge.custody.check()
    cluster.history.out.pop()
    was_last(cluster, SWITCH, life_of(owner.node))
    stored_by, judge.custody._stored_by = judge.custody._stored_by, {}
    confirmed = lambda: judge.custody._stored_by.update(stored_by)  # noqa: E731
    assert {1: life_of(other.node), 2: life_of(other.node)} == stored_by
    says("a", f"packet 2 was last at {other.node.name}", judge.custody.check, confirmed)


def test_a_switch_has_an_excuse_for_what_it_fenced_out_and_counted() -> None:
    judge, cluster, _, other = with_a_packet_missing()
    was_last(cluster, life_of(other.node), SWITCH)
    cluster.deaths.note(other.node.name, lives=True)
    relay = cluster.switches["switch-0"].role._relay
    relay.fenced = 1
    says("a", "packet 2 was last at switch-0", judge.custody.check, lambda: setattr(relay, "fenced", 0))


def test_and_for_nothing_that_came_from_who_lives() -> None:
    judge, cluster, owner, other = with_a_packet_missing()
    was_last(cluster, life_of(other.node), SWITCH)
    cluster.deaths.note(other.node.name, lives=True)
    cluster.switches["switch-0"].role._relay.fenced = 1
    lives = lambda: was_last(cluster, life_of(owner.node), SWITCH)  # noqa: E731
    says("a", "packet 2 was last at switch-0", judge.custody.check, lives)


def test_a_runtime_has_an_excuse_for_what_is_in_doubt_and_only_where_a_switch_died() -> None:
    judge, cluster, owner, _ = with_a_packet_missing()
    was_last(cluster, SWITCH, life_of(owner.node))
    cluster.kill("switch-0")
    replicator = owner.flows.replicator
    replicator.in_doubt = 1
    says("a", "packet 2 was last at runtime", judge.custody.check, lambda: setattr(replicator, "in_doubt", 0))
    replicator.in_doubt = 1
    says("a", "whether they came out, and no switch has died", judge.custody.check, cluster.history.switch_deaths.clear)


def test_what_a_surviving_state_includes_has_been_let_out_by_a_runtime() -> None:
    judge, cluster, owner, _ = with_a_packet_missing()
    included = judge.custody.check_included
    was_last(cluster, life_of(owner.node), SWITCH)
    back = lambda: was_last(cluster, SWITCH, life_of(owner.node))  # noqa: E731
    says("e", "includes packet 2, which no runtime let out", included, back)
