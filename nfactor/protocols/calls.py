"""Calls: questions between nodes that outlive the sessions of the link between them, and are acted on once.

The link loses nothing within a session and says what is in doubt when one ends. A protocol between nodes that both live
needs more: a cut of a few seconds must not leave it with half of a step. So whoever asks, asks again until there is an
answer or the other node is declared dead; and whoever answers remembers its answers until the asker has them, so that a
question that comes twice is acted on once::

    asker                                   answerer
      │ question 7 ─────────────────────────▶│ act
      │            x◀────────────── answer 7 │ (the session ends)
      │ question 7 ─────────────────────────▶│ known: say it again
      │◀─────────────────────────── answer 7 │
      │ question 9, settled below 8 ────────▶│ forget answers below 8

An asker counts its questions through all nodes, and tells with each the least that it still waits for. Numbers begin
anew with each life of its node. An answerer that has lost its memory acts again: who restarts is another node to the
protocols above. Rejected: making each step of each protocol harmless when it is repeated, a dozen proofs for one.
"""

from collections.abc import Callable
from typing import Final

import attrs

RESEND_AFTER_S: Final = 0.25
"""A question that has no answer after so long is asked again. Links resend by themselves: this is for the end of a
session, and for an order that takes its time."""


@attrs.frozen
class Address:
    """Where an asker is: an actor of a node."""

    node: str
    actor: str


@attrs.frozen
class Question:
    """What travels to the answerer, besides who asks in which life."""

    number: int
    settled: int
    """Answers to questions below this one are not waited for any more."""
    control: bool
    """Whether it goes before bulk."""
    body: bytes


@attrs.define
class _Open:
    to: Address
    control: bool
    body: bytes
    then: Callable[[bytes | None], None]
    asked_s: float


class Caller:
    """The asking side of one actor. ``send`` hands a question to the link, which may lose it."""

    def __init__(self, send: Callable[[Address, Question], None]) -> None:
        self._send = send
        self._last = 0
        self._open: dict[int, _Open] = {}
        self.resent = 0
        """Questions that were asked again."""

    def __len__(self) -> int:
        return len(self._open)

    def ask(
        self, to: Address, body: bytes, then: Callable[[bytes | None], None], now: float, *, control: bool = True
    ) -> None:
        """Ask until there is an answer, which ``then`` is called with; None: the node was declared dead."""
        self._last += 1
        self._open[self._last] = _Open(to, control, body, then, now)
        self._put(self._last)

    def _put(self, number: int) -> None:
        some = self._open[number]
        self._send(some.to, Question(number, next(iter(self._open)), some.control, some.body))

    def answered(self, number: int, body: bytes) -> None:
        """An answer came. One that nobody waits for says nothing new."""
        some = self._open.pop(number, None)
        if some is not None:
            some.then(body)

    def gone(self, node: str) -> None:
        """That node is declared dead: it will answer nothing, or nothing that is believed."""
        for number in [number for number, some in self._open.items() if some.to.node == node]:
            some = self._open.pop(number, None)
            if some is not None:  # else what came before has settled it
                some.then(None)

    def resend(self, now: float) -> None:
        """Ask again what has waited for ``RESEND_AFTER_S``, oldest first."""
        for number, some in list(self._open.items()):
            if now - some.asked_s >= RESEND_AFTER_S:
                some.asked_s = now
                self.resent += 1
                self._put(number)


@attrs.define
class _Known:
    """What is known of one asker."""

    life: int
    settled: int = 1
    answers: dict[int, bytes | None] = attrs.Factory(dict)
    """By number; None: it is being acted on."""


class Answerer:
    """The answering side of one actor. ``send`` hands an answer to the link, which may lose it: asker, its
    life, number, answer."""

    def __init__(self, send: Callable[[Address, int, int, bytes], None]) -> None:
        self._send = send
        self._askers: dict[Address, _Known] = {}
        self.repeated = 0
        """Questions that came again."""

    def take(self, asker: Address, life: int, question: Question) -> bool:
        """Whether the question is new, and to be acted on: then ``answer`` has to be called, now or later."""
        known = self._askers.get(asker)
        if known is None or known.life < life:
            known = self._askers[asker] = _Known(life)
        if known.life > life or question.number < known.settled:
            return False  # from an earlier life, or overtaken by a later question: nobody waits for it
        if question.settled > known.settled:
            known.settled = question.settled
            for number in [number for number in known.answers if number < known.settled]:
                del known.answers[number]
        if question.number in known.answers:
            self.repeated += 1
            body = known.answers[question.number]
            if body is not None:
                self._send(asker, life, question.number, body)
            return False
        known.answers[question.number] = None
        return True

    def answer(self, asker: Address, life: int, number: int, body: bytes) -> None:
        """The answer to a question that was taken; nothing, if its asker has begun another life."""
        known = self._askers.get(asker)
        if known is not None and known.life == life and number in known.answers:
            known.answers[number] = body
            self._send(asker, life, number, body)
