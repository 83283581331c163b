"""``simulate``: one deterministic trio run on a virtual clock, replayed bit for bit by its seed.

Trio alone is not deterministic: it orders sets of tasks by address, shuffles with a generator of its own, and reads the
real clock. So for the length of one run this sorts each batch by creation number and seeds its shuffling (trio's own
switch for Hypothesis), swaps the clock for one that jumps when nothing can run, and keeps the garbage collector from
running finalisers at a moment that depends on the heap. What remains to the caller: no threads, no sockets, no signals,
no set iteration, ``aclosing`` around async generators, and no randomness but the one handed down.

A *digest* of every step (which task, at what virtual time) and of what the caller notes says whether two runs were the
same. It is equal across runs, hash seeds, heap layouts, machines and Python versions. Task names are part of it, so a
function that moved to another module changes it.
"""

import ast
import gc
import hashlib
import os
import random
import re
import shlex
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

import attrs
import trio
import trio._core._run as trio_run  # the switch and the generator have no public name
from trio.testing import MockClock

from nfactor.errors import DeadlockError, NfactorError
from nfactor.testing.deadlock import DeadlockDetector

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.frozen
class SimulationResult(Generic[T]):
    """What a simulation came to."""

    value: T
    """What ``main`` returned."""
    digest: str
    """Equal if and only if the runs were the same; empty with ``digest=False``."""
    steps: int
    """Task steps; 0 with ``digest=False``, where nobody counts them."""
    virtual_seconds: float
    """How far the clock went, from 0."""


class Simulation:
    """What ``main`` is given: the seed, its randomness, and a way to note what happens."""

    def __init__(self, seed: int, recorder: "_Recorder | None") -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        """The one generator to hand down."""
        self._recorder = recorder
        self._randoms: dict[str, random.Random] = {}

    def random(self, name: str) -> random.Random:
        """The generator of that name: the same object each time, and its numbers depend on seed and name alone.

        Give each consumer its own, and a new consumer does not shift the numbers of the others.
        """
        if name not in self._randoms:
            # A string is hashed by SHA-512 here, which neither PYTHONHASHSEED nor the version changes.
            self._randoms[name] = random.Random(f"{self.seed}/{name}")
        return self._randoms[name]

    def note(self, event: bytes | str) -> None:
        """Add an event of the application to the digest."""
        if self._recorder is not None:
            self._recorder.note(event.encode() if isinstance(event, str) else event)

    def collect_garbage(self) -> None:
        """Collect what has become garbage since the last time: at a point of the program, hence at the same step in
        each run. For long runs; costs as much as has been made since, whatever else there is."""
        gc.collect(1)


def simulate(
    main: Callable[[Simulation, *Ts], Awaitable[T]], *args: *Ts, seed: int = 0, digest: bool = True
) -> SimulationResult[T]:
    """Run ``await main(sim, *args)`` deterministically and return its value with the digest of the run.

    Raises ``DeadlockError`` if nothing can ever happen again. Any other exception is main's own, with a note that says
    how to replay it; ``KeyboardInterrupt`` comes through as itself. ``digest=False`` saves some µs a step
    and the collection of garbage before the run.
    """
    clock = MockClock(autojump_threshold=0)
    recorder = _Recorder(clock) if digest else None
    sim = Simulation(seed, recorder)
    detector = DeadlockDetector()
    values: list[T] = []

    async def root() -> None:
        with detector.guard():
            values.append(await main(sim, *args))

    failure: BaseException | None = None
    with _deterministic_trio(seed), _quiet_garbage_collector(thorough=digest):
        try:
            instruments = [detector] if recorder is None else [detector, recorder]
            trio.run(root, clock=clock, instruments=instruments)
        except BaseException as error:  # raised again below, with a note
            failure = error
    if detector.parked and not _is_interrupt(failure):
        failure = _deadlock(detector.parked, failure)
    if failure is not None:
        _raise(
            failure,
            f"{_call(main, args, seed)} failed at {clock.current_time():.6f} virtual seconds; "
            f"to replay it: {_replay(main, args, seed)}",
        )
    return SimulationResult(
        value=values[0],
        digest="" if recorder is None else recorder.digest(),
        steps=0 if recorder is None else recorder.steps,
        virtual_seconds=clock.current_time(),
    )


class _Recorder(trio.abc.Instrument):
    """Hashes each step. ``before_task_step`` and not ``task_scheduled``, whose order varies with the heap.

    Steps are gathered in a buffer: one update of the hash per 64 KiB.
    """

    BUFFER_OCTETS = 1 << 16
    STEP = struct.Struct("<Qd")
    NOTE = struct.Struct("<cQ")

    def __init__(self, clock: MockClock) -> None:
        self.steps = 0
        self._clock = clock
        self._hash = hashlib.blake2b(digest_size=16)
        self._buffer = bytearray()
        self._names: dict[str, bytes] = {}
        self._counter_first: int | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        # The number of the task among those of this run tells apart tasks of one name.
        if self._counter_first is None:
            self._counter_first = task._counter
        name = self._names.get(task.name)
        if name is None:
            name = self._names[task.name] = _without_addresses(task.name).encode() + b"\0"
        self.steps += 1
        self._buffer += name
        self._buffer += self.STEP.pack(task._counter - self._counter_first, self._clock.current_time())
        if len(self._buffer) >= self.BUFFER_OCTETS:
            self._flush()

    def note(self, event: bytes) -> None:
        self._buffer += self.NOTE.pack(b"\xff", len(event))
        self._buffer += event

    def digest(self) -> str:
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update(self._buffer)
        self._buffer.clear()


@contextmanager
def _deterministic_trio(seed: int) -> Iterator[None]:
    """Throw trio's switch and seed its generator; put both back, whoever else (Hypothesis) had thrown it before.

    Neither is public. Hypothesis leans on the same two, so they are not likely to go without notice.
    """
    if not (hasattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING") and hasattr(trio_run, "_r")):
        raise NfactorError(f"trio {trio.__version__} cannot be made deterministic the way nfactor knows: use trio 0.35")
    switch, state = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = switch  # type: ignore[misc]
        trio_run._r.setstate(state)


@contextmanager
def _quiet_garbage_collector(*, thorough: bool) -> Iterator[None]:
    """Collected before, so that nobody else's finalizers run within; off, so that none of ours run at random steps; and
    what there is already is set aside, so that ``collect_garbage`` need not look at it."""
    was_enabled = gc.isenabled()
    if thorough:
        gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _without_addresses(name: str) -> str:
    """A task of a callable without a name is called by its repr."""
    return re.sub(r"\b0x[0-9a-fA-F]+", "0x", name)


def _call(main: Callable[..., Any], args: tuple[Any, ...], seed: int) -> str:
    name = f"{getattr(main, '__module__', '?')}.{getattr(main, '__qualname__', repr(main))}"
    return f"simulate({', '.join([name, *map(repr, args), f'seed={seed}'])})"


def _replay(main: Callable[..., Any], args: tuple[Any, ...], seed: int) -> str:
    """The one command that makes the call again: Python's if another process can import what is called and write down
    the arguments, else that of the test that runs, else that of this process."""
    module, name = getattr(main, "__module__", "__main__"), getattr(main, "__qualname__", "")
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    importable = module != "__main__" and (_is_below_here(module) or not test)
    if name.isidentifier() and importable and all(map(_is_literal, args)):
        program = f"import {module}; from nfactor.testing import simulate; {_call(main, args, seed)}"
        command = ["python", "-c", program]
    elif test:
        command = ["python", "-m", "pytest", test]
    else:
        command = ["python", *sys.argv]
    return shlex.join(command)


def _is_below_here(module: str) -> bool:
    """Another Python that is started in this folder finds that module; what runs tests may have found it elsewhere."""
    path = Path(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _is_literal(value: object) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False


def _deadlock(parked: list[str], cause: BaseException | None) -> DeadlockError:
    waiting = "".join(f"\n  {place}" for place in parked)
    error = DeadlockError(f"every task waits, and no deadline is set that could wake one; parked:{waiting}")
    error.__cause__ = cause
    return error


def _is_interrupt(failure: BaseException | None) -> bool:
    """A KeyboardInterrupt, or a group of nothing else: trio raises it in main, and nurseries wrap what they raise."""
    if isinstance(failure, BaseExceptionGroup):
        return failure.split(KeyboardInterrupt)[1] is None
    return isinstance(failure, KeyboardInterrupt)


def _raise(failure: BaseException, note: str) -> None:
    if _is_interrupt(failure):
        raise KeyboardInterrupt from None
    failure.add_note(note)
    raise failure
