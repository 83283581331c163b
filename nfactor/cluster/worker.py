"""A worker thread for the engine: a burst goes in, and its codes come out, while the trio loop goes on.

The paper's split: a worker thread runs packets through their flow actors, another thread serves the control path. The
engine is never used by two threads at once: whoever wants to use it first takes what the worker has. The worker then
ends where it is, which is within a block of 64 packets, and what it has not come to is given back.
"""

import threading
from queue import SimpleQueue
from typing import Any, TypeAlias

import trio

from nfactor.dataplane.engine import Engine
from nfactor.packet.burst import Burst

Done: TypeAlias = tuple[Burst, Any]
"""A burst, and its codes or the exception that came instead."""


class Worker:
    """``Engine.process`` in a thread of its own. Made, used and closed in the trio thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._given: SimpleQueue[Burst | None] = SimpleQueue()
        self._done: SimpleQueue[Done] = SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._is_done = trio.Event()
        self.busy = False
        """A burst was given and has not been taken back."""
        self._thread = threading.Thread(target=self._run, name="nfactor worker", daemon=True)
        self._thread.start()

    def give(self, burst: Burst) -> None:
        """Have it process a burst; the one before has been taken."""
        assert not self.busy
        self.busy, self._is_done = True, trio.Event()
        self._given.put(burst)

    async def wait(self) -> None:
        """Return when the burst is done, or has been taken by somebody else."""
        await self._is_done.wait()

    def take(self) -> tuple[Burst, Any, Burst]:
        """The packets that are processed, their codes, and the rest of the burst; at least one packet is done. Raises
        what the engine raised."""
        self._engine.stopping = True
        burst, codes = self._done.get()
        self._engine.stopping = False
        self.busy = False
        self._is_done.set()
        if isinstance(codes, BaseException):
            raise codes
        done = len(codes)
        return (burst if done == len(burst) else burst.slice(0, done)), codes, burst.slice(done, len(burst))

    def close(self) -> None:
        """End the thread; what it is at is forgotten."""
        self._engine.stopping = True
        self._given.put(None)
        self._thread.join()
        self._engine.stopping = False

    def _run(self) -> None:
        while (burst := self._given.get()) is not None:
            try:
                codes: Any = self._engine.process(burst)
            except BaseException as error:
                codes = error
            self._done.put((burst, codes))
            try:
                self._token.run_sync_soon(self._tell, self._is_done)
            except trio.RunFinishedError:
                return

    def _tell(self, event: trio.Event) -> None:
        event.set()
