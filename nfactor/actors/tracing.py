"""A trace: which messages were sent because of which, across actors and nodes.

::

    with trace() as context:
        await shop.tell(Order(7))
    print(context.traceparent)

Whatever is sent inside the block, and whatever handlers send while they handle a message of the trace, belongs to it.
Every handling is a *span* of its own, with its parent's number at hand: instruments see both, in the form of the W3C's
Trace Context (version 00), and may hand them to any tracing system. A message of a trace costs 27 octets more on the
wire; others cost nothing.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs

from nfactor.errors import CallerError

TRACE_OCTETS = 16
SPAN_OCTETS = 8


@attrs.frozen
class TraceContext:
    """A trace, and where in it we are."""

    octets: bytes
    """16 octets that name the trace, then 8 that name the span."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.octets[:TRACE_OCTETS].hex()

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.octets[TRACE_OCTETS:].hex()

    @property
    def traceparent(self) -> str:
        """As in a header of that name."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    @classmethod
    def parse(cls, traceparent: str) -> "TraceContext":
        """From a ``traceparent``; raises CallerError."""
        parts = traceparent.split("-")
        try:
            octets = bytes.fromhex(parts[1] + parts[2])
        except (IndexError, ValueError):
            octets = b""
        if len(octets) != TRACE_OCTETS + SPAN_OCTETS or len(parts[1]) != 2 * TRACE_OCTETS:
            raise CallerError(f"{traceparent!r} is no traceparent")
        return cls(octets)


CURRENT: ContextVar[bytes | None] = ContextVar("nfactor_trace", default=None)
"""The octets of the context in which this task, or this handler, runs."""


def current_trace() -> TraceContext | None:
    """The trace to which what is sent now belongs."""
    octets = CURRENT.get()
    return None if octets is None else TraceContext(octets)


@contextmanager
def trace(context: TraceContext | None = None) -> Iterator[TraceContext]:
    """What is sent in this block belongs to a trace: a new one, or ``context``. In a simulation, give one whose octets
    come from its randomness."""
    chosen = context or TraceContext(secrets.token_bytes(TRACE_OCTETS + SPAN_OCTETS))
    token = CURRENT.set(chosen.octets)
    try:
        yield chosen
    finally:
        CURRENT.reset(token)


def child(octets: bytes, place: str, number: int) -> bytes:
    """The context of what happens because of ``octets``: the same trace, another span. Made of where and the how
    manieth, so that a simulation gives the same each time."""
    span = hashlib.blake2b(octets + place.encode() + number.to_bytes(8, "big"), digest_size=SPAN_OCTETS)
    return octets[:TRACE_OCTETS] + span.digest()
