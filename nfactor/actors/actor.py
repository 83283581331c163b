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
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin

import attrs

from nfactor.actors.accepts import Accepts
from nfactor.actors.message import tag_of
from nfactor.actors.timers import Timer
from nfactor.errors import CallerError

if TYPE_CHECKING:
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
    is_batch: bool = False
    """A keyed handler that takes a list of pairs of key and message."""


def handles(message_class: type[M]) -> Callable[[Callable[[A, M], R]], Callable[[A, M], R]]:
    """The method handles messages of exactly this class; it may be ``async``."""

    def mark(method: Callable[[A, M], R]) -> Callable[[A, M], R]:
        return mark_handler(method, "__handles__", message_class)

    return mark


def mark_handler(
    method: Callable[..., R], name: str, message_class: type, *, creates: bool = False, is_batch: bool = False
) -> Callable[..., R]:
    if tag_of(message_class) is None:
        raise CallerError(f"{method.__qualname__} handles {message_class.__name__}, which is no message class")
    marks = getattr(method, name, ())
    setattr(method, name, (*marks, (message_class, creates, is_batch)))
    return method


def collect(cls: type, name: str) -> dict[type, Handler]:
    """The marked methods of a class and its bases; a method of the class goes before one of a base."""
    handlers: dict[type, Handler] = {}
    for base in reversed(cls.__mro__):
        seen: list[type] = []
        for attribute, method in vars(base).items():
            for message_class, creates, is_batch in getattr(method, name, ()):
                if message_class in seen:
                    raise CallerError(f"{base.__qualname__} has two handlers for {message_class.__name__}")
                seen.append(message_class)
                # A subclass that overrides the method without marking it again still handles the message.
                function = getattr(cls, attribute)
                is_async = inspect.iscoroutinefunction(function)
                handlers[message_class] = Handler(function, is_async, creates, is_batch)
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
    """Its surroundings. Set before ``started`` is called; not there yet in ``__init__``."""

    handlers: ClassVar[dict[type, Handler]] = {}
    keyed_handlers: ClassVar[dict[type, Handler]] = {}
    plain_functions: ClassVar[dict[type, Callable[..., Any]]] = {}
    """Those of ``handlers`` that are plain methods for one message: what a tell needs, at once."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.handlers = collect(cls, "__handles__")
        cls.keyed_handlers = collect(cls, "__handles_keyed__")
        cls.plain_functions = {
            message_class: handler.function
            for message_class, handler in cls.handlers.items()
            if not (handler.is_async or handler.is_batch)
        }
        for message_class in _accepted(cls):
            if message_class not in cls.handlers and message_class not in cls.keyed_handlers:
                raise CallerError(f"{cls.__qualname__} accepts {message_class.__name__} and has no handler for it")

    async def started(self) -> None:
        """Called before the first message; ``supervisor.start`` returns when it has returned."""

    async def stopping(self) -> None:
        """Called after the last message, when the actor stops or has failed, but not in a crash of the node."""


class Context(ABC):
    """What an actor knows of its surroundings, and what it may ask of them."""

    __slots__ = ()

    name: str
    """The actor's name, unique on its node."""
    node: "Node"
    """The node that it lives on: ``self.context.node.ref(node_name, actor_name)``."""

    @property
    @abstractmethod
    def ref(self) -> "Ref[Any]":
        """The actor's own address."""

    @abstractmethod
    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a background task, which is cancelled when the actor stops; an exception in it fails the actor."""

    @abstractmethod
    def stop(self) -> None:
        """Stop this actor, in good order, once the present handler has returned."""

    @abstractmethod
    def watch(self, ref: "Ref[Any]") -> None:
        """Be told by ``Terminated``, which needs a handler, when that actor is gone for good. Watching twice is
        watching once; a restart of the watcher does not end it. Raises CallerError for an actor in a table."""

    @abstractmethod
    def unwatch(self, ref: "Ref[Any]") -> None:
        """Not any more. A ``Terminated`` that is already in the mailbox comes all the same."""

    @abstractmethod
    def tell_after(self, seconds: float, message: object, to: "Ref[Any] | None" = None) -> Timer:
        """Send a message at a later time, to this actor if not said otherwise. The timer ends with this life of the
        actor. A mailbox that is full then refuses it, and counts that."""

    @abstractmethod
    def tell_every(self, seconds: float, message: object, to: "Ref[Any] | None" = None) -> Timer:
        """The same again and again, for the first time after ``seconds``."""


def made_by(factory: Callable[[], Actor]) -> Actor:
    """A new actor; raises what the factory raises, and CallerError if it makes something else."""
    actor = factory()
    if not isinstance(actor, Actor):
        raise CallerError(f"{factory!r} made {actor!r}, which is no Actor: give a class of actors, or what makes one")
    return actor
