"""Faults in pools of numbers, and in what answers to them, written one by one."""

from typing import Any

from nfactor.cluster.arrivals import Arrivals
from nfactor.cluster.leases import Leases
from nfactor.cluster.pools import Pools
from nfactor.cluster.rebuild import Rebuild
from nfactor.cluster.replicator import Replicator
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.protocols.leasing import GivenBack, LeaseBook
from tests.mutants.mutant import Fault, Mutant, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


@written("nat", needed=13, by="k")
def numbers_of_the_dead_are_leased_at_once() -> Fault:
    """No quarantine: flows that were recovered have them."""
    lease = Leases.lease

    def mutant(self: Leases, message: Any) -> Any:
        for book in self.book._pools.values():
            for number in [number for number, holder in book.holder.items() if not self._is_alive(holder)]:
                del book.holder[number]
                book.free.append(number)
        return lease(self, message)

    return patched(Leases, lease=mutant)


@written("nat", needed=4, by="k")
def a_leaser_that_begins_again_knows_nothing_of_its_leases() -> Fault:
    """The journal is not read."""
    init = Leases.__init__

    def mutant(self: Leases, view: Any, journal: Any, *, begins: bool) -> None:
        init(self, view, journal, begins=begins)
        self.book = LeaseBook([])
        self.book._journal = journal

    return patched(Leases, __init__=mutant)


@written("nat", needed=1, by="k")
def a_lease_of_two_runtimes_is_of_the_same_numbers() -> Fault:
    """What was leased last is leased to the next one, too."""
    lease = LeaseBook.lease
    last: dict[LeaseBook, Any] = {}

    def mutant(self: LeaseBook, pool: str, size: int, block: int, holder: Any, count: int) -> Any:
        numbers = lease(self, pool, size, block, holder, count)
        given, last[self] = last.get(self, numbers), numbers
        return given

    return patched(LeaseBook, lease=mutant)


@written("nat", needed=3, by="k")
def who_ends_a_flow_keeps_its_number_and_gives_it_back() -> Fault:
    """It is free at two runtimes."""
    are_stored = Pools._are_stored

    def mutant(self: Pools, stock: Any, numbers: Any) -> None:
        self._put(stock, numbers)
        are_stored(self, stock, numbers)

    return patched(Pools, _are_stored=mutant)


@written("a runtime dies whose flow has ended with anothers number", needed=1, by="k")
def numbers_are_free_before_the_end_of_their_flows_is_stored() -> Fault:
    """The flow comes back to life at a replica, and another has its number."""
    when_stored = Replicator.when_stored

    def mutant(self: Replicator, then: Any) -> None:
        if getattr(getattr(then, "func", None), "__func__", None) is Pools._are_stored:
            then()
        else:
            when_stored(self, then)

    return patched(Replicator, when_stored=mutant)


@written("a source takes back a flow that has ended at its target", needed=1, by="k")
def numbers_are_free_before_the_source_of_their_flows_has_let_go() -> Fault:
    """It takes a flow back, and another has its number."""
    return patched(Arrivals, are_over=lambda self, those: True)


@written("nat", needed=3, by="k")
def numbers_come_home_to_the_dead() -> Fault:
    """What flows elsewhere give back of a dead holder's is passed on to it, and nobody has it any more."""
    give_back = LeaseBook.give_back

    def mutant(self: LeaseBook, pool: str, giver: Any, count: int, numbers: Any, is_alive: Any) -> Any:
        return give_back(self, pool, giver, count, numbers, lambda holder: True)

    return patched(LeaseBook, give_back=mutant)


@written("nat", needed=3, by="k")
def what_the_dead_had_never_comes_back() -> Fault:
    """The leaser takes what flows elsewhere give back of a dead holder's, and leases it to nobody."""
    apply = LeaseBook._apply

    def mutant(self: LeaseBook, entry: Any) -> None:
        apply(self, entry)
        if isinstance(entry, GivenBack):
            book = self._pools[entry.pool]
            for number in entry.freed.tolist():
                book.free.remove(number)
                book.holder[number] = entry.giver

    return patched(LeaseBook, _apply=mutant)


@written("nat", needed=34, by="k")
def a_switch_that_begins_again_knows_no_aliases() -> Fault:
    """Answers find nobody."""
    finish = Rebuild.finish

    def mutant(self: Rebuild, now: float) -> None:
        self.aliases = []
        finish(self, now)

    return patched(Rebuild, finish=mutant)


@written("nat", needed=25, by="k")
def a_flow_that_moves_leaves_its_aliases_behind() -> Fault:
    """Answers find nobody."""
    redirect = Dispatcher.redirect

    def mutant(self: Dispatcher, keys: Any, *rest: Any, **more: Any) -> Any:
        statuses = redirect(self, keys, *rest, **more)
        for key in keys:
            if key in self._entries:
                self._aliases.forget(self._entries[key])
        return statuses

    return patched(Dispatcher, redirect=mutant)
