"""Where each number of a pool was last: what nobody has in the end is lost with a node that has died, or it has leaked.

A number is leased to a life of a runtime, goes with a flow from runtime to runtime, and is given back to the leaser,
which passes it on to its holder. The leaser's journal says so as it is written, and whoever looks at the flows after
each event says where they are. If a number is nowhere in the end, the life that had it last has died. (What is passed
on to a life that is not in the view any more counts as still the giver's: the leaser was to keep it.)
"""

from collections.abc import Callable, Iterator
from typing import Any

from nfactor.protocols.leasing import GivenBack, Holder, Leased


class Whereabouts:
    """The leaser's journal, which is looked at as it is written. ``is_member`` says whether a life of a runtime is in
    the coordinator's view."""

    def __init__(self, is_member: Callable[[Holder], bool]) -> None:
        self._entries: list[Any] = []
        self._is_member = is_member
        self._last: dict[int, Holder] = {}
        """With which life each was last: of those that are not the leaser's."""
        self._holder: dict[int, Holder] = {}

    def append(self, entry: Any) -> None:
        """See ``Journal``."""
        self._entries.append(entry)
        if isinstance(entry, Leased):
            leased = dict.fromkeys(entry.numbers.tolist(), entry.holder)
            self._holder |= leased
            self._last |= leased
        elif isinstance(entry, GivenBack):
            for number in entry.passed.tolist():
                home = self._holder[number]
                self._last[number] = home if self._is_member(home) else entry.giver
            for number in entry.freed.tolist():
                self._last.pop(number, None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def seen(self, number: int, where: Holder) -> None:
        """It is with a flow there."""
        self._last[number] = where

    def last(self, number: int) -> Holder | None:
        """With whom it was; None: with the leaser."""
        return self._last.get(number)
