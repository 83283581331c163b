"""The flow table of a virtual switch."""

import numpy as np
import pytest

from nfactor.dataplane import ends
from nfactor.dataplane.ends import ENDED_REMEMBER_S
from nfactor.dataplane.engine import Status
from nfactor.dataplane.owners import SETTLE_S, Owners
from nfactor.errors import CallerError
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse
from nfactor.testing.packets import burst_of, udp
from tests.dataplane import tables

A, B = "10.0.0.1", "10.0.0.2"


pytestmark = pytest.mark.usefixtures("kind_of_table")


def dispatcher(runtimes: int = 3, flows_max: int = 100) -> Owners:
    made = tables.owners_of(flows_max)
    made.set_runtimes(list(range(runtimes)))
    return made


def key_of(frame: bytes) -> bytes:
    burst = burst_of([frame])
    packet = Packet(burst.octets())
    parse(packet, 0, len(burst.data), len(frame))
    return FlowClassifier("auto").classify(packet)[0]


def u32(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(values, np.uint32)


def test_new_flows_go_round_robin_and_known_ones_stay() -> None:
    switch = dispatcher()
    frames = [udp(A, 1, B, 2), udp(A, 3, B, 4), udp(B, 2, A, 1), udp(A, 5, B, 6), udp(A, 7, B, 8)]
    assert switch.assign(burst_of(frames))[0].tolist() == [0, 1, 0, 2, 0]


def test_what_cannot_be_sent_has_a_reason() -> None:
    broken = bytearray(udp(A, 1, B, 2))
    broken[14] = 0x41
    switch = dispatcher(flows_max=1)
    owners = switch.assign(burst_of([udp(A, 1, B, 2), udp(A, 3, B, 4), bytes(broken)]))[0]
    assert ["flow_table_full", "malformed_ipv4_header"] == [switch.reasons[-1 - owner] for owner in owners[1:]]
    alone = dispatcher(runtimes=0)
    assert alone.reasons[-1 - int(alone.assign(burst_of([udp(A, 1, B, 2)]))[0][0])] == "no_runtime"


def test_a_redirect_needs_the_right_source_and_a_higher_epoch() -> None:
    switch, frame = dispatcher(), udp(A, 1, B, 2)
    key = key_of(frame)
    switch.assign(burst_of([frame]))
    assert switch.redirect([key], u32(2), source=1, target=2, now=0.0).tolist() == [Status.UNKNOWN]
    assert switch.redirect([key], u32(1), source=0, target=2, now=0.0).tolist() == [Status.STALE]
    assert switch.redirect([key], u32(2), source=0, target=2, now=0.0).tolist() == [Status.OK]
    assert switch.assign(burst_of([frame]))[0].tolist() == [2]
    assert switch.redirect([key], u32(2), source=2, target=0, now=0.0).tolist() == [Status.STALE]


def test_a_flow_is_forgotten_only_when_its_runtime_has_seen_all_of_its_packets() -> None:
    switch, frame = dispatcher(), udp(A, 1, B, 2)
    key = key_of(frame)
    switch.assign(burst_of([frame, frame]))
    assert switch.forget([key], u32(1), owner=0, now=0.0).tolist() == [Status.BUSY]
    assert switch.forget([key], u32(2), owner=1, now=0.0).tolist() == [Status.UNKNOWN]
    assert switch.forget([key], u32(2), owner=0, now=0.0).tolist() == [Status.OK]
    assert switch.statistics().flows == 0


def test_a_flow_of_which_a_packet_was_lost_is_forgotten_once_that_is_certain() -> None:
    switch, frame = dispatcher(), udp(A, 1, B, 2)
    key = key_of(frame)
    switch.assign(burst_of([frame, frame]))

    def asked(taking_s: float) -> list[int]:
        statuses: list[int] = switch.forget([key], u32(1), owner=0, now=99.0, taking_s=taking_s).tolist()
        return statuses

    assert [Status.BUSY] == asked(7.0)
    assert [Status.BUSY] == asked(7.0 + SETTLE_S), "the first one may have come late"
    assert [Status.BUSY] == asked(7.0 + 1.5 * SETTLE_S)
    switch.assign(burst_of([frame]))
    assert [Status.BUSY] == asked(7.0 + 2 * SETTLE_S), "a packet was sent since"
    assert [Status.BUSY] == asked(7.0 + 3 * SETTLE_S)
    assert [Status.OK] == asked(7.0 + 4 * SETTLE_S)


def test_a_doubt_about_a_flow_says_nothing_of_the_next_one_with_its_key() -> None:
    switch, frame = dispatcher(1), udp(A, 1, B, 2)
    key = key_of(frame)
    switch.assign(burst_of([frame, frame]))
    assert switch.forget([key], u32(1), owner=0, now=0.0).tolist() == [Status.BUSY]
    assert switch.forget([key], u32(2), owner=0, now=0.1).tolist() == [Status.OK], "it had been on its way"
    switch.assign(burst_of([frame, frame]))
    for time in (2 * SETTLE_S, 4 * SETTLE_S):
        assert switch.forget([key], u32(1), owner=0, now=time, taking_s=time).tolist() == [Status.BUSY]


def test_a_flow_that_has_just_moved_is_not_forgotten_before_its_tombstone_has_gone() -> None:
    switch, frame = dispatcher(), udp(A, 1, B, 2)
    key = key_of(frame)
    switch.assign(burst_of([frame]))
    switch.redirect([key], u32(2), source=0, target=1, now=10.0)
    assert switch.forget([key], u32(1), owner=1, now=11.0, moved_before=10.0).tolist() == [Status.BUSY]
    assert switch.forget([key], u32(1), owner=1, now=11.0, moved_before=10.1).tolist() == [Status.OK]


def test_later_fragments_leave_labelled_with_the_flow_of_their_first() -> None:
    first, later = bytearray(udp(A, 1, B, 2, b"x" * 8)), bytearray(udp(A, 1, B, 2, b"y" * 8))
    first[18:22], later[18:22] = b"\x00\x07\x20\x00", b"\x00\x07\x00\x02"
    owners, burst = dispatcher().assign(burst_of([bytes(first), bytes(later), udp(A, 3, B, 4)]))
    assert owners.tolist() == [0, 0, 1]
    packet = Packet(burst.octets())
    parse(packet, int(burst.offsets[1]), int(burst.offsets[1] + burst.lengths[1]), len(later))
    assert packet.label == (key_of(udp(A, 1, B, 2)), 0)
    assert packet.data[packet.start : packet.end] == later


def test_a_forgotten_flow_is_new_again_even_in_a_burst_of_known_ones() -> None:
    """Full bursts go the short way, by what is known of plain packets: it must not outlive the flow."""
    switch, frames = dispatcher(), [udp(A, 1, B, 2), udp(A, 3, B, 4)] * 32
    assert switch.assign(burst_of(frames))[0].tolist() == [0, 1] * 32
    assert switch.assign(burst_of(frames))[0].tolist() == [0, 1] * 32, "the short way"
    assert switch.forget([key_of(frames[0])], u32(64), owner=0, now=0.0).tolist() == [Status.OK], "and it counts"
    assert switch.assign(burst_of(frames))[0].tolist() == [2, 1] * 32


def test_runtimes_are_different_numbers() -> None:
    with pytest.raises(CallerError):
        dispatcher().set_runtimes([1, 1])
    with pytest.raises(CallerError):
        dispatcher().set_runtimes([-1])


def owned_by_one(flows: int = 1) -> tuple[Owners, list[bytes]]:
    """A switch whose flows all belong to runtime 1, of 0 to 2."""
    switch, frames = dispatcher(), [udp(A, 1 + flow, B, 2) for flow in range(flows)]
    switch.set_runtimes([1])
    switch.assign(burst_of(frames))
    switch.set_runtimes([0, 1, 2])
    return switch, [key_of(frame) for frame in frames]


def test_a_claim_on_a_dead_runtimes_flow_needs_a_higher_epoch_and_sets_the_count() -> None:
    switch, (key,) = owned_by_one()
    stale, owners = switch.claim([key], u32(1), u32(9), dead=1, claimer=2, now=0.0)
    assert ([Status.STALE], []) == (stale.tolist(), owners)
    assert switch.claim([key], u32(2), u32(9), dead=1, claimer=2, now=0.0)[0].tolist() == [Status.OK]
    assert switch.assign(burst_of([udp(A, 1, B, 2)]))[0].tolist() == [2]
    forgotten = switch.forget([key], u32(10), owner=2, now=0.1)
    assert forgotten.tolist() == [Status.OK], "nine that the claimer knew of, and one since"


def test_a_claim_without_counts_leaves_them_as_they_are() -> None:
    switch, (key,) = owned_by_one()
    switch.claim([key], u32(2), None, dead=1, claimer=2, now=0.0)
    assert switch.forget([key], u32(1), owner=2, now=0.1).tolist() == [Status.OK]


def test_a_claim_on_what_another_owns_says_who() -> None:
    switch, (first, second) = owned_by_one(flows=2)
    switch.redirect([first], u32(2), source=1, target=0, now=0.0)
    statuses, owners = switch.claim([second, first], u32(2, 9), u32(1, 1), dead=1, claimer=2, now=0.0)
    assert ([Status.OK, Status.EXISTS], [0]) == (statuses.tolist(), owners)


def test_a_flow_that_ended_with_its_runtime_is_known_to_have_ended_whatever_its_key_does_next() -> None:
    switch, (key, _) = owned_by_one(flows=2)
    assert switch.forget([key], u32(1), owner=1, now=0.0).tolist() == [Status.OK]
    assert switch.claim([key], u32(2), u32(1), dead=1, claimer=2, now=0.1)[0].tolist() == [Status.UNKNOWN]
    switch.set_runtimes([0])
    switch.assign(burst_of([udp(A, 1, B, 2)]))
    assert switch.claim([key], u32(2), u32(1), dead=1, claimer=2, now=0.1)[0].tolist() == [Status.UNKNOWN]
    switch.redirect([key], u32(2), source=0, target=1, now=0.2)
    switch.redirect([key], u32(3), source=1, target=0, now=0.3)
    moved, owners = switch.claim([key], u32(4), u32(1), dead=1, claimer=2, now=0.4)
    assert ([Status.EXISTS], [0]) == (moved.tolist(), owners), "it had a newer one of that key, and gave it away"


def test_a_claim_on_what_nobody_knows_is_stale() -> None:
    switch, _ = owned_by_one()
    unknown = key_of(udp(B, 9, A, 9))
    assert switch.claim([unknown], u32(5), u32(1), dead=1, claimer=2, now=0.0)[0].tolist() == [Status.STALE]


def test_ends_are_remembered_for_a_while_and_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    switch, keys = owned_by_one(flows=4)
    monkeypatch.setattr(ends, "ENDED_MAX", 2)
    switch.forget(keys[:3], u32(1, 1, 1), owner=1, now=0.0)
    answers = switch.claim(keys[:3], u32(2, 2, 2), u32(1, 1, 1), dead=1, claimer=2, now=0.0)[0]
    assert answers.tolist() == [Status.STALE, Status.UNKNOWN, Status.UNKNOWN]
    switch.forget(keys[3:], u32(1), owner=1, now=ENDED_REMEMBER_S + 1)
    assert switch.claim(keys[2:3], u32(2), u32(1), dead=1, claimer=2, now=0.0)[0].tolist() == [Status.STALE]


def test_ends_at_a_runtime_that_is_not_heard_of_are_remembered_until_it_is_abandoned() -> None:
    """It may be dead, and nobody there to see it."""
    switch, keys = owned_by_one(flows=4)
    switch.heard(1, 0.5)
    switch.forget(keys[:2], u32(1, 1), owner=1, now=1.0)
    late = 2.0 + ENDED_REMEMBER_S
    switch.forget(keys[2:3], u32(1), owner=1, now=late)
    assert switch.claim(keys[:1], u32(2), u32(1), dead=1, claimer=2, now=late)[0].tolist() == [Status.UNKNOWN]
    switch.heard(1, late)
    switch.forget(keys[3:], u32(1), owner=1, now=late)
    assert switch.claim(keys[:1], u32(2), u32(1), dead=1, claimer=2, now=late)[0].tolist() == [Status.STALE]
    assert switch.claim(keys[2:3], u32(2), u32(1), dead=1, claimer=2, now=late)[0].tolist() == [Status.UNKNOWN]
    switch.abandon(1)
    assert switch.claim(keys[2:3], u32(2), u32(1), dead=1, claimer=2, now=late)[0].tolist() == [Status.STALE]


def test_flows_that_nobody_claims_begin_anew_elsewhere() -> None:
    switch, _ = owned_by_one(flows=3)
    switch.set_runtimes([0, 2])
    assert (3, 0) == (switch.abandon(1), switch.abandon(1))
    assert switch.assign(burst_of([udp(A, 1 + flow, B, 2) for flow in range(3)]))[0].tolist() == [0, 2, 0]
    assert switch.statistics().forgotten == 3
