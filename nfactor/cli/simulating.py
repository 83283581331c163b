"""``nfactor simulate``: runs schedules of faults on an event heap, and prints every promise that a run has broken.

Each seed is a whole run (``nfactor.testing.schedules``) and costs some hundredths of a second, so many of them are
spread over processes; a seed that broke a promise is run again by itself, and then everything that happens is shown."""

import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nfactor.cli.options import SimulateOptions
from nfactor.errors import NfactorError
from nfactor.testing.checkers import Violation
from nfactor.testing.draws import draw
from nfactor.testing.schedules import Run
from nfactor.testing.trace import follow

SEEDS_PER_TASK = 20
"""Schedules that a process is given at a time."""


@attrs.frozen
class Broken:
    """A schedule that was not kept to."""

    scenario: str
    seed: int
    problem: str

    def __str__(self) -> str:
        """One line, with the command that replays it."""
        return f"{self.problem}  [nfactor simulate {self.scenario} --seeds {self.seed}:{self.seed + 1}]"


def simulate(options: SimulateOptions) -> int:
    """The command. Returns the exit status: 1 if any promise was broken."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if options.scenarios[1:] or options.seeds[1:]:
        return 1 if sum(_simulate(name, options.seeds, options.jobs, console) for name in options.scenarios) else 0
    began = time.monotonic()
    found = _judge(options.scenarios[0], options.seeds[0], console)
    return 1 if _sum_up(options.scenarios[0], 1, [found] if found else [], began, console) else 0


def _simulate(scenario: str, seeds: range, jobs: int, console: Console) -> int:
    """All seeds of a scenario; how many broke a promise."""
    began, broken = time.monotonic(), []
    watch = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=watch,
        transient=True, disable=not watch.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(scenario, total=len(seeds))
        for count, found in _judge_all(scenario, seeds, jobs):
            for each in found:
                console.print(str(each))
            broken += found
            bar.advance(task, count)
    return _sum_up(scenario, len(seeds), broken, began, console)


def _sum_up(scenario: str, schedules: int, broken: list[Broken], began: float, console: Console) -> int:
    seconds = time.monotonic() - began
    console.print(
        f"{scenario}: {schedules:,} schedules, {len(broken):,} violations, {seconds:.1f} s, "
        f"{60 * schedules / max(seconds, 0.001):,.0f} schedules a minute"
    )
    return len(broken)


def _judge_all(scenario: str, seeds: range, jobs: int) -> Iterator[tuple[int, list[Broken]]]:
    """Some seeds at a time, as they are done: how many, and which of them broke a promise."""
    tasks = [seeds[start : start + SEEDS_PER_TASK] for start in range(0, len(seeds), SEEDS_PER_TASK)]
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        for task in tasks:
            yield len(task), _judge_some(scenario, task)
        return
    # Processes are begun anew: a fork would take along whatever threads there are.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=signal.signal, initargs=_IGNORE_CTRL_C)
    try:
        futures = {pool.submit(_judge_some, scenario, task): len(task) for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise NfactorError(f"{scenario}: a process that ran schedules has died ({error})") from error
    finally:
        pool.shutdown(cancel_futures=True)


_IGNORE_CTRL_C = (signal.SIGINT, signal.SIG_IGN)
"""It reaches every process of a terminal; the first one ends the others."""


def _judge_some(scenario: str, seeds: range) -> list[Broken]:
    return [found for found in (_judge(scenario, seed) for seed in seeds) if found is not None]


def _judge(scenario: str, seed: int, console: Console | None = None) -> Broken | None:
    """Run a schedule; with a ``console``, everything that happens in it is shown there."""
    try:
        schedule = draw(scenario, seed)
        run = Run(schedule)
        if console is not None:
            console.print(str(schedule))
            follow(run, console.print)
        run.judge()
    except Exception as error:  # whatever is raised in there is a promise that was not kept
        found = Broken(scenario, seed, _describe(error))
        if console is not None:
            console.print("".join(traceback.format_exception(error)).rstrip())
            console.print(str(found))
        return found
    return None


def _describe(error: Exception) -> str:
    if isinstance(error, Violation):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words} ({Path(place.filename).name}:{place.lineno})"
