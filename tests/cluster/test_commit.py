"""Commits are split by flow and put together again, and nothing is lost or doubled on the way."""

import numpy as np
from hypothesis import given, strategies as st

from nfactor.cluster.commit import Commit, merged, to_message
from nfactor.dataplane.engine import REPLY
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import keys_list
from nfactor.testing.packets import burst_of, udp
from tests.dataplane.test_engines import A, B, engine_of, process

KEYS = [bytes([letter]) * 48 for letter in b"abcd"]
PACKETS = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([0, 1, 5, 9])), max_size=12)


def commit_of(packets: list[tuple[bytes, int]], emitted: list[bytes], piece: int = 1) -> Commit:
    return Commit(
        piece=piece,
        keys=[key for key, _ in packets],
        burst=burst_of([udp(A, 1, B, 2, bytes([index])) for index in range(len(packets))]),
        codes=np.array([code for _, code in packets], np.uint8),
        emitted=[(key, index) for index, key in enumerate(emitted)],
    )


def content(commit: Commit) -> tuple[list[tuple[bytes, int, int]], list[tuple[bytes, object]]]:
    columns = zip(commit.keys, commit.codes.tolist(), commit.burst.marks.tolist(), strict=True)
    return sorted(columns), sorted(commit.emitted, key=repr)


@given(PACKETS, st.lists(st.sampled_from(KEYS), max_size=6), st.sets(st.sampled_from(KEYS)))
def test_the_parts_of_a_commit_are_together_the_whole(
    packets: list[tuple[bytes, int]], emitted: list[bytes], some: set[bytes]
) -> None:
    whole = commit_of(packets, emitted)
    parts = [whole.part(some), whole.part(set(KEYS) - some)]
    assert all(set(part.flows()) <= group for part, group in zip(parts, (some, set(KEYS) - some), strict=True))
    assert content(merged(parts, piece=9)) == content(whole)
    for part in parts:
        assert part.burst.marks.tolist() == sorted(part.burst.marks.tolist()), "order is kept"


@given(PACKETS, st.lists(st.sampled_from(KEYS), max_size=6), st.booleans(), st.booleans())
def test_what_a_dead_replica_had_released_is_left_out_and_nothing_else(
    packets: list[tuple[bytes, int]], emitted: list[bytes], packets_came: bool, outcomes_came: bool
) -> None:
    whole = commit_of(packets, emitted)
    rest = whole.after(packets_came=packets_came, outcomes_came=outcomes_came)
    went_on = [code for _, code in packets if code <= REPLY]
    dropped = [code for _, code in packets if code > REPLY]
    assert rest.codes.tolist() == [
        code for _, code in packets if not (packets_came if code <= REPLY else outcomes_came)
    ]
    assert len(rest.codes) == (0 if packets_came else len(went_on)) + (0 if outcomes_came else len(dropped))
    assert len(rest.emitted) == (0 if outcomes_came else len(emitted))
    assert len(rest.keys) == len(rest.burst) == len(rest.codes)


def test_merged_commits_count_as_the_oldest_piece() -> None:
    commits = [commit_of([], [], piece=7), commit_of([], [], piece=3)]
    assert (3, 9) == (merged(commits, piece=9).piece, merged([], piece=9).piece)


def test_a_flow_that_ended_and_lives_again_is_stored_and_not_ended() -> None:
    ended = Commit(piece=1, ended=[KEYS[0], KEYS[1]])
    both = merged([ended, ended], piece=2, states=[KEYS[0]])
    assert both.ended == [KEYS[1]]
    assert both.states == [KEYS[0]]


def test_a_message_has_the_states_as_they_are_now_and_drops_apart_from_packets() -> None:
    engine = engine_of()
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4)])
    first, second = engine.keys()
    commit = Commit(
        piece=1,
        keys=[first, second, first],
        burst=burst_of([udp(A, 1, B, 2), udp(A, 3, B, 4), udp(A, 1, B, 2)], first_mark=5),
        codes=np.array([0, 5, 0], np.uint8),
        ended=[bytes(48)],
    )
    message = to_message(commit, engine, node="one", address=b"\2" * 6, sequence=4)
    assert keys_list(message.keys) == [first, second]
    assert message.records == engine.copy([first, second])[1].tobytes()
    assert message.ended == bytes(48)
    assert unpack_burst(message.packets).marks.tolist() == [5, 7]
    assert ((engine.reasons[5],), (1,)) == (message.reasons, message.counts)
    assert np.frombuffer(message.marks, "<u8").tolist() == [6]
