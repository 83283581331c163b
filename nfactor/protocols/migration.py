"""Migration, the source's side: a sans-IO machine that moves one set of flows in three request/replies.

The paper's section 4.1 moves one flow actor; here the unit is a set (DESIGN section 6). The steps are::

    source                     target                      each switch that owns keys of the set
      │ 1 prepare(keys)  ───────▶│ hold                        │
      │◀─────────── statuses ────│                             │
      │ 2 redirect(keys, epochs) ──────────────────────────────▶│ owner := target
      │◀───────────────────────────────────────── statuses ────│
      │◀═══════════════ marker, behind the last packet ════════│   (the data path)
      │ 3 install(states) ──────▶│ install, drain the buffer    │
      │◀─────────── statuses ────│

The source processes packets until every marker has come: nothing overtakes it, because it came down the same queue.
Sending the states is the commit point. Each reply has a status per key and the next step goes on with those that were
accepted; the others stay at the source as if nothing had been.

When the target dies, the source *turns the flows back*: once the replicas of what the target had taken over have made
their claims, it claims the rest, which is all that the target had not yet stored elsewhere. Until the target has
answered the last step, the source therefore keeps the states. (When the source dies, its replicas finish what it had
begun; that is no affair of this machine.)

The table below is the whole machine; an event that has no row is a ``ProtocolError``. The flows are in arrays, and each
is known by its place among those that set out: whatever happens to a hundred thousand flows is a few operations on
arrays.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.engine import Epochs, Status, Statuses, are
from nfactor.dataplane.together import Groups, as_one
from nfactor.errors import ProtocolError
from nfactor.packet.flow_key import FlowKeys

Places: TypeAlias = npt.NDArray[np.intp]
"""Places of flows among those that set out."""


class State(Enum):
    """How far the set has come."""

    PREPARING = "the target has been asked to hold the flows"
    REDIRECTING = "the switches have been asked, and not all have answered"
    DRAINING = "all switches have answered; markers are still on the data path"
    INSTALLING = "the states are on their way: committed"
    DOOMED = "the target is dead, and not all switches have answered"
    RETURNING = "the target is dead; the flows are claimed back at the switches"
    DONE = "the target owns the flows"
    ABORTED = "the source kept the flows"


class Event(Enum):
    """What can happen to the set."""

    PREPARED = "the target answered, and holds some"
    REFUSED = "the last answer is here, and nothing was accepted"
    ANSWERED = "a switch answered; others have not"
    REDIRECTED = "the last switch answered; markers are missing"
    MARKER = "a switch's marker came on the data path; more is missing"
    DRAINED = "the last thing that was missing came: an answer or a marker"
    INSTALLED = "the target answered that it installed them"
    DIED = "the target is dead, and others have claimed what is theirs"
    RETURNED = "the last switch answered the claim"


TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.PREPARING, Event.PREPARED): State.REDIRECTING,
    (State.PREPARING, Event.REFUSED): State.ABORTED,
    (State.PREPARING, Event.DIED): State.ABORTED,
    (State.REDIRECTING, Event.ANSWERED): State.REDIRECTING,
    (State.REDIRECTING, Event.MARKER): State.REDIRECTING,
    (State.REDIRECTING, Event.REDIRECTED): State.DRAINING,
    (State.REDIRECTING, Event.DRAINED): State.INSTALLING,
    (State.REDIRECTING, Event.REFUSED): State.ABORTED,
    (State.REDIRECTING, Event.DIED): State.DOOMED,
    (State.DRAINING, Event.MARKER): State.DRAINING,
    (State.DRAINING, Event.DRAINED): State.INSTALLING,
    (State.DRAINING, Event.DIED): State.RETURNING,
    (State.INSTALLING, Event.INSTALLED): State.DONE,
    (State.INSTALLING, Event.DIED): State.RETURNING,
    (State.DOOMED, Event.ANSWERED): State.DOOMED,
    (State.DOOMED, Event.MARKER): State.DOOMED,
    (State.DOOMED, Event.REFUSED): State.ABORTED,
    (State.DOOMED, Event.REDIRECTED): State.RETURNING,
    (State.DOOMED, Event.DRAINED): State.RETURNING,
    (State.RETURNING, Event.ANSWERED): State.RETURNING,
    (State.RETURNING, Event.MARKER): State.RETURNING,
    (State.RETURNING, Event.RETURNED): State.ABORTED,
}


@attrs.frozen
class Prepare:
    """Ask the target to hold these flows, which will come with these epochs."""

    keys: FlowKeys
    epochs: Epochs


@attrs.frozen
class Redirect:
    """Ask a switch to send the packets of keys that it owns to the target from now on."""

    switch: str
    keys: FlowKeys
    epochs: Epochs


@attrs.frozen
class Install:
    """Take the flows out of the engine and ask the target to install their states."""

    keys: FlowKeys
    epochs: Epochs


@attrs.frozen
class Keep:
    """These flows stay at the source after all: unpin them."""

    keys: FlowKeys


@attrs.frozen
class Cancel:
    """Tell the target that nothing will come of this migration."""


@attrs.frozen
class Bury:
    """The flows are the target's, in these epochs: their tombstones may be removed after a while."""

    keys: FlowKeys
    epochs: Epochs


@attrs.frozen
class Claim:
    """Ask a switch to give flows whose keys it owns back to the source, with these epochs."""

    switch: str
    keys: FlowKeys
    epochs: Epochs


@attrs.frozen
class Return:
    """These flows are the source's again, with these epochs; those that had departed are put back in place."""

    keys: FlowKeys
    epochs: Epochs
    departed: bool


Effect = Prepare | Redirect | Install | Keep | Cancel | Bury | Claim | Return


class MigrationSource:
    """One set on its way. Feed it events, carry out the effects that it returns, in order. ``owners`` says for each
    switch where in ``keys`` those are that it owns; ``groups`` which of them go together or not at all."""

    def __init__(
        self, keys: FlowKeys, epochs: Epochs, owners: Mapping[str, Places], groups: Groups | None = None
    ) -> None:
        assert len(keys) == len(epochs), "one epoch per key"
        assert len(keys) > 0, "an empty set does not migrate"
        assert len(keys) == sum(map(len, owners.values())), "each key has an owner"
        self.epochs: Epochs = (epochs + 1).astype(np.uint32)
        """The epochs that they will have at the target, of all that set out."""
        self.state = State.PREPARING
        self._set_out = keys
        self._in = np.ones(len(keys), bool)
        """Which are still in: fewer after each step that refused some."""
        self._owners = owners
        self._groups = groups
        self._asked: dict[str, Places] = {}
        """By switch that has not answered: what it was asked about."""
        self._unmarked: set[str] = set()
        """Switches whose markers have not come."""
        self._departed = False

    @property
    def keys(self) -> FlowKeys:
        """The flows that are still in."""
        return self._set_out.where(self._in)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in (State.DONE, State.ABORTED)

    @property
    def target_is_dead(self) -> bool:
        """Whether it is known that the target is dead, and the flows are coming back."""
        return self.state in (State.DOOMED, State.RETURNING)

    def lacks_marker(self, switch: str) -> bool:
        """Whether the set waits for that switch's marker, which may have been lost."""
        return switch in self._unmarked and self.state in (State.REDIRECTING, State.DRAINING)

    def turned(self, switch: str) -> tuple[FlowKeys, Epochs]:
        """Keys of that switch that it may have turned to the target, with the epochs that they have by that. None where
        it has not been asked, or the source kept them. (What is claimed back is the target's until the switch has
        answered, and may be anywhere after that.)"""
        answered = self.state is State.RETURNING and switch not in self._asked
        if answered or self.state in (State.PREPARING, State.ABORTED):
            return self._set_out[:0], self.epochs[:0]
        places = self._owned_by(switch)
        back = np.uint32(self.state is State.RETURNING)
        return self._at(places), self.epochs[places] - back

    def start(self) -> list[Effect]:
        """The first effect."""
        return [Prepare(self._set_out, self.epochs)]

    def prepared(self, statuses: Statuses) -> list[Effect]:
        """The target answered step 1. What it holds of a group of which it refused another flow, it lets go of when
        the states of the rest come."""
        holds = bool(are(statuses, Status.OK).any())
        if self._groups is not None:
            statuses = as_one(statuses, self._groups)
        refused = self._narrow(np.arange(len(self._set_out)), statuses)
        self._step(Event.PREPARED if self._in.any() else Event.REFUSED)
        if not self._in.any():
            return [*_keep(self._at(refused)), *([Cancel()] if holds else [])]
        redirects = self._ask_switches(Redirect)
        self._unmarked = set(self._asked)
        return [*_keep(self._at(refused)), *redirects]

    def redirected(self, switch: str, statuses: Statuses) -> list[Effect]:
        """A switch answered step 2."""
        asked = self._answer(switch)
        refused = self._narrow(asked, statuses)
        if len(refused) == len(asked):
            self._unmarked.discard(switch)  # it turned nothing, so it sends no marker
        if self._asked:
            self._step(Event.ANSWERED)
            return _keep(self._at(refused))
        if not self._in.any():
            self._step(Event.REFUSED)
            return [*_keep(self._at(refused)), Cancel()]
        self._step(Event.REDIRECTED if self._unmarked else Event.DRAINED)
        return [*_keep(self._at(refused)), *self._install(), *self._claim()]

    def marker(self, switch: str) -> list[Effect]:
        """A switch's marker came on the data path. One that comes twice says nothing new."""
        if switch not in self._unmarked:
            return []
        self._unmarked.discard(switch)
        self._step(Event.MARKER if self._unmarked or self._asked else Event.DRAINED)
        return self._install()

    def installed(self, statuses: Statuses) -> list[Effect]:
        """The target answered step 3. It promised in step 1 to take what it held: a refusal now breaks the protocol."""
        if not are(statuses, Status.OK).all():
            raise ProtocolError(f"the target refused states of {np.count_nonzero(statuses)} flows that it was holding")
        self._step(Event.INSTALLED)
        return [Bury(self.keys, self.epochs[self._in])]

    def died(self) -> list[Effect]:
        """The target is dead, and the replicas of what it had taken over have claimed it."""
        self._step(Event.DIED)
        return [Keep(self.keys), Cancel()] if self.state is State.ABORTED else self._claim()

    def returned(self, switch: str, statuses: Statuses) -> list[Effect]:
        """A switch answered the claim. What it refuses is somebody else's by now, if it had departed; else it has
        ended there, and will here."""
        asked = self._answer(switch)
        refused = self._narrow(asked, statuses)
        self._step(Event.ANSWERED if self._asked else Event.RETURNED)
        given = asked[self._in[asked]]
        back: list[Effect] = [Return(self._at(given), self.epochs[given], self._departed)] if len(given) else []
        if not len(refused):
            return back
        return [*back, Bury(self._at(refused), self.epochs[refused]) if self._departed else Keep(self._at(refused))]

    def _step(self, event: Event) -> None:
        following = TABLE.get((self.state, event))
        if following is None:
            raise ProtocolError(f"migration in state {self.state.name} cannot take {event.name}")
        self.state = following

    def _install(self) -> list[Effect]:
        if self.state is not State.INSTALLING:
            return []
        self._departed = True
        return [Install(self.keys, self.epochs[self._in])]

    def _claim(self) -> list[Effect]:
        if self.state is not State.RETURNING:
            return []
        self.epochs = (self.epochs + 1).astype(np.uint32)
        return self._ask_switches(Claim)

    def _ask_switches(self, effect: type[Redirect] | type[Claim]) -> list[Effect]:
        """One question to each switch that owns keys of the set, about those; first to the one that owns the first."""
        owned = {switch: self._owned_by(switch) for switch in self._owners}
        first = sorted((int(places[0]), switch) for switch, places in owned.items() if len(places))
        self._asked = {switch: owned[switch] for _, switch in first}
        return [effect(switch, self._at(places), self.epochs[places]) for switch, places in self._asked.items()]

    def _answer(self, switch: str) -> Places:
        if switch not in self._asked:
            raise ProtocolError(f"migration in state {self.state.name} has asked nothing of {switch}")
        return self._asked.pop(switch)

    def _narrow(self, asked: Places, statuses: Statuses) -> Places:
        """Go on without those of the asked that were not accepted, which are returned."""
        if len(statuses) != len(asked):
            raise ProtocolError(f"{len(statuses)} statuses for {len(asked)} keys")
        refused: Places = asked[~are(statuses, Status.OK)]
        self._in[refused] = False
        return refused

    def _owned_by(self, switch: str) -> Places:
        """Where those are that are still in and whose keys that switch owns."""
        places = self._owners.get(switch, _NOWHERE)
        found: Places = places[self._in[places]]
        return found

    def _at(self, places: Places) -> FlowKeys:
        return self._set_out.at(places)


_NOWHERE: Final[Places] = np.zeros(0, np.intp)


def _keep(keys: FlowKeys) -> list[Effect]:
    return [Keep(keys)] if len(keys) else []
