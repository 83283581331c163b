"""``nfactor simulate``: runs schedules of faults, and prints every promise that a run has broken.

Each seed is a whole run, on an event heap (``nfactor.testing.schedules``) or of whole nodes (``node_schedules``), and
costs some hundredths of a second or a few seconds, so many of them are spread over processes; a seed that broke a
promise is run again by itself, and then everything that happens is shown."""

import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nfactor.cli.options import SimulateOptions
from nfactor.errors import NfactorError
from nfactor.testing.node_draws import NODES
from nfactor.testing.violation import Violation

SEEDS_PER_TASK = 20
"""Schedules that a process is given at a time, at most."""


@attrs.frozen
class Broken:
    """A schedule that was not kept to."""

    scenario: str
    seed: int
    problem: str

    def __str__(self) -> str:
        """One line, with the command that replays it."""
        return f"{self.problem}  [nfactor simulate {self.scenario} --seeds {self.seed}:{self.seed + 1}]"


@attrs.frozen
class Found:
    """What schedules have shown."""

    schedules: int
    broken: list[Broken]
    struck: Counter[str]
    """How often each fault struck, and whatever else is counted of a run."""


def simulate(options: SimulateOptions) -> int:
    """The command. Returns the exit status: 1 if any promise was broken."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if options.scenarios[1:] or options.seeds[1:]:
        return 1 if sum(_simulate(name, options, console) for name in options.scenarios) else 0
    began = time.monotonic()
    found = _judge(options.scenarios[0], options.seeds[0], console)
    return 1 if _sum_up(options, options.scenarios[0], found, began, console) else 0


def _simulate(scenario: str, options: SimulateOptions, console: Console) -> int:
    """All seeds of a scenario; how many broke a promise."""
    began, seeds, sum_of_all = time.monotonic(), options.seeds, Found(0, [], Counter())
    watch = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=watch,
        transient=True, disable=not watch.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(scenario, total=len(seeds))
        for found in _judge_all(scenario, seeds, options.jobs):
            for each in found.broken:
                console.print(str(each))
            sum_of_all = _sum_of([sum_of_all, found])
            bar.advance(task, found.schedules)
    return _sum_up(options, scenario, sum_of_all, began, console)


def _sum_of(some: list[Found]) -> Found:
    struck: Counter[str] = Counter()
    for found in some:
        struck.update(found.struck)
    return Found(sum(found.schedules for found in some), [each for found in some for each in found.broken], struck)


def _sum_up(options: SimulateOptions, scenario: str, found: Found, began: float, console: Console) -> int:
    seconds = time.monotonic() - began
    console.print(
        f"{scenario}: {found.schedules:,} schedules, {len(found.broken):,} violations, {seconds:.1f} s, "
        f"{60 * found.schedules / max(seconds, 0.001):,.0f} schedules a minute"
    )
    if options.situations:
        for what, count in sorted(found.struck.items()):
            console.print(f"{count:11,}  {what}")
    elif scenario == NODES and found.struck:
        console.print(f"struck: {', '.join(f'{what} {count:,}' for what, count in sorted(found.struck.items()))}")
    return len(found.broken)


def _judge_all(scenario: str, seeds: range, jobs: int) -> Iterator[Found]:
    """Some seeds at a time, as they are done."""
    some = max(1, min(SEEDS_PER_TASK, len(seeds) // jobs))
    tasks = [seeds[start : start + some] for start in range(0, len(seeds), some)]
    jobs = min(jobs, len(tasks))
    if jobs == 1:
        for task in tasks:
            yield _judge_some(scenario, task)
        return
    # Processes are begun anew: a fork would take along whatever threads there are.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=signal.signal, initargs=_IGNORE_CTRL_C)
    try:
        for future in as_completed([pool.submit(_judge_some, scenario, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise NfactorError(f"{scenario}: a process that ran schedules has died ({error})") from error
    finally:
        pool.shutdown(cancel_futures=True)


_IGNORE_CTRL_C = (signal.SIGINT, signal.SIG_IGN)
"""It reaches every process of a terminal; the first one ends the others."""


def _judge_some(scenario: str, seeds: range) -> Found:
    return _sum_of([_judge(scenario, seed) for seed in seeds])


def _judge(scenario: str, seed: int, console: Console | None = None) -> Found:
    """Run a schedule; with a ``console``, everything that happens in it is shown there."""
    struck: Counter[str] = Counter()
    try:
        tell = None if console is None else console.print
        (_judge_nodes if scenario == NODES else _judge_heap)(scenario, seed, struck, tell)
    except Exception as error:  # whatever is raised in there is a promise that was not kept
        found = Broken(scenario, seed, _describe(error))
        if console is not None:
            console.print("".join(traceback.format_exception(error)).rstrip())
            console.print(str(found))
        return Found(1, [found], struck)
    return Found(1, [], struck)


def _judge_heap(scenario: str, seed: int, struck: Counter[str], tell: Callable[[str], object] | None) -> None:
    from nfactor.testing.draws import draw
    from nfactor.testing.schedules import Run
    from nfactor.testing.trace import follow

    run = Run(draw(scenario, seed))
    if tell is not None:
        tell(str(run.schedule))
        follow(run, tell)
    run.judge()
    struck.update(run.seen())


def _judge_nodes(_scenario: str, seed: int, struck: Counter[str], tell: Callable[[str], object] | None) -> None:
    from nfactor.testing.node_draws import draw
    from nfactor.testing.node_schedules import NodeRun

    run = NodeRun(draw(seed))
    if tell is not None:
        tell(str(run.schedule))
        run.follow(tell)
    run.judge()
    struck.update(run.struck)


def _describe(error: Exception) -> str:
    if isinstance(error, Violation):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words} ({Path(place.filename).name}:{place.lineno})"
