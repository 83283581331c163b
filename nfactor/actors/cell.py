"""One actor's place on its node: its name, mailbox, tasks, and the step from one life to the next.

The cell outlives the actor object: a restart makes a new actor in the same cell, so refs stay valid and messages that
wait are kept (the one whose handler raised is gone). A cell of plain handlers has no task: the pump calls ``turn``. A
cell with an async handler has one task that does the same for itself, from its first message on. Cells report ends to
their supervisor and never decide anything. An idle one is small: what only some cells need (``_Rare``), and the
mailbox, are made when they are needed. How messages are handled is in ``actors.handling``.
"""

import contextvars
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from nfactor.actors.actor import Actor, Context, made_by
from nfactor.actors.calls import CALL, Call
from nfactor.actors.life import CLOSED, EXITED, RUNNING, STARTING, Life
from nfactor.actors.mailbox import Asker, Entry, Item, Mailbox, entry_of
from nfactor.actors.options import Options
from nfactor.actors.parking import Signal
from nfactor.actors.ref import Ref
from nfactor.actors.timers import Timer
from nfactor.errors import ActorDead, CallerError, MailboxFull

if TYPE_CHECKING:
    from nfactor.actors.node import Node
    from nfactor.actors.supervisor import Supervisor


class _Rare:
    """What most cells never need."""

    __slots__ = (
        "call", "errors", "idle", "serving", "start_error", "start_scope", "tasks", "tasks_begun", "timers", "wake",
    )  # fmt: skip

    def __init__(self) -> None:
        self.tasks: dict[int, trio.CancelScope] = {}
        self.tasks_begun = 0
        self.idle = Signal()
        """A task has ended."""
        self.wake = Signal()
        """There are messages for the task that handles them."""
        self.serving: object | None = None
        """Which task that is; None: there is none."""
        self.call: Call | None = None
        """The async handler that runs now, or ran last."""
        self.start_scope: trio.CancelScope | None = None
        self.start_error: Exception | None = None
        self.errors: list[Exception] = []
        self.timers: list[Timer] = []


class Cell(Context):
    """See the module's docstring. To its actor it is the ``context``."""

    __slots__ = (
        "_failed", "_rare", "actor", "factory", "has_own_task", "in_handler", "is_ready", "life",
        "life_number", "mailbox", "name", "node", "options", "stop_asked",
        "supervisor",
    )  # fmt: skip

    def __init__(
        self,
        node: "Node",
        name: str,
        factory: Callable[[], Actor],
        supervisor: "Supervisor",
        options: Options,
    ) -> None:
        self.node = node
        self.name = name
        self.factory = factory
        self.supervisor = supervisor
        self.options = options
        self.mailbox: Mailbox | None = None
        self.life = EXITED
        self.life_number = 0
        self.actor: Actor | None = None
        self.has_own_task = False
        self.is_ready = False
        """It was told that there are messages."""
        self.in_handler = False
        self.stop_asked = False
        self._failed = False
        self._rare: _Rare | None = None

    @property
    def rare(self) -> _Rare:
        """What only some cells need."""
        if self._rare is None:
            self._rare = _Rare()
        return self._rare

    @property
    def call(self) -> Call | None:
        """The async handler that runs now, or ran last."""
        return None if self._rare is None else self._rare.call

    # ---- for the actor (see Context) ----

    @property
    def ref(self) -> Ref[Any]:
        return Ref(self.node.name, self.name, None, self.node)

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        if self.life not in (STARTING, RUNNING):
            raise CallerError(f"{self.ref!r} is not running: it cannot start a task")
        self._start_task(async_fn, args)

    def stop(self) -> None:
        self.stop_asked = True
        if not self.in_handler and self.life is RUNNING:
            self.exit(self.life_number, None)

    def watch(self, ref: Ref[Any]) -> None:
        self.node.watches.add(self.name, ref)

    def unwatch(self, ref: Ref[Any]) -> None:
        self.node.watches.remove(self.name, ref)

    def tell_after(self, seconds: float, message: object, to: Ref[Any] | None = None) -> Timer:
        return self._timer(seconds, message, to or self.ref, None)

    def tell_every(self, seconds: float, message: object, to: Ref[Any] | None = None) -> Timer:
        if seconds <= 0:
            raise CallerError(f"every {seconds} s: use more than 0")
        return self._timer(seconds, message, to or self.ref, seconds)

    def _timer(self, seconds: float, message: object, to: Ref[Any], every_s: float | None) -> Timer:
        if self.life not in (STARTING, RUNNING):
            raise CallerError(f"{self.ref!r} is not running: it cannot set a timer")

        def send() -> None:
            try:
                to.tell_nowait(message)
            except MailboxFull:
                self.node.timers_refused += 1

        timers = self.rare.timers
        timers[:] = [timer for timer in timers if not timer.is_over]
        timers.append(self.node.timers.after(seconds, send, every_s=every_s))
        return timers[-1]

    # ---- messages ----

    def offer(self, item: Item, system: bool) -> bool:
        """Put a message in the mailbox; False: no room."""
        mailbox = self.mailbox
        if mailbox is None:
            mailbox = self.make_mailbox()
        if not mailbox.offer(item, system):
            return self._overflowed(mailbox, item, system)
        if not self.is_ready:
            self.schedule()
        return True

    def offer_all(self, messages: list[object], system: bool) -> int:
        """Put as many messages in the mailbox as there is room for, the first ones; how many it were."""
        if self.life is CLOSED:
            return 0
        taken = self.make_mailbox().offer_all(messages, system)
        if taken and not self.is_ready:
            self.schedule()
        return taken

    def force(self, message: object) -> None:
        """Put a message in front, bound or no bound: for what is bounded elsewhere and must not be lost."""
        self.make_mailbox().force(message, True)
        if not self.is_ready:
            self.schedule()

    def make_mailbox(self) -> Mailbox:
        """The mailbox, from the first message on."""
        if self.mailbox is None:
            self.mailbox = Mailbox(self.options.mailbox_size_max, self.options.overflow)
        return self.mailbox

    def _overflowed(self, mailbox: Mailbox, item: Item, system: bool) -> bool:
        if mailbox.overflow == "refuse":
            mailbox.refused += 1
            return False
        entry = entry_of(mailbox.displace(item, system))
        full = MailboxFull(f"the mailbox of {self.ref!r} is full, and dropped the message ({self.options.overflow})")
        self.nobody("overflow", entry, full)
        return True

    def schedule(self) -> None:
        """There are messages: they are to be handled."""
        if self.life is not RUNNING:
            return
        self.is_ready = True
        if not self.has_own_task:
            self.node.pump.add(self)
        elif self.rare.serving is not None:
            self.rare.wake.set()
        else:
            self.rare.serving = serving = object()
            # In a context of its own: whoever sent the first message is not why the others are handled.
            contextvars.Context().run(self._start_task, self.node.serve, (self, serving))

    @property
    def is_idle(self) -> bool:
        """Its handlers may be called here and now, by whoever has a message for it."""
        return self.life is RUNNING and not (self.is_ready or self.in_handler or self.has_own_task)

    def turn(self, messages_max: int) -> int:
        """Handle some messages; called by the pump when the cell is ready. How many were handled."""
        self.is_ready = False
        handled = self.node.handle_some(self, messages_max)
        if not self.is_ready and self.mailbox is not None and len(self.mailbox):
            self.schedule()
        return handled

    def rest(self) -> None:
        """Its task is to end, if it is idle; the next message starts another."""
        if self.life is RUNNING and not self.is_ready and not self.in_handler:
            self.rare.serving = None
            self.rare.wake.set()

    def nobody(self, reason: str, entry: Entry, error: Exception) -> None:
        """A message will not be handled."""
        if entry.asker is None:
            self.node.dead_letter(reason, self.node.name, self.name, entry.message)
        else:
            entry.asker.fail(error)

    def withdraw(self, asker: Asker) -> bool:
        """A question is taken back; False: it is handled already, or is being."""
        return self.mailbox is not None and self.mailbox.withdraw(asker)

    # ---- tasks ----

    def _start_task(self, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        """Run a task that ends with the actor."""
        rare = self.rare
        rare.tasks_begun += 1
        scope = rare.tasks[rare.tasks_begun] = trio.CancelScope()
        nursery, number = self.supervisor.nursery, rare.tasks_begun
        nursery.start_soon(self._run_task, rare, number, scope, async_fn, args, name=f"{self.name}.task")

    async def _run_task(
        self,
        rare: _Rare,
        number: int,
        scope: trio.CancelScope,
        async_fn: Callable[..., Awaitable[object]],
        args: tuple[object, ...],
    ) -> None:
        life_number = self.life_number
        CALL.set(None)  # a task is no part of the handler that started it
        try:
            with scope:
                await async_fn(*args)
        except Exception as error:
            self.exit(life_number, error)
        finally:
            del rare.tasks[number]
            rare.idle.set()

    # ---- life ----

    @property
    def has_started(self) -> bool:
        """Its first start is over."""
        return self.life_number > 1 or (self.life_number == 1 and self.life is not STARTING)

    async def begin(self) -> None:
        """Make a new actor and start it; raises what its factory or ``started`` or a first task raises."""
        assert self._rare is None or not self._rare.tasks, "the last life has not ended"
        self.life_number += 1
        self.life = STARTING
        self.stop_asked = self._failed = False
        rare = self.rare
        rare.start_error = None
        try:
            actor = made_by(self.factory)
            actor.context = self
            with trio.CancelScope() as rare.start_scope:
                await self._call_started(actor)
            rare.start_scope = None
            if rare.start_error is not None:
                raise rare.start_error
            if self.life is not STARTING:
                raise ActorDead(f"{self.ref!r} was stopped before it had started")
            if not (rare.tasks or rare.timers or rare.errors):
                self._rare = None  # few need it again
        except BaseException:
            if self.life is STARTING:
                self.life = EXITED
            raise
        self._run(actor)

    async def _call_started(self, actor: Actor) -> None:
        call = self.rare.call = Call(self.name, self.node.next_number())
        token = CALL.set(call)
        try:
            await actor.started()
        finally:
            call.is_over = True
            CALL.reset(token)

    def begin_nowait(self) -> None:
        """The same for an actor without ``started``; raises what its factory raises."""
        self.life_number += 1
        actor = made_by(self.factory)
        kind = type(actor)
        if kind.started is not Actor.started or kind.stopping is not Actor.stopping:
            raise CallerError(f"{kind.__qualname__} has a started or stopping hook: start it with start")
        actor.context = self
        self._run(actor)

    def _run(self, actor: Actor) -> None:
        self.actor = actor
        self.life = RUNNING
        self.has_own_task = len(actor.plain_functions) < len(actor.handlers)
        if self.mailbox is not None and len(self.mailbox):
            self.schedule()
        if self.stop_asked:
            self.exit(self.life_number, None)

    def exit(self, life_number: int, error: Exception | None) -> None:
        """This life is over; None: as it was asked to."""
        if error is not None:
            self.node.onlookers.actor_failed(self.name, error)
        if life_number == self.life_number and self.life is STARTING:
            rare = self.rare
            rare.start_error = rare.start_error or error
            if rare.start_scope is not None:
                rare.start_scope.cancel()
        elif life_number == self.life_number and self.life is RUNNING:
            self.life = EXITED
            self._failed = error is not None
            self.supervisor.exited(self, life_number, error)
        elif error is not None:
            self.rare.errors.append(error)

    def _interrupt(self, life: Life) -> None:
        rare = self._rare
        if self.life is STARTING and rare is not None and rare.start_scope is not None:
            rare.start_scope.cancel()
        self.life = life
        if rare is not None:
            for scope in rare.tasks.values():
                scope.cancel()
            for timer in rare.timers:
                timer.cancel()
            rare.timers.clear()

    def is_life(self, life_number: int) -> bool:
        """The life that a report speaks of is the present one."""
        return self.life_number == life_number and self.life is EXITED

    @property
    def ends_at_once(self) -> bool:
        """There is nothing to wait for when it ends."""
        if self.actor is None or (self._rare is not None and self._rare.tasks):
            return False
        kind = type(self.actor)
        return kind.started is Actor.started and kind.stopping is Actor.stopping

    async def end(self) -> list[Exception]:
        """End this life: tasks are cancelled, then ``stopping`` runs. The exceptions that were raised on the way."""
        if self.life is not CLOSED:
            self._interrupt(EXITED)
        rare = self.rare
        while rare.tasks:
            await rare.idle.wait()
        rare.serving, self.is_ready = None, False
        actor, self.actor = self.actor, None
        if actor is not None:
            try:
                await actor.stopping()
            except Exception as error:
                rare.errors.append(error)
        errors, rare.errors = rare.errors, []
        return errors

    def close(self) -> None:
        """The end of the cell: the name is free, what waits is not handled. Idempotent."""
        if self.life is CLOSED:
            return
        self._interrupt(CLOSED)
        self.node.forget(self, "failed" if self._failed else "stopped")
        for item in () if self.mailbox is None else self.mailbox.drain():
            error = ActorDead(f"{self.ref!r} stopped before it had handled the message")
            self.nobody("stopped", entry_of(item), error)
        self.give_credit(1)

    def give_credit(self, count_min: int) -> None:
        """Let other nodes send as many messages more as have come from them, where there are at least so many."""
        owed = None if self.mailbox is None else self.mailbox.owed
        if owed:
            for lane, count in list(owed.items()):
                if count >= count_min:
                    del owed[lane]
                    lane.give_credit(self.name, count)
