"""Visits every state that a model can reach, nearest first, and tells the shortest way to one that breaks a promise."""

from typing import Generic, Protocol, TypeVar

import attrs

S = TypeVar("S")
A = TypeVar("A")


class Model(Protocol[S, A]):
    """States have to be hashable, and equal if nothing can tell them apart."""

    def initial(self) -> S:
        """Where everything begins."""

    def successors(self, state: S) -> list[tuple[A, S]]:
        """What can happen, and what then is."""

    def broken(self, state: S) -> str:
        """The promise that this state breaks, or nothing."""

    def broken_end(self, state: S) -> str:
        """The same of a state in which nothing can happen any more."""

    def tell(self, action: A) -> str:
        """One line for a reader."""


@attrs.frozen
class Refutation:
    """A promise that was broken, and the shortest sequence that leads to it."""

    promise: str
    sequence: list[str]

    def __str__(self) -> str:
        lines = [f"{number:3} {line}" for number, line in enumerate(self.sequence, 1)]
        return "\n".join([*lines, f"    {self.promise}"])


@attrs.frozen
class Explored(Generic[S]):
    """What there was."""

    states: int
    transitions: int
    ends: tuple[S, ...]
    """States in which nothing can happen any more."""
    refutation: Refutation | None


class _Visit(Generic[S, A]):
    """What has been seen so far."""

    def __init__(self, model: Model[S, A]) -> None:
        self.model = model
        start = model.initial()
        self.came_from: dict[S, S | None] = {start: None}
        self.level = [start]
        self.transitions = 0
        self.ends: list[S] = []

    def step(self) -> tuple[S, str] | None:
        """Visit all that one more step leads to. A state that breaks a promise, and which, if there is one."""
        level, self.level = self.level, []
        model, came_from = self.model, self.came_from
        for state in level:
            try:
                successors = model.successors(state)
            except AssertionError as error:  # a node met what it does not expect
                return state, str(error)
            self.transitions += len(successors)
            for _, after in successors:
                if after not in came_from:
                    came_from[after] = state
                    self.level.append(after)
                    promise = model.broken(after)
                    if promise:
                        return after, promise
            if not successors:
                self.ends.append(state)
                promise = model.broken_end(state)
                if promise:
                    return state, promise
        return None

    def refutation(self, state: S, promise: str) -> Refutation:
        """Only who came from where is kept; what happened is found again."""
        sequence: list[str] = []
        before = self.came_from[state]
        while before is not None:
            action = next(action for action, after in self.model.successors(before) if after == state)
            sequence.append(self.model.tell(action))
            state, before = before, self.came_from[before]
        return Refutation(promise, sequence[::-1])


def explore(model: Model[S, A], *, states_max: int) -> Explored[S]:
    """Until all is visited or a promise is broken."""
    visit, broken = _Visit(model), None
    while visit.level and broken is None:
        broken = visit.step()
        assert len(visit.came_from) <= states_max, f"more than {states_max:,} states"
    refutation = None if broken is None else visit.refutation(*broken)
    return Explored(len(visit.came_from), visit.transitions, tuple(visit.ends), refutation)
