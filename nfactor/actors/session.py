"""The sessions of a link as one table: what a frame does in each state.

A frame names two identities, its sender's and the one that it takes us for. The first is older than, the same as, or
newer than the greatest identity of the peer that was ever seen here; the second is our present identity, or is not.
What ends a session from within (nothing was acknowledged for too long) is not here, because no frame causes it.
"""

import enum

import attrs


class State(enum.Enum):
    """Where a link stands."""

    CLOSED = "closed"
    """No session, and nothing to send."""
    OPENING = "opening"
    """No session, but messages wait for one."""
    OPEN = "open"
    """In a session."""


class Source(enum.Enum):
    """The sender of a frame, compared with the greatest identity of the peer that was ever seen."""

    OLDER = "older"
    SAME = "same"
    NEWER = "newer"


class Effect(enum.Flag):
    """What a frame does, in this order."""

    END = enum.auto()
    """The session is over: what is not acknowledged is in doubt."""
    LEARN = enum.auto()
    """This is the peer's identity from now on."""
    ENTER = enum.auto()
    """A new session begins, with this sender."""
    TAKE = enum.auto()
    """Acknowledgements and segments count."""
    ANSWER = enum.auto()
    """The sender does not know us: say who we are."""
    DROP = enum.auto()
    """Stale, counted."""


# (state, sender, does the frame name our present identity?) -> (effects, next state). Every combination is here.
STEPS: dict[tuple[State, Source, bool], tuple[Effect, State]] = {
    (State.CLOSED, Source.OLDER, False): (Effect.DROP, State.CLOSED),
    (State.CLOSED, Source.OLDER, True): (Effect.DROP, State.CLOSED),
    (State.CLOSED, Source.SAME, False): (Effect.ANSWER, State.CLOSED),
    (State.CLOSED, Source.SAME, True): (Effect.ENTER | Effect.TAKE, State.OPEN),
    (State.CLOSED, Source.NEWER, False): (Effect.LEARN | Effect.ANSWER, State.CLOSED),
    (State.CLOSED, Source.NEWER, True): (Effect.LEARN | Effect.ENTER | Effect.TAKE, State.OPEN),
    (State.OPENING, Source.OLDER, False): (Effect.DROP, State.OPENING),
    (State.OPENING, Source.OLDER, True): (Effect.DROP, State.OPENING),
    (State.OPENING, Source.SAME, False): (Effect.ANSWER, State.OPENING),
    (State.OPENING, Source.SAME, True): (Effect.ENTER | Effect.TAKE, State.OPEN),
    (State.OPENING, Source.NEWER, False): (Effect.LEARN | Effect.ANSWER, State.OPENING),
    (State.OPENING, Source.NEWER, True): (Effect.LEARN | Effect.ENTER | Effect.TAKE, State.OPEN),
    (State.OPEN, Source.OLDER, False): (Effect.DROP, State.OPEN),
    (State.OPEN, Source.OLDER, True): (Effect.DROP, State.OPEN),
    (State.OPEN, Source.SAME, False): (Effect.ANSWER, State.OPEN),
    (State.OPEN, Source.SAME, True): (Effect.TAKE, State.OPEN),
    (State.OPEN, Source.NEWER, False): (Effect.END | Effect.LEARN | Effect.ANSWER, State.CLOSED),
    (State.OPEN, Source.NEWER, True): (Effect.END | Effect.LEARN | Effect.ENTER | Effect.TAKE, State.OPEN),
}


@attrs.frozen
class Ended:
    """A session ended, or could not be had."""

    reason: str
    """``restarted``: the peer is in a newer session; ``silent``: nothing was acknowledged for too long;
    ``unreachable``: it never answered; ``oversized``: it sent a message over the limit."""
    in_doubt: list[bytes]
    """The messages that may or may not have arrived, in the order of sending."""
