"""Who holds which numbers of which pool: the book of the leaser, and what may be done with a number.

Numbers are leased in blocks, ahead of need, to a *holder*: one life of a node. A flow takes its number along when it
moves, so a number may end far from its holder; it is then given back to the leaser, which passes it on to the holder
or, if the holder is dead, keeps it for somebody else::

    (free) ── lease ──▶ held ◀── passed on ── given back elsewhere
      ▲                   │ the holder dies
      └── given back ── quarantined: it may be with a flow that was recovered

A dead holder's numbers come back one by one, as flows that have them end. Those that no flow has, whose flows died with
it, or that were passed on to it when it died, are known to nobody and stay quarantined for good, a block or so for each
death: rather lose a number than give it to two flows. (That one comes back at most once is the giver's affair:
``nfactor.cluster.pools``.)

Everything is in the journal before anybody is told, so that a book opened anew from it goes on where the last one was.
A question that is asked again, of this book or of the next, has the answer that it had: leases are counted by holder,
and what is given back by giver.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.errors import ProtocolError

Numbers: TypeAlias = npt.NDArray[np.uint32]
NO_NUMBERS: Numbers = np.zeros(0, np.uint32)


@attrs.frozen
class Holder:
    """One life of a node."""

    node: str
    life: int


@attrs.frozen
class Leased:
    """A holder's ``count``-th lease of a pool."""

    pool: str
    size: int
    holder: Holder
    count: int
    numbers: Numbers = attrs.field(eq=False)


@attrs.frozen
class GivenBack:
    """A giver's ``count``-th word about numbers of flows that have ended: which of them were free with that, and which
    were to be passed on to their holders."""

    pool: str
    giver: Holder
    count: int
    freed: Numbers = attrs.field(eq=False)
    passed: Numbers = attrs.field(eq=False)


@attrs.frozen
class Opened:
    """The first leaser has begun. A later one that does not find this has found another journal."""


Entry: TypeAlias = Opened | Leased | GivenBack


class Journal(Protocol):
    """What outlives the leaser: entries in order."""

    def append(self, entry: Any) -> None:
        """One more; it is there for good when this returns."""

    def __iter__(self) -> Any: ...


@attrs.define
class _Pool:
    size: int
    fresh: int = 0
    """Numbers from here on have never been leased."""
    free: deque[int] = attrs.Factory(deque)
    """Those that came back, in order."""
    holder: dict[int, Holder] = attrs.Factory(dict)
    leases: dict[Holder, Leased] = attrs.Factory(dict)
    """By holder, the last."""
    returns: dict[Holder, tuple[int, dict[Holder, Numbers]]] = attrs.Factory(dict)
    """By giver, the count of the last word, and what was to be passed on to whom."""


class LeaseBook:
    """The book, as the journal says."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pools: dict[str, _Pool] = {}
        for entry in journal:
            self._apply(entry)

    def lease(self, pool: str, size: int, block: int, holder: Holder, count: int) -> Numbers:
        """The holder's ``count``-th lease: up to ``block`` numbers that nobody has, none if there are none left. Raises
        ``ProtocolError`` where two say different sizes of one pool."""
        book = self._pools.setdefault(pool, _Pool(size))
        if book.size != size:
            raise ProtocolError(
                f"pool {pool} has {book.size} numbers, {holder.node} says {size}: one rule file for all"
            )
        last = book.leases.get(holder)
        if last is not None and last.count >= count:
            return last.numbers if last.count == count else NO_NUMBERS
        fresh = range(book.fresh, min(book.fresh + block, size))
        again = [book.free[place] for place in range(min(block - len(fresh), len(book.free)))]
        numbers = np.array([*fresh, *again], np.uint32)
        if len(numbers):
            self._write(Leased(pool, size, holder, count, numbers))
        return numbers

    def give_back(
        self, pool: str, giver: Holder, count: int, numbers: Iterable[int], is_alive: Callable[[Holder], bool]
    ) -> dict[Holder, Numbers]:
        """The giver's ``count``-th word: flows that had these have ended there. What is to be passed on to whom: with
        the giver and the count, by which a holder knows what it has had. A word that comes again may have been passed
        on to nobody, if this book is a later one."""
        book = self._pools.get(pool)
        if book is None:
            return {}
        last, pass_on = book.returns.get(giver, (0, {}))
        if count > last:
            freed, passed = list[int](), list[int]()
            for number in dict.fromkeys(numbers):
                holder = book.holder.get(number)
                if holder is not None:  # else it is nobody's: whoever says so says it twice
                    (passed if is_alive(holder) else freed).append(number)
            self._write(GivenBack(pool, giver, count, np.array(freed, np.uint32), np.array(passed, np.uint32)))
            _, pass_on = book.returns[giver]
        # Who has died since may have had them, and given them to a flow.
        return {holder: some for holder, some in pass_on.items() if count >= last and is_alive(holder)}

    def free(self, pool: str) -> int:
        """How many can be leased."""
        book = self._pools.get(pool)
        return 0 if book is None else book.size - book.fresh + len(book.free)

    def held(self, pool: str) -> dict[int, Holder]:
        """Who holds, or held when it died, what."""
        return dict(self._pools[pool].holder)

    def _write(self, entry: Entry) -> None:
        self._journal.append(entry)
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        match entry:
            case Opened():
                pass
            case Leased(pool, size, holder, _, numbers):
                book = self._pools.setdefault(pool, _Pool(size))
                for number in numbers.tolist():
                    if number < book.fresh:
                        assert book.free.popleft() == number, "what came back is leased in the order in which it came"
                    book.holder[number] = holder
                book.fresh = max([book.fresh, *(number + 1 for number in numbers.tolist())])
                book.leases[holder] = entry
            case GivenBack(pool, giver, count, freed, passed):
                book = self._pools[pool]
                holders = [book.holder[number] for number in passed.tolist()]
                book.returns[giver] = (
                    count,
                    {holder: passed[[other == holder for other in holders]] for holder in dict.fromkeys(holders)},
                )
                for number in freed.tolist():
                    del book.holder[number]
                    book.free.append(number)
