"""What the nodes of the model are and say: values that never change, and a handler's turn, which makes new ones.

Runtimes are ``A``, ``B`` and ``C``, the switch is ``S``, the coordinator's membership ``M``. There is one flow. Packets
are numbers, and the state of the flow is its *past*: the packets that made it, in order. A packet that leaves carries
the past that it is the last of, so whatever is seen anywhere tells what it was made of. Sets of nodes are strings.
"""

from typing import TypeAlias

import attrs

Past: TypeAlias = tuple[int, ...]
RUNTIMES = "ABC"

# ---------------------------------------------------------------- what travels on the data path


@attrs.frozen
class Packet:
    """Switch → runtime."""

    number: int


@attrs.frozen
class Marker:
    """Switch → source of the migration to that epoch: no packet comes behind this."""

    epoch: int


@attrs.frozen
class Out:
    """Runtime → switch: a packet that leaves, with the past that it ends."""

    past: Past


@attrs.frozen
class Receipt:
    """Replica → switch: what that primary's commits held, up to that number, stands before this."""

    primary: str
    number: int


# ---------------------------------------------------------------- migration


@attrs.frozen
class SetOut:
    """Somebody wants the flow to move there."""

    target: str


@attrs.frozen
class Prepare:
    """Source → target."""

    epoch: int


@attrs.frozen
class Prepared:
    """Its answer."""

    ok: bool


@attrs.frozen
class Redirect:
    """Source → switch."""

    target: str
    epoch: int


@attrs.frozen
class Redirected:
    """Its answer."""

    ok: bool


@attrs.frozen
class Install:
    """Source → target: the state."""

    epoch: int
    past: Past


@attrs.frozen
class Installed:
    """Its answer: the target's replica has it."""


@attrs.frozen
class Cancel:
    """Source → target: nothing will come."""


@attrs.frozen
class Bury:
    """Time has passed: the tombstone may go."""


@attrs.frozen
class Protect:
    """Time has passed: the flow's turn has come to go to another replica."""


# ---------------------------------------------------------------- replication


@attrs.frozen
class Store:
    """Primary → replica: a commit. ``epoch`` is 0 where the flow is not at the primary any more."""

    number: int
    packets: tuple[Past, ...]
    epoch: int
    past: Past


@attrs.frozen
class Stored:
    """Its answer: everything up to that number is stored and released."""

    number: int


@attrs.frozen
class Forget:
    """Primary → replica: the flow has moved away, having had this epoch."""

    epoch: int


# ---------------------------------------------------------------- death and recovery


@attrs.frozen
class Declare:
    """The coordinator has missed that runtime for long enough."""

    runtime: str


Receipts: TypeAlias = tuple[tuple[str, str, int], ...]
"""Replica, primary, number."""
Loose: TypeAlias = tuple[tuple[str, Past], ...]
"""Replica, and a packet that came behind its last receipt."""


@attrs.frozen
class Order:
    """Coordinator → a node: one step of the recovery of ``dead``. ``view`` are all who are dead."""

    step: str
    dead: str
    view: str
    replicas: str = ""
    receipts: Receipts = ()
    loose: Loose = ()


@attrs.frozen
class Taken:
    """Its answer."""

    step: str
    dead: str
    receipts: Receipts = ()
    loose: Loose = ()


@attrs.frozen
class Claim:
    """Replica, or source of a migration that comes back → switch: the flow of that dead runtime is mine."""

    dead: str
    epoch: int
    back: bool
    """Whether a source asks."""


@attrs.frozen
class Claimed:
    """Its answer. ``owner`` is who has it, if neither the claimer nor the dead one."""

    ok: bool
    owner: str
    back: bool


@attrs.frozen
class Finish:
    """Replica → who owns the flow: the state that the dead one was about to send there."""

    epoch: int
    past: Past


@attrs.frozen
class Finished:
    """Its answer."""


# ---------------------------------------------------------------- nodes


@attrs.frozen
class Commit:
    """A commit that is not known to be stored. ``whole``: the replica had not known the flow before."""

    number: int
    packets: tuple[Past, ...]
    whole: bool


@attrs.frozen
class Wait:
    """What waits among the commits until all before it are stored: a marker, or, with no epoch, the answer to
    ``Install``."""

    epoch: int = 0


@attrs.frozen
class Migration:
    """The source's side."""

    state: str
    target: str
    epoch: int
    """At the target; then, of the claim."""
    lacks_marker: bool = True
    record: Past = ()
    """The state, once it has departed."""
    had: int = 0
    """The epoch with which it departed."""


@attrs.frozen
class Takeover:
    """A replica's side of a recovery: whose flow it claims, with what state, and whose answer it waits for."""

    dead: str
    epoch: int
    past: Past
    finishing: str = ""


@attrs.frozen
class Runtime:
    """``phase`` of the flow here: nothing, ``held``, ``owned`` or ``gone``, with an epoch; ``past`` where owned."""

    name: str
    replica: str = ""
    phase: str = ""
    epoch: int = 0
    past: Past = ()
    awaits: str = ""
    """Where held: who will send it, or ``claim`` or ``return``."""
    waiting: Past = ()
    """Packets that came while it was held."""
    dead: str = ""
    migration: Migration | None = None
    taking_back: str = ""
    last: int = 0
    """Number of the last commit that was sent to the replica."""
    kept: tuple[Commit | Wait, ...] = ()
    bare: bool = False
    """The replica has died, and another is to have the flow, which it has not been sent."""
    copies: tuple[tuple[str, int, Past], ...] = ()
    """Primary, epoch, past."""
    stored: tuple[tuple[str, int], ...] = ()
    takeover: Takeover | None = None
    asked_by: str = ""
    """Whose ``Install`` is not answered."""
    late: int = 0


@attrs.frozen
class Crashed:
    """A runtime that is no more."""

    name: str


@attrs.frozen
class Switch:
    """``owner`` is nobody where the flow is not known. ``fenced`` are the dead whose frames are dropped; ``open`` those
    of them whose flow may still be claimed."""

    runtimes: str
    owner: str
    epoch: int
    name: str = "S"
    fenced: str = ""
    open: str = ""
    orphans: Past = ()
    receipts: Receipts = ()
    loose: Loose = ()
    out: tuple[Past, ...] = ()
    """What the world has seen."""


@attrs.frozen
class Recovery:
    """One that the coordinator leads."""

    dead: str
    step: str
    waiting: str


@attrs.frozen
class Coordinator:
    """``fencing`` are recoveries in their first two steps, which wait for nobody; ``present`` is the one that has gone
    further, ``next`` those that wait for it."""

    runtimes: str
    name: str = "M"
    dead: str = ""
    unfenced: str = ""
    fencing: tuple[Recovery, ...] = ()
    present: Recovery | None = None
    next: str = ""
    receipts: Receipts = ()
    loose: Loose = ()


Node: TypeAlias = Runtime | Crashed | Switch | Coordinator
DATA, CONTROL = "data", "control"
Sent: TypeAlias = tuple[str, str, object]
"""Way, receiver, message."""
