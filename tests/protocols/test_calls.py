"""Questions over a link that loses, repeats and delays whole sessions: acted on once, answered in the end."""

import random
from typing import Any

from hypothesis import given, strategies as st

from nfactor.protocols.calls import RESEND_AFTER_S, Address, Answerer, Caller, Question

ASKER, THERE = Address("a", "x"), Address("b", "y")


class Pair:
    """An asker and an answerer, and what is on the way between them."""

    def __init__(self, life: int = 1) -> None:
        self.life = life
        self.questions: list[Question] = []
        self.answers: list[tuple[int, int, bytes]] = []
        self.acted: list[bytes] = []
        self.heard: list[bytes | None] = []
        self.caller = Caller(lambda to, question: self.questions.append(question))
        self.answerer = Answerer(lambda asker, life, number, body: self.answers.append((life, number, body)))

    def ask(self, body: bytes, now: float = 0.0) -> None:
        self.caller.ask(THERE, body, self.heard.append, now)

    def deliver(self, question: Question, life: int | None = None, *, answer: bool = True) -> bool:
        """To the answerer; it answers at once, in capitals."""
        life = life or self.life
        if not self.answerer.take(ASKER, life, question):
            return False
        self.acted.append(question.body)
        if answer:
            self.answerer.answer(ASKER, life, question.number, question.body.upper())
        return True

    def come_back(self) -> None:
        for _, number, body in self.answers:
            self.caller.answered(number, body)
        self.answers.clear()


def test_a_question_that_comes_twice_is_acted_on_once_and_answered_twice() -> None:
    pair = Pair()
    pair.ask(b"one")
    (question,) = pair.questions
    assert pair.deliver(question)
    assert not pair.deliver(question)
    assert [(1, 1, b"ONE")] * 2 == pair.answers
    pair.come_back()
    assert [b"ONE"] == pair.heard, "the second answer says nothing new"
    assert pair.answerer.repeated == 1


def test_a_question_is_asked_again_only_after_a_while() -> None:
    pair = Pair()
    pair.ask(b"one", now=0.0)
    pair.caller.resend(RESEND_AFTER_S - 0.01)
    assert len(pair.questions) == 1
    pair.caller.resend(RESEND_AFTER_S)
    pair.caller.resend(RESEND_AFTER_S + 0.01)
    assert len(pair.questions) == 2
    assert pair.caller.resent == 1


def test_one_that_is_being_acted_on_is_not_answered_before_that_is_done() -> None:
    pair = Pair()
    pair.ask(b"one")
    (question,) = pair.questions
    assert pair.deliver(question, answer=False)
    assert not pair.deliver(question)
    assert pair.answers == []
    pair.answerer.answer(ASKER, 1, 1, b"done")
    assert [(1, 1, b"done")] == pair.answers


def test_who_asks_a_dead_node_hears_nothing_as_the_answer() -> None:
    pair = Pair()
    pair.ask(b"one")
    pair.ask(b"two")
    pair.caller.gone("c")
    assert pair.heard == []
    pair.caller.gone("b")
    assert [None, None] == pair.heard
    pair.caller.answered(1, b"late")
    assert [None, None] == pair.heard
    assert len(pair.caller) == 0


def test_answers_are_forgotten_when_the_asker_waits_for_later_ones_only() -> None:
    pair = Pair()
    pair.ask(b"one")
    pair.deliver(pair.questions[0])
    pair.come_back()
    pair.ask(b"two")
    assert (2, 2) == (pair.questions[1].number, pair.questions[1].settled)
    pair.deliver(pair.questions[1])
    assert not pair.deliver(pair.questions[0]), "a late copy of what is settled"
    assert [b"one", b"two"] == pair.acted
    assert len(pair.answers) == 1


def test_numbers_begin_anew_with_each_life_and_an_earlier_life_is_not_believed() -> None:
    pair = Pair()
    question = Question(1, 1, True, b"old")
    assert pair.deliver(question, 1)
    assert pair.deliver(Question(1, 1, True, b"new"), 2)
    assert not pair.deliver(Question(2, 1, True, b"older"), 1)
    pair.answers.clear()
    pair.answerer.answer(ASKER, 1, 2, b"too late")
    assert pair.answers == [], "its asker is gone"


@given(st.integers(0, 2**32), st.floats(0, 0.7))
def test_every_question_is_acted_on_exactly_once_however_much_is_lost_and_repeated(seed: int, loss: float) -> None:
    rng, pair = random.Random(seed), Pair()
    asked: list[bytes] = []
    late: list[Any] = []
    for step in range(200):
        now = step * 0.1
        if len(asked) < 20 and rng.random() < 0.3:
            asked.append(b"question %d" % len(asked))
            pair.ask(asked[-1], now)
        late += pair.questions
        pair.questions.clear()
        for question in [question for question in late if rng.random() < 0.5]:
            if rng.random() < 0.7:  # else a copy stays under way
                late.remove(question)
            if rng.random() >= loss:
                pair.deliver(question)
        if rng.random() < loss:
            pair.answers.clear()
        pair.come_back()
        pair.caller.resend(now)
    for step in range(200, 204):  # nothing is lost any more
        pair.caller.resend(step * 0.5)
        for question in [*late, *pair.questions]:
            pair.deliver(question)
        late.clear()
        pair.questions.clear()
        pair.come_back()
    assert sorted(pair.acted) == sorted(asked)
    assert sorted(body.upper() for body in asked) == sorted(body for body in pair.heard if body is not None)
