"""A burst as one byte string: what was packed comes back, and nothing else is taken for one."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.errors import ProtocolError
from nfactor.packet.burst import Burst
from nfactor.packet.burst_codec import pack_burst, unpack_burst

PACKETS = st.lists(
    st.tuples(
        st.binary(max_size=80),
        st.integers(0, 2**32 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 2**64 - 1),
    ),
    max_size=8,
)


def burst_of(packets: list[tuple[bytes, int, int, int]]) -> Burst:
    return Burst.from_frames(
        [frame for frame, _, _, _ in packets],
        wire_lengths=[length for _, length, _, _ in packets],
        times=[time for _, _, time, _ in packets],
        marks=[mark for _, _, _, mark in packets],
    )


@given(PACKETS)
def test_frames_and_columns_come_back(packets: list[tuple[bytes, int, int, int]]) -> None:
    burst = burst_of(packets)
    again = unpack_burst(pack_burst(burst))
    assert again.frames() == burst.frames()
    for column in ("lengths", "wire_lengths", "times", "marks"):
        one, other = getattr(burst, column), getattr(again, column)
        assert one.tolist() == other.tolist()
        assert one.dtype == other.dtype
    again.data[:] = 0  # it may be rewritten


def test_a_selection_is_packed_without_what_it_leaves_out() -> None:
    burst = Burst.from_frames([b"one", b"second", b"three"]).select(np.array([2, 0]))
    assert unpack_burst(pack_burst(burst)).frames() == [b"three", b"one"]


@given(st.lists(st.integers(0, 70), min_size=1, max_size=12), st.booleans(), st.data())
def test_any_selection_is_packed_as_it_is(lengths: list[int], alike: bool, data: st.DataObject) -> None:
    """Frames that lie one behind the other, that are alike, and others take different ways."""
    burst = Burst.from_frames([bytes([place]) * (lengths[0] if alike else n) for place, n in enumerate(lengths)])
    some = burst.select(np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1))), np.intp))
    assert unpack_burst(pack_burst(some)).frames() == some.frames()
    every = burst.select(slice(None, None, 2))
    assert unpack_burst(pack_burst(every)).frames() == every.frames()


@given(PACKETS, st.data())
def test_octets_that_were_changed_are_refused_or_are_another_burst(
    packets: list[tuple[bytes, int, int, int]], data: st.DataObject
) -> None:
    octets = bytearray(pack_burst(burst_of(packets)))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    for wrong in (bytes(octets), cut, cut + b"\0"):
        try:
            burst = unpack_burst(wrong)
        except ProtocolError:
            continue
        assert sum(map(len, burst.frames())) == sum(burst.lengths.tolist()) == len(wrong) - 8 - 24 * len(burst)


@given(st.binary(max_size=64))
def test_junk_raises_only_our_own_error(junk: bytes) -> None:
    try:
        unpack_burst(junk)
    except ProtocolError:
        return
    assert len(junk) >= 8


def test_a_count_that_cannot_be_is_refused() -> None:
    with pytest.raises(ProtocolError, match="says it has 4294967295 packets"):
        unpack_burst(b"\xff\xff\xff\xff")
