"""Bursts: columns over one buffer."""

import numpy as np
from hypothesis import given, strategies as st

from nfactor.packet.burst import Burst, concatenate

FRAMES = [b"one", b"", b"three", b"four"]


def burst() -> Burst:
    """Four frames with columns that can be told apart."""
    return Burst.from_frames(FRAMES, times=range(10, 14), marks=range(1, 5), wire_lengths=range(60, 64))


def test_frames_come_back_as_they_were() -> None:
    """One by one and all at once."""
    assert FRAMES == burst().frames() == [burst().frame(index) for index in range(4)]
    assert 4 == len(burst())


def test_columns_have_defaults() -> None:
    """Frames alone: their own lengths, no times, no marks."""
    plain = Burst.from_frames(FRAMES)
    assert ([3, 0, 5, 4], [0] * 4, [0] * 4) == (
        plain.wire_lengths.tolist(),
        plain.times.tolist(),
        plain.marks.tolist(),
    )


def test_a_burst_may_be_empty() -> None:
    """No frames is a burst too."""
    assert (0, []) == (len(Burst.from_frames([])), Burst.from_frames([]).frames())


def test_selecting_shares_frames_and_keeps_columns_together() -> None:
    """Any order, any selection."""
    whole = burst()
    selected = whole.select(np.array([3, 0]))
    assert ([b"four", b"one"], [4, 1]) == (selected.frames(), selected.marks.tolist())
    assert ([63, 60], [13, 10]) == (selected.wire_lengths.tolist(), selected.times.tolist())
    assert whole.data is selected.data
    assert FRAMES[1:3] == whole.slice(1, 3).frames()


@given(st.lists(st.lists(st.integers(0, 40), max_size=6), min_size=2, max_size=4), st.booleans(), st.data())
def test_concatenating_keeps_frames_however_they_lie(sizes: list[list[int]], alike: bool, data: st.DataObject) -> None:
    """One behind the other, of one length in any order, and others: each is copied in a way of its own."""
    bursts = [Burst.from_frames([bytes([n]) * (9 if alike else n) for n in those], marks=those) for those in sizes]
    parts = [part.select(np.array(data.draw(st.permutations(range(len(part)))), np.intp)) for part in bursts]
    both = concatenate(parts)
    assert both.frames() == [frame for part in parts for frame in part.frames()]
    assert both.marks.tolist() == [mark for part in parts for mark in part.marks.tolist()]


def test_concatenating_copies_few_frames_of_a_large_buffer_and_not_the_buffer() -> None:
    data = np.zeros(1 << 16, np.uint8)
    data[40_000:40_004] = 1
    few = Burst(data, np.array([40_000, 7]), *(np.full(2, 4, kind) for kind in ("u4", "u4", "i8", "u8")))
    both = concatenate([few, few])
    assert [b"\1\1\1\1", bytes(4)] * 2 == both.frames()
    assert len(both.data) == 16


def test_concatenating_copies_all_in_order() -> None:
    """Columns and frames of both; one burst alone is itself."""
    whole = burst()
    assert whole is concatenate([whole])
    both = concatenate([whole, whole.slice(0, 1)])
    assert [*FRAMES, b"one"] == both.frames()
    assert ([1, 2, 3, 4, 1], [10, 11, 12, 13, 10]) == (both.marks.tolist(), both.times.tolist())
    assert [60, 61, 62, 63, 60] == both.wire_lengths.tolist()
