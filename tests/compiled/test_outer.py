"""Outer headers by machine code and by numpy: the same answers, the same octets, the same errors."""

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.compiled import native, outer_headers
from nfactor.compiled.outer_headers import CompiledHeaders
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import ETHERTYPE_MARKER, ETHERTYPE_PACKET

OWN, OTHER = b"\x02owner", b"\x02other"
FRAMES = st.lists(
    st.builds(
        lambda target, source, kind, rest: target + source + kind.to_bytes(2, "big") + rest,
        st.binary(min_size=6, max_size=6),
        st.sampled_from([OWN, OTHER, b"\x02ownes", b"\x03owner"]) | st.binary(min_size=6, max_size=6),
        st.sampled_from([ETHERTYPE_PACKET, ETHERTYPE_MARKER, 0x0800, 0xB688]),
        st.binary(max_size=9),
    ),
    max_size=9,
)


def outcome(headers: Any, name: str, burst: Burst, **addresses: bytes) -> Any:
    """What a function answers or raises, and what the data are then, all of them."""
    data = burst.data.copy()
    data.flags.writeable = burst.data.flags.writeable
    copy = Burst(data, burst.offsets, burst.lengths, burst.wire_lengths, burst.times, burst.marks)
    try:
        answer = getattr(headers, name)(copy, **addresses)
    except (IndexError, ValueError) as error:
        answer = type(error)
    return answer.tolist() if isinstance(answer, np.ndarray) else answer, data.tobytes()


def alike(burst: Burst) -> None:
    compiled = CompiledHeaders()
    for name, addresses in (
        ("marker_indices", {}),
        ("common_source", {}),
        ("turn_back", {"source": OWN}),
        ("readdress", {"target": OTHER, "source": OWN}),
    ):
        expected = outcome(cluster_frame, name, burst, **addresses)
        assert outcome(compiled, name, burst, **addresses) == expected
        assert outcome(outer_headers, name, burst, **addresses) == expected


@given(FRAMES, st.data())
def test_they_agree_on_any_frames_in_any_order(frames: list[bytes], data: st.DataObject) -> None:
    burst = Burst.from_frames(frames)
    places = st.lists(st.integers(0, len(frames) - 1), unique=True) if frames else st.just([])
    alike(burst)
    alike(burst.select(np.array(data.draw(places), np.intp)))


def test_they_agree_on_frames_of_one_source() -> None:
    frames = [bytes(6) + OTHER + bytes(4)] * 3
    alike(Burst.from_frames(frames))
    assert outer_headers.count_sources(Burst.from_frames(frames)) == {OTHER: 3}
    assert outer_headers.count_sources(Burst.from_frames([*frames, bytes(6) + OWN + bytes(4)])) == {OTHER: 3, OWN: 1}


@pytest.mark.parametrize("start", [-1, -20, 3, 1 << 40])
def test_a_frame_that_lies_elsewhere_is_what_it_is_to_numpy_and_nothing_is_written_behind_the_data(start: int) -> None:
    burst = Burst.from_frames([bytes(6) + OTHER + bytes(4)] * 3)
    burst.offsets[1] = start if start != 3 else len(burst.data) - 3
    with pytest.raises(IndexError):
        cluster_frame.marker_indices(Burst.from_frames([b"short"]))
    compiled = CompiledHeaders()
    for name, addresses in (("marker_indices", {}), ("common_source", {}), ("turn_back", {"source": OWN})):
        assert outcome(compiled, name, burst, **addresses) == outcome(cluster_frame, name, burst, **addresses)


def test_frames_that_may_not_be_written_and_columns_with_gaps_are_left_to_numpy() -> None:
    burst = Burst.from_frames([bytes(6) + OTHER + bytes(4), bytes(6) + OWN + bytes(4)] * 3)
    alike(burst.select(slice(None, None, 2)))
    burst.data.flags.writeable = False
    alike(burst)


@pytest.mark.parametrize("broken", [False, True])
def test_without_llvm_it_is_numpy(broken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("no such library")

    if broken:
        monkeypatch.setattr(outer_headers, "CompiledHeaders", fail)
    else:
        monkeypatch.setattr(outer_headers, "find_spec", lambda name: None)
    outer_headers.load.cache_clear()
    try:
        assert outer_headers.load() is cluster_frame
    finally:
        outer_headers.load.cache_clear()


def test_its_code_stays_though_nobody_else_has_it() -> None:
    headers = CompiledHeaders()
    native.load.cache_clear()
    gc.collect()
    native.load("", native.SWITCH)  # takes the place in memory that would be free
    burst = Burst.from_frames([OTHER + OWN + bytes(60)])
    headers.readdress(burst, target=OWN, source=OTHER)
    assert [OWN + OTHER] == [frame[:12] for frame in burst.frames()]
