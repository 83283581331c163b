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


# The members by themselves: asked of the class, one costs ten times as much in CPython 3.11; each frame looks at some.
CLOSED, OPENING, OPEN = State


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
    (CLOSED, Source.OLDER, False): (Effect.DROP, CLOSED),
    (CLOSED, Source.OLDER, True): (Effect.DROP, CLOSED),
    (CLOSED, Source.SAME, False): (Effect.ANSWER, CLOSED),
    (CLOSED, Source.SAME, True): (Effect.ENTER | Effect.TAKE, OPEN),
    (CLOSED, Source.NEWER, False): (Effect.LEARN | Effect.ANSWER, CLOSED),
    (CLOSED, Source.NEWER, True): (Effect.LEARN | Effect.ENTER | Effect.TAKE, OPEN),
    (OPENING, Source.OLDER, False): (Effect.DROP, OPENING),
    (OPENING, Source.OLDER, True): (Effect.DROP, OPENING),
    (OPENING, Source.SAME, False): (Effect.ANSWER, OPENING),
    (OPENING, Source.SAME, True): (Effect.ENTER | Effect.TAKE, OPEN),
    (OPENING, Source.NEWER, False): (Effect.LEARN | Effect.ANSWER, OPENING),
    (OPENING, Source.NEWER, True): (Effect.LEARN | Effect.ENTER | Effect.TAKE, OPEN),
    (OPEN, Source.OLDER, False): (Effect.DROP, OPEN),
    (OPEN, Source.OLDER, True): (Effect.DROP, OPEN),
    (OPEN, Source.SAME, False): (Effect.ANSWER, OPEN),
    (OPEN, Source.SAME, True): (Effect.TAKE, OPEN),
    (OPEN, Source.NEWER, False): (Effect.END | Effect.LEARN | Effect.ANSWER, CLOSED),
    (OPEN, Source.NEWER, True): (Effect.END | Effect.LEARN | Effect.ENTER | Effect.TAKE, OPEN),
}


@attrs.frozen
class Ended:
    """A session ended, or could not be had."""

    reason: str
    """``restarted``: the peer is in a newer session; ``silent``: nothing was acknowledged for too long;
    ``unreachable``: it never answered; ``oversized``: it sent a message over the limit."""
    in_doubt: list[bytes]
    """The messages that may or may not have arrived, in the order of sending."""
