"""Many tiny actors in one: a table of keyed actors that are plain records.

A keyed actor costs its record and a dictionary slot, not a task or a mailbox. It lives exactly as long as
``table.records`` has its key, and it has a ref: ``table_ref.at(key)``. Its messages wait in the table's mailbox and
reach the method for their class, with the key::

    class Flows(ActorTable[Flow]):
        @handles_keyed(Packet, creates=True)
        def packet(self, key: bytes, message: Packet) -> None:
            flow = self.records.get(key)
            if flow is None:
                flow = self.records[key] = Flow()
            flow.packets += 1

        @handles_batch(Tick)              # many messages, one call
        def ticks(self, batch: list[tuple[bytes, Tick]]) -> None:
            for key, _ in batch:
                self.records[key].ticks += 1

        @handles(ExportMany)              # one message, many keys
        def export(self, message: ExportMany) -> States: ...

A message to a key that has no record is treated as one to an actor that does not exist, unless its handler ``creates``.
All handlers of a table are synchronous: they run in the node's pump, one after the other.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from nfactor.actors.accepts import Accepts
from nfactor.actors.actor import Actor, Handler, mark_handler
from nfactor.errors import CallerError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Record = TypeVar("Record", default=Any)
else:
    from typing import TypeVar

    Record = TypeVar("Record")

A = TypeVar("A")
M = TypeVar("M")
R = TypeVar("R")


def handles_keyed(
    message_class: type[M], *, creates: bool = False
) -> Callable[[Callable[[A, bytes, M], R]], Callable[[A, bytes, M], R]]:
    """The method handles messages of exactly this class that are sent to a key of the table."""

    def mark(method: Callable[[A, bytes, M], R]) -> Callable[[A, bytes, M], R]:
        return mark_handler(method, "__handles_keyed__", message_class, creates=creates)

    return mark


def handles_batch(
    message_class: type[M], *, creates: bool = False
) -> Callable[[Callable[[A, list[tuple[bytes, M]]], R]], Callable[[A, list[tuple[bytes, M]]], R]]:
    """The same for many messages at once: the method gets those of this class that wait next to each other, as
    ``(key, message)``, in order. Where somebody asked, it returns a sequence of as many replies (or None). If it
    raises, it has failed for all of them."""

    def mark(method: Callable[[A, list[tuple[bytes, M]]], R]) -> Callable[[A, list[tuple[bytes, M]]], R]:
        return mark_handler(method, "__handles_keyed__", message_class, creates=creates, is_batch=True)

    return mark


class ActorTable(Actor[Accepts], Generic[Record, Accepts]):
    """One mailbox, any number of keyed actors; see the module's docstring."""

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> Any:
            """``ActorTable[Flow]``: what it accepts has a default (see ``actors.accepts``)."""
            return super().__class_getitem__(parameters if isinstance(parameters, tuple) else (parameters, Any))

    records: dict[bytes, Record]
    """The keyed actors, in the order in which they began."""

    def __new__(cls, *args: object, **options: object) -> "ActorTable[Record, Accepts]":
        table = super().__new__(cls)
        table.records = {}
        return table

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        every: list[Handler] = [*cls.handlers.values(), *cls.keyed_handlers.values()]
        for handler in every:
            if handler.is_async:
                raise CallerError(f"{handler.function.__qualname__} is async: handlers of a table are plain functions")
