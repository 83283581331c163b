"""Replication without a network: modes, what a primary keeps until it is stored, and what a replica keeps."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.dataplane.chain import HEADER, FlowHeader
from nfactor.dataplane.changes import PARTS_AT, WHOLE, Part, Run
from nfactor.dataplane.reference_changes import ReferenceCopies
from nfactor.errors import CallerError, ProtocolError
from nfactor.protocols.replication import EVERY_MS, Channel, Kind, Mode, Outstanding, ReplicaStore


@pytest.mark.parametrize(
    ("text", "kind", "packets", "strict", "replicates"),
    [
        ("none", Kind.NONE, 0, False, False),
        ("strict", Kind.STRICT, 0, True, True),
        ("strict-hold", Kind.STRICT_HOLD, 0, True, True),
        ("every=64", Kind.EVERY, 64, False, True),
        ("every=1/20ms", Kind.EVERY, 1, False, True),
    ],
)
def test_the_modes_are_what_the_design_names(
    text: str, kind: Kind, packets: int, strict: bool, replicates: bool
) -> None:
    mode = Mode.parse(text)
    assert mode == Mode(kind, packets, 20 if "/" in text else EVERY_MS)
    assert (strict, replicates) == (mode.strict, mode.replicates)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Strict",
        "every",
        "every=",
        "every=0",
        "every=-1",
        "every=x",
        "strict=3",
        "every=²",
        "every=8/",
        "every=8/9",
        "every=8/0ms",
        "every=8/9ms",
        "every=8/1001ms",
        "every=8/0.5ms",
        "every=8/-1ms",
        "every=1234567890",
        "every=8/20ms ",
    ],
)
def test_any_other_mode_is_refused_by_name(text: str) -> None:
    with pytest.raises(CallerError, match="must be none, strict, strict-hold, every=K or every=K/Tms"):
        Mode.parse(text)


@given(st.lists(st.one_of(st.just("add"), st.integers(0, 12)), max_size=60))
def test_a_channel_keeps_exactly_what_is_not_known_to_be_stored(steps: list[str | int]) -> None:
    """A number is an acknowledgement of that many commits in all; ``add`` sends one."""
    channel, sent, stored = Channel[int](), 0, 0
    for step in steps:
        if step == "add":
            sent += 1
            assert channel.add(sent) == sent
        elif isinstance(step, int) and step > sent:
            with pytest.raises(ProtocolError, match=f"commit {step} was stored, of {sent} that were sent"):
                list(channel.stored(step))
        elif isinstance(step, int):
            assert list(channel.stored(step)) == list(range(stored + 1, step + 1))
            stored = max(stored, step)
        assert list(channel) == list(range(stored + 1, sent + 1))
        assert len(channel) == sent - stored
    assert list(channel.close()) == [(number, number) for number in range(stored + 1, sent + 1)]
    assert len(channel) == 0


@given(st.lists(st.tuples(st.sampled_from(["begin", "done", "wait"]), st.integers(0, 5)), max_size=80))
def test_who_waits_is_called_when_all_that_began_before_is_confirmed_and_not_earlier(
    steps: list[tuple[str, int]],
) -> None:
    """``begin`` gives a piece away in so many parts; ``done`` confirms a part of one that is under way."""
    outstanding, parts = Outstanding(), dict[int, int]()
    waiting: dict[int, int] = {}
    called: list[int] = []
    begun = 0

    def caller(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    for number, (step, value) in enumerate(steps):
        if step == "begin":
            begun = outstanding.begin()
            for _ in range(value):
                outstanding.give(begun)
            if value:
                parts[begun] = value
        elif step == "done" and parts:
            piece = sorted(parts)[value % len(parts)]
            outstanding.done(piece)
            outstanding.settle()
            parts[piece] -= 1
            if not parts[piece]:
                del parts[piece]
        elif step == "wait":
            waiting[number] = begun
            outstanding.when_done(caller(number))
        ready = [number for number, last in waiting.items() if all(piece > last for piece in parts)]
        assert sorted(called) == ready


def test_what_is_taken_back_and_given_anew_is_still_waited_for() -> None:
    outstanding, called = Outstanding(), []
    piece = outstanding.begin()
    outstanding.give(piece)
    outstanding.when_done(lambda: called.append("done"))
    outstanding.done(piece)  # the replica died
    outstanding.give(piece)  # another has it now
    outstanding.settle()
    assert called == []
    outstanding.done(piece)
    outstanding.settle()
    assert called == ["done"]


A, B = b"a" * 48, b"b" * 48
PARTS = (Part(1, (Run(0, 1),)),)
"""Of records that are a header and one octet."""


def epochs(*values: int) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    return np.array(values, np.uint32)


def store_of() -> ReplicaStore:
    return ReplicaStore(lambda: ReferenceCopies(HEADER.size + 1, PARTS))


def changes(*flows: tuple[bytes, int, bytes]) -> bytes:
    """Key, epoch and state of each."""
    octets = b""
    for key, epoch, state in flows:
        header = bytearray(HEADER.pack(FlowHeader(0, epoch, 0, 0, 0)))
        header[PARTS_AT] = WHOLE | 1
        octets += key + header + state
    return octets


def taken(store: ReplicaStore, primary: str) -> dict[bytes, tuple[int, bytes]]:
    keys, numbers, records = store.take(primary)
    states = [record[HEADER.size :].tobytes() for record in records]
    return dict(zip(keys, zip(numbers.tolist(), states, strict=True), strict=True))


def test_a_replica_stores_the_latest_state_of_each_flow_and_of_each_primary() -> None:
    store = store_of()
    store.store("one", 1, changes((A, 1, b"1"), (B, 1, b"2")), [])
    store.store("one", 2, changes((A, 2, b"3")), [])
    store.store("two", 1, changes((A, 1, b"4")), [])
    assert len(store) == 3
    assert taken(store, "one") == {A: (2, b"3"), B: (1, b"2")}
    assert taken(store, "two") == {A: (1, b"4")}, "two primaries may have flows of one key"
    assert taken(store, "two") == {}


def test_a_replica_lets_go_of_what_ended_and_of_what_moved_away() -> None:
    store = store_of()
    store.store("one", 1, changes((A, 1, b"1"), (B, 1, b"2")), [])
    store.store("two", 1, changes((A, 2, b"9")), [])
    store.store("one", 2, b"", [B])
    store.forget("one", [A, B], epochs(1, 1))
    store.forget("three", [A], epochs(9))
    assert len(store) == 1
    assert taken(store, "two") == {A: (2, b"9")}, "another primary's word says nothing of it"


def test_a_flow_that_came_back_is_kept_when_its_first_departure_is_over_at_last() -> None:
    store = store_of()
    store.store("one", 1, changes((A, 1, b"1"), (B, 1, b"2")), [])
    store.store("one", 2, changes((A, 3, b"3")), [])
    store.forget("one", [A, B], epochs(1, 1))
    assert taken(store, "one") == {A: (3, b"3")}


def test_a_commit_that_is_not_the_next_one_breaks_the_protocol() -> None:
    store = store_of()
    for number in (0, 2):
        with pytest.raises(ProtocolError, match=f"one sent commit {number}; 1 is the next"):
            store.store("one", number, b"", [])
    with pytest.raises(ProtocolError, match="cut short"):
        store.store("one", 1, b"x", [])
    store.store("one", 1, b"", [])
    store.take("one")
    store.store("one", 1, b"", [])  # its next life counts anew
