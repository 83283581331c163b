"""The instruments of one node: what they are shown, and what is counted whether anybody looks or not."""

from collections.abc import Iterable

from nfactor.actors.instrument import DeadLetter, Instrument, sees_messages
from nfactor.actors.ref import Ref
from nfactor.actors.tracing import TraceContext


class Onlookers:
    """Calls every instrument, in the order in which they came."""

    def __init__(self, node_name: str, instruments: Iterable[Instrument]) -> None:
        self._node_name = node_name
        self._instruments = list(instruments)
        self.see_messages = any(map(sees_messages, self._instruments))
        """One of them wants to see every message."""
        self.dead_letters: dict[str, int] = {}
        """By reason."""

    def add(self, instrument: Instrument) -> None:
        """Somebody more looks on."""
        self._instruments.append(instrument)
        self.see_messages = any(map(sees_messages, self._instruments))

    def remove(self, instrument: Instrument) -> None:
        """Somebody looks away; raises ValueError if he did not look."""
        self._instruments.remove(instrument)
        self.see_messages = any(map(sees_messages, self._instruments))

    def dead_letter(self, reason: str, node_name: str, actor_name: str, message: object) -> None:
        """A message will not be handled."""
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1
        if self._instruments:
            letter = DeadLetter(reason, node_name, actor_name, message)
            for instrument in self._instruments:
                instrument.dead_letter(self._node_name, letter)

    def peer_down(self, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        """A session has ended."""
        for instrument in self._instruments:
            instrument.peer_down(self._node_name, peer, lane, reason, in_doubt)

    def actor_failed(self, name: str, error: Exception) -> None:
        """An actor failed."""
        for instrument in self._instruments:
            instrument.actor_failed(self._node_name, name, error)

    def actor_restarted(self, name: str) -> None:
        """An actor has started again."""
        for instrument in self._instruments:
            instrument.actor_restarted(self._node_name, name)

    def sent(self, ref: Ref, message: object, trace: bytes | None) -> None:
        """A message was sent."""
        for instrument in self._instruments:
            instrument.sent(self._node_name, ref, message, _context(trace))

    def delivered(self, actor_name: str, message: object, trace: bytes | None) -> None:
        """A message is in a mailbox."""
        for instrument in self._instruments:
            instrument.delivered(self._node_name, actor_name, message, _context(trace))

    def handled(
        self,
        actor_name: str,
        message: object,
        seconds: float,
        error: Exception | None,
        parent: bytes | None,
        span: bytes | None,
    ) -> None:
        """A handler has returned."""
        for instrument in self._instruments:
            instrument.handled(self._node_name, actor_name, message, seconds, error, _context(parent), _context(span))


def _context(octets: bytes | None) -> TraceContext | None:
    return None if octets is None else TraceContext(octets)
