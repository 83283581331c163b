"""Supervisors: who starts actors, in order; restarts them when they fail; and stops them, in reverse order.

As in Erlang/OTP, a *strategy* says who is restarted along with a failed actor: nobody (``one-for-one``), all
(``one-for-all``), those that were started after it (``rest-for-one``). A *restart* kind says when an actor is restarted
at all: always (``permanent``), after a failure only (``transient``), never (``temporary``). More than ``restarts_max``
failures in ``within_s`` seconds are more than a restart can mend: everything is stopped, and the error that was the
last straw rises into the parent's nursery, in an exception group as trio has it. A supervisor that is to be supervised
is a nested ``async with`` block in a task of that nursery.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import attrs
import trio

from nfactor.actors import checks
from nfactor.actors.accepts import Accepts
from nfactor.actors.actor import Actor
from nfactor.actors.cell import Cell
from nfactor.actors.mailbox import SIZE_MAX, Overflow, check_bounds
from nfactor.actors.node import Node
from nfactor.actors.options import Options
from nfactor.actors.parking import Answer, Signal
from nfactor.actors.ref import Ref
from nfactor.errors import ActorDead, CallerError

Strategy = Literal["one-for-one", "one-for-all", "rest-for-one"]
Restart = Literal["permanent", "transient", "temporary"]

_STRATEGIES = ("one-for-one", "one-for-all", "rest-for-one")
_RESTARTS = ("permanent", "transient", "temporary")


@attrs.frozen
class SupervisorStatistics:
    """Counts since the supervisor was opened."""

    children: tuple[str, ...]
    """Names, in the order of starting."""
    restarts: int
    failures: int


class Supervisor:
    """Made by ``open_supervisor``."""

    def __init__(
        self,
        node: Node,
        nursery: trio.Nursery,
        strategy: Strategy,
        restarts_max: int,
        within_s: float,
        backoff_s: float,
    ) -> None:
        if strategy not in _STRATEGIES:
            raise CallerError(f"strategy {strategy!r}: use one of {', '.join(_STRATEGIES)}")
        if restarts_max < 0 or within_s <= 0 or backoff_s < 0:
            raise CallerError("restarts_max and backoff_s must not be negative, within_s must be positive")
        self._node = node
        self.nursery = nursery
        """Where the tasks of actors run."""
        self._strategy = strategy
        self._restarts_max = restarts_max
        self._within_s = within_s
        self._backoff_s = backoff_s
        self._options = Options()
        """Those of the last start: most are alike."""
        self._children: dict[str, Cell] = {}
        """In the order of starting."""
        self._exits: deque[tuple[Cell, int, Exception | None]] = deque()
        self._stops: deque[tuple[Ref[Any], Answer]] = deque()
        self._signal = Signal()
        self._scope = trio.CancelScope()
        self._has_ended = trio.Event()
        self._recent: deque[float] = deque()
        self._restarts = self._failures = 0
        self._is_closing = False

    # ---- for users ----

    async def start(
        self,
        factory: Callable[[], Actor[Accepts]],
        *,
        name: str | None = None,
        restart: Restart = "permanent",
        mailbox_size_max: int = SIZE_MAX,
        overflow: Overflow = "refuse",
    ) -> Ref[Accepts]:
        """Start an actor; returns its ref when its ``started`` has returned, and raises what that raises.

        ``factory`` is called again for every restart. A name is unique on the node; without one the actor gets one.
        ``mailbox_size_max`` bounds each lane of its mailbox, ``overflow`` says what happens to one message more:
        ``refuse`` (senders wait, or get MailboxFull), ``drop-new`` or ``drop-old`` (a dead letter).
        """
        options = self._checked(restart, mailbox_size_max, overflow)
        await trio.lowlevel.checkpoint()
        cell = self._add(factory, name, options)
        try:
            await cell.begin()
        except BaseException as error:
            self._children.pop(cell.name, None)
            if isinstance(error, Exception):
                await cell.end()
            cell.close()
            raise
        return cell.ref

    def start_nowait(
        self,
        factory: Callable[[], Actor[Accepts]],
        *,
        name: str | None = None,
        restart: Restart = "permanent",
        mailbox_size_max: int = SIZE_MAX,
        overflow: Overflow = "refuse",
    ) -> Ref[Accepts]:
        """The same at once, for actors without ``started`` and ``stopping``; raises CallerError for others."""
        options = self._checked(restart, mailbox_size_max, overflow)
        cell = self._add(factory, name, options)
        try:
            cell.begin_nowait()
        except BaseException:
            del self._children[cell.name]
            cell.close()
            raise
        return cell.ref

    def _checked(self, restart: Restart, mailbox_size_max: int, overflow: Overflow) -> Options:
        if restart not in _RESTARTS:
            raise CallerError(f"restart {restart!r}: use one of {', '.join(_RESTARTS)}")
        if self._is_closing:
            raise CallerError("this supervisor is stopping: it starts no more actors")
        last = self._options
        if (restart, mailbox_size_max, overflow) != (last.restart, last.mailbox_size_max, last.overflow):
            check_bounds(mailbox_size_max, overflow)
            self._options = Options(restart, mailbox_size_max, overflow)
        return self._options

    def _add(self, factory: Callable[[], Actor], name: str | None, options: Options) -> Cell:
        if not callable(factory):
            raise CallerError(f"{factory!r} makes no actors: give a class of actors, or what makes one")
        if name is None:
            name = self._node.new_name(getattr(factory, "__name__", "actor"))
        checks.text("an actor", name)
        cell = Cell(self._node, name, factory, self, options)
        self._node.register(cell)
        self._children[name] = cell
        return cell

    def stop_nowait(self, ref: Ref[Any]) -> None:
        """Stop an actor at once that has no tasks, no ``started`` and no ``stopping``, whatever its restart kind.

        Raises ActorDead if it is not there any more, CallerError for others.
        """
        cell = self._children.get(ref.actor_name)
        if cell is None or ref.node_name != self._node.name:
            raise ActorDead(f"{ref!r} is no actor of this supervisor")
        if not cell.ends_at_once:
            raise CallerError(f"{ref!r} has tasks or hooks: stop it with stop")
        del self._children[ref.actor_name]
        cell.close()

    async def stop(self, ref: Ref[Any]) -> None:
        """Stop one of this supervisor's actors, whatever its restart kind; returns when it has stopped.

        Raises ActorDead if it is not there any more.
        """
        if self._is_closing:
            raise ActorDead(f"the supervisor of {ref!r} is stopping, and the actor with it")
        answer = Answer()
        self._stops.append((ref, answer))
        self._signal.set()
        await answer.wait()
        answer.take()

    def statistics(self) -> SupervisorStatistics:
        """Counts so far."""
        return SupervisorStatistics(tuple(self._children), self._restarts, self._failures)

    # ---- supervision ----

    def exited(self, cell: Cell, life_number: int, error: Exception | None) -> None:
        """A life of one of the actors is over; None: as it was asked to."""
        self._exits.append((cell, life_number, error))
        self._signal.set()

    async def _supervise(self) -> None:
        while True:
            await self._signal.wait()
            while self._exits or self._stops:
                if self._exits:
                    await self._ended(*self._exits.popleft())
                else:
                    await self._stop_one(*self._stops.popleft())

    async def _stop_one(self, ref: Ref[Any], answer: Answer) -> None:
        cell = self._children.get(ref.actor_name) if ref.node_name == self._node.name else None
        if cell is None:
            answer.fail(ActorDead(f"{ref!r} is no actor of this supervisor"))
            return
        try:
            errors = await self._discard(cell)
        except BaseException:
            answer.fail(ActorDead(f"the supervisor of {ref!r} was cancelled while it stopped it"))
            raise
        answer.reply(None)
        _raise(errors)

    async def _discard(self, cell: Cell) -> list[Exception]:
        """An actor ends for good."""
        del self._children[cell.name]
        errors = await cell.end()
        cell.close()
        return errors

    async def _ended(self, cell: Cell, life_number: int, error: Exception | None) -> None:
        if self._children.get(cell.name) is not cell or not cell.is_life(life_number):
            return  # it was stopped or restarted meanwhile, along with others
        if cell.options.restart == "temporary" or (cell.options.restart == "transient" and error is None):
            self._failures += error is not None
            _raise(await self._discard(cell))
            return
        await self._restart(cell, error)

    async def _restart(self, cell: Cell, error: Exception | None) -> None:
        """Restart a child, and whoever the strategy says with it; as often as it takes, within the intensity."""
        while True:
            self._failures += error is not None
            self._check_intensity(cell, error)
            group = self._group(cell)
            for member in reversed(group):
                _raise(await member.end())
            for member in group:
                if member.options.restart == "temporary" and member is not cell:
                    await self._discard(member)
            if self._backoff_s:
                await trio.sleep(self._backoff_s * 2 ** (len(self._recent) - 1))
            failed = await self._begin_all([member for member in group if self._children.get(member.name) is member])
            if failed is None:
                return
            cell, error = failed

    async def _begin_all(self, group: list[Cell]) -> tuple[Cell, Exception] | None:
        """Start the children again, in order; the first that fails, with its error."""
        for member in group:
            try:
                await member.begin()
            except Exception as error:
                return member, error
            self._restarts += 1
            self._node.onlookers.actor_restarted(member.name)
        return None

    def _group(self, cell: Cell) -> list[Cell]:
        if self._strategy == "one-for-one":
            return [cell]
        members = list(self._children.values())
        first = 0 if self._strategy == "one-for-all" else members.index(cell)
        return [member for member in members[first:] if member.has_started]

    def _check_intensity(self, cell: Cell, error: Exception | None) -> None:
        now = trio.current_time()
        self._recent.append(now)
        while self._recent[0] < now - self._within_s:
            self._recent.popleft()
        if len(self._recent) > self._restarts_max:
            if error is None:
                error = ActorDead(f"{cell.ref!r} stops again and again although it is permanent")
            raise error

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._supervise()
        except Exception as error:
            # What cannot be mended rises; but first the others stop in good order.
            _raise([error, *await self._stop_children()])
        finally:
            self._is_closing = True
            self._has_ended.set()

    async def _stop_all(self) -> None:
        """End supervision, then stop every child."""
        self._is_closing = True
        self._scope.cancel()
        await self._has_ended.wait()
        _raise(await self._stop_children())

    async def _stop_children(self) -> list[Exception]:
        self._is_closing = True
        errors: list[Exception] = []
        while self._children:
            await trio.lowlevel.checkpoint_if_cancelled()
            errors.extend(await self._discard(next(reversed(self._children.values()))))
        return errors

    def _close(self) -> None:
        self._is_closing = True
        for cell in reversed(list(self._children.values())):
            cell.close()
        self._children.clear()
        while self._stops:
            self._stops.popleft()[1].fail(ActorDead("the supervisor has stopped"))


def _raise(errors: list[Exception]) -> None:
    """Raise what went wrong while actors were stopped, if anything did: one as it is, several as a group."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup("actors failed, the first one first", errors)


@asynccontextmanager
async def open_supervisor(
    node: Node,
    *,
    strategy: Strategy = "one-for-one",
    restarts_max: int = 3,
    within_s: float = 5.0,
    backoff_s: float = 0.0,
) -> AsyncIterator[Supervisor]:
    """Open a supervisor for the length of a block; at its end all its actors are stopped, in reverse order.

    ``backoff_s`` is waited before the first restart of a series and doubled for each further one within ``within_s``.
    When the block is cancelled, actors end at once and without ``stopping``.
    """
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(node, nursery, strategy, restarts_max, within_s, backoff_s)
        nursery.start_soon(supervisor._run, name=f"{node.name}.supervisor")
        try:
            try:
                yield supervisor
            finally:
                await supervisor._stop_all()
        finally:
            supervisor._close()
            nursery.cancel_scope.cancel()
