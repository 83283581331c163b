"""The pools of a runtime's network functions: filled ahead of need, and numbers of flows that have ended sent home.

Everything happens between bursts: what NFs give back rests in the pool until this role comes by. Then it waits until
all that was handed to replicas so far is stored (``Replicator.when_stored``), and until no source of a migration to
here can take back what came from it (``Arrivals``), and only then is the number anybody's again. So nobody has a flow
that has the number and could still come back to life when another flow takes it; and for the same reason nobody can
give it back a second time.
"""

from collections import deque
from functools import partial

import attrs
import numpy as np

from nfactor.actors import handles
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.lease_messages import BeStocked, LeaseNumbers, NumbersLeased, ReturnNumbers, Stocked, TakeNumbers
from nfactor.cluster.messages import Done, pack_u32, unpack_u32
from nfactor.cluster.names import COORDINATOR, LEASES
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View
from nfactor.dataplane.nf import Pool
from nfactor.protocols.leasing import NO_NUMBERS, Numbers

LOOK_S, IDLE_LOOK_S = 0.01, 0.1
"""How often pools are looked at from which numbers are taken; and while nothing happens."""
ASK_AGAIN_S = 1.0
"""When the leaser has nothing left, it is asked again after so long."""


@attrs.define(eq=False)
class _Stock:
    """One pool, and what of it is this runtime's."""

    pool: Pool
    mine: set[int] = attrs.Factory(set)
    seen_free: int = 0
    leases: int = 0
    asking: bool = False
    ask_after_s: float = 0.0
    is_stocked: bool = False
    """Whether the leaser has answered at all."""
    stored: deque[tuple[Numbers, dict[int, int]]] = attrs.Factory(deque)
    """Numbers of flows that are over, as all replicas know, and what came here until then."""
    to_return: Numbers = NO_NUMBERS
    """Others' numbers, whose flows have ended here."""
    returns: int = 0
    returning: bool = False
    taken: dict[tuple[str, int], int] = attrs.Factory(dict)
    """By giver and its life, which word of it was the last that sent some home."""
    doubled: int = 0
    """Numbers that were given back although they are free."""


class Pools(Role):
    """``flows`` is the flow table of this runtime, which has the chain."""

    def __init__(self, flows: FlowTable, view: View) -> None:
        self._flows = flows
        self.view = view
        self.stocks: dict[str, _Stock] = {}
        self._waiting: list[Later] = []

    def begin(self) -> None:
        """Begin empty. Whoever has no pools has nothing to do."""
        self.stocks = {name: _Stock(pool) for name, pool in self._flows.pools().items()}
        for stock in self.stocks.values():
            stock.pool.lease()
        if self.stocks:
            self._flows.is_stocked, self._flows.when_processed = self._is_stocked, self._restock
            self.host.after(LOOK_S, self._look)

    @handles(BeStocked)
    def be_stocked(self, message: BeStocked) -> Later:
        """There is a leaser now: ask it at once."""
        later = Later()
        self._waiting.append(later)
        for name, stock in self.stocks.items():
            self._ask_for_more(name, stock)
        self._look_whether_stocked()
        return later

    def _is_stocked(self) -> bool:
        """Before that no packet is taken: one that needs a number would be dropped."""
        return all(stock.is_stocked for stock in self.stocks.values())

    def _look_whether_stocked(self) -> None:
        if self._is_stocked():
            self._flows.look()
            waiting, self._waiting = self._waiting, []
            for later in waiting:
                later.answer(Stocked(self.host.life))

    def _look(self) -> None:
        self._flows.settle()
        before = [stock.seen_free for stock in self.stocks.values()]
        for name, stock in self.stocks.items():
            rested = stock.pool.collect()
            if len(rested):
                self._flows.replicator.catch_up()
                self._flows.replicator.when_stored(partial(self._are_stored, stock, rested))
            self._come_back(name, stock)
            stock.seen_free = stock.pool.free - len(rested)
        self._restock()
        is_idle = before == [stock.seen_free for stock in self.stocks.values()] and self._is_stocked()
        self.host.after(IDLE_LOOK_S if is_idle else LOOK_S, self._look)

    # ---------------------------------------------------------------- more

    def _restock(self) -> None:
        """Ask for more where half a block is gone."""
        if self.host.node in self.view:
            for name, stock in self.stocks.items():
                self._ask_for_more(name, stock)

    def _ask_for_more(self, name: str, stock: _Stock) -> None:
        if 2 * stock.pool.free >= stock.pool.block or stock.asking or self.host.now() < stock.ask_after_s:
            return
        stock.asking, host, pool = True, self.host, stock.pool
        question = LeaseNumbers(host.node, host.life, name, pool.size, pool.block, stock.leases + 1)
        self.ask(COORDINATOR, LEASES, question, NumbersLeased, partial(self._leased, stock))

    def _leased(self, stock: _Stock, answer: NumbersLeased | None) -> None:
        assert answer is not None, "the coordinator is never declared dead"
        stock.asking, stock.is_stocked = False, True
        numbers = unpack_u32(answer.numbers)
        if len(numbers):
            stock.leases += 1
            stock.mine.update(numbers.tolist())
            self._put(stock, numbers)
        else:
            stock.ask_after_s = self.host.now() + ASK_AGAIN_S
        self._look_whether_stocked()

    # ---------------------------------------------------------------- back

    def _are_stored(self, stock: _Stock, numbers: Numbers) -> None:
        """No replica has a flow any more that has these. But a source may."""
        stock.stored.append((numbers, self._flows.arrivals.so_far()))

    def _come_back(self, name: str, stock: _Stock) -> None:
        """No flow has these any more, and none will."""
        while stock.stored and self._flows.arrivals.are_over(stock.stored[0][1]):
            numbers, _ = stock.stored.popleft()
            mine = np.array([number in stock.mine for number in numbers.tolist()], bool)
            self._put(stock, numbers[mine])
            stock.to_return = np.concatenate((stock.to_return, numbers[~mine]))
            self._return(name, stock)

    def _return(self, name: str, stock: _Stock) -> None:
        """One word at a time, so that they arrive in order."""
        if stock.returning or not len(stock.to_return):
            return
        numbers, stock.to_return = stock.to_return, NO_NUMBERS
        stock.returning, stock.returns = True, stock.returns + 1
        word = ReturnNumbers(self.host.node, self.host.life, name, stock.returns, pack_u32(numbers))
        self.ask(COORDINATOR, LEASES, word, Done, partial(self._returned, name, stock))

    def _returned(self, name: str, stock: _Stock, answer: Done | None) -> None:
        stock.returning = False
        self._return(name, stock)

    @handles(TakeNumbers)
    def take(self, message: TakeNumbers) -> Done:
        """Flows that had some of ours have ended elsewhere. A leaser that begins again may say so once more."""
        stock, giver = self.stocks.get(message.pool), (message.giver, message.giver_life)
        if stock is not None and message.life == self.host.life and message.count > stock.taken.get(giver, 0):
            stock.taken[giver] = message.count
            numbers = unpack_u32(message.numbers)
            self._put(stock, numbers[[number in stock.mine for number in numbers.tolist()]])
        return Done()

    def _put(self, stock: _Stock, numbers: Numbers) -> None:
        """What is free already stays where it is: a second time is a mistake, and no second flow may come of it."""
        self._flows.settle()
        new = np.setdiff1d(numbers, stock.pool.free_numbers())
        stock.doubled += len(numbers) - len(new)
        stock.pool.put(numbers[np.isin(numbers, new)])
