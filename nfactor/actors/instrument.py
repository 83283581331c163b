"""What an onlooker may see of a node, without being able to change it."""

import attrs


@attrs.frozen
class DeadLetter:
    """A message that no actor will handle."""

    reason: str
    """``no-actor``: there is no such actor here; ``stopped``: it stopped before its turn; ``unhandled``: the actor has
    no handler for this class; ``bounced``: the mailbox at the other node was full; ``no-remote-actor``: there is
    no such actor there; ``in-doubt``: the session ended before it was acknowledged; ``node-closed``."""
    node: str
    """The node that it was sent to."""
    actor: str
    message: object
    """The message; None where it is not known any more (a bounce carries only the address)."""


class Instrument:
    """Derive from this and pass instances to ``open_node(instruments=…)``; the methods do nothing by themselves.

    They are called in the midst of things: look, note, return. To act on what they see, tell an actor.
    """

    def dead_letter(self, letter: DeadLetter) -> None:
        """A message will not be handled."""

    def peer_down(self, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        """A session with a peer ended; so many messages are in doubt."""

    def actor_failed(self, name: str, error: Exception) -> None:
        """An actor failed; its supervisor decides."""

    def actor_restarted(self, name: str) -> None:
        """An actor that had stopped or failed has started again."""
