"""How a virtual switch that has lost its table puts it together again, from what runtimes say (DESIGN section 8).

Each runtime reports the flows that it has, those that it has turned to others and not heard of since, and those that it
keeps as the replica of a runtime that is dead. The highest epoch wins. But of what a runtime has itself no copy counts,
and no word of another who had asked whether it may end and was not answered: there it is an earlier flow of that key.
(So it is if the key's next life was about to move.)
When all have reported, no flow has changed its owner: what nobody reports has never been anywhere, for a runtime drops
what the lost switch had still under way to it (``fenced``) before it reports.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np

from nfactor.cluster.messages import unpack_u32
from nfactor.cluster.recovery_messages import FlowSet, FlowsReported
from nfactor.dataplane.aliases import Told
from nfactor.dataplane.changes import NO_KEYS, joined
from nfactor.dataplane.owners import Owners
from nfactor.packet.flow_key import FlowKeys, places_of

_TOO_LOW: Final = np.uint32(1 << 31)
"""Packets that the lost switch had sent may wait where their flow is coming to: no report counts them. With this much
more a restored count agrees with no runtime's, and the flow is forgotten when nothing was sent for ``SETTLE_S``."""


class Rebuild:
    """Who has reported, and what."""

    def __init__(self, dispatcher: Owners) -> None:
        self._dispatcher = dispatcher
        self._waiting: set[str] = set()
        self.term = 0
        """The view with which all were asked."""
        self.told: dict[str, int] = {}
        """How far each runtime's report has come."""

    @property
    def is_complete(self) -> bool:
        """Whether all have reported everything."""
        return self.term > 0 and not self._waiting

    def begin(self, term: int, runtimes: Sequence[str]) -> list[str]:
        """Begin from nothing, with these, who are to be asked."""
        self._dispatcher.clear()
        self.aliases: list[Told] = []
        """What flows also answer to, as far as it was told."""
        self._present, self._turned = [NO_KEYS], [NO_KEYS]
        """Flows that runtimes have themselves, and that they have turned to others."""
        self._perhaps: list[FlowSet] = []
        self._copies: list[FlowSet] = []
        """Flows of the dead, of which their replicas have copies."""
        self.term, self._waiting, self.told = term, set(runtimes), dict.fromkeys(runtimes, 0)
        return list(runtimes)

    def take(
        self, runtime: str, answer: FlowsReported, now: float, living: Collection[str]
    ) -> Iterator[tuple[str, int]]:
        """A report; the owners that it names, with their numbers. ``living`` are those who are in the view."""
        for flows in answer.sets:
            if flows.perhaps:
                (self._perhaps if flows.owner in living else self._copies).append(flows)
            else:
                certain = self._present if flows.owner == runtime else self._turned
                certain.append(self._restore(flows, now))
            yield flows.owner, flows.index
        for told in answer.aliases:
            keys, aliases = FlowKeys.of_octets(told.keys), FlowKeys.of_octets(told.aliases)
            self.aliases.append(Told(keys, aliases, np.frombuffer(told.turns, np.uint8)))
        self.told[runtime] = answer.following
        if not answer.following:
            self._waiting.discard(runtime)

    def _restore(self, flows: FlowSet, now: float, *, present: FlowKeys = NO_KEYS) -> FlowKeys:
        """Those of them that are not ``present``; which they are in all."""
        keys = FlowKeys.of_octets(flows.keys)
        absent = places_of(keys, present) < 0
        epochs, counts = unpack_u32(flows.epochs)[absent], unpack_u32(flows.packets)[absent] | _TOO_LOW
        self._dispatcher.restore(keys.where(absent), epochs, counts, flows.index, now=now)
        return keys

    def finish(self, now: float) -> None:
        """All have reported: what no runtime has or has turned for certain one may have perhaps, and of what none has
        there may be a copy; and flows answer to what else they did."""
        certain = joined([*self._present, *self._turned])
        for flows in self._perhaps:
            self._present.append(self._restore(flows, now, present=certain))
        present = joined(self._present)
        for flows in self._copies:
            self._restore(flows, now, present=present)
        for told in self.aliases:
            self._dispatcher.learn_again(told)
