"""How tasks wait here without an event or a channel per message: one sleeper, an answer, senders in line.

All three use trio's ``wait_task_rescheduled``. What a cancelled wait must undo is one removal from a dictionary, which
has no effect on anybody else: trio runs abort functions in an order that varies from run to run.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

import outcome
import trio

T = TypeVar("T")


class _Going(outcome.Outcome[None]):
    """What a task is woken with here: nothing. One does for all wake-ups, where trio makes one for each."""

    def unwrap(self) -> None:
        pass

    def send(self, gen: Generator[Any, None, Any]) -> Any:
        return gen.send(None)

    async def asend(self, agen: AsyncGenerator[Any, None]) -> Any:
        return await agen.asend(None)


_GOING = _Going()


class Signal:
    """One sleeper, woken any number of times; a wake-up that comes while it is awake is remembered."""

    __slots__ = ("_is_set", "_sleeper")

    def __init__(self) -> None:
        self._is_set = False
        self._sleeper: trio.lowlevel.Task | None = None

    def set(self) -> None:
        """Wake the sleeper, or let its next ``wait`` return."""
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper, _GOING)
            self._sleeper = None
        else:
            self._is_set = True

    def clear(self) -> None:
        """Forget a wake-up that was remembered."""
        self._is_set = False

    async def wait(self) -> None:
        """Return when ``set`` was called since the last return."""
        if self._is_set:
            self._is_set = False
            await trio.lowlevel.checkpoint()
            return
        assert self._sleeper is None, "two tasks wait for one signal"
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)


class Answer:
    """What an asker waits for; given once."""

    __slots__ = ("_asker", "_error", "_value", "interrupt", "is_given", "is_over")

    def __init__(self) -> None:
        self._asker: trio.lowlevel.Task | None = None
        self._value: object = None
        self._error: Exception | None = None
        self.is_given = False
        """It is here."""
        self.is_over = False
        """There is nothing more to wait for, whether it is here or was given up: ``take`` has what there is."""
        self.interrupt: Callable[[], None] | None = None
        """Called when it is over: the asker waits for something else meanwhile."""

    def take(self) -> object:
        """The value that is here; raises the exception."""
        if self._error is not None:
            raise self._error
        return self._value

    def reply(self, value: object) -> bool:
        """The asker gets a value; False if it does not wait any more."""
        if self.is_over:
            return False
        self.is_given = self.is_over = True
        self._value = value
        self._wake()
        return True

    def fail(self, error: Exception) -> bool:
        """The asker gets an exception; False if it does not wait any more."""
        if self.is_over:
            return False
        self.is_given = self.is_over = True
        self._error = error
        self._wake()
        return True

    def abandon(self, error: Exception) -> None:
        """The asker is not to wait any longer: it gets an exception, and whatever comes now is late."""
        if not self.is_over:
            self.is_over = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._asker is not None:
            trio.lowlevel.reschedule(self._asker, _GOING)
            self._asker = None
        elif self.interrupt is not None:
            self.interrupt()

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._asker = None
        self.is_over = True
        return trio.lowlevel.Abort.SUCCEEDED

    def wait(self) -> Awaitable[object]:
        """Until it is over; await it at once. Cancelled: whatever comes later is late."""
        if self.is_over:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - who waits awaits it, not one coroutine more
        self._asker = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105


class Line(Generic[T]):
    """Senders in line for room, each with what it wants to put in; who comes first is served first."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[trio.lowlevel.Task, T] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, item: T) -> None:
        """Stand in line until ``item`` was taken. Cancelled: it was not and will not be."""
        task = trio.lowlevel.current_task()
        self._waiting[task] = item

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def admit(self) -> T:
        """Take the first sender's item, and let the sender go on."""
        task = next(iter(self._waiting))
        item = self._waiting.pop(task)
        trio.lowlevel.reschedule(task, _GOING)
        return item

    def admit_all(self) -> deque[T]:
        """Take every item, in order."""
        items: deque[T] = deque()
        while self._waiting:
            items.append(self.admit())
        return items
