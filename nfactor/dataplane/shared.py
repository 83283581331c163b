"""What a network function shares between flows: counters that are summed over runtimes, and pools of numbers.

Both are written in the language of network functions (``docs/reference/nf-language.md``) over ``numbers``, so the
compiled engine translates them with the NF that uses them: nothing in it knows that they exist.

A pool is *alone* until somebody leases: all its numbers are there to be taken, and what is given back may be taken at
once, which is what a test wants. In a cluster it begins empty, is filled in blocks between bursts, and what is given
back *rests* until whoever looks after it (``nfactor.cluster.pools``) has decided where it belongs. So ``take`` never
asks anyone, and one that finds nothing says so.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nfactor.dataplane.memory import numbers
from nfactor.dataplane.state import u32, u64
from nfactor.errors import CallerError

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE_LEFT: Final = -1
"""What ``Pool.take`` gives where there is nothing to give."""
POOL_NUMBERS_MAX: Final = 1 << 24
"""Numbers of one pool, at most."""
BLOCK_NUMBERS: Final = 1024
"""Numbers that a runtime is leased at once, unless a pool says otherwise."""

Numbers = npt.NDArray[np.uint32]

_HEAD, _FREE, _RESTING, _LEASED = range(4)
_EMPTY, _STRAY = range(2)


class Counter:
    """A count of one runtime. Those of all runtimes are added up in reports, as ``NF.attribute``."""

    def __init__(self) -> None:
        self.cells = numbers(u64, 1)

    def add(self, count: int = 1) -> None:
        """So many more."""
        self.cells[0] += count

    @property
    def value(self) -> int:
        """The count so far."""
        return self.cells[0]


class Pool:
    """The numbers 0 to ``size - 1``, each of which is somebody's or free. ``block``: how many a runtime is leased at
    once. What was given back first is taken first, so that a number rests as long as it can."""

    def __init__(self, size: int, block: int = BLOCK_NUMBERS) -> None:
        if not 0 < size <= POOL_NUMBERS_MAX or block < 1:
            raise CallerError(f"Pool({size}, {block}): takes 1 to {POOL_NUMBERS_MAX} numbers, in blocks of 1 or more")
        self.size = size
        self.block = min(block, size)
        self.ring = numbers(u32, range(size))
        """From ``head`` on the free numbers, then those that rest."""
        self.marks = numbers(u32, [0, size, 0, 0])
        self.refusals = numbers(u64, 2)

    # ---------------------------------------------------------------- for network functions

    def take(self) -> int:
        """A number that nobody has, or ``NONE_LEFT`` (-1), which is counted."""
        if self.marks[_FREE] == 0:
            self.refusals[_EMPTY] += 1
            return NONE_LEFT
        head = self.marks[_HEAD]
        self.marks[_HEAD] = head + 1 if head + 1 < self.size else 0
        self.marks[_FREE] -= 1
        return self.ring[head]

    def give_back(self, number: int) -> None:
        """The flow that had the number has ended. It may have taken it on another runtime. What cannot be a number of
        this pool, or one too many, is refused and counted."""
        held = self.marks[_FREE] + self.marks[_RESTING]
        if number < 0 or number >= self.size or held >= self.size:
            self.refusals[_STRAY] += 1
        else:
            tail = self.marks[_HEAD] + held
            self.ring[tail if tail < self.size else tail - self.size] = number
            if self.marks[_LEASED]:
                self.marks[_RESTING] += 1
            else:
                self.marks[_FREE] += 1

    # ---------------------------------------------------------------- for who looks after it, between bursts

    @property
    def free(self) -> int:
        """How many may be taken."""
        return self.marks[_FREE]

    @property
    def refused_empty(self) -> int:
        """How often nothing was left."""
        return self.refusals[_EMPTY]

    @property
    def refused_stray(self) -> int:
        """How many were given back that could not be of this pool."""
        return self.refusals[_STRAY]

    def free_numbers(self) -> Numbers:
        """Those that may be taken, the next one first."""
        head = self.marks[_HEAD]
        return self._array()[np.arange(head, head + self.free) % self.size]

    def lease(self) -> None:
        """Begin empty: numbers come by ``put``, and what is given back goes by ``collect``."""
        self.marks[:] = [0, 0, 0, 1]

    def put(self, given: "Sequence[int] | Numbers") -> None:
        """These may be taken, after all others."""
        resting = self.collect()
        self._append(given, _FREE)
        self._append(resting, _RESTING)

    def collect(self) -> Numbers:
        """What was given back since the last call; it is here no more."""
        resting = self.marks[_RESTING]
        self.marks[_RESTING] = 0
        return self._array()[self._places(resting)]

    def _append(self, given: "Sequence[int] | Numbers", mark: int) -> None:
        assert self.marks[_FREE] + self.marks[_RESTING] + len(given) <= self.size, "each number is in a pool once"
        self._array()[self._places(len(given))] = given
        self.marks[mark] += len(given)

    def _places(self, count: int) -> npt.NDArray[np.intp]:
        """So many behind the free and the resting ones."""
        start = self.marks[_HEAD] + self.marks[_FREE] + self.marks[_RESTING]
        return (np.arange(start, start + count) % self.size).astype(np.intp)

    def _array(self) -> Numbers:
        return np.frombuffer(self.ring, np.uint32)  # type: ignore[call-overload, no-any-return]  # a ctypes array
