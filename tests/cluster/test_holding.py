"""Flows that a runtime waits for: who is to send them, and when nobody is waited for any more."""

from typing import Any

import numpy as np
import pytest

from nfactor.cluster.call_messages import ControlCall
from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.messages import FlowStatuses, pack_u32
from nfactor.cluster.recovery_messages import ClaimFlows, FinishFlows, ForgoFlows, RecoveryOver
from nfactor.dataplane.engine import Status
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.draws import draw
from nfactor.testing.heap import Delivery
from nfactor.testing.schedules import Run
from tests.cluster.test_found_by_the_model import with_a_flow

MIGRATION_OF_THE_DEAD, LATER, LONG_AGO = 77, 78, 79


def test_a_flow_that_a_replica_brought_in_the_place_of_a_dead_source_is_not_waited_for() -> None:
    """It went on to another runtime and was on its way back when the recovery of its first source was over, and with it
    all waiting for that one: the flow was not held any more when its state came."""
    _, owner, target, key = with_a_flow(2)
    keys, flows = FlowKeys.of([key]), target.flows
    _, records, _ = owner.engine.copy(keys)
    third, fourth = np.array([3], np.uint32), np.array([5], np.uint32)
    flows.expect(MIGRATION_OF_THE_DEAD, "gone", keys, third)
    answers = list[Any]()
    flows.finish(FinishFlows("gone", key, pack_u32(third), records.tobytes())).when_there(answers.append)
    assert [FlowStatuses(bytes([Status.OK]))] == answers
    assert flows.workload().flows == 1, "it is here, and none is coming"
    flows.depart(1, flows.pick(1)[0])
    flows.expect(LATER, owner.node.name, keys, fourth)
    flows.recovery_over(RecoveryOver(1, "gone"))
    assert flows.adopt(LATER, keys, fourth, records) == 1


@pytest.mark.parametrize("expected", [3, 5])
def test_a_claim_for_what_was_sent_away_does_not_let_go_of_what_comes_in_that_epoch_or_later(expected: int) -> None:
    """The answer to a migration was lost, its target died, and its source claimed what it had sent there. The flow had
    been turned back by the dead (in the epoch of the claim), or had been elsewhere since (in a later one), and was
    about to come to this very source: it was refused there."""
    _, owner, target, key = with_a_flow(2)
    keys, flows = FlowKeys.of([key]), target.flows
    _, records, _ = owner.engine.copy(keys)
    first, third, later = (np.array([epoch], np.uint32) for epoch in (1, 3, expected))
    flows.expect(1, owner.node.name, keys, first)
    assert flows.adopt(1, keys, first, records) == 1
    flows.depart(LONG_AGO, flows.pick(1)[0])
    assert [Status.OK] == flows.expect(LATER, owner.node.name, keys, later).tolist()
    flows.expect_back(LONG_AGO, keys, third)
    flows.give_up(LONG_AGO)
    assert flows.adopt(LATER, keys, later, records) == 1


def test_what_comes_back_has_no_room_if_another_claim_has_taken_its_row_away() -> None:
    """recovery 13464: a copy of an earlier life of the key was claimed, and refused, while the flow was at its dead
    target; the row that had stood for it went with that, and the table was full. It was claimed back nevertheless, and
    the runtime failed as it was to take it."""
    _, owner, target, key = with_a_flow(2)
    keys, flows = FlowKeys.of([key]), target.flows
    _, records, _ = owner.engine.copy(keys)
    first, second, third = (np.array([epoch], np.uint32) for epoch in (1, 2, 3))
    flows.expect(1, owner.node.name, keys, first)
    assert flows.adopt(1, keys, first, records) == 1
    flows.depart(LONG_AGO, flows.pick(1)[0])
    assert [Status.OK] == flows.expect(LATER, target.node.name, keys, second).tolist()
    flows.give_up(LATER)
    target.engine._flows_max = 0
    assert [True] == flows.expect_back(LONG_AGO, keys, third).tolist()
    target.engine._flows_max = 1
    assert [False] == flows.expect_back(LONG_AGO, keys, third).tolist()


def test_what_comes_back_and_has_no_room_is_forgone_first_and_then_only_asked_about() -> None:
    """The same seed. A switch that begins again in between has not heard that it was forgone, and must not grant it."""
    said: list[tuple[type, bytes]] = []
    judged = Run(draw("recovery", 13464))
    network = judged.network
    before = network.before

    def note(delivery: Delivery) -> None:
        before(delivery)
        if isinstance(delivery.message, ControlCall) and delivery.message.actor == "liaison":
            message = MESSAGES.decode(delivery.message.body)
            if isinstance(message, ClaimFlows | ForgoFlows) and message.dead == "runtime-3":
                said.append((type(message), message.epochs))

    network.before = note
    judged.judge()
    assert (ClaimFlows, pack_u32(np.array([0], np.uint32))) in said
    assert ClaimFlows not in {kind for kind, epochs in said if any(epochs)}
