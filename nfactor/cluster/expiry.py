"""Finds flows of a runtime whose time-out has passed, and asks the switches that own their keys whether they may end.

Until its switch has answered a flow is pinned: what a switch forgets must not set out for another runtime meanwhile.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nfactor.cluster.messages import ExpireFlows, FlowStatuses, pack_u32, unpack_statuses
from nfactor.cluster.names import LIAISON
from nfactor.cluster.ownership import by_owner
from nfactor.cluster.view import View
from nfactor.dataplane.engine import Counts, Engine, Status, are
from nfactor.packet.flow_key import FlowKeys, places_of

IDLE_FLOWS_MAX = 1024
"""Flows that one question to a switch proposes for expiry, at most."""
PACKETS_PER_IDLE_LOOK = 4
"""One row of the table is looked at for so many packets."""


class Expiry:
    """``node`` is the name of this runtime; ``ask`` as in ``Role``; ``end`` ends flows, here and at their replicas.
    ``taking_s`` is a clock that stands still while packets wait at the port and none are taken."""

    def __init__(
        self,
        engine: Engine,
        node: str,
        view: View,
        *,
        ask: Callable[..., None],
        end: Callable[[FlowKeys, Counts], None],
        taking_s: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._node = node
        self._view = view
        self._ask = ask
        self._end = end
        self._taking_s = taking_s
        self._found: dict[str, dict[bytes, int]] = {}
        """Flows to propose, and their packet counts, by switch."""
        self._found_s: dict[str, float] = {}
        """When the first of them was found, by that clock: the counts are no older."""
        self._asked: dict[str, dict[bytes, int]] = {}
        """The same in questions that are not answered: one at a time to each switch."""
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        """By switch, what is to be done when it has answered."""

    def look(self, packets: int) -> None:
        """So many packets were processed: look at a slice of the table, so that the scan costs a fraction of them."""
        if sum(map(len, self._found.values())) < IDLE_FLOWS_MAX:
            keys, counts = self._engine.idle(max(1, packets // PACKETS_PER_IDLE_LOOK))
            if len(keys):
                self._propose(keys, counts)

    def _propose(self, keys: FlowKeys, counts: Counts) -> None:
        for switch, places in by_owner(keys, self._view.names("switch")):
            mine = keys.at(places)
            self._found.setdefault(switch, {}).update(zip(mine, counts[places].tolist(), strict=True))
            self._found_s.setdefault(switch, self._taking_s())
        for switch in list(self._found):
            self._ask_next(switch)

    def may_have_ended(self, switch: str, keys: FlowKeys, counts: Counts) -> npt.NDArray[np.bool_]:
        """Which of these flows, with so many packets, that switch may have forgotten: it was asked whether they may
        end, and no packet has come since."""
        asked = self._asked.get(switch)
        if asked is None:
            return np.zeros(len(keys), bool)
        pairs = zip(keys, counts.tolist(), strict=True)
        return np.fromiter((asked.get(key) == count for key, count in pairs), bool, len(keys))

    def when_known(self, switch: str, keys: FlowKeys, then: Callable[[], None]) -> None:
        """Do that when it is known of all these which of them that switch has forgotten: now, unless it has been asked
        about one of them, and the answer is not here."""
        if (places_of(keys, FlowKeys.of(self._asked.get(switch, ()))) >= 0).any():
            self._waiting.setdefault(switch, []).append(then)
        else:
            then()

    def _ask_next(self, switch: str) -> None:
        if switch not in self._found or switch in self._asked:
            return
        found = self._asked[switch] = self._found.pop(switch)
        keys, counts = FlowKeys.of(found), np.fromiter(found.values(), np.uint32, len(found))
        question = ExpireFlows(self._node, keys.octets(), pack_u32(counts), self._found_s.pop(switch))
        self._ask(switch, LIAISON, question, FlowStatuses, partial(self._answered, switch, keys, counts))

    def _answered(self, switch: str, keys: FlowKeys, counts: Counts, answer: Any) -> None:
        """End those that the switch has forgotten (or that it says are not ours)."""
        statuses = unpack_statuses(answer.statuses)
        gone = are(statuses, Status.OK) | are(statuses, Status.UNKNOWN)
        self._end(keys.where(gone), counts[gone])
        self._engine.unpin(keys.where(~gone))
        del self._asked[switch]
        for then in self._waiting.pop(switch, ()):
            then()
        self._ask_next(switch)
