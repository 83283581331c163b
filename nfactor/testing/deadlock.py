"""Finds a simulation in which nothing can ever happen again, and ends it.

On a real clock a deadlock hangs; on a jumping clock it spins at 100 % CPU, because the clock finds no deadline to jump
to. It shows just before trio waits for I/O: nothing runnable and no deadline, twice running with no step between. Once
is not enough: a task in ``wait_all_tasks_blocked`` is woken by exactly that idleness. Whether a step came between is
watched only after the first time, so that a healthy run pays nothing per step.

An instrument that raises is silently removed by trio, hence a flag and a cancelled scope. What is shielded is
unshielded first: a deadlock inside a shield would else spin on.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from trio.lowlevel import Task

if TYPE_CHECKING:
    from trio._core._run import CancelStatus


class DeadlockDetector(trio.abc.Instrument):
    """Cancels the block that it guards, which must be all of main; ``parked`` then says who waited, and where."""

    def __init__(self) -> None:
        self.parked: list[str] = []
        self._scope = trio.CancelScope()
        self._main: Task | None = None
        self._witness: _StepWitness | None = None

    @contextmanager
    def guard(self) -> Iterator[None]:
        """The block to end, entered by the main task."""
        self._main = trio.lowlevel.current_task()
        with self._scope:
            yield

    def before_io_wait(self, timeout: float) -> None:
        if timeout > 0 or not _nothing_ahead():
            return
        if self._witness is None or self._witness.stepped:
            self._witness = _StepWitness()
            trio.lowlevel.add_instrument(self._witness)
        elif not self.parked:
            trio.lowlevel.remove_instrument(self._witness)
            self._end()

    def _end(self) -> None:
        assert self._main is not None, "trio stopped before it ran anything"
        tasks = _with_descendants(self._main)
        self.parked = [_where(task) for task in tasks]
        for task in tasks:
            _unshield(task)
        self._scope.cancel()


class _StepWitness(trio.abc.Instrument):
    """Sees one step and leaves."""

    def __init__(self) -> None:
        self.stepped = False

    def before_task_step(self, task: Task) -> None:
        self.stepped = True
        trio.lowlevel.remove_instrument(self)


def _nothing_ahead() -> bool:
    statistics = trio.lowlevel.current_statistics()
    return statistics.tasks_runnable == 0 and math.isinf(statistics.seconds_to_next_deadline)


def _with_descendants(main: Task) -> list[Task]:
    """In order of creation: a nursery keeps its tasks in a set."""
    found = [main]
    for task in found:
        for nursery in task.child_nurseries:
            found += nursery.child_tasks
    return sorted(found, key=lambda task: task._counter)


def _where(task: Task) -> str:
    """The task's name and the innermost line of its own program at which it waits."""
    place = ""
    for frame, line in task.iter_await_frames():
        if not frame.f_globals.get("__name__", "").startswith("trio."):
            place = f" ({frame.f_code.co_filename}:{line} in {frame.f_code.co_name})"
    return task.name + place


def _unshield(task: Task) -> None:
    status: CancelStatus | None = task._cancel_status
    while status is not None:
        status._scope.shield = False
        status = status.parent
