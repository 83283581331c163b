"""An actor's address: the same for an actor here, on another host, or not yet (or no longer) there.

A ref is a value (two node and actor names, and the key of a keyed actor in a table): comparable, hashable, and a
message may carry it; ``Ref[Add | Read]`` tells a type checker what may be sent to it. It also knows the node that
*uses* it, through which everything is sent; a ref that arrives in a message is bound to the node that it arrived at. It
says nothing about whether the actor lives: a tell to nobody is a dead letter there, an ask to nobody raises
``ActorDead``.
"""

from collections.abc import Coroutine
from functools import total_ordering
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from nfactor.actors import checks
from nfactor.actors.accepts import Accepts
from nfactor.actors.envelope import tell_prefix
from nfactor.actors.life import CLOSED
from nfactor.actors.runs import Route
from nfactor.actors.tracing import CURRENT
from nfactor.errors import CallerError, MailboxFull

if TYPE_CHECKING:
    from nfactor.actors.cell import Cell
    from nfactor.actors.node import Node
    from nfactor.actors.peer_lane import PeerLane

R = TypeVar("R")


@total_ordering
class Ref(Generic[Accepts]):
    """Where an actor is; made by ``node.ref``, ``supervisor.start``, ``context.ref``, or by decoding a message."""

    __slots__ = ("_node", "_route", "actor_name", "key", "node_name")

    def __init__(self, node_name: str, actor_name: str, key: bytes | None = None, node: "Node | None" = None) -> None:
        checks.address(node_name, actor_name, key)
        self.node_name = node_name
        self.actor_name = actor_name
        self.key = key
        """Which keyed actor of a table; None: the actor itself."""
        self._node = node
        self._route: Cell | Route | None = None
        """The actor on the node that uses this ref, or the way to it, once it was found."""

    def _identity(self) -> tuple[str, str, bool, bytes]:
        return (self.node_name, self.actor_name, self.key is not None, self.key or b"")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self._identity() == other._identity()

    def __lt__(self, other: "Ref") -> bool:
        return self._identity() < other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        key = "" if self.key is None else f"[{self.key.hex()}]"
        return f"<Ref {self.node_name}/{self.actor_name}{key}>"

    def at(self, key: bytes) -> "Ref[Accepts]":
        """The keyed actor ``key`` of the table that this ref names."""
        return Ref(self.node_name, self.actor_name, key, self._node)

    def bound_to(self, node: "Node") -> "Ref[Accepts]":
        """The same address, used from ``node``."""
        return self if self._node is node else Ref(self.node_name, self.actor_name, self.key, node)

    def _user(self) -> "Node":
        if self._node is None:
            raise CallerError(f"{self!r} is bound to no node: use ref.bound_to(node)")
        return self._node

    async def tell(self, message: Accepts) -> None:
        """Send a message; waits while the mailbox here, or the link to the other node, has no room.

        Who waits is served in order, before any later ``tell_nowait``. Cancelled: the message was not sent. No promise
        is made about a message to another node but that it is known to have reached its mailbox, or is a dead letter
        (no such actor, mailbox full, in doubt).
        """
        await self._user().tell(self, message)

    def tell_nowait(self, message: Accepts) -> None:
        """Send a message; raises MailboxFull if the mailbox here, or the link to the other node, has no room."""
        node, route = self._node, self._route or self._find()
        if node is None or route is None or not node.is_plain or CURRENT.get() is not None:
            self._user().tell_nowait(self, message)
        elif type(route) is Route:
            run = route.run
            if run.cls is not type(message) or len(run.values) >= run.end or not run.note(message, run.values):
                route.lanes[getattr(message, "__message_system__", False)].tell_plain(route, self, message)
        elif self.key is not None:
            node.tell_nowait(self, message)
        elif route.life is CLOSED:  # type: ignore[union-attr]
            self._route = None
            node.tell_nowait(self, message)
        elif not route.offer(message, getattr(message, "__message_system__", False)):  # type: ignore[union-attr]
            raise MailboxFull(f"the mailbox of {self!r} is full: wait with tell, or give it a larger mailbox_size_max")

    def _find(self) -> "Cell | Route | None":
        node = self._user()
        if node.name == self.node_name:
            self._route = node.cells.get(self.actor_name)
        else:
            checks.text("a node", self.node_name)
            checks.text("an actor", self.actor_name)
            self._route = Route(node.peer(self.node_name), tell_prefix(self.actor_name, self.key))
        return self._route

    @property
    def route(self) -> Route:
        """The way to an actor on another node."""
        route = self._route or self._find()
        assert type(route) is Route
        return route

    def lane_for(self, message: object) -> "PeerLane":
        """The lane to the other node on which a message travels."""
        route = self._route or self._find()
        return route.lanes[getattr(message, "__message_system__", False)]  # type: ignore[union-attr]

    @overload
    async def ask(self, message: Accepts, *, within_s: float | None = None) -> None: ...
    @overload
    async def ask(self, message: Accepts, reply: type[R], *, within_s: float | None = None) -> R: ...
    def ask(
        self, message: Accepts, reply: type[R] | None = None, *, within_s: float | None = None
    ) -> Coroutine[Any, Any, R | None]:
        """Send a message, wait for what its handler returns: an instance of ``reply``, or None if no class is given.

        Raises what went wrong: RemoteError (the handler raised, or there is none), ActorDead, PeerDown (the session
        ended: whether it was handled is in doubt), MailboxFull (at once, an ask does not wait for room), ProtocolError
        (another reply than ``reply``), AskCycle (the answer would wait for this very question). A time-out is trio's
        ``fail_after``; ``within_s`` raises ``trio.TooSlowError`` as well, and costs less. Timed out or cancelled: the
        question is taken back if it was not begun with, here or elsewhere, and the reply, should it come, is dropped
        and counted as late. A plain handler of an actor here may have answered before this returns, without other
        tasks having run.
        """
        node = self._node or self._user()
        return node.ask(self, message, reply, within_s)  # its coroutine, and none around it
