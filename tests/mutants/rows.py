"""Mutants made row by row from the tables of the protocols: what a table says is done otherwise."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache, partial

from nfactor.protocols import migration, recovery
from nfactor.protocols.migration import TABLE, Event, MigrationSource, State
from nfactor.protocols.recovery import FOLLOWING, Recovery, Step
from tests.mutants.mutant import Mutant, Runs, every, patched, play
from tests.mutants.stories import STORIES

Row = tuple[State, Event]

RUNS_MAX = 24
"""Of those schedules in which a row is used, so many are to catch its mutant."""


@cache
def uses(seeds: int) -> dict[Row, Runs]:
    """The runs, of so many seeds of each scenario, in which each row is used; behind them the stories that use it. A
    mutant of a row can be seen in no other."""
    drawn = _uses([(scenario, seed) for seed in range(seeds) for scenario in ("recovery", "cluster", "migration")])
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
    """Each row of a migration's table is not there."""
    for row, runs in uses.items():
        table = {other: to for other, to in TABLE.items() if other != row}
        yield Mutant(f"{_name(row)} dropped", partial(patched, migration, TABLE=table), runs)


def sent_elsewhere(uses: Mapping[Row, Runs], *, every: bool) -> Iterator[Mutant]:
    """Each row leads to another state: to ``every`` other, or to the one that is declared behind the right one."""
    states = list(State)
    for row, runs in uses.items():
        place = states.index(TABLE[row])
        others = [*states[place + 1 :], *states[:place]]
        for other in others if every else others[:1]:
            fault = partial(patched, migration, TABLE={**TABLE, row: other})
            yield Mutant(f"{_name(row)} to {other.name}", fault, runs)


def skipped() -> Iterator[Mutant]:
    """Each step of a recovery is left out. The beginning of a cluster, recovery 0, goes its way as ever."""
    for step, following in FOLLOWING.items():
        if following is not Step.OVER:
            table = {**FOLLOWING, step: FOLLOWING[following]}
            yield Mutant(f"recovery without {following.name}", partial(recoveries, table), every("recovery", 40))


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
