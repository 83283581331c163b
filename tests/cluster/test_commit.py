"""Commits are split by bucket and put together again, and nothing is lost or doubled on the way."""

from typing import Any

import numpy as np
from hypothesis import given, strategies as st

from nfactor.cluster.commit import Commit, merged, to_message
from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.changes import NO_KEYS, NOTHING_CHANGED
from nfactor.dataplane.engine import REPLY
from nfactor.packet import cluster_frame
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Watermark
from nfactor.testing.packets import burst_of, udp
from tests.dataplane.test_engines import A, B, engine_of, process

KEYS = [bytes([letter]) * 48 for letter in b"abcd"]
BUCKET = dict(zip(KEYS, buckets_of(FlowKeys.of(KEYS).array).tolist(), strict=True))
PACKETS = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([0, 1, 5, 9])), max_size=12)


def commit_of(packets: list[tuple[bytes, int]], emitted: list[bytes], piece: int = 1) -> Commit:
    return Commit(
        piece=piece,
        buckets=np.array([BUCKET[key] for key, _ in packets], np.uint16),
        burst=burst_of([udp(A, 1, B, 2, bytes([index])) for index in range(len(packets))]),
        codes=np.array([code for _, code in packets], np.uint8),
        emitted=[(key, index) for index, key in enumerate(emitted)],
    )


def content(commit: Commit) -> tuple[list[tuple[int, int, int]], list[tuple[bytes, Any]]]:
    columns = zip(commit.buckets.tolist(), commit.codes.tolist(), commit.burst.marks.tolist(), strict=True)
    return sorted(columns), sorted(commit.emitted)


@given(PACKETS, st.lists(st.sampled_from(KEYS), max_size=6), st.sets(st.sampled_from(KEYS)))
def test_the_parts_of_a_commit_are_together_the_whole(
    packets: list[tuple[bytes, int]], emitted: list[bytes], some: set[bytes]
) -> None:
    whole = commit_of(packets, emitted)
    mine = np.isin(whole.buckets, [BUCKET[key] for key in some])
    said = np.isin(whole.emitted_buckets(), [BUCKET[key] for key in some])
    parts = [whole.part(np.flatnonzero(mine), np.flatnonzero(said))]
    parts.append(whole.part(np.flatnonzero(~mine), np.flatnonzero(~said)))
    assert {key for key, _ in parts[0].emitted} <= some
    assert content(merged(parts, piece=9)) == content(whole)
    for part in parts:
        assert part.burst.marks.tolist() == sorted(part.burst.marks.tolist()), "order is kept"


@given(PACKETS, st.lists(st.sampled_from(KEYS), max_size=6))
def test_sorted_by_bucket_what_is_of_one_flow_stays_in_order(
    packets: list[tuple[bytes, int]], emitted: list[bytes]
) -> None:
    whole = commit_of(packets, emitted)
    ordered = whole.by_bucket()
    assert content(ordered) == content(whole)
    pairs = list(zip(ordered.buckets.tolist(), ordered.burst.marks.tolist(), strict=True))
    assert pairs == sorted(pairs)
    said = list(zip(ordered.emitted_buckets().tolist(), (record for _, record in ordered.emitted), strict=True))
    assert said == sorted(said)


@given(PACKETS, st.lists(st.sampled_from(KEYS), max_size=6), st.booleans(), st.booleans(), st.data())
def test_what_a_dead_replica_had_released_is_left_out_and_nothing_else(
    packets: list[tuple[bytes, int]], emitted: list[bytes], packets_came: bool, outcomes_came: bool, data: st.DataObject
) -> None:
    """By its last receipt and its last word to the outside, and by packets that came behind that receipt."""
    whole = commit_of(packets, emitted)
    marks = set(whole.burst.marks.tolist())
    seen = data.draw(st.sets(st.sampled_from(sorted(marks)))) if marks else set[int]()
    came = Watermark({bytes(6): 7 if packets_came else 6}, seen, 7 if outcomes_came else 6)
    rest, doubtful = whole.after(7, came)
    assert doubtful == 0
    expected = [
        mark
        for mark, (_, code) in zip(whole.burst.marks.tolist(), packets, strict=True)
        if not ((packets_came or mark in seen) if code <= REPLY else outcomes_came)
    ]
    assert rest.burst.marks.tolist() == expected
    assert len(rest.emitted) == (0 if outcomes_came else len(emitted))
    assert len(rest.buckets) == len(rest.burst) == len(rest.codes)
    assert rest.empty == (not (len(rest.codes) or rest.emitted))


def test_a_receipt_at_one_switch_says_nothing_of_packets_that_came_from_another() -> None:
    whole = commit_of([(KEYS[0], 0), (KEYS[1], 0)], [])
    cluster_frame.readdress(whole.burst.slice(1, 2), target=bytes(6), source=b"switch")
    rest, _ = whole.after(3, Watermark({b"switch": 3}))
    assert rest.burst.marks.tolist() == whole.burst.marks.tolist()[:1]


def test_what_a_switch_has_forgotten_is_in_doubt_and_does_not_come_twice() -> None:
    whole = commit_of([(KEYS[0], 0), (KEYS[1], 0), (KEYS[2], 5)], [KEYS[0]])
    first, second, dropped = whole.burst.marks.tolist()
    cluster_frame.readdress(whole.burst.slice(1, 2), target=bytes(6), source=b"switch")
    whole.doubtful.add(b"switch")
    rest, doubtful = whole.after(3, Watermark())
    assert ([first, dropped], 1) == (rest.burst.marks.tolist(), doubtful)
    rest, doubtful = whole.after(3, Watermark(marks={second}))
    assert ([first, dropped], 0) == (rest.burst.marks.tolist(), doubtful), "it is known to have come"


def test_merged_commits_count_as_the_oldest_piece() -> None:
    commits = [commit_of([], [], piece=7), commit_of([], [], piece=3)]
    assert (3, 9) == (merged(commits, piece=9).piece, merged([], piece=9).piece)


def test_a_message_has_what_changed_and_drops_apart_from_packets() -> None:
    engine = engine_of()
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4)])
    changed = engine.changes.of(engine.touched)
    commit = Commit(
        piece=1,
        buckets=np.array([1, 2, 1], np.uint16),
        burst=burst_of([udp(A, 1, B, 2), udp(A, 3, B, 4), udp(A, 1, B, 2)], first_mark=5),
        codes=np.array([0, 5, 0], np.uint8),
    )
    ended = FlowKeys.of([bytes(48)])
    about = {"reasons": engine.reasons, "node": "one", "address": b"\2" * 6, "sequence": 4}
    message = to_message(commit, changed, ended, **about)  # type: ignore[arg-type]
    assert (message.changes, message.ended) == (changed.octets, bytes(48))
    assert unpack_burst(message.packets).marks.tolist() == [5, 7]
    assert ((engine.reasons[5],), (1,)) == (message.reasons, message.counts)
    assert np.frombuffer(message.marks, "<u8").tolist() == [6]
    replies = Commit(piece=1, buckets=commit.buckets, burst=commit.burst, codes=np.array([0, 1, 0], np.uint8))
    message = to_message(replies, NOTHING_CHANGED, NO_KEYS, **about)  # type: ignore[arg-type]
    assert ((), b"", 3) == (message.reasons, message.marks, len(unpack_burst(message.packets)))
