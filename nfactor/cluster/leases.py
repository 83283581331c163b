"""The leaser: leases numbers of pools to runtimes in blocks, ahead of need (DESIGN section 5).

It runs on the coordinator's node, as a role of its own; the book is ``nfactor.protocols.leasing``'s. Nobody who is not
in the view is believed: a runtime that was declared dead and does not know it may end flows that live elsewhere by now.
"""

from collections.abc import Callable
from functools import partial

from nfactor.actors import handles
from nfactor.cluster.lease_messages import (
    BeStocked,
    LeaseNumbers,
    NumbersLeased,
    ReturnNumbers,
    Stocked,
    TakeNumbers,
)
from nfactor.cluster.messages import Done, pack_u32, unpack_u32
from nfactor.cluster.names import POOLS
from nfactor.cluster.role import Later, Role, when_there
from nfactor.cluster.view import View
from nfactor.protocols.leasing import GivenBack, Holder, Journal, LeaseBook, Leased, Opened


class Leases(Role):
    """``journal`` outlives this node; ``view`` is that of ``Membership``, beside it. ``begins``: this is the first life
    of the leaser. A later one whose journal is empty leases nothing: it may have been lost with all that it said. And a
    later one knows from the journal who holds what, and not who of them has been followed by another life: it has heard
    of every runtime before it says whose a number is that came back."""

    def __init__(self, view: View, journal: Journal, *, begins: bool) -> None:
        self.view = view
        view.watch(self._lost)
        if begins:
            journal.append(Opened())
        self._may_lease = any(True for _ in journal)
        self.book = LeaseBook(journal)
        self._early: list[tuple[object, Later]] = []
        """Questions that came before it was known who is in the cluster, and in which life."""
        self._knows_lives = begins
        self._lives: dict[str, int] = {}
        """Of nodes, as last heard."""
        self._dead: set[Holder] = set()
        for entry in journal:
            if isinstance(entry, Leased | GivenBack):
                who = entry.holder if isinstance(entry, Leased) else entry.giver
                self._lives[who.node] = max(who.life, self._lives.get(who.node, 0))
        self.refused = 0
        """Words of nodes that are not in the view, or of earlier lives of theirs."""

    def stock(self, then: Callable[[], None]) -> None:
        """The view is there. Call ``then`` when every runtime that lives has its first numbers, so that no packet comes
        too early."""
        self._take_early()
        waiting = dict.fromkeys(self.view.names("runtime"))
        self._dead.update(Holder(node, life) for node, life in self._lives.items() if node not in waiting)

        def stocked(name: str, answer: Stocked | None) -> None:
            waiting.pop(name, None)
            if answer is not None:
                self._lives[name] = max(answer.life, self._lives.get(name, 0))
            if not waiting:
                know_lives()

        def know_lives() -> None:
            self._knows_lives = True
            self._take_early()
            then()

        for name in list(waiting):
            self.ask(name, POOLS, BeStocked(), Stocked, partial(stocked, name))
        if not waiting:
            know_lives()

    def _take_early(self) -> None:
        early, self._early = self._early, []
        for message, later in early:
            when_there(self.act(message), later.answer)

    def act(self, message: object) -> object:
        """See ``Role``: while nobody is in the view, nothing can be said."""
        if not self.view.term or (isinstance(message, ReturnNumbers) and not self._knows_lives):
            later = Later()
            self._early.append((message, later))
            return later
        return super().act(message)

    @handles(LeaseNumbers)
    def lease(self, message: LeaseNumbers) -> NumbersLeased:
        """A block."""
        holder = Holder(message.node, message.life)
        if not (self._believes(holder) and self._may_lease):
            return NumbersLeased(b"")
        numbers = self.book.lease(message.pool, message.size, message.block, holder, message.count)
        return NumbersLeased(pack_u32(numbers))

    @handles(ReturnNumbers)
    def give_back(self, message: ReturnNumbers) -> Later:
        """To their holder, or, if it is dead, for whoever comes next. The giver is answered when the holders have them:
        until then it says so again, if need be to our next life."""
        giver, later = Holder(message.node, message.life), Later()
        waiting: set[Holder] = set()

        def taken(holder: Holder, _: Done | None) -> None:
            waiting.discard(holder)
            if not waiting and not later.is_there:
                later.answer(Done())

        if self._believes(giver):
            numbers = unpack_u32(message.numbers).tolist()
            pass_on = self.book.give_back(message.pool, giver, message.count, numbers, self._is_alive)
            waiting.update(pass_on)
            for holder, some in pass_on.items():
                word = TakeNumbers(holder.life, message.pool, giver.node, giver.life, message.count, pack_u32(some))
                self.ask(holder.node, POOLS, word, Done, partial(taken, holder))
        taken(giver, None)
        return later

    def _believes(self, who: Holder) -> bool:
        known = self._lives.get(who.node, who.life)
        if who.node not in self.view or who.life < known:
            self.refused += 1
            return False
        self._lives[who.node] = who.life
        return True

    def _is_alive(self, holder: Holder) -> bool:
        """Lives are what nodes say: where each is a process they are times, and no part of an address."""
        return holder.node in self.view and holder.life == self._lives.get(holder.node) and holder not in self._dead

    def _lost(self, node: str) -> None:
        """It is dead, whether or not its next life has said anything yet."""
        if node in self._lives:
            self._dead.add(Holder(node, self._lives[node]))
