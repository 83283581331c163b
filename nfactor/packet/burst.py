"""A burst: some frames in one contiguous buffer, with the columns that describe them.

A burst is what ports carry and engines process. The frames lie in ``data``, as a NIC ring gives them, described by
columns (numpy arrays of equal length), so that a compiled loop reads them in place and selecting, splitting or
dropping packets copies indices, never frames. ``select`` shares ``data`` with the burst it came from: whoever rewrites
a frame owns it, and a frame has one owner at a time because it is in one selection at a time.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

Octets: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]
Lengths: TypeAlias = npt.NDArray[np.uint32]
Times: TypeAlias = npt.NDArray[np.int64]
Marks: TypeAlias = npt.NDArray[np.uint64]

BURST_PACKETS_MAX = 1024
"""Packets that a port hands out at once, at most. NICs give 64; in memory, where a hop costs the same for any burst,
larger ones are cheaper per packet."""


@attrs.frozen(eq=False, slots=True)
class Burst:
    """Frames and their columns; all columns have one length, the number of packets.

    Whether a frame may be rewritten in place is the owner's affair; the columns are never changed after creation.
    """

    data: Octets
    """``uint8[:]``, C-contiguous and writable: the bytes of the frames, wherever ``offsets`` says."""
    offsets: Offsets
    """``int64[n]``: where each frame begins in ``data``."""
    lengths: Lengths
    """``uint32[n]``: octets of each frame that are here (what a snapped capture kept)."""
    wire_lengths: Lengths
    """``uint32[n]``: octets that the frame had when it was received, without any header of our own."""
    times: Times
    """``int64[n]``: nanoseconds since the epoch at which it was received: the clock that the packets are on."""
    marks: Marks
    """``uint64[n]``: an opaque mark that stays with the packet (``replay``: the input frame number, from 1; else 0)."""

    def __len__(self) -> int:
        return len(self.offsets)

    def octets(self) -> memoryview:
        """``data`` as a memoryview, whose items Python reads faster than an array's; writable as ``data`` is."""
        return self.data.data

    def frame(self, index: int) -> bytes:
        """A copy of one frame's octets: for tests, logs and files, not for the fast way."""
        start = int(self.offsets[index])
        return self.data[start : start + int(self.lengths[index])].tobytes()

    def frames(self) -> list[bytes]:
        """Copies of all frames, in order."""
        data = self.octets()
        return [
            bytes(data[start : start + length])
            for start, length in zip(self.offsets.tolist(), self.lengths.tolist(), strict=True)
        ]

    def pieces(self) -> Iterable[memoryview]:
        """The frames, one behind the other, in as few pieces as are quick to be had."""
        offsets, lengths = self.offsets, self.lengths
        if not len(offsets):
            return ()
        ends = offsets + lengths
        if (ends[:-1] == offsets[1:]).all():
            return (self.octets()[int(offsets[0]) : int(ends[-1])],)
        octets = int(lengths[0])
        if octets and (lengths == octets).all():
            # Each frame is one element of an array whose elements overlap: numpy copies elements of any size whole.
            places = len(self.data) - octets + 1
            frames: npt.NDArray[np.void] = np.ndarray((places,), f"V{octets}", self.octets(), 0, (1,))
            return (frames[offsets].view(np.uint8).data,)
        data = self.octets()
        return (data[start:end] for start, end in zip(offsets.tolist(), ends.tolist(), strict=True))

    def select(self, indices: npt.NDArray[np.intp] | slice) -> "Burst":
        """Those packets, in the order of ``indices``; the frames are shared, not copied."""
        return Burst(
            self.data,
            self.offsets[indices],
            self.lengths[indices],
            self.wire_lengths[indices],
            self.times[indices],
            self.marks[indices],
        )

    def where(self, labels: Sequence[int], label: int) -> "Burst":
        """The packets that have this label in a sequence of one label per packet; the burst itself if all have it."""
        if labels.count(label) == len(self):
            return self
        return self.select(np.flatnonzero(np.asarray(labels) == label))

    def slice(self, start: int, stop: int) -> "Burst":
        """The packets ``start`` to ``stop`` (exclusive); columns are views, frames are shared."""
        return self.select(slice(start, stop))

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[bytes],
        *,
        times: Iterable[int] | None = None,
        marks: Iterable[int] | None = None,
        wire_lengths: Iterable[int] | None = None,
    ) -> "Burst":
        """A burst of copies of ``frames``; times and marks are 0 and wire lengths the frames' own unless given."""
        count = len(frames)
        lengths = np.fromiter(map(len, frames), np.uint32, count)
        offsets = np.zeros(count, np.int64)
        np.cumsum(lengths[:-1], out=offsets[1:])
        return cls(
            np.frombuffer(bytearray().join(frames), np.uint8),
            offsets,
            lengths,
            lengths.copy() if wire_lengths is None else np.fromiter(wire_lengths, np.uint32, count),
            np.zeros(count, np.int64) if times is None else np.fromiter(times, np.int64, count),
            np.zeros(count, np.uint64) if marks is None else np.fromiter(marks, np.uint64, count),
        )


def concatenate(bursts: Sequence[Burst]) -> Burst:
    """One burst of all packets of ``bursts``, of which there is one at least, in order; the frames are copied into one
    buffer."""
    if len(bursts) == 1:
        return bursts[0]
    lengths = np.concatenate([burst.lengths for burst in bursts])
    offsets = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=offsets[1:])
    return Burst(
        np.frombuffer(bytearray().join(piece for burst in bursts for piece in burst.pieces()), np.uint8),
        offsets,
        lengths,
        np.concatenate([burst.wire_lengths for burst in bursts]),
        np.concatenate([burst.times for burst in bursts]),
        np.concatenate([burst.marks for burst in bursts]),
    )
