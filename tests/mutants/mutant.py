"""What a mutant is: one fault in the code under test, with a name that says it, for the length of a ``with`` block."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import attrs

import nfactor
from nfactor.actors import Actor
from nfactor.actors.actor import Handler
from nfactor.cluster.ledger import AccountingError
from nfactor.errors import ProtocolError
from nfactor.testing import schedules
from nfactor.testing.heap import Stuck
from nfactor.testing.violation import Violation
from tests.mutants.stories import STORIES

Runs = tuple[tuple[str, int], ...]
"""Scenarios and seeds of schedules; or names of stories (``tests/mutants/stories.py``), whose seed says nothing."""


OWN = "own"
"""What the code under test checks by itself: what its protocols do not allow, and its assertions."""
CRASH = "crash"
"""An error that nobody raises on purpose."""
JUDGES = "abcdefghik"
"""The letters of the promises (``docs/explanation/protocols.md``), each of which has a judge."""
JUDGED = "any judge"
"""Whichever of them; but not the code under test itself."""


@attrs.frozen
class Mutant:
    """``runs`` are the schedules that are to catch it, the first of them first; ``by`` says which judge is to: the
    letter of its promise, ``JUDGED``, ``OWN`` or ``CRASH``. Empty: any judge, or the code itself, but no crash."""

    name: str
    fault: Callable[[], AbstractContextManager[None]]
    runs: Runs
    by: str = ""


@attrs.frozen
class Caught:
    """A mutant broke a promise, in so many runs, and who said so."""

    runs: int
    by: str
    problem: str


class Crashed(Exception):
    """A mutant ended a run by an error that no judge raises, which says nothing of judges. Most often it is the mutant
    that has a mistake of its own: what it takes the place of has another signature by now."""


@cache
def _is_clean(scenario: str, seed: int) -> bool:
    """Whether that schedule is kept to without any mutant. One that is not says nothing of mutants."""
    return _error(scenario, seed) is None


def play(scenario: str, seed: int) -> None:
    """Run a schedule, or tell a story; raises what judges raise."""
    if scenario in STORIES:
        STORIES[scenario]()
    else:
        schedules.run(scenario, seed)


def _error(scenario: str, seed: int) -> Exception | None:
    try:
        play(scenario, seed)
    except Exception as error:
        return error
    return None


def judge_of(error: Exception) -> str:
    """Who says that a run has broken a promise. A ledger that does not add up is (a)'s affair, and nodes that talk
    without end (i)'s. ``ProtocolError`` is what the code raises where its protocols are broken. An assertion counts if
    it is the code's own: it says there what may never be, as a judge would. One that fails in a harness or in a mutant
    does not count, nor any other error: who calls what is not there may never have come to what it is named for."""
    match error:
        case Violation():
            return str(error)[1]
        case AccountingError():
            return "a"
        case Stuck():
            return "i"
        case ProtocolError():
            return OWN
        case AssertionError() if _is_of_the_code(error):
            return OWN
        case _:
            return CRASH


def _is_of_the_code(error: Exception) -> bool:
    """Whether it was raised in the library, but for what tests with it; or in a method of the library that a mutant has
    copied, but for one word."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    if raised_in.startswith(COPIED):
        return True
    path = Path(raised_in)
    return path.is_relative_to(_LIBRARY) and not path.is_relative_to(_LIBRARY / "testing")


_LIBRARY = Path(nfactor.__file__).parent
COPIED = "<mutant of "
"""How the file is called from which the code of such a method is."""


def hunt(mutant: Mutant) -> Caught | None:
    """Run its schedules until one of them catches it; None: it survives them all. What another judge catches first is
    passed by. Raises ``Crashed`` where it crashes, and is not made to."""
    for number, (scenario, seed) in enumerate(mutant.runs, 1):
        with mutant.fault():
            error = _error(scenario, seed)
        if error is None or not _is_clean(scenario, seed):
            continue
        by = judge_of(error)
        if by == CRASH != mutant.by:
            raise Crashed(f"{mutant.name}: {scenario} {seed}") from error
        if mutant.by in ("", by) or (mutant.by == JUDGED and by in JUDGES):
            return Caught(number, by, f"{type(error).__name__}: {error}")
    return None


def every(scenario: str, seeds: int) -> Runs:
    """So many seeds of a scenario, from 0 on; a story is always the same."""
    if scenario in STORIES:
        return ((scenario, 0),)
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
    ``needed``: it took so many schedules of that scenario for the judge ``by`` to catch it."""

    def written(scenario: str, *, needed: int, by: str = "") -> Written:
        def note(fault: Callable[[], Fault]) -> Callable[[], Fault]:
            mutants.append(Mutant(fault.__name__.replace("_", " "), fault, every(scenario, within(needed)), by))
            return fault

        return note

    return written


def within(needed: int) -> int:
    """The bound on what it takes to catch a mutant that took so many schedules. It has a margin, for they are drawn
    otherwise whenever a scenario changes."""
    return 3 * needed + 12
