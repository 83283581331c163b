"""The coordinator's side of a recovery: its steps in their order, and who is waited for."""

import pytest

from nfactor.errors import ProtocolError
from nfactor.protocols.recovery import FOLLOWING, Recovery, Step


def test_the_steps_come_in_the_order_that_safety_needs() -> None:
    recovery, steps = Recovery(1, "runtime-0"), [Step.FENCING]
    while recovery.step is not Step.OVER:
        recovery.begin(["a"])
        recovery.answered("a")
        steps.append(recovery.proceed())
    assert steps == list(Step), "the order in which they are declared, each once"
    assert set(FOLLOWING) == set(Step) - {Step.OVER}
    with pytest.raises(ProtocolError, match="cannot go on from OVER"):
        recovery.proceed()


def test_a_step_ends_when_everybody_has_answered_or_is_dead() -> None:
    recovery = Recovery(1, "runtime-0")
    recovery.begin(["a", "b", "c"])
    recovery.answered("a", 5)
    with pytest.raises(ProtocolError, match=r"cannot go on from FENCING: \['b', 'c'\]"):
        recovery.proceed()
    with pytest.raises(ProtocolError, match=r"\['b', 'c'\] have not answered FENCING"):
        recovery.begin(["d"])
    recovery.died("b")
    recovery.answered("c", 2)
    assert recovery.proceed() is Step.VIEWING
    assert recovery.flows == 7


def test_an_answer_that_nobody_waits_for_counts_nothing() -> None:
    recovery = Recovery(1, "runtime-0")
    recovery.begin(["a"])
    recovery.answered("b", 9)
    recovery.answered("a", 1)
    recovery.answered("a", 1)
    assert (1, set()) == (recovery.flows, recovery.waiting)
