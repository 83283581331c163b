"""What reading pcap and pcapng has in common: a file read in pieces of fixed size, and how it ends.

A capture of any size passes through one buffer. A file that ends in the middle of a record, or in which a record makes
no sense, is no error: what stands before is read, and the reader says ``truncated`` and, in ``problem``, why. Only a
file of which nothing can be read raises ``CaptureError``.
"""

import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import BinaryIO, Literal, Self

from nfactor.errors import CaptureError
from nfactor.packet.burst import Burst

READ_OCTETS = 1 << 20
"""How much is read from the file at once, at least."""
FRAME_OCTETS_MAX = 256 << 10
"""A frame that claims to be longer is damage (libpcap's own limit)."""
RECORD_OCTETS_MAX = 64 << 20
"""A pcapng block that claims to be longer is damage; blocks without packets (secrets, names) may be large."""


class CaptureReader(ABC):
    """A capture file under way: bursts of frames behind our header, until there are no more. A context manager."""

    format: Literal["pcap", "pcapng"]
    """What the file is; a copy of it should be the same."""
    linktype: int = 1
    """The pcap link type of the file (pcapng: of its first interface)."""
    nanoseconds: bool = True
    """Whether its times may be finer than microseconds."""
    truncated: bool = False
    """Whether the file ended before its last record did, or went bad."""
    problem: str = ""
    """Why it is truncated, in one line."""

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO, start: bytes) -> None:
        """Over an open file of which ``start`` has been read. The reader closes it."""
        self.path = os.fspath(path)
        self._file = file
        self._buffer = start
        self._position = 0
        self._frames = 0
        self._ended = False

    def read_burst(self, packets_max: int) -> Burst | None:
        """The next packets, at least one and at most ``packets_max``; None at the end of the file (or its cut).

        Each frame stands behind our 16-octet header with its link type and no addresses. ``wire_lengths`` are the
        original lengths, ``times`` nanoseconds, ``marks`` frame numbers from 1.
        """
        assert packets_max > 0
        if self._ended:
            return None
        burst = self._read(packets_max)
        if burst is None:
            self._ended = True
            self.close()
        else:
            self._frames += len(burst)
        return burst

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _read(self, packets_max: int) -> Burst | None:
        """Some packets, or None when there are none left."""

    def _available(self, octets: int) -> bool:
        """Have so many octets in the buffer from ``_position`` on, unless the file (or what can be read of it) ends."""
        while len(self._buffer) - self._position < octets:
            try:
                piece = self._file.read(max(READ_OCTETS, octets))
            except OSError as error:
                self._cut(f"cannot be read further: {error.strerror}")
                piece = b""
            if not piece:
                return False
            self._buffer = self._buffer[self._position :] + piece
            self._position = 0
        return True

    def _cut(self, problem: str) -> None:
        """Note why the file ends early; the first reason stands."""
        if not self.truncated:
            self.truncated, self.problem = True, problem

    def _broken(self, problem: str) -> CaptureError:
        return CaptureError(f"{self.path}: {problem}")
