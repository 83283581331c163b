"""Packets on their way from a runtime's port through its engine: bursts in order, markers exactly where they stand."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from nfactor.actors import Actor
from nfactor.backends.base import Port
from nfactor.cluster.worker import Worker
from nfactor.dataplane.engine import Engine
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst

BURSTS_PER_PASS_MAX = 16
"""Bursts that are processed before other tasks of the node get their turn."""


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


class Intake:
    """Calls ``arrived`` with a burst, has the engine process what that returns, calls ``processed`` with it and its
    codes; ``marker`` with the frame of a marker. With ``threaded`` the engine runs in a worker thread, and whoever else
    uses the engine calls ``settle`` first."""

    def __init__(
        self,
        port: Port,
        engine: Engine,
        *,
        arrived: Callable[[Burst], Burst],
        processed: Callable[[Burst, Any], None],
        marker: Callable[[bytes], None],
        threaded: bool,
    ) -> None:
        self._port = port
        self._engine = engine
        self._arrived = arrived
        self._processed = processed
        self._marker = marker
        self._worker = Worker(engine) if threaded else None

    async def run(self, wait_room: Callable[[], Awaitable[None]], flush: Callable[[], None]) -> None:
        """Take bursts for ever: each when ``wait_room`` has returned; ``flush`` is called when none are left."""
        try:
            while True:
                await self._port.wait_readable()
                for _ in range(BURSTS_PER_PASS_MAX):
                    await wait_room()
                    burst = self._port.receive()
                    if burst is None:
                        break
                    if self._worker is None:
                        self.take(burst)
                    else:
                        await self._take_threaded(self._worker, burst)
                flush()
        finally:
            if self._worker is not None:
                self._worker.close()

    def take(self, burst: Burst) -> None:
        """Deal with a burst at once."""
        for part, marker in _parts(burst):
            if len(part):
                part = self._arrived(part)
                self._processed(part, self._engine.process(part))
            if marker is not None:
                self._marker(marker)

    async def _take_threaded(self, worker: Worker, burst: Burst) -> None:
        for part, marker in _parts(burst):
            if len(part):
                worker.give(self._arrived(part))
                await worker.wait()
                self.settle()
            if marker is not None:
                self._marker(marker)

    def settle(self) -> None:
        """Nothing is under way behind this: what the worker has is taken and dealt with."""
        if self._worker is not None and self._worker.busy:
            self._processed(*self._worker.take())


def _parts(burst: Burst) -> list[tuple[Burst, bytes | None]]:
    """The packets up to each marker, and the marker; then the rest."""
    parts: list[tuple[Burst, bytes | None]] = []
    start = 0
    for index in cluster_frame.marker_indices(burst).tolist():
        parts.append((burst.slice(start, index), burst.frame(index)))
        start = index + 1
    return [*parts, (burst.slice(start, len(burst)) if start else burst, None)]
