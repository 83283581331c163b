"""The source's side of a migration: its table, walked row by row, and what it asks for on the way."""

from collections.abc import Callable

import numpy as np
import pytest

from nfactor.dataplane.engine import Status
from nfactor.errors import ProtocolError
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.migration import (
    TABLE,
    Bury,
    Cancel,
    Claim,
    Effect,
    Event,
    Install,
    Keep,
    MigrationSource,
    Prepare,
    Redirect,
    Return,
    State,
)

KEYS = FlowKeys.of((b"a" * 48, b"b" * 48, b"c" * 48))


def only(*places: int) -> FlowKeys:
    """Those of the keys."""
    return FlowKeys.of(KEYS[place] for place in places)


def statuses(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array(values, np.uint8)


def ok(machine: MigrationSource) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.zeros(len(machine.keys), np.uint8)


def refuse(machine: MigrationSource) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.full(len(machine.keys), Status.UNKNOWN, np.uint8)


def fresh(*, switches: int = 1) -> MigrationSource:
    """With two switches, the middle key is the second's."""
    owners = {"y": np.array([1]), "x": np.array([0, 2])} if switches > 1 else {"x": np.arange(3)}
    return MigrationSource(KEYS, np.array([1, 5, 9], np.uint32), owners)


HAPPEN: dict[Event, Callable[[MigrationSource], list[Effect]]] = {
    Event.PREPARED: lambda machine: machine.prepared(ok(machine)),
    Event.REDIRECTED: lambda machine: machine.redirected("x", ok(machine)),
    Event.MARKER: lambda machine: machine.marker("x"),
    Event.INSTALLED: lambda machine: machine.installed(ok(machine)),
    Event.DIED: lambda machine: machine.died(),
    Event.RETURNED: lambda machine: machine.returned("x", ok(machine)),
}

REACH: dict[State, tuple[Event, ...]] = {
    State.PREPARING: (),
    State.REDIRECTING: (Event.PREPARED,),
    State.DRAINING: (Event.PREPARED, Event.REDIRECTED),
    State.INSTALLING: (Event.PREPARED, Event.REDIRECTED, Event.MARKER),
    State.DONE: (Event.PREPARED, Event.MARKER, Event.REDIRECTED, Event.INSTALLED),
    State.DOOMED: (Event.PREPARED, Event.DIED),
    State.RETURNING: (Event.PREPARED, Event.REDIRECTED, Event.DIED),
    State.ABORTED: (Event.DIED,),
}


def in_state(state: State) -> MigrationSource:
    machine = fresh()
    for event in REACH[state]:
        HAPPEN[event](machine)
    assert machine.state is state
    return machine


def drained(event: Event, state: State) -> Event:
    """With one switch, its answer or marker may be the last thing that was missing."""
    last = {(Event.REDIRECTED, State.DOOMED): Event.REDIRECTED, (Event.MARKER, State.DRAINING): Event.DRAINED}
    return last.get((event, state), event)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", HAPPEN)
def test_each_event_does_what_its_row_says_and_without_a_row_is_refused(state: State, event: Event) -> None:
    machine = in_state(state)
    following = TABLE.get((state, drained(event, state)))
    if following is not None:
        HAPPEN[event](machine)
        assert machine.state is following
    elif event is Event.MARKER:
        assert HAPPEN[event](machine) == [], "a marker that is not missing says nothing new"
        assert machine.state is state
    else:
        with pytest.raises(ProtocolError, match=r"cannot take|has asked nothing of"):
            HAPPEN[event](machine)
        assert machine.state is state


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (State.PREPARING, MigrationSource.prepared),
        (State.REDIRECTING, lambda machine, statuses: machine.redirected("x", statuses)),
    ],
)
def test_a_refusal_of_all_flows_ends_the_migration(
    state: State, answer: Callable[[MigrationSource, object], list[Effect]]
) -> None:
    machine = in_state(state)
    keys = machine.keys
    effects = answer(machine, refuse(machine))
    assert TABLE[(state, Event.REFUSED)] is machine.state is State.ABORTED
    assert effects == ([Keep(keys)] if state is State.PREPARING else [Keep(keys), Cancel()])


@pytest.mark.parametrize("marker_first", [False, True])
def test_the_states_go_when_both_the_answer_and_the_marker_are_there(marker_first: bool) -> None:
    machine = fresh()
    (prepare,) = machine.start()
    assert isinstance(prepare, Prepare)
    assert [2, 6, 10] == prepare.epochs.tolist()
    keep, redirect = machine.prepared(statuses(Status.OK, Status.EXISTS, Status.OK))
    assert keep == Keep(only(1))
    assert isinstance(redirect, Redirect)
    assert (only(0, 2), [2, 10]) == (redirect.keys, redirect.epochs.tolist())
    if marker_first:
        assert machine.marker("x") == []
        keep, install = machine.redirected("x", statuses(Status.STALE, Status.OK))
    else:
        (keep,) = machine.redirected("x", statuses(Status.STALE, Status.OK))
        (install,) = machine.marker("x")
    assert keep == Keep(only(0))
    assert isinstance(install, Install)
    assert (only(2), [10]) == (install.keys, install.epochs.tolist())
    assert not machine.over
    (bury,) = machine.installed(statuses(Status.OK))
    assert isinstance(bury, Bury)
    assert (only(2), [10]) == (bury.keys, bury.epochs.tolist())
    assert machine.over


def test_a_target_that_refuses_states_it_was_holding_breaks_the_protocol() -> None:
    machine = in_state(State.INSTALLING)
    with pytest.raises(ProtocolError, match="refused states of 3 flows"):
        machine.installed(refuse(machine))


def test_an_answer_for_another_number_of_keys_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError, match="1 statuses for 3 keys"):
        fresh().prepared(statuses(Status.OK))


def test_a_target_that_dies_before_it_holds_anything_costs_nothing() -> None:
    machine = fresh()
    assert machine.died() == [Keep(KEYS), Cancel()]
    assert machine.over


def test_flows_that_were_turned_to_a_dead_target_are_claimed_back_with_higher_epochs() -> None:
    machine = in_state(State.DRAINING)
    (claim,) = machine.died()
    assert isinstance(claim, Claim)
    assert (KEYS, [3, 7, 11]) == (claim.keys, claim.epochs.tolist()), "the target's epochs, and one more"
    assert machine.marker("x") == [], "the switch's last word about the old turn says nothing now"
    back, keep = machine.returned("x", statuses(Status.OK, Status.STALE, Status.OK))
    assert isinstance(back, Return)
    assert (only(0, 2), [3, 11], False) == (back.keys, back.epochs.tolist(), back.departed)
    assert keep == Keep(only(1)), "it never left, and what the switch knows of it will show"
    assert machine.state is State.ABORTED


def test_states_that_a_dead_target_did_not_pass_on_are_put_back_and_the_others_buried() -> None:
    machine = in_state(State.INSTALLING)
    (claim,) = machine.died()
    assert isinstance(claim, Claim)
    back, bury = machine.returned("x", statuses(Status.EXISTS, Status.OK, Status.EXISTS))
    assert isinstance(back, Return)
    assert (only(1), [7], True) == (back.keys, back.epochs.tolist(), back.departed)
    assert isinstance(bury, Bury), "the target's own replicas were there first"
    assert (only(0, 2), [3, 11]) == (bury.keys, bury.epochs.tolist())
    assert in_state(State.RETURNING).returned("x", refuse(fresh())) == [Keep(KEYS)]


@pytest.mark.parametrize("marker_first", [False, True])
def test_a_switch_that_answers_after_the_targets_death_has_still_to_be_asked_back(marker_first: bool) -> None:
    machine = in_state(State.REDIRECTING)
    if marker_first:
        machine.marker("x")
    assert machine.died() == []
    (claim,) = machine.redirected("x", ok(machine))
    assert isinstance(claim, Claim)
    refused = in_state(State.DOOMED)
    assert refused.redirected("x", refuse(refused)) == [Keep(KEYS), Cancel()]
    assert refused.over


def test_with_two_switches_the_states_go_when_both_have_answered_and_both_markers_are_there() -> None:
    machine = fresh(switches=2)
    first, second = machine.prepared(statuses(Status.OK, Status.OK, Status.OK))
    assert isinstance(first, Redirect)
    assert isinstance(second, Redirect)
    assert ("x", only(0, 2), [2, 10]) == (first.switch, first.keys, first.epochs.tolist())
    assert ("y", only(1), [6]) == (second.switch, second.keys, second.epochs.tolist())
    assert machine.marker("y") == []
    assert machine.redirected("x", statuses(Status.STALE, Status.OK)) == [Keep(only(0))]
    assert machine.redirected("y", statuses(Status.OK)) == []
    assert machine.state is State.DRAINING
    assert machine.marker("y") == [], "it was here already"
    (install,) = machine.marker("x")
    assert isinstance(install, Install)
    assert (only(1, 2), [6, 10]) == (install.keys, install.epochs.tolist())


def test_a_switch_that_turned_nothing_sends_no_marker_and_is_not_waited_for() -> None:
    machine = fresh(switches=2)
    machine.prepared(statuses(Status.OK, Status.OK, Status.OK))
    machine.redirected("x", statuses(Status.OK, Status.OK))
    machine.marker("x")
    keep, install = machine.redirected("y", statuses(Status.UNKNOWN))
    assert keep == Keep(only(1))
    assert isinstance(install, Install)
    assert machine.state is State.INSTALLING


def test_flows_of_two_switches_are_claimed_back_at_each() -> None:
    machine = fresh(switches=2)
    machine.prepared(statuses(Status.OK, Status.OK, Status.OK))
    machine.redirected("x", statuses(Status.OK, Status.OK))
    assert machine.died() == [], "the other switch may still be turning its flows"
    first, second = machine.redirected("y", statuses(Status.OK))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert ({"x", "y"}, State.RETURNING) == ({first.switch, second.switch}, machine.state)
    (back,) = machine.returned("y", statuses(Status.OK))
    assert isinstance(back, Return)
    assert (only(1), [7], False) == (back.keys, back.epochs.tolist(), back.departed)
    assert not machine.over
    (back, keep) = machine.returned("x", statuses(Status.OK, Status.STALE))
    assert isinstance(back, Return)
    assert (only(0), [3]) == (back.keys, back.epochs.tolist())
    assert keep == Keep(only(2))
    assert machine.over


def test_a_group_of_which_one_flow_is_refused_stays_and_the_rest_goes() -> None:
    machine = MigrationSource(KEYS, np.array([1, 5, 9], np.uint32), {"x": np.arange(3)}, np.array([0, 1, 0]))
    machine.start()
    effects = machine.prepared(statuses(Status.OK, Status.OK, Status.FULL))
    assert [Keep(only(0, 2)), Redirect("x", only(1), np.array([6]))] == effects


def test_a_target_that_holds_a_part_of_the_only_group_is_told_that_it_does_not_come() -> None:
    machine = MigrationSource(KEYS, np.array([1, 5, 9], np.uint32), {"x": np.arange(3)}, np.array([0, 0, 0]))
    machine.start()
    assert [Keep(KEYS), Cancel()] == machine.prepared(statuses(Status.OK, Status.OK, Status.FULL))
    assert State.ABORTED is machine.state
