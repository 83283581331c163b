"""What a recovery costs in messages and octets: so many for each node, and so much for each flow that is claimed."""

from collections import Counter
from functools import cache
from random import Random

import pytest

from nfactor.cluster.names import runtime_name
from nfactor.cluster.replica_table import RECOVERY_BATCH_FLOWS_MAX
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.protocols.replication import Mode
from nfactor.testing.heap_cluster import HeapCluster
from tests.cluster.costs import ROOM, Sent, fed, listen

EPOCH = COUNT = 4
STATUS = 1
HEADERS = {1: 66, 20: 68, 200: 70}
"""By flows of a claim, octets of the question and its answer that are not of its flows."""


@cache
def recovered(flows: int, runtimes: int, switches: int) -> tuple[list[Sent], int]:
    """What the death of one of so many runtimes, which has so many flows, has all nodes say, beside signs of life; and
    how many pairs there are of a replica that has copies and a switch that owns keys of them."""
    cluster = HeapCluster(Random(1), runtimes=runtimes, mode=Mode.parse("strict"), switches=switches, limits=ROOM)
    fed(cluster, runtimes * flows)
    dead = runtime_name(0)
    assert flows <= cluster.runtimes[dead].engine.statistics().flows <= flows + switches
    sent = listen(cluster)
    cluster.kill(dead)
    cluster.network.run(cluster.network.now_us + 3_000_000)
    assert [dead] == [event.node for event in cluster.recovered]
    claims = {(each.sender, each.receiver) for each in sent if each.kind == "ClaimFlows"}
    return sent, len(claims)


@pytest.mark.parametrize(("runtimes", "switches"), [(2, 1), (3, 1), (4, 1), (3, 2)])
@pytest.mark.parametrize("flows", [0, 1, 20])
def test_a_recovery_asks_each_node_once_in_each_step(flows: int, runtimes: int, switches: int) -> None:
    """Of R runtimes that live, S switches and the outside: S questions to the second witnesses, a view to each node,
    and then 4 R + S orders, R of them about replicas, whose answer is ``Done``. A claim is one question for each
    replica and switch, whatever the number of flows (up to 4,096). What is sent to new replicas is a commit like any
    other."""
    sent, claims = recovered(flows, runtimes, switches)
    others, all_nodes = runtimes - 1, runtimes + switches
    assert Counter(
        Witness=switches, LastHeard=switches,
        NotifyClusterCfg=all_nodes, ViewTaken=all_nodes,
        SetReplicas=others, Recover=others, TakeBack=others, RecoveryOver=others + switches,
        Done=others + 1, StepTaken=3 * others + switches,
        ClaimFlows=claims, FlowsClaimed=claims, NodeRecovered=1,
    ) == Counter(each.kind for each in sent if each.kind not in ("StoreCommit", "CommitsStored"))  # fmt: skip
    assert min(flows, 1) <= claims <= others * switches


@pytest.mark.parametrize("flows", HEADERS)
def test_a_claim_costs_a_flow_its_key_epoch_count_and_status(flows: int) -> None:
    """57 octets a flow; the states are where they are needed, and are not sent."""
    sent, _ = recovered(flows, runtimes=2, switches=1)
    each = KEY_OCTETS + EPOCH + COUNT + STATUS
    claims = [one.octets for one in sent if one.kind in ("ClaimFlows", "FlowsClaimed")]
    assert HEADERS[flows] + flows * each == sum(claims)


def test_with_one_runtime_left_a_recovery_sends_no_states() -> None:
    """There is nobody to replicate to, and what is claimed is there."""
    sent, _ = recovered(20, runtimes=2, switches=1)
    assert not {"StoreCommit", "InstallFlows", "FinishFlows"} & {each.kind for each in sent}


def test_flows_of_more_than_a_full_claim_are_asked_about_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RECOVERY_BATCH_FLOWS_MAX == 4_096
    monkeypatch.setattr("nfactor.cluster.replica_table.RECOVERY_BATCH_FLOWS_MAX", 8)
    sent, _ = recovered.__wrapped__(20, 2, 1)
    asked = [len(each.inside.keys) // KEY_OCTETS for each in sent if each.kind == "ClaimFlows"]
    assert [8, 8, 4] == asked
