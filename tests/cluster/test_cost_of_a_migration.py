"""What a migration costs in messages and octets: exactly so many, however many flows move."""

from collections import Counter
from random import Random
from typing import Any

import attrs
import pytest

from nfactor.cluster.call_messages import Answer, Call, ControlCall
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.messages import Migrating, SetMigrationTarget
from nfactor.cluster.names import LIAISON, OUTSIDE, runtime_name
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.protocols.replication import Mode
from nfactor.testing.heap import HeapNode
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.trace import UNTOLD

EPOCH, STATUS = 4, 1
FLOWS = 20
HEADERS = 329
"""Octets of a set that are not of its flows: in ten messages, who asks whom, numbers, names and lengths."""


@attrs.frozen
class Sent:
    """A message on its way."""

    kind: str
    octets: int


def migrated(flows: int, *, switches: int = 1) -> tuple[list[Sent], int, int]:
    """What a migration of so many flows sends between nodes, beside signs of life and what the outside is told; the
    octets of a flow's record; and the markers."""
    cluster = HeapCluster(Random(1), runtimes=2, mode=Mode.parse("none"), switches=switches)
    source = cluster.runtimes[runtime_name(0)]
    network, sent = cluster.network, list[Sent]()
    for flow in range(4 * flows):
        if source.flows.workload().flows < flows:
            cluster.feed(flow)
            network.run(network.now_us + 10_000)
    send = network.send

    def note(sender: HeapNode, receiver: str, actor: str, message: Any) -> None:
        inside = MESSAGES.decode(message.body) if isinstance(message, Call | ControlCall | Answer) else message
        if receiver != OUTSIDE and sender.name != OUTSIDE and type(inside).__name__ not in UNTOLD:
            sent.append(Sent(type(inside).__name__, len(MESSAGES.encode(message))))
        send(sender, receiver, actor, message)

    network.send = note  # type: ignore[method-assign]
    order = SetMigrationTarget(runtime_name(1), flows)
    cluster.coordinator.ask(source.node.name, LIAISON, order, Migrating, lambda _: None)
    network.run(network.now_us + 3_000_000)
    assert cluster.history.ended[-1].flows == flows
    return sent, source.engine.record_size, sum(switch.ledger.markers_sent for switch in cluster.switches.values())


@pytest.mark.parametrize("flows", [1, FLOWS])
def test_a_set_takes_three_questions_and_their_answers(flows: int) -> None:
    sent, _, markers = migrated(flows)
    assert Counter(
        SetMigrationTarget=1, Migrating=1, PrepareFlows=1, RedirectFlows=1, FlowStatuses=2, InstallFlows=1,
        FlowsInstalled=1, MigrationEnded=1, Done=1,
    ) == Counter(each.kind for each in sent)  # fmt: skip
    assert markers == 1


def test_each_switch_that_owns_keys_of_the_set_is_asked_once_and_sends_one_marker() -> None:
    sent, _, markers = migrated(FLOWS, switches=2)
    kinds = Counter(each.kind for each in sent)
    assert (1, 2, 3, 1) == tuple(
        kinds[kind] for kind in ("PrepareFlows", "RedirectFlows", "FlowStatuses", "InstallFlows")
    )
    assert markers == 2


def test_a_flow_costs_its_key_and_epoch_three_times_its_state_once_and_three_statuses() -> None:
    """The rest is the same for every set: headers, names, numbers."""
    sent, record, _ = migrated(FLOWS)
    each = 3 * (KEY_OCTETS + EPOCH + STATUS) + record
    assert HEADERS + FLOWS * each == sum(one.octets for one in sent)
