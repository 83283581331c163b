"""What an onlooker may see of a node, without being able to change it."""

import attrs

from nfactor.actors.ref import Ref
from nfactor.actors.tracing import TraceContext


@attrs.frozen
class DeadLetter:
    """A message that no actor will handle."""

    reason: str
    """``no-actor``: there is no such actor here; ``stopped``: it stopped before its turn; ``unhandled``: the actor has
    no handler for this class; ``overflow``: a full mailbox dropped it by its policy; ``bounced``: the mailbox at the
    other node was full; ``no-remote-actor``: there is no such actor there; ``in-doubt``: the session ended before it
    was acknowledged; ``node-closed``."""
    node: str
    """The node that it was sent to."""
    actor: str
    message: object
    """The message; None where it is not known any more (a bounce carries only the address)."""


class Instrument:
    """Derive from this and pass instances to ``open_node(instruments=…)``; the methods do nothing by themselves.

    They are called in the midst of things: look, note, return. To act on what they see, tell an actor. ``node`` is the
    name of the node that calls, for one instrument may look at several. Whoever overrides one of the last three sees
    every message, which slows the node down; the others cost nothing.
    """

    def dead_letter(self, node: str, letter: DeadLetter) -> None:
        """A message will not be handled."""

    def peer_down(self, node: str, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        """A session with a peer ended; so many messages are in doubt."""

    def actor_failed(self, node: str, actor: str, error: Exception) -> None:
        """An actor failed; its supervisor decides."""

    def actor_restarted(self, node: str, actor: str) -> None:
        """An actor that had stopped or failed has started again."""

    def sent(self, node: str, to: Ref, message: object, trace: TraceContext | None) -> None:
        """A message was sent from this node, by a tell or an ask; ``trace`` is the sender's context."""

    def delivered(self, node: str, actor: str, message: object, trace: TraceContext | None) -> None:
        """A message is in the mailbox of an actor of this node."""

    def handled(
        self,
        node: str,
        actor: str,
        message: object,
        seconds: float,
        error: Exception | None,
        parent: TraceContext | None,
        span: TraceContext | None,
    ) -> None:
        """A handler has returned, or raised, after so long on trio's clock. ``span`` is the context of this handling,
        ``parent`` that of the message."""


def sees_messages(instrument: Instrument) -> bool:
    """It overrides a method that is called for each message."""
    methods = ("sent", "delivered", "handled")
    return any(getattr(type(instrument), name) is not getattr(Instrument, name) for name in methods)
