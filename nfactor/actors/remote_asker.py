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
        lane, messages = self._lane, self._lane.node.messages
        if lane.arrivals.alone_at is None and (flat := messages.flats.get(type(value))) is not None:
            was_waited_for = lane.answer_in_run(self._session, self._number, flat, value)
            if was_waited_for is not None:
                return was_waited_for
        try:
            body = None if value is None else messages.encoders[type(value)](value)
            payload = messages.pack_quickly([envelope.REPLY, self._number, body])
        except Exception:  # of whatever kind: the longer way says what it is
            payload = messages.pack([envelope.REPLY, self._number, messages.to_array(value)])
        return lane.answer(self._session, self._number, payload)

    def fail(self, error: Exception) -> bool:
        if isinstance(error, MailboxFull):
            array = [envelope.BOUNCE, self._number, BOUNCE_FULL, str(error)]
        elif isinstance(error, ActorDead):
            array = [envelope.BOUNCE, self._number, BOUNCE_DEAD, str(error)]
        elif isinstance(error, RemoteError):
            array = [envelope.ERROR, self._number, error.kind, error.text]
        else:
            array = [envelope.ERROR, self._number, type(error).__name__, str(error)]
        return self._lane.answer(self._session, self._number, self._lane.node.messages.pack(array))
