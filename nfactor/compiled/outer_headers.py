"""What is read from and written to the outer headers of bursts: by machine code where LLVM is there, else by numpy.

The functions are those of ``packet.cluster_frame``, with the same promises. numpy takes ten times as long for them, as
it gathers six octets of each frame and scatters them again.
"""

from collections import Counter
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import NO_ADDRESS

_NOWHERE: Final = np.zeros(0, np.intp)


class CompiledHeaders:
    """By machine code; what it refuses, numpy does, or says what is wrong."""

    def __init__(self) -> None:
        from nfactor.compiled import layout, native, python_calls
        from nfactor.compiled.memory_map import Words

        self._context = Words(layout.CONTEXT_OCTETS)
        self._code = native.load("", native.OUTER)  # it is gone from memory when nobody has it
        self._find_markers, self._same_source, self._turn_back, self._readdress = (
            python_calls.bind_arrays(self._code.address(name), self._context)
            for name in ("find_markers", "same_source", "turn_back", "readdress")
        )

    def marker_indices(self, burst: Burst) -> npt.NDArray[np.intp]:
        """See ``cluster_frame.marker_indices``."""
        found = np.empty(len(burst.offsets), np.intp)
        count = self._find_markers(burst.data, burst.offsets, found)
        if count < 0:
            return cluster_frame.marker_indices(burst)
        return found[:count] if count else _NOWHERE

    def common_source(self, burst: Burst) -> bytes | None:
        """See ``cluster_frame.common_source``."""
        same = self._same_source(burst.data, burst.offsets)
        if same < 0:
            return cluster_frame.common_source(burst)
        if not same or not len(burst.offsets):
            return None
        start = int(burst.offsets[0])
        return bytes(burst.octets()[start + 6 : start + 12])

    def turn_back(self, burst: Burst, *, source: bytes) -> None:
        """See ``cluster_frame.turn_back``."""
        assert len(source) == len(NO_ADDRESS)
        if self._turn_back(burst.data, burst.offsets, np.frombuffer(source, np.uint8)) < 0:
            cluster_frame.turn_back(burst, source=source)

    def readdress(self, burst: Burst, *, target: bytes, source: bytes) -> None:
        """See ``cluster_frame.readdress``."""
        assert len(target) == len(source) == len(NO_ADDRESS)
        if self._readdress(burst.data, burst.offsets, np.frombuffer(target + source, np.uint8)) < 0:
            cluster_frame.readdress(burst, target=target, source=source)


@cache
def load() -> Any:
    """What does the work from now on. It is code, of which there need be no more than one in a process; to have it made
    takes a moment in which nothing else happens, so a node asks for it before it begins. Where LLVM cannot be loaded
    numpy does it."""
    if find_spec("llvmlite") is None:
        return cluster_frame
    try:
        return CompiledHeaders()
    except (ImportError, OSError, RuntimeError):  # as llvmlite has it
        return cluster_frame


def marker_indices(burst: Burst) -> npt.NDArray[np.intp]:
    """See ``cluster_frame.marker_indices``."""
    found: npt.NDArray[np.intp] = load().marker_indices(burst)
    return found


def common_source(burst: Burst) -> bytes | None:
    """See ``cluster_frame.common_source``."""
    source: bytes | None = load().common_source(burst)
    return source


def count_sources(burst: Burst) -> dict[bytes, int]:
    """How many frames there are from each source address."""
    common = common_source(burst)
    return Counter(cluster_frame.sources(burst)) if common is None else {common: len(burst)}


def turn_back(burst: Burst, *, source: bytes) -> None:
    """See ``cluster_frame.turn_back``."""
    load().turn_back(burst, source=source)


def readdress(burst: Burst, *, target: bytes, source: bytes) -> None:
    """See ``cluster_frame.readdress``."""
    load().readdress(burst, target=target, source=source)
