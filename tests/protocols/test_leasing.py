"""The leaser's book: no number is with two, whoever dies and whatever is asked twice."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nfactor.errors import ProtocolError
from nfactor.protocols.leasing import Holder, LeaseBook

A, B, C, POOL = Holder("a", 1), Holder("b", 1), Holder("c", 1), "nat.ports"


def alive(holder: Holder) -> bool:
    return True


def dead(holder: Holder) -> bool:
    return False


def book(size: int = 4, block: int = 2, journal: list[Any] | None = None) -> LeaseBook:
    """A and b have a block each."""
    made = LeaseBook([] if journal is None else journal)
    assert [0, 1] == made.lease(POOL, size, block, A, 1).tolist()
    assert [2, 3] == made.lease(POOL, size, block, B, 1).tolist()
    return made


def test_a_question_that_is_asked_again_has_the_answer_that_it_had() -> None:
    made = LeaseBook([])
    first, again = (made.lease(POOL, 8, 2, A, 1).tolist() for _ in range(2))
    assert ([0, 1], [0, 1]) == (first, again)
    assert [2, 3] == made.lease(POOL, 8, 2, A, 2).tolist()
    assert [] == made.lease(POOL, 8, 2, A, 1).tolist(), "one that is long settled says nothing"


def test_when_there_are_none_left_nothing_is_leased() -> None:
    assert [] == book().lease(POOL, 4, 2, A, 2).tolist()


def test_numbers_of_a_living_holder_are_passed_on_to_it() -> None:
    made = book()
    told = made.give_back(POOL, B, 1, [1], alive)
    assert {A: [1]} == {holder: numbers.tolist() for holder, numbers in told.items()}
    assert 0 == made.free(POOL)
    again = made.give_back(POOL, B, 1, [1], alive)
    assert {A: [1]} == {holder: numbers.tolist() for holder, numbers in again.items()}, "the same word again"
    assert {} == made.give_back(POOL, B, 1, [1], dead)
    assert {} == made.give_back(POOL, B, 0, [1], alive), "one that is long settled says nothing"


def test_a_word_that_comes_again_speaks_of_who_held_the_number_then() -> None:
    """Its holder had it, gave it to a flow and died; the flow has ended, and another has the number now."""
    journal: list[Any] = []
    made = book(journal=journal)
    made.give_back(POOL, B, 1, [1], alive)
    made.give_back(POOL, C, 1, [1], lambda holder: holder != A)
    assert [1] == made.lease(POOL, 4, 1, C, 1).tolist()
    assert {} == LeaseBook(journal).give_back(POOL, B, 1, [1], lambda holder: holder != A)


def test_numbers_of_a_dead_holder_come_back_one_by_one_and_the_others_never() -> None:
    made = book()
    assert {} == made.give_back(POOL, B, 1, [1, 1], dead)
    assert [1] == made.lease(POOL, 4, 2, B, 2).tolist()
    assert [] == made.lease(POOL, 4, 2, B, 3).tolist(), "0 may be with a flow that was recovered"


def test_what_is_nobodys_is_given_back_to_nobody() -> None:
    made = book(size=8)
    assert {} == made.give_back(POOL, B, 1, [7], alive)
    assert {} == made.give_back("another", B, 1, [7], alive)
    assert 0 == made.free("another")


def test_two_sizes_of_one_pool_are_a_mistake() -> None:
    with pytest.raises(ProtocolError, match="8"):
        book(size=4).lease(POOL, 8, 2, A, 2)


class BookMachine(RuleBasedStateMachine):
    """Holders lease, flows with numbers move and end, holders die, and the leaser begins again from its journal."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Any] = []
        self.book = LeaseBook(self.journal)
        self.lives = {"a": 1, "b": 1, "c": 1}
        self.stock: dict[Holder, list[int]] = {}
        """What nobody has taken yet of a holder's."""
        self.flows: list[int] = []
        """Numbers of flows that live, wherever."""
        self.leases: dict[Holder, int] = {}
        self.returns: dict[Holder, int] = {}

    def holder(self, node: str) -> Holder:
        return Holder(node, self.lives[node])

    def is_alive(self, holder: Holder) -> bool:
        return self.lives[holder.node] == holder.life

    @rule(node=st.sampled_from("abc"), is_heard=st.booleans())
    def lease(self, node: str, is_heard: bool) -> None:
        holder = self.holder(node)
        numbers = self.book.lease(POOL, 7, 2, holder, self.leases.get(holder, 0) + 1).tolist()
        if is_heard and numbers:
            self.leases[holder] = self.leases.get(holder, 0) + 1
            self.stock.setdefault(holder, []).extend(numbers)

    @rule(node=st.sampled_from("abc"))
    def flow_begins(self, node: str) -> None:
        stock = self.stock.get(self.holder(node))
        if stock:
            self.flows.append(stock.pop(0))

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), node=st.sampled_from("abc"))
    def flow_ends(self, data: st.DataObject, node: str) -> None:
        number = data.draw(st.sampled_from(self.flows))
        self.flows.remove(number)
        giver = self.holder(node)
        if self.book.held(POOL).get(number) == giver:
            self.stock[giver].append(number)
            return
        self.returns[giver] = self.returns.get(giver, 0) + 1
        for number_of_times in range(data.draw(st.integers(1, 2))):
            for holder, numbers in self.book.give_back(
                POOL, giver, self.returns[giver], [number], self.is_alive
            ).items():
                if number_of_times == 0:  # holders know what they have had
                    self.stock[holder].extend(numbers.tolist())

    @rule(node=st.sampled_from("abc"))
    def holder_dies(self, node: str) -> None:
        self.stock.pop(self.holder(node), None)
        self.lives[node] += 1

    @rule()
    def leaser_begins_again(self) -> None:
        self.book = LeaseBook(self.journal)

    @invariant()
    def no_number_is_with_two(self) -> None:
        everywhere = self.flows + [number for stock in self.stock.values() for number in stock]
        assert len(everywhere) == len(set(everywhere))


TestBook = BookMachine.TestCase
