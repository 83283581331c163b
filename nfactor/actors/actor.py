"""What an author writes: a class with a handler for each message class.

::

    class Counter(Actor):
        def __init__(self) -> None:
            self.total = 0

        @handles(Add)
        def add(self, message: Add) -> Total:
            self.total += message.number
            return Total(self.total)

Handlers run one at a time and to completion. What a handler returns is the reply to an ``ask`` (a message or None) and
is dropped after a ``tell``. A plain handler runs in the node's pump and costs a call; it may send with
``tell_nowait``. If any handler of a class is ``async``, every actor of the class has a task of its own, and waits in a
handler hold up this actor only.

**When a handler raises**, the asker gets RemoteError with the name of the exception, and the actor has failed: its
supervisor decides. The exception is RemoteError itself: raised on purpose (or passed on from an actor asked in turn),
it goes to the asker as it is, and the actor carries on; so ``raise RemoteError("stale-epoch", "…")`` is the way to
refuse a request. After a tell there is nobody to hear it, and it is a failure like any other.
"""

import inspect
from collections.abc import Awaitable, Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin

import attrs

from nfactor.actors.accepts import Accepts
from nfactor.actors.message import tag_of
from nfactor.errors import CallerError

if TYPE_CHECKING:
    from nfactor.actors.cell import Cell
    from nfactor.actors.node import Node
    from nfactor.actors.ref import Ref

A = TypeVar("A")
M = TypeVar("M")
R = TypeVar("R")


@attrs.frozen
class Handler:
    """A method, and how it wants to be called."""

    function: Callable[..., Any]
    is_async: bool
    creates: bool = False
    """A keyed handler that also runs for a key that has no record yet."""


def handles(message_class: type[M]) -> Callable[[Callable[[A, M], R]], Callable[[A, M], R]]:
    """The method handles messages of exactly this class; it may be ``async``."""

    def mark(method: Callable[[A, M], R]) -> Callable[[A, M], R]:
        return mark_handler(method, "__handles__", message_class, creates=False)

    return mark


def mark_handler(method: Callable[..., R], name: str, message_class: type, creates: bool) -> Callable[..., R]:
    if tag_of(message_class) is None:
        raise CallerError(f"{method.__qualname__} handles {message_class.__name__}, which is no message class")
    marks = getattr(method, name, ())
    setattr(method, name, (*marks, (message_class, creates)))
    return method


def collect(cls: type, name: str) -> dict[type, Handler]:
    """The marked methods of a class and its bases; a method of the class goes before one of a base."""
    handlers: dict[type, Handler] = {}
    for base in reversed(cls.__mro__):
        seen: list[type] = []
        for attribute, method in vars(base).items():
            for message_class, creates in getattr(method, name, ()):
                if message_class in seen:
                    raise CallerError(f"{base.__qualname__} has two handlers for {message_class.__name__}")
                seen.append(message_class)
                # A subclass that overrides the method without marking it again still handles the message.
                function = getattr(cls, attribute)
                handlers[message_class] = Handler(function, inspect.iscoroutinefunction(function), creates)
    return handlers


def _accepted(cls: type) -> list[type]:
    """What the bases of a class say that it accepts: ``Actor[Add | Read]``."""
    accepted: list[type] = []
    for base in getattr(cls, "__orig_bases__", ()):
        parameters = getattr(get_origin(base), "__parameters__", ())
        for parameter, argument in zip(parameters, get_args(base), strict=False):
            if parameter is Accepts and argument is not Any:
                some = get_args(argument) if get_origin(argument) in (Union, UnionType) else (argument,)
                accepted += [one for one in some if isinstance(one, type)]
    return accepted


class Actor(Generic[Accepts]):
    """The base of all actors; see the module's docstring. A class that is derived from ``Actor[Add | Read]`` has to
    handle these, and gets refs to which a type checker lets nothing else be sent."""

    context: "Context"
    """Set before ``started`` is called; not there yet in ``__init__``."""

    handlers: ClassVar[dict[type, Handler]] = {}
    keyed_handlers: ClassVar[dict[type, Handler]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.handlers = collect(cls, "__handles__")
        cls.keyed_handlers = collect(cls, "__handles_keyed__")
        for message_class in _accepted(cls):
            if message_class not in cls.handlers and message_class not in cls.keyed_handlers:
                raise CallerError(f"{cls.__qualname__} accepts {message_class.__name__} and has no handler for it")

    async def started(self) -> None:
        """Called before the first message; ``supervisor.start`` returns when it has returned."""

    async def stopping(self) -> None:
        """Called after the last message, when the actor stops or has failed, but not in a crash of the node."""


class Context:
    """What an actor knows of its surroundings."""

    __slots__ = ("_cell",)

    def __init__(self, cell: "Cell") -> None:
        self._cell = cell

    @property
    def name(self) -> str:
        """The actor's name, unique on its node."""
        return self._cell.name

    @property
    def node(self) -> "Node":
        """The node that it lives on: ``self.context.node.ref(node_name, actor_name)``."""
        return self._cell.node

    @property
    def ref(self) -> "Ref":
        """The actor's own address."""
        return self._cell.ref

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a background task, which is cancelled when the actor stops; an exception in it fails the actor."""
        self._cell.start_task(async_fn, args)

    def stop(self) -> None:
        """Stop this actor, in good order, once the present handler has returned."""
        self._cell.request_stop()
