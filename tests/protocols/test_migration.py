"""The source's side of a migration: its table, walked row by row, and what it asks for on the way."""

from collections.abc import Callable

import numpy as np
import pytest

from nfactor.dataplane.engine import Status
from nfactor.errors import ProtocolError
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

KEYS = (b"a" * 48, b"b" * 48, b"c" * 48)


def statuses(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.array(values, np.uint8)


def ok(machine: MigrationSource) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.zeros(len(machine.keys), np.uint8)


def refuse(machine: MigrationSource) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.full(len(machine.keys), Status.UNKNOWN, np.uint8)


def fresh() -> MigrationSource:
    return MigrationSource(KEYS, np.array([1, 5, 9], np.uint32))


HAPPEN: dict[Event, Callable[[MigrationSource], list[Effect]]] = {
    Event.PREPARED: lambda machine: machine.prepared(ok(machine)),
    Event.REDIRECTED: lambda machine: machine.redirected(ok(machine)),
    Event.MARKER: lambda machine: machine.marker(),
    Event.INSTALLED: lambda machine: machine.installed(ok(machine)),
    Event.DIED: lambda machine: machine.died(),
    Event.RETURNED: lambda machine: machine.returned(ok(machine)),
}

REACH: dict[State, tuple[Event, ...]] = {
    State.PREPARING: (),
    State.REDIRECTING: (Event.PREPARED,),
    State.ANSWERED: (Event.PREPARED, Event.REDIRECTED),
    State.MARKED: (Event.PREPARED, Event.MARKER),
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


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", HAPPEN)
def test_each_event_does_what_its_row_says_and_without_a_row_is_refused(state: State, event: Event) -> None:
    machine = in_state(state)
    following = TABLE.get((state, event))
    if following is None:
        with pytest.raises(ProtocolError, match=f"{state.name} cannot take {event.name}"):
            HAPPEN[event](machine)
        assert machine.state is state
    else:
        HAPPEN[event](machine)
        assert machine.state is following


@pytest.mark.parametrize(
    ("state", "answer"), [(State.PREPARING, MigrationSource.prepared), (State.REDIRECTING, MigrationSource.redirected)]
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
    assert keep == Keep((KEYS[1],))
    assert isinstance(redirect, Redirect)
    assert ((KEYS[0], KEYS[2]), [2, 10]) == (redirect.keys, redirect.epochs.tolist())
    if marker_first:
        assert machine.marker() == []
        keep, install = machine.redirected(statuses(Status.STALE, Status.OK))
    else:
        (keep,) = machine.redirected(statuses(Status.STALE, Status.OK))
        (install,) = machine.marker()
    assert keep == Keep((KEYS[0],))
    assert isinstance(install, Install)
    assert ((KEYS[2],), [10]) == (install.keys, install.epochs.tolist())
    assert not machine.over
    assert machine.installed(statuses(Status.OK)) == [Bury((KEYS[2],))]
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
    machine = in_state(State.ANSWERED)
    (claim,) = machine.died()
    assert isinstance(claim, Claim)
    assert (KEYS, [3, 7, 11]) == (claim.keys, claim.epochs.tolist()), "the target's epochs, and one more"
    assert machine.marker() == [], "the switch's last word about the old turn says nothing now"
    back, keep = machine.returned(statuses(Status.OK, Status.STALE, Status.OK))
    assert isinstance(back, Return)
    assert ((KEYS[0], KEYS[2]), [3, 11], False) == (back.keys, back.epochs.tolist(), back.departed)
    assert keep == Keep((KEYS[1],)), "it never left, and what the switch knows of it will show"
    assert machine.state is State.ABORTED


def test_states_that_a_dead_target_did_not_pass_on_are_put_back_and_the_others_buried() -> None:
    machine = in_state(State.INSTALLING)
    (claim,) = machine.died()
    assert isinstance(claim, Claim)
    back, bury = machine.returned(statuses(Status.EXISTS, Status.OK, Status.EXISTS))
    assert isinstance(back, Return)
    assert ((KEYS[1],), [7], True) == (back.keys, back.epochs.tolist(), back.departed)
    assert bury == Bury((KEYS[0], KEYS[2])), "the target's own replicas were there first"
    assert in_state(State.RETURNING).returned(refuse(fresh())) == [Keep(KEYS)]


@pytest.mark.parametrize("marker_first", [False, True])
def test_a_switch_that_answers_after_the_targets_death_has_still_to_be_asked_back(marker_first: bool) -> None:
    machine = in_state(State.REDIRECTING)
    if marker_first:
        machine.marker()
    assert machine.died() == []
    (claim,) = machine.redirected(ok(machine))
    assert isinstance(claim, Claim)
    refused = in_state(State.DOOMED)
    assert refused.redirected(refuse(refused)) == [Keep(KEYS), Cancel()]
    assert refused.over
