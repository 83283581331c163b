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


def explore(model: Model[S, A], *, states_max: int) -> Explored[S]:
    """Until all is visited or a promise is broken."""
    start = model.initial()
    came_from: dict[S, S | None] = {start: None}
    level, transitions = [start], 0
    ends: list[S] = []
    while level:
        following: list[S] = []
        for state in level:
            quiet = True
            try:
                successors = model.successors(state)
            except AssertionError as error:
                return Explored(
                    len(came_from), transitions, tuple(ends), _refutation(model, came_from, state, str(error))
                )
            for _, after in successors:
                quiet = False
                transitions += 1
                if after in came_from:
                    continue
                came_from[after] = state
                following.append(after)
                promise = model.broken(after)
                if promise:
                    return Explored(
                        len(came_from), transitions, tuple(ends), _refutation(model, came_from, after, promise)
                    )
            if quiet:
                ends.append(state)
                promise = model.broken_end(state)
                if promise:
                    return Explored(
                        len(came_from), transitions, tuple(ends), _refutation(model, came_from, state, promise)
                    )
        assert len(came_from) <= states_max, f"more than {states_max:,} states"
        level = following
    return Explored(len(came_from), transitions, tuple(ends), None)


def _refutation(model: Model[S, A], came_from: dict[S, S | None], state: S, promise: str) -> Refutation:
    """Only who came from where is kept; what happened is found again."""
    sequence: list[str] = []
    before = came_from[state]
    while before is not None:
        action = next(action for action, after in model.successors(before) if after == state)
        sequence.append(model.tell(action))
        state, before = before, came_from[before]
    return Refutation(promise, sequence[::-1])
