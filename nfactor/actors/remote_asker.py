"""Who asked from another node: where the answer of a handler goes."""

from typing import TYPE_CHECKING

from nfactor.actors import envelope
from nfactor.actors.envelope import BOUNCE_DEAD, BOUNCE_FULL
from nfactor.actors.frame import Identity
from nfactor.errors import ActorDead, MailboxFull, RemoteError

if TYPE_CHECKING:
    from nfactor.actors.peer_lane import PeerLane


class RemoteAsker:
    """Who asked from another node."""

    __slots__ = ("_lane", "_number", "_session")

    def __init__(self, lane: "PeerLane", session: tuple[Identity, Identity] | None, number: int) -> None:
        self._lane = lane
        self._session = session
        self._number = number

    def reply(self, value: object) -> bool:
        body = None if value is None else self._lane.node.messages.to_array(value)
        return self._lane.answer(self._session, self._number, [envelope.REPLY, self._number, body])

    def fail(self, error: Exception) -> bool:
        if isinstance(error, MailboxFull):
            array = [envelope.BOUNCE, self._number, BOUNCE_FULL, str(error)]
        elif isinstance(error, ActorDead):
            array = [envelope.BOUNCE, self._number, BOUNCE_DEAD, str(error)]
        elif isinstance(error, RemoteError):
            array = [envelope.ERROR, self._number, error.kind, error.text]
        else:
            array = [envelope.ERROR, self._number, type(error).__name__, str(error)]
        return self._lane.answer(self._session, self._number, array)
