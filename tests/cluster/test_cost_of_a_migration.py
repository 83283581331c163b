"""What a migration costs in messages and octets: exactly so many, however many flows move."""

from collections import Counter
from functools import cache
from random import Random

import pytest

from nfactor.cluster.liaison import MIGRATION_BATCH_FLOWS_MAX
from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, OUTSIDE, runtime_name
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.protocols.replication import Mode
from nfactor.testing.heap_cluster import HeapCluster
from tests.cluster.costs import ROOM, Sent, fed, listen

EPOCH, STATUS = 4, 1
FLOWS = 20
HEADERS = {1: 327, FLOWS: 334, 100: 337, MIGRATION_BATCH_FLOWS_MAX: 349}
"""By flows of a set, octets that are not of its flows: in ten messages, who asks whom, numbers, names and lengths. More
flows make numbers and lengths longer, and nothing else."""
SIZES = [pytest.param(flows, marks=[pytest.mark.slow] if flows > 100 else []) for flows in HEADERS]
ORDER_AND_REPORT = Counter(SetMigrationTarget=1, Migrating=1, MigrationEnded=1, Done=1)


@cache
def migrated(flows: int, *, switches: int = 1, ordered: int = 0) -> tuple[list[Sent], int, int]:
    """What a migration of so many flows sends between nodes, beside signs of life and what the outside is told; the
    octets of a flow's record; and the markers. ``ordered``: how many the coordinator asks for, if it is not as many."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("none"), switches=switches, limits=ROOM)
    source = cluster.runtimes[runtime_name(0)]
    fed(cluster, 2 * max(flows, ordered))
    sent = listen(cluster)
    order = SetMigrationTarget(runtime_name(1), ordered or flows)
    cluster.coordinator.ask(source.node.name, LIAISON, order, Migrating, lambda _: None)
    cluster.network.run(cluster.network.now_us + 3_000_000)
    assert cluster.history.ended[-1].flows == flows
    sent = [each for each in sent if OUTSIDE not in (each.sender, each.receiver)]
    return sent, source.engine.record_size, sum(switch.ledger.markers_sent for switch in cluster.switches.values())


@pytest.mark.parametrize("flows", SIZES)
def test_a_set_takes_three_questions_and_their_answers(flows: int) -> None:
    """One question to the target, one to the switch, one more to the target, and one marker: as many for the largest
    set as for one flow. The rest is the coordinator's order and the report to it."""
    sent, _, markers = migrated(flows)
    assert ORDER_AND_REPORT + Counter(
        PrepareFlows=1, RedirectFlows=1, FlowStatuses=2, InstallFlows=1, FlowsInstalled=1
    ) == Counter(each.kind for each in sent)
    assert markers == 1


@pytest.mark.parametrize("switches", [2, 3])
def test_each_switch_that_owns_keys_of_the_set_is_asked_once_and_sends_one_marker(switches: int) -> None:
    sent, _, markers = migrated(FLOWS, switches=switches)
    assert ORDER_AND_REPORT + Counter(
        PrepareFlows=1, RedirectFlows=switches, FlowStatuses=1 + switches, InstallFlows=1, FlowsInstalled=1
    ) == Counter(each.kind for each in sent)
    assert markers == switches


@pytest.mark.parametrize("flows", SIZES)
def test_a_flow_costs_its_key_and_epoch_three_times_its_state_once_and_three_statuses(flows: int) -> None:
    """The rest is the same for every set: headers, names, numbers. Lengths have an octet or two more where there is
    more to say (``HEADERS``)."""
    sent, record, _ = migrated(flows)
    each = 3 * (KEY_OCTETS + EPOCH + STATUS) + record
    assert HEADERS[flows] + flows * each == sum(one.octets for one in sent)


@pytest.mark.slow
def test_an_order_for_more_than_a_set_may_have_moves_one_full_set() -> None:
    """Whoever wants a thousand moved says so twice; no question becomes larger by it."""
    sent, record, _ = migrated(MIGRATION_BATCH_FLOWS_MAX, ordered=1_000)
    each = 3 * (KEY_OCTETS + EPOCH + STATUS) + record
    headers = HEADERS[MIGRATION_BATCH_FLOWS_MAX]
    assert headers + MIGRATION_BATCH_FLOWS_MAX * each == sum(one.octets for one in sent)
