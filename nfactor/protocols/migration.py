"""Migration, the source's side: a sans-IO machine that moves one set of flows in three request/replies.

The paper's section 4.1 moves one flow actor; here the unit is a set (DESIGN section 6). The steps are::

    source                     target                      switch
      │ 1 prepare(keys)  ───────▶│ hold                        │
      │◀─────────── statuses ────│                             │
      │ 2 redirect(keys, epochs) ──────────────────────────────▶│ owner := target
      │◀───────────────────────────────────────── statuses ────│
      │◀═══════════════ marker, behind the last packet ════════│   (the data path)
      │ 3 install(states) ──────▶│ install, drain the buffer    │
      │◀─────────── statuses ────│

The source processes packets until the marker has come: nothing overtakes it, because it came down the same queue.
Sending the states is the commit point. Each reply has a status per key and the next step goes on with those that were
accepted; the others stay at the source as if nothing had been.

When the target dies, the source *turns the flows back*: once the replicas of what the target had taken over have made
their claims, it claims the rest, which is all that the target had not yet stored elsewhere. Until the target has
answered the last step, the source therefore keeps the states. (When the source dies, its replicas finish what it had
begun; that is no affair of this machine.)

The table below is the whole machine; an event that has no row is a ``ProtocolError``.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

import attrs
import numpy as np

from nfactor.dataplane.engine import Epochs, Status, Statuses
from nfactor.errors import ProtocolError


class State(Enum):
    """How far the set has come."""

    PREPARING = "the target has been asked to hold the flows"
    REDIRECTING = "the switch has been asked; neither its answer nor its marker is here"
    ANSWERED = "the switch has answered; its marker is not here"
    MARKED = "the marker is here; the switch's answer is not"
    INSTALLING = "the states are on their way: committed"
    DOOMED = "the target is dead, and the switch's answer is not here"
    RETURNING = "the target is dead; the flows have been claimed back at the switch"
    DONE = "the target owns the flows"
    ABORTED = "the source kept the flows"


class Event(Enum):
    """What can happen to the set."""

    PREPARED = "the target answered, and holds some"
    REDIRECTED = "the switch answered, and turned some"
    REFUSED = "the answer accepts none"
    MARKER = "the switch's marker came on the data path"
    INSTALLED = "the target answered that it installed them"
    DIED = "the target is dead, and others have claimed what is theirs"
    RETURNED = "the switch answered the claim"


TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.PREPARING, Event.PREPARED): State.REDIRECTING,
    (State.PREPARING, Event.REFUSED): State.ABORTED,
    (State.PREPARING, Event.DIED): State.ABORTED,
    (State.REDIRECTING, Event.REDIRECTED): State.ANSWERED,
    (State.REDIRECTING, Event.MARKER): State.MARKED,
    (State.REDIRECTING, Event.REFUSED): State.ABORTED,
    (State.ANSWERED, Event.MARKER): State.INSTALLING,
    (State.MARKED, Event.REDIRECTED): State.INSTALLING,
    (State.INSTALLING, Event.INSTALLED): State.DONE,
    (State.REDIRECTING, Event.DIED): State.DOOMED,
    (State.MARKED, Event.DIED): State.DOOMED,
    (State.DOOMED, Event.MARKER): State.DOOMED,
    (State.DOOMED, Event.REFUSED): State.ABORTED,
    (State.DOOMED, Event.REDIRECTED): State.RETURNING,
    (State.ANSWERED, Event.DIED): State.RETURNING,
    (State.INSTALLING, Event.DIED): State.RETURNING,
    (State.RETURNING, Event.MARKER): State.RETURNING,
    (State.RETURNING, Event.RETURNED): State.ABORTED,
}


@attrs.frozen
class Prepare:
    """Ask the target to hold these flows, which will come with these epochs."""

    keys: tuple[bytes, ...]
    epochs: Epochs


@attrs.frozen
class Redirect:
    """Ask the switch that owns the keys to send their packets to the target from now on."""

    keys: tuple[bytes, ...]
    epochs: Epochs


@attrs.frozen
class Install:
    """Take the flows out of the engine and ask the target to install their states."""

    keys: tuple[bytes, ...]
    epochs: Epochs


@attrs.frozen
class Keep:
    """These flows stay at the source after all: unpin them."""

    keys: tuple[bytes, ...]


@attrs.frozen
class Cancel:
    """Tell the target that nothing will come of this migration."""


@attrs.frozen
class Bury:
    """The flows are the target's: their tombstones may be removed after a while."""

    keys: tuple[bytes, ...]


@attrs.frozen
class Claim:
    """Ask the switch that owns the keys to give the flows back to the source, with these epochs."""

    keys: tuple[bytes, ...]
    epochs: Epochs


@attrs.frozen
class Return:
    """These flows are the source's again, with these epochs; those that had departed are put back in place."""

    keys: tuple[bytes, ...]
    epochs: Epochs
    departed: bool


Effect = Prepare | Redirect | Install | Keep | Cancel | Bury | Claim | Return


class MigrationSource:
    """One set on its way. Feed it events, carry out the effects that it returns, in order."""

    def __init__(self, keys: Sequence[bytes], epochs: Epochs) -> None:
        assert len(keys) == len(epochs), "one epoch per key"
        assert len(keys) > 0, "an empty set does not migrate"
        self.keys = tuple(keys)
        """The flows that are still in: fewer after each step that refused some."""
        self.epochs: Epochs = (epochs + 1).astype(np.uint32)
        """The epochs that they will have at the target."""
        self.state = State.PREPARING
        self._departed = False

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (State.DONE, State.ABORTED)

    def start(self) -> list[Effect]:
        """The first effect."""
        return [Prepare(self.keys, self.epochs)]

    def prepared(self, statuses: Statuses) -> list[Effect]:
        """The target answered step 1."""
        refused = self._narrow(statuses)
        self._step(Event.PREPARED if self.keys else Event.REFUSED)
        # Where the target holds nothing there is nothing to cancel either.
        return [*_keep(refused), *([Redirect(self.keys, self.epochs)] if self.keys else [])]

    def redirected(self, statuses: Statuses) -> list[Effect]:
        """The switch answered step 2."""
        refused = self._narrow(statuses)
        self._step(Event.REDIRECTED if self.keys else Event.REFUSED)
        if not self.keys:
            return [*_keep(refused), Cancel()]
        return [*_keep(refused), *self._install(), *self._claim()]

    def marker(self) -> list[Effect]:
        """The switch's marker came on the data path."""
        self._step(Event.MARKER)
        return self._install()

    def installed(self, statuses: Statuses) -> list[Effect]:
        """The target answered step 3. It promised in step 1 to take what it held: a refusal now breaks the protocol."""
        if (statuses != Status.OK).any():
            raise ProtocolError(f"the target refused states of {np.count_nonzero(statuses)} flows that it was holding")
        self._step(Event.INSTALLED)
        return [Bury(self.keys)]

    def died(self) -> list[Effect]:
        """The target is dead, and the replicas of what it had taken over have claimed it."""
        self._step(Event.DIED)
        return [*_keep(self.keys), Cancel()] if self.state is State.ABORTED else self._claim()

    def returned(self, statuses: Statuses) -> list[Effect]:
        """The switch answered the claim. What it refuses is somebody else's by now, if it had departed; else it has
        ended there, and will here."""
        refused = self._narrow(statuses)
        self._step(Event.RETURNED)
        back: list[Effect] = [Return(self.keys, self.epochs, self._departed)] if self.keys else []
        if not refused:
            return back
        return [*back, Bury(refused) if self._departed else Keep(refused)]

    def _step(self, event: Event) -> None:
        following = TABLE.get((self.state, event))
        if following is None:
            raise ProtocolError(f"migration in state {self.state.name} cannot take {event.name}")
        self.state = following

    def _install(self) -> list[Effect]:
        if self.state is not State.INSTALLING:
            return []
        self._departed = True
        return [Install(self.keys, self.epochs)]

    def _claim(self) -> list[Effect]:
        if self.state is not State.RETURNING:
            return []
        self.epochs = (self.epochs + 1).astype(np.uint32)
        return [Claim(self.keys, self.epochs)]

    def _narrow(self, statuses: Statuses) -> tuple[bytes, ...]:
        """Go on with the keys that were accepted; the others are returned."""
        if len(statuses) != len(self.keys):
            raise ProtocolError(f"{len(statuses)} statuses for {len(self.keys)} keys")
        accepted = statuses == Status.OK
        refused = tuple(key for key, ok in zip(self.keys, accepted.tolist(), strict=True) if not ok)
        self.keys = tuple(key for key, ok in zip(self.keys, accepted.tolist(), strict=True) if ok)
        self.epochs = self.epochs[accepted]
        return refused


def _keep(keys: tuple[bytes, ...]) -> list[Effect]:
    return [Keep(keys)] if keys else []
