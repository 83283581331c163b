"""Memory of the engine's own: pieces of the address space of which only what is used takes room.

A piece is as large as the table may ever become; the kernel gives its pages when they are first written, all zeros.
So a row has one address for its life, and a table with a thousand flows takes the memory of a thousand flows.
"""

import ctypes
import mmap
from contextlib import suppress
from typing import Any, Final

import numpy as np

from nfactor.errors import CallerError

_LINE: Final = 64
_PAGE: Final = 4096
_LARGE_PAGE: Final = 1 << 21


class Piece:
    """So many octets, all zero, at ``address`` (a multiple of 64). Raises ``CallerError`` where they cannot be had."""

    def __init__(self, octets: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        try:
            self._map = mmap.mmap(-1, max(_PAGE, octets), flags=flags)
        except (OSError, OverflowError) as error:
            raise CallerError(
                f"no room for a flow table of {octets:,} octets ({error}); use a smaller flows_max"
            ) from None
        self.array = np.frombuffer(self._map, np.uint8)
        self.address: int = self.array.ctypes.data
        assert self.address % _LINE == 0

    def use_large_pages(self) -> None:
        """Ask for pages of 2 MB behind the first 2 MB, where the kernel has them: a small table stays small, and a
        large one costs a fault for thousands of rows and not for thirty."""
        start = -(-self.address // _LARGE_PAGE) * _LARGE_PAGE - self.address + _LARGE_PAGE
        if hasattr(mmap, "MADV_HUGEPAGE") and start < len(self._map):
            with suppress(OSError):
                self._map.madvise(mmap.MADV_HUGEPAGE, start)


class Words:
    """The words of a context, by their offset in octets."""

    def __init__(self, octets: int) -> None:
        self._piece = Piece(octets)
        self.address = self._piece.address
        self.array = self._piece.array
        """All of it, for who keeps it alive."""
        self._words: Any = (ctypes.c_int64 * (octets // 8)).from_address(self.address)

    def __getitem__(self, offset: int) -> int:
        word: int = self._words[offset >> 3]
        return word

    def __setitem__(self, offset: int, value: int) -> None:
        self._words[offset >> 3] = value
