"""Mutants made row by row from the tables of the protocols: what a table says is done otherwise.

Two machines are tables in the code, a migration's (``TABLE``) and the steps of a recovery (``FOLLOWING``). The other
tables of ``docs/explanation/protocols.md`` tell what code does that has none; its conditions are inverted one by one
instead (``tests/mutants/guards.py``, ``tests/mutants/role_guards.py``).

A migration that comes to something for which it has no row says so itself, and ends the run: that shows that it is
strict, and nothing of judges. So each row is wrong once in the machine as it is, which has to say so, and otherwise in
one to which that is no error: then a judge has to see what comes of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache, partial

from nfactor.protocols import migration, recovery
from nfactor.protocols.migration import TABLE, Event, MigrationSource, State
from nfactor.protocols.recovery import FOLLOWING, Recovery, Step
from tests.mutants.mutant import JUDGED, OWN, Mutant, Runs, every, patched, play
from tests.mutants.stories import STORIES

Row = tuple[State, Event]

RUNS_MAX = 24
"""Of those schedules in which a row is used, so many are to catch its mutant."""
RECOVERIES = 40
"""Schedules that are to catch a mutant of the steps of recoveries."""
RARE: Runs = (("recovery", 31), ("recovery", 89), ("recovery", 174), ("migration", 124))
"""Schedules that are looked through first. Each of the first two has a row that few have: ``REDIRECTING + REFUSED``,
``DOOMED + REDIRECTED``. The others catch what few catch: ``REDIRECTING + DIED`` to ``RETURNING``, ``DRAINING + MARKER``
to ``INSTALLING``."""


@cache
def uses(seeds: int) -> dict[Row, Runs]:
    """The runs, of so many seeds of each scenario, in which each row is used; behind them the stories that use it. A
    mutant of a row can be seen in no other."""
    every = [(scenario, seed) for seed in range(seeds) for scenario in ("recovery", "cluster", "migration")]
    drawn = _uses(dict.fromkeys([*RARE, *every]))
    told = _uses([(name, 0) for name in STORIES])
    return {row: (*drawn[row][:RUNS_MAX], *told[row]) for row in TABLE}


def _uses(runs: Iterable[tuple[str, int]]) -> dict[Row, Runs]:
    found: dict[Row, dict[tuple[str, int], None]] = {row: {} for row in TABLE}
    step = MigrationSource._step
    for run in runs:

        def noted(self: MigrationSource, event: Event, run: tuple[str, int] = run) -> None:
            found[self.state, event][run] = None
            step(self, event)

        with patched(MigrationSource, _step=noted):
            play(*run)
    return {row: tuple(runs) for row, runs in found.items()}


def dropped(uses: Mapping[Row, Runs]) -> Iterator[Mutant]:
    """Each row of a migration's table is not there. The machine says so itself, whoever judges."""
    for row, runs in uses.items():
        yield Mutant(f"{_name(row)} dropped", partial(patched, migration, TABLE=_without(row)), runs, OWN)


def passed_over(uses: Mapping[Row, Runs]) -> Iterator[Mutant]:
    """The same, and what has no row changes nothing: it is for a judge to see what comes of it. Rows that lead back to
    their own state say nothing else, and have no such mutant."""
    for row, runs in uses.items():
        if TABLE[row] is not row[0]:
            yield Mutant(f"{_name(row)} passed over", partial(_lenient, _without(row)), runs, JUDGED)


def sent_elsewhere(uses: Mapping[Row, Runs], *, every: bool) -> Iterator[Mutant]:
    """Each row leads to another state: to ``every`` other, or to the one that is declared behind the right one. What
    has no row there changes nothing, so that it is for a judge to see what comes of it."""
    states = list(State)
    for row, runs in uses.items():
        place = states.index(TABLE[row])
        others = [*states[place + 1 :], *states[:place]]
        for other in others if every else others[:1]:
            yield Mutant(f"{_name(row)} to {other.name}", partial(_lenient, {**TABLE, row: other}), runs, JUDGED)


def _without(row: Row) -> dict[Row, State]:
    return {other: to for other, to in TABLE.items() if other != row}


def _lenient(table: Mapping[Row, State]) -> AbstractContextManager[None]:
    """Migrations go by that table, and stay where they are if they find nothing there. Else all that leads astray would
    end by the machine's own word as soon as it came to something that has no row, and no judge had to say anything."""

    def step(self: MigrationSource, event: Event) -> None:
        self.state = table.get((self.state, event), self.state)

    return patched(MigrationSource, _step=step)


def skipped() -> Iterator[Mutant]:
    """Each step of a recovery is left out. The beginning of a cluster, recovery 0, goes its way as ever."""
    for step, following in FOLLOWING.items():
        if following is not Step.OVER:
            yield _recovery(f"recovery without {following.name}", step, FOLLOWING[following])


def left_out() -> Iterator[Mutant]:
    """Several steps are, one after the other."""
    steps = list(Step)
    for step, following in FOLLOWING.items():
        for other in steps[steps.index(following) + 2 :]:
            yield _recovery(f"recovery {step.name} to {other.name}", step, other)


def _recovery(name: str, step: Step, following: Step) -> Mutant:
    return Mutant(name, partial(recoveries, {**FOLLOWING, step: following}), every("recovery", RECOVERIES), JUDGED)


def recoveries(table: dict[Step, Step]) -> AbstractContextManager[None]:
    """All recoveries but the first follow that table."""
    proceed = Recovery.proceed

    def mutant(self: Recovery) -> Step:
        if self.number == 0:
            return proceed(self)
        with patched(recovery, FOLLOWING=table):
            return proceed(self)

    return patched(Recovery, proceed=mutant)


def _name(row: Row) -> str:
    state, event = row
    return f"{state.name} + {event.name}"
