"""Packets on their way from a runtime's port through its engine: bursts in order, markers exactly where they stand."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import attrs

from nfactor.actors import Actor
from nfactor.backends.base import Port
from nfactor.cluster.worker import Worker
from nfactor.compiled import outer_headers
from nfactor.dataplane.engine import Engine
from nfactor.packet.burst import Burst, concatenate

BURSTS_PER_PASS_MAX = 16
"""Bursts that are processed before other tasks of the node get their turn."""
BATCH_PACKETS_MAX = 2048
"""Packets that a worker thread is given at once: no more bursts are joined once there are so many."""
BATCH_BURSTS_MAX = 64
"""The same in bursts: they are joined without a pause."""

WaitRoom: TypeAlias = Callable[[], Awaitable[None]]

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A", bound=Actor)


def settled(handler: Callable[Concatenate[A, P], R]) -> Callable[Concatenate[A, P], R]:
    """For handlers of an actor with an ``intake``: they never find a burst half done, as what a worker thread has is
    taken first."""

    @wraps(handler)
    def handle(actor: A, /, *args: P.args, **kwargs: P.kwargs) -> R:
        actor.intake.settle()  # type: ignore[attr-defined]
        return handler(actor, *args, **kwargs)

    return handle


@attrs.frozen
class IntakeStatistics:
    """What a worker thread was given so far."""

    bursts: int
    """Bursts that were taken from the port."""
    batches: int
    """What they were joined into."""
    full: int
    """Batches that had ``BATCH_PACKETS_MAX`` packets or ``BATCH_BURSTS_MAX`` bursts: the rest had to wait."""
    stopped: int
    """How often somebody else needed the engine before a batch was done."""


class Intake:
    """For packets from the port: has the engine process what ``admit`` returns of a burst, and calls ``arrived`` with
    that, and ``processed`` with it and its codes; ``marker`` with the frame of a marker. With ``threaded`` the engine
    runs in a worker thread, and whoever else uses the engine calls ``settle`` first.

    A worker is given *batches*: what waits at the port while it is at the last one, joined. So a hand-over, which
    wakes a thread and is told of by another, comes once for many bursts where there are many, and not later where
    there are few. One batch is kept ahead. What is not processed has not arrived yet, as far as anybody can see."""

    def __init__(
        self,
        port: Port,
        engine: Engine,
        *,
        admit: Callable[[Burst], Burst],
        arrived: Callable[[Burst], None],
        processed: Callable[[Burst, Any], None],
        marker: Callable[[bytes], None],
        replicated: bool,
        threaded: bool,
    ) -> None:
        self._port = port
        self._engine = engine
        self._admit = admit
        self._arrived = arrived
        self._processed = processed
        self._marker = marker
        self._replicated = replicated
        self._worker = Worker(engine) if threaded else None
        self._ahead: Burst | None = None
        """The batch that comes next."""
        self._rest: Burst | None = None
        """What the worker has not come to of what it was given."""
        self._bursts = self._batches = self._full = self._stopped = 0

    async def run(self, wait_room: WaitRoom, flush: Callable[[], None]) -> None:
        """Take bursts for ever: each when ``wait_room`` has returned; ``flush`` is called when none are left."""
        if self._worker is None:
            await self._run_in_loop(wait_room, flush)
        else:
            try:
                await self._run_threaded(self._worker, wait_room, flush)
            finally:
                self._worker.close()

    async def _run_in_loop(self, wait_room: WaitRoom, flush: Callable[[], None]) -> None:
        while True:
            await self._port.wait_readable()
            for _ in range(BURSTS_PER_PASS_MAX):
                await wait_room()
                burst = self._port.receive_joined(large=self._replicated)
                if burst is None:
                    break
                self.take(burst)
            flush()

    def take(self, burst: Burst) -> None:
        """Deal with a burst at once."""
        for part, marker in _parts(burst):
            if len(part):
                part = self._admit(part)
                self._arrived(part)
                self._processed(part, self._engine.process(part))
            if marker is not None:
                self._marker(marker)

    # ---------------------------------------------------------------- with a worker thread

    async def _run_threaded(self, worker: Worker, wait_room: WaitRoom, flush: Callable[[], None]) -> None:
        while True:
            self._gather()
            if self._ahead is None:
                await self._port.wait_readable()
                continue
            batch, self._ahead = self._ahead, None
            for part, marker in _parts(batch):
                self._rest = part if len(part) else None
                while self._rest is not None:
                    await wait_room()
                    admitted, self._rest = self._admit(self._rest), None  # its switch may have begun again meanwhile
                    if len(admitted):
                        worker.give(admitted)
                        self._gather()
                        await worker.wait()
                        self._finish(worker)
                if marker is not None:
                    self._marker(marker)
            flush()

    def _gather(self) -> None:
        """Have a batch ready, if anything waits at the port."""
        if self._ahead is not None:
            return
        bursts: list[Burst] = []
        room = BATCH_PACKETS_MAX
        while room > 0 and len(bursts) < BATCH_BURSTS_MAX and (burst := self._port.receive()) is not None:
            bursts.append(burst)
            room -= len(burst)
        if bursts:
            self._ahead = concatenate(bursts)
            self._bursts += len(bursts)
            self._batches += 1
            self._full += room <= 0 or len(bursts) == BATCH_BURSTS_MAX

    def settle(self) -> None:
        """Nothing is under way behind this: what the worker has done is taken and dealt with."""
        if self._worker is not None and self._worker.busy:
            self._finish(self._worker)

    def _finish(self, worker: Worker) -> None:
        """Take what the worker has, unless somebody else already has."""
        if worker.busy:
            burst, codes, rest = worker.take()
            self._rest = rest if len(rest) else None
            self._stopped += self._rest is not None
            self._arrived(burst)
            self._processed(burst, codes)

    def statistics(self) -> IntakeStatistics:
        """Counts so far."""
        return IntakeStatistics(self._bursts, self._batches, self._full, self._stopped)


def _parts(burst: Burst) -> list[tuple[Burst, bytes | None]]:
    """The packets up to each marker, and the marker; then the rest."""
    parts: list[tuple[Burst, bytes | None]] = []
    start = 0
    for index in outer_headers.marker_indices(burst).tolist():
        parts.append((burst.slice(start, index), burst.frame(index)))
        start = index + 1
    return [*parts, (burst.slice(start, len(burst)) if start else burst, None)]
