"""Aliases: other keys that a flow answers to, because a network function rewrites its addresses.

Replies to a rewritten packet have another flow key than the flow. An NF that rewrites emits an ``Alias`` with the
packet, until something has come back; the runtime then sends the packet out *labelled* with the key of its flow; and
the switch, through which it goes out, reads both keys off it and labels what comes for the second one with the first.
So no packet leaves before the switch knows where its answers belong, nobody waits for an acknowledgement, and what may
happen to the packet (a replica holds it, a port loses it) happens to the word about its alias as well: the next one
says it again.

Where there are several switches, a flow is one's and its alias may be another's. The packet that tells of it then goes
out through that one as well, which learns whose flow it is; what comes for the alias it passes, labelled, to the switch
of the flow. So one switch has the flow, whatever keys it answers to, and the word is still ahead of its answers.

Only switches know of aliases. Migration, replication, recovery and the end of a flow speak of its one key, so that
all keys of a flow move together because there is nothing to move.
"""

from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.changes import initiators_of
from nfactor.dataplane.engine import REPLY, Engine, Records, Status
from nfactor.dataplane.nf import Alias, Flow
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys, places_of

ALIASES_OF_FLOW_MAX: Final = 4
"""Aliases of one flow, at most; the oldest goes first. A key that has begun anew may have one of its last life."""

Emitted = list[tuple[bytes, Any]]


def teach(engine: Engine, burst: Burst, codes: npt.NDArray[np.uint8], emitted: Emitted) -> tuple[Burst, Emitted]:
    """A burst that the engine has just processed, with labels on what goes on of flows that have an alias to tell of;
    and what else its NFs emitted."""
    told = {key: record.direction for key, record in emitted if isinstance(record, Alias)}
    if not told:
        return burst, emitted
    rest = [(key, record) for key, record in emitted if not isinstance(record, Alias)]
    keys = FlowKeys.of(told)
    _, records, statuses = engine.copy(keys)
    directions = np.fromiter(told.values(), np.uint8, len(told)) ^ initiators_of(records)
    places = places_of(engine.changes.keys_of(engine.touched), keys)
    wanted = (places >= 0) & (codes <= REPLY) & ~cluster_frame.labelled(burst)
    labels = {
        index: (keys[place], int(directions[place]) | cluster_frame.TEACH)
        for index, place in zip(np.flatnonzero(wanted).tolist(), places[wanted].tolist(), strict=True)
        if statuses[place] == Status.OK
    }
    return cluster_frame.with_labels(burst, labels), rest


@attrs.frozen
class Told:
    """Aliases of some flows: ``keys[n]`` answers to ``aliases[n]``, turned round by that if ``turns[n]`` is 1."""

    keys: FlowKeys
    aliases: FlowKeys
    turns: npt.NDArray[np.uint8]


def told_by(chain: Chain, keys: FlowKeys, records: Records) -> Told:
    """What the states of flows say of their aliases."""
    found: list[tuple[bytes, bytes, int]] = []
    functions = [function for function in chain.functions if Alias in function.records]
    if functions:
        for key, record, initiator in zip(keys, records, initiators_of(records).tolist(), strict=True):
            states = dict(zip(chain.functions, chain.unpack(record.tobytes())[1], strict=True))
            flow = Flow(key, initiator)
            found += [(key, *alias) for function in functions for alias in function.aliases(flow, states[function])]
    flows, aliases, turns = zip(*found, strict=True) if found else ((), (), ())
    return Told(FlowKeys.of(flows), FlowKeys.of(aliases), np.array(turns, np.uint8))


class Entry(Protocol):
    """What a switch knows of a flow."""

    aliases: tuple[bytes, ...]


E = TypeVar("E", bound=Entry)


@attrs.frozen
class Known(Generic[E]):
    """One alias: whose it is."""

    entry: E
    key: bytes
    turn: int
    """1 if a packet from ``a`` to ``b`` of the alias goes from ``b`` to ``a`` of the flow's key."""


class Aliases(Generic[E]):
    """The aliases of a switch's flows, ``aliases_max`` at most. ``gone`` is called with an alias and a flow's key when
    the flow does not answer to that any more."""

    def __init__(self, aliases_max: int, gone: Callable[[bytes, bytes], None] = lambda alias, key: None) -> None:
        self._max = aliases_max
        self._gone = gone
        self._known: dict[bytes, Known[E]] = {}
        self.refused = 0
        """Aliases for which there was no room."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: bytes) -> Known[E] | None:
        """Whose alias the key is, if it is one."""
        return self._known.get(key)

    def learn(self, alias: bytes, entry: E, key: bytes, turn: int) -> None:
        """That key is an alias of that flow from now on, whosever it was: the flow that had it last has ended."""
        known = self._known.get(alias)
        if known is None and len(self._known) >= self._max:
            self.refused += 1
            return
        self._known[alias] = Known(entry, key, turn)
        if alias not in entry.aliases:
            for oldest in entry.aliases[: -ALIASES_OF_FLOW_MAX + 1]:
                self._drop(oldest, entry)
            entry.aliases = (*entry.aliases[-ALIASES_OF_FLOW_MAX + 1 :], alias)

    def forget(self, entry: E) -> None:
        """The flow has ended."""
        for alias in entry.aliases:
            self._drop(alias, entry)
        entry.aliases = ()

    def _drop(self, alias: bytes, entry: E) -> None:
        known = self._known.get(alias)
        if known is not None and known.entry is entry:
            del self._known[alias]
            self._gone(alias, known.key)

    def drop(self, alias: bytes, key: bytes) -> None:
        """That flow does not answer to that any more, if it does now."""
        known = self._known.get(alias)
        if known is not None and known.key == key:
            known.entry.aliases = without(known.entry.aliases, alias)
            self._drop(alias, known.entry)


def without(aliases: tuple[bytes, ...], alias: bytes) -> tuple[bytes, ...]:
    """All of them but that one."""
    return tuple(other for other in aliases if other != alias)
