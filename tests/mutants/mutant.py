"""What a mutant is: one fault in the code under test, with a name that says it, for the length of a ``with`` block."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

import attrs

from nfactor.actors import Actor
from nfactor.actors.actor import Handler
from nfactor.testing import schedules

Runs = tuple[tuple[str, int], ...]
"""Scenarios and seeds of schedules."""


@attrs.frozen
class Mutant:
    """``runs`` are the schedules that are to catch it, the first of them first."""

    name: str
    fault: Callable[[], AbstractContextManager[None]]
    runs: Runs


@attrs.frozen
class Caught:
    """A mutant broke a promise, in so many runs."""

    runs: int
    problem: str


@cache
def _is_clean(scenario: str, seed: int) -> bool:
    """Whether that schedule is kept to without any mutant. One that is not says nothing of mutants."""
    return _problem(scenario, seed) == ""


def _problem(scenario: str, seed: int) -> str:
    try:
        schedules.run(scenario, seed)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def hunt(mutant: Mutant) -> Caught | None:
    """Run its schedules until one of them catches it; None: it survives them all."""
    for number, (scenario, seed) in enumerate(mutant.runs, 1):
        with mutant.fault():
            problem = _problem(scenario, seed)
        if problem and _is_clean(scenario, seed):
            return Caught(number, problem)
    return None


def every(scenario: str, seeds: int) -> Runs:
    """So many seeds of a scenario, from 0 on."""
    return tuple((scenario, seed) for seed in range(seeds))


@contextmanager
def patched(owner: Any, **replacements: Any) -> Iterator[None]:
    """Attributes of a class or module are others meanwhile, and so are the handlers of an actor class that they are."""
    with ExitStack() as after:
        for name, new in replacements.items():
            old = getattr(owner, name)
            setattr(owner, name, new)
            after.callback(setattr, owner, name, old)
            if isinstance(owner, type) and issubclass(owner, Actor):
                _replace_handlers(owner, old, new, after)
        yield


@contextmanager
def both(*faults: AbstractContextManager[None]) -> Iterator[None]:
    """Several at once."""
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        yield


def _replace_handlers(cls: type[Actor], old: Any, new: Any, after: ExitStack) -> None:
    """In that class and all that are made from it: each has a table of handlers of its own."""
    for message, handler in list(cls.handlers.items()):
        if handler.function is old:
            cls.handlers[message] = Handler(new, handler.is_async, handler.creates, handler.is_batch)
            after.callback(cls.handlers.__setitem__, message, handler)
    for below in cls.__subclasses__():
        _replace_handlers(below, old, new, after)


Fault = AbstractContextManager[None]
Written = Callable[[Callable[[], Fault]], Callable[[], Fault]]


def writer(mutants: list[Mutant]) -> Callable[..., Written]:
    """A decorator for functions that make a fault, of the same name as its mutant, which is put into that list.
    ``needed``: it took so many schedules of that scenario to catch it."""

    def written(scenario: str, *, needed: int) -> Written:
        def note(fault: Callable[[], Fault]) -> Callable[[], Fault]:
            mutants.append(Mutant(fault.__name__.replace("_", " "), fault, every(scenario, within(needed))))
            return fault

        return note

    return written


def within(needed: int) -> int:
    """The bound on what it takes to catch a mutant that took so many schedules. It has a margin, for they are drawn
    otherwise whenever a scenario changes."""
    return 3 * needed + 12
