"""One actor's place on its node: its name, mailbox, tasks, and the step from one life to the next.

The cell outlives the actor object: a restart makes a new actor in the same cell, so refs stay valid and messages that
wait are kept (the one whose handler raised is gone). A cell of plain handlers has no task: the pump calls ``turn``. A
cell with an async handler has one task that does the same for itself. Cells report ends to their supervisor through
``on_exit`` and never decide anything.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from nfactor.actors.actor import Actor, Context, Handler
from nfactor.actors.mailbox import SIZE_MAX, Asker, Entry, Mailbox
from nfactor.actors.parking import Signal
from nfactor.actors.ref import Ref
from nfactor.actors.table import ActorTable
from nfactor.errors import ActorDead, CallerError, RemoteError

if TYPE_CHECKING:
    from nfactor.actors.node import Node

_SERVE_MESSAGES_MAX = 64
"""An actor with its own task lets others run after so many messages."""


class Life(enum.Enum):
    """Where an actor stands."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    """It failed or was asked to stop; its supervisor will restart or close it. Messages wait."""
    CLOSED = "closed"


class Cell:
    """See the module's docstring."""

    __slots__ = (
        "_actor", "_errors", "_has_own_task", "_idle", "_in_handler", "_is_ready", "_life_number", "_nursery",
        "_on_exit", "_start_error", "_start_scope", "_stop_asked", "_tasks", "_tasks_begun", "_wake", "factory",
        "life", "mailbox", "name", "node", "ref",
    )  # fmt: skip

    def __init__(
        self,
        node: "Node",
        name: str,
        factory: Callable[[], Actor],
        nursery: trio.Nursery,
        on_exit: Callable[["Cell", int, Exception | None], None],
        mailbox_size_max: int = SIZE_MAX,
    ) -> None:
        self.node = node
        self.name = name
        self.factory = factory
        self.ref = Ref(node.name, name, None, node)
        self.mailbox = Mailbox(mailbox_size_max)
        self.life = Life.EXITED
        self._nursery = nursery
        self._on_exit = on_exit
        self._actor: Actor | None = None
        self._life_number = 0
        self._has_own_task = False
        self._is_ready = False
        self._in_handler = False
        self._stop_asked = False
        self._tasks: dict[int, trio.CancelScope] = {}
        self._tasks_begun = 0
        self._idle = Signal()
        self._wake = Signal()
        self._start_scope: trio.CancelScope | None = None
        self._start_error: Exception | None = None
        self._errors: list[Exception] = []

    # ---- messages ----

    def offer(self, entry: Entry, system: bool) -> bool:
        """Put a message in the mailbox; False: no room."""
        if not self.mailbox.offer(entry, system):
            return False
        self._schedule()
        return True

    def _schedule(self) -> None:
        if self.life is not Life.RUNNING:
            return
        if self._has_own_task:
            self._wake.set()
        elif not self._is_ready:
            self._is_ready = True
            self.node.pump.add(self)

    def turn(self, messages_max: int) -> int:
        """Handle some messages; called by the pump when the cell is ready. How many were handled."""
        assert self._is_ready
        mailbox, handled = self.mailbox, 0
        while handled < messages_max and self.life is Life.RUNNING:
            entry = mailbox.take()
            if entry is None:
                break
            handled += 1
            self._handle(entry)
        self._is_ready = False
        if len(mailbox):
            self._schedule()
        return handled

    async def _serve(self) -> None:
        handled = 0
        while self.life is Life.RUNNING:
            entry = self.mailbox.take()
            if entry is None:
                await self._wake.wait()
                handled = 0
                continue
            await self._handle_async(entry)
            handled += 1
            if handled >= _SERVE_MESSAGES_MAX:
                await trio.lowlevel.checkpoint()
                handled = 0

    def _handle(self, entry: Entry) -> None:
        key, message, asker = entry
        handler = self._handler(entry)
        if handler is None:
            return
        self._in_handler = True
        try:
            arguments = (message,) if key is None else (key, message)
            result = handler.function(self._actor, *arguments)
            if asker is not None and not asker.reply(result):
                self.node.late_replies += 1
        except Exception as error:
            self._raised(error, asker)
        finally:
            self._handled()

    async def _handle_async(self, entry: Entry) -> None:
        _, message, asker = entry
        handler = self._handler(entry)
        if handler is None:
            return
        self._in_handler = True
        try:
            result = handler.function(self._actor, message)
            if handler.is_async:
                result = await result
            if asker is not None and not asker.reply(result):
                self.node.late_replies += 1
        except Exception as error:
            self._raised(error, asker)
        except BaseException:
            if asker is not None:  # the actor was stopped in the middle of the handler
                asker.fail(ActorDead(f"{self.ref!r} stopped before it had answered"))
            raise
        finally:
            self._handled()

    def _handled(self) -> None:
        self._in_handler = False
        if self._stop_asked:
            self.exit(self._life_number, None)

    def _handler(self, entry: Entry) -> Handler | None:
        """Who handles a message; None if nobody does, and then it has been dealt with."""
        key, message, _ = entry
        actor = self._actor
        assert actor is not None
        if key is None:
            handler = actor.handlers.get(type(message))
        else:
            handler = actor.keyed_handlers.get(type(message))
            if handler is not None and not handler.creates:
                assert isinstance(actor, ActorTable)
                if key not in actor.records:
                    self._nobody("no-actor", entry, ActorDead(f"{self.ref.at(key)!r} does not exist"))
                    return None
        if handler is None:
            text = f"{self.ref!r} has no handler for {type(message).__name__}"
            self._nobody("unhandled", entry, RemoteError("UnhandledMessage", text))
        return handler

    def _nobody(self, reason: str, entry: Entry, error: Exception) -> None:
        _, message, asker = entry
        if asker is None:
            self.node.dead_letter(reason, self.node.name, self.name, message)
        else:
            asker.fail(error)

    def _raised(self, error: Exception, asker: Asker | None) -> None:
        if asker is not None:
            if isinstance(error, RemoteError):
                asker.fail(error)
                return
            asker.fail(RemoteError(type(error).__name__, str(error)))
        self.exit(self._life_number, error)

    # ---- tasks ----

    def start_task(self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Run a task that ends with the actor."""
        if self.life not in (Life.STARTING, Life.RUNNING):
            raise CallerError(f"{self.ref!r} is not running: it cannot start a task")
        self._tasks_begun += 1
        scope = self._tasks[self._tasks_begun] = trio.CancelScope()
        self._nursery.start_soon(self._run_task, self._tasks_begun, scope, async_fn, args, name=f"{self.name}.task")

    async def _run_task(
        self, number: int, scope: trio.CancelScope, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]
    ) -> None:
        life_number = self._life_number
        try:
            with scope:
                await async_fn(*args)
        except Exception as error:
            self.exit(life_number, error)
        finally:
            del self._tasks[number]
            self._idle.set()

    # ---- life ----

    async def begin(self) -> None:
        """Make a new actor and start it; raises what its factory or ``started`` or a first task raises."""
        assert not self._tasks, "the last life has not ended"
        self._life_number += 1
        self.life = Life.STARTING
        self._stop_asked = False
        self._start_error = None
        try:
            actor = self.factory()
            actor.context = Context(self)
            with trio.CancelScope() as self._start_scope:
                await actor.started()
            if self._start_error is not None:
                raise self._start_error
            if self.life is not Life.STARTING:
                raise ActorDead(f"{self.ref!r} was stopped before it had started")
        except BaseException:
            if self.life is Life.STARTING:
                self.life = Life.EXITED
            raise
        self._actor = actor
        self.life = Life.RUNNING
        self._has_own_task = any(handler.is_async for handler in actor.handlers.values())
        if self._has_own_task:
            self.start_task(self._serve, ())
        elif len(self.mailbox):
            self._schedule()
        if self._stop_asked:
            self.exit(self._life_number, None)

    def request_stop(self) -> None:
        """Stop once the present handler, if any, has returned."""
        self._stop_asked = True
        if not self._in_handler and self.life is Life.RUNNING:
            self.exit(self._life_number, None)

    def exit(self, life_number: int, error: Exception | None) -> None:
        """This life is over; None: as it was asked to."""
        if error is not None:
            self.node.actor_failed(self.name, error)
        if life_number == self._life_number and self.life is Life.STARTING:
            assert self._start_scope is not None
            self._start_error = self._start_error or error
            self._start_scope.cancel()
        elif life_number == self._life_number and self.life is Life.RUNNING:
            self.life = Life.EXITED
            self._on_exit(self, life_number, error)
        elif error is not None:
            self._errors.append(error)

    def _interrupt(self, life: Life) -> None:
        if self.life is Life.STARTING and self._start_scope is not None:
            self._start_scope.cancel()
        self.life = life
        for scope in self._tasks.values():
            scope.cancel()

    def is_life(self, life_number: int) -> bool:
        """The life that a report speaks of is the present one."""
        return self._life_number == life_number and self.life is Life.EXITED

    async def end(self) -> list[Exception]:
        """End this life: tasks are cancelled, then ``stopping`` runs. The exceptions that were raised on the way."""
        if self.life is not Life.CLOSED:
            self._interrupt(Life.EXITED)
        while self._tasks:
            await self._idle.wait()
        actor, self._actor = self._actor, None
        if actor is not None:
            try:
                await actor.stopping()
            except Exception as error:
                self._errors.append(error)
        errors, self._errors = self._errors, []
        return errors

    def close(self) -> None:
        """The end of the cell: the name is free, what waits is not handled. Idempotent."""
        if self.life is Life.CLOSED:
            return
        self._interrupt(Life.CLOSED)
        self.node.forget(self)
        for entry in self.mailbox.drain():
            self._nobody("stopped", entry, ActorDead(f"{self.ref!r} stopped before it had handled the message"))
