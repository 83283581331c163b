"""Replication, both sides, sans-IO: what the primary keeps until it is stored, and what a replica keeps.

A primary gives each of its flows one replica. What a burst did to the flows of one replica is one *commit*: the new
states, and everything that must not be seen outside before those states are safe (packets, drops, emitted records).
Commits to one replica are numbered and stored in order; the replica answers with the number of the last one that it has
stored and released. Until then the primary keeps the commit::

    primary                                  replica                        outside
      │ commit n: states, packets, records ──▶│ store the states             │
      │                                       │ release ─────────────────────▶│
      │◀───────────────── stored up to n ─────│                              │

When the replica dies, whoever takes what it released says up to which number it came; what lies beyond is sent again,
with the states as they are now, through another replica. So nothing is lost and nothing comes twice (DESIGN section 7;
``docs/explanation/design.md`` says what differs).
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final, Generic, TypeVar

import attrs

from nfactor.dataplane.changes import Copies
from nfactor.dataplane.engine import Epochs, Keys, Records
from nfactor.errors import CallerError, ProtocolError
from nfactor.packet.flow_key import FlowKeys

EVERY_MS: Final = 100
"""Under ``every=K`` a changed state is sent after so long at the latest, however few packets there were. A state that
follows twice as soon is sent nearly twice as often, and a death takes a second to be decided on in any case."""

EVERY_MS_MIN: Final = 10
EVERY_MS_MAX: Final = 1000
"""What may be said: timers of a busy node do not keep to less, and flows that lag are listed for so long."""

RESEND_COMMITS_S: Final = 0.25
"""When a replica has confirmed nothing for so long of what it was sent, it is sent all of it again: a session of the
link to it has ended, or it is busy, and ignores what it has."""

_DIGITS_MAX: Final = 9
_NUMBER: Final = rf"[1-9][0-9]{{0,{_DIGITS_MAX - 1}}}"
_EVERY: Final = re.compile(rf"every=(?P<packets>{_NUMBER})(?:/(?P<ms>{_NUMBER})ms)?")

C = TypeVar("C")


class Kind(Enum):
    """When a packet leaves the system."""

    NONE = "none"
    """At once; nothing is replicated."""
    STRICT = "strict"
    """When a replica has stored the state that includes it; at once, and counted, while no replica can be had."""
    STRICT_HOLD = "strict-hold"
    """When a replica has stored the state that includes it; while none can be had, it waits."""
    EVERY = "every"
    """At once; the state of a flow follows after so many packets of it, or so much time."""


@attrs.frozen
class Mode:
    """How a chain is replicated. Under ``every`` the state of a flow is on its way to the replica before
    ``every_packets`` packets have left of which the replica does not know, and within ``every_ms`` milliseconds."""

    kind: Kind = Kind.NONE
    every_packets: int = 0
    every_ms: int = EVERY_MS

    @classmethod
    def parse(cls, text: str) -> "Mode":
        """``none``, ``strict``, ``strict-hold``, ``every=K`` or ``every=K/Tms``; raises ``CallerError``."""
        every = _EVERY.fullmatch(text)
        if every is not None and EVERY_MS_MIN <= int(every["ms"] or EVERY_MS) <= EVERY_MS_MAX:
            return cls(Kind.EVERY, int(every["packets"]), int(every["ms"] or EVERY_MS))
        if text in (Kind.NONE.value, Kind.STRICT.value, Kind.STRICT_HOLD.value):
            return cls(Kind(text))
        raise CallerError(
            f"replication {text}: must be none, strict, strict-hold, every=K or every=K/Tms: K packets, from 1 "
            f"on and of up to {_DIGITS_MAX} digits, and T milliseconds, from {EVERY_MS_MIN} to {EVERY_MS_MAX}"
        )

    @property
    def replicates(self) -> bool:
        """Whether anything is replicated."""
        return self.kind is not Kind.NONE

    @property
    def strict(self) -> bool:
        """Whether packets wait for their state to be stored."""
        return self.kind in (Kind.STRICT, Kind.STRICT_HOLD)


@attrs.define
class Watermark:
    """How far a replica came before it died, as far as others know."""

    packets: dict[bytes, int] = attrs.Factory(dict)
    """By switch (its address): the last commit of that primary whose packets came there."""
    marks: set[int] = attrs.Factory(set)
    """Packets of later commits that came all the same, as the receipt behind them did not; and those that it told it
    had dropped, for its port had no room."""
    outcomes: int = 0
    """The last commit whose drops and records were told."""


class Channel(Generic[C]):
    """The primary's side of one replica: commits that are not known to be stored, oldest first."""

    def __init__(self) -> None:
        self._last = 0
        self._kept: deque[C] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def following(self) -> int:
        """The number that the next commit will have."""
        return self._last + 1

    def __iter__(self) -> Iterator[C]:
        return iter(self._kept)

    def add(self, commit: C) -> int:
        """Keep a commit; its number."""
        self._last += 1
        self._kept.append(commit)
        return self._last

    def stored(self, sequence: int) -> Iterator[C]:
        """The replica has stored and released everything up to there: let go of it, oldest first. Raises
        ``ProtocolError`` for a number that was never given."""
        if sequence > self._last:
            raise ProtocolError(f"commit {sequence} was stored, of {self._last} that were sent")
        while self._last - len(self._kept) < sequence:
            yield self._kept.popleft()

    def close(self) -> Iterator[tuple[int, C]]:
        """The replica is dead: everything that is kept, with its numbers, oldest first."""
        first = self._last - len(self._kept) + 1
        while self._kept:
            yield first, self._kept.popleft()
            first += 1


class Outstanding:
    """Work that was given away and has not been confirmed, and who waits for all of it up to some point.

    Pieces are known by the number that ``begin`` gave them; one that is split counts once for each part.
    """

    def __init__(self) -> None:
        self._last = 0
        self._parts: dict[int, int] = {}
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def begin(self) -> int:
        """A new piece, higher than all before."""
        self._last += 1
        return self._last

    def give(self, piece: int) -> None:
        """A part of it is under way."""
        self._parts[piece] = self._parts.get(piece, 0) + 1

    def done(self, piece: int) -> None:
        """A part of it is confirmed."""
        left = self._parts[piece] - 1
        if left:
            self._parts[piece] = left
        else:
            del self._parts[piece]

    def settle(self) -> None:
        """Call those who need wait no more. Not part of ``done``: what is taken back may be given anew at once."""
        if not self._waiting:
            return
        oldest = min(self._parts, default=self._last + 1)
        while self._waiting and self._waiting[0][0] < oldest:
            self._waiting.popleft()[1]()

    def when_done(self, then: Callable[[], None]) -> None:
        """Call ``then`` when everything that has begun so far is confirmed; now, if it is."""
        self._waiting.append((self._last, then))
        self.settle()


class ReplicaStore:
    """The replica's side: copies of the flows of other runtimes, by primary: two may have flows of one key, one that
    has just moved away or ended there, and one that is new. ``copies`` makes room for those of a runtime."""

    def __init__(self, copies: Callable[[], Copies]) -> None:
        self._open_copies = copies
        self._copies: dict[str, Copies] = {}
        self._stored: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._copies.values()))

    def following(self, primary: str) -> int:
        """The number of the commit of that primary that is to be stored next."""
        return self._stored.get(primary, 0) + 1

    def store(self, primary: str, sequence: int, changes: bytes, ended: Keys) -> None:
        """Take what a commit changes. Raises ``ProtocolError`` if it is not the next one of that primary, and as
        ``Copies.apply`` does."""
        expected = self.following(primary)
        if sequence != expected:
            raise ProtocolError(f"{primary} sent commit {sequence}; {expected} is the next")
        if primary not in self._copies:
            self._copies[primary] = self._open_copies()
        copies = self._copies[primary]
        copies.apply(changes)
        if len(ended):
            copies.drop(ended)
        self._stored[primary] = sequence

    def forget(self, primary: str, keys: Keys, epochs: Epochs) -> None:
        """Those flows of that primary have moved away from it, having had these epochs there. One that has come back
        since has a higher one, and is kept."""
        if primary in self._copies:
            self._copies[primary].drop(keys, epochs)

    def look(self, primary: str) -> tuple[FlowKeys, Epochs, Records]:
        """Copies of everything of a primary, which stays here."""
        copies = self._copies.get(primary)
        return self._open_copies().all() if copies is None else copies.all()

    def take(self, primary: str) -> tuple[FlowKeys, Epochs, Records]:
        """Everything of a primary that is dead, which is forgotten here; its next life begins to count anew."""
        self._stored.pop(primary, None)
        copies = self._copies.pop(primary) if primary in self._copies else self._open_copies()
        return copies.all()
