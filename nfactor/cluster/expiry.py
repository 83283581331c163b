"""Finds flows of a runtime whose time-out has passed, and asks the switch that owns their keys whether they may end.

Until the switch has answered they are pinned: what it forgets must not set out for another runtime meanwhile.
"""

from collections.abc import Callable

import numpy as np
import trio

from nfactor.actors import Ref
from nfactor.cluster.messages import ExpireFlows, FlowStatuses, pack_u32, unpack_statuses
from nfactor.dataplane.engine import Counts, Engine, Status

IDLE_FLOWS_MAX = 1024
"""Flows that one question to the switch proposes for expiry, at most."""
PACKETS_PER_IDLE_LOOK = 4
"""One row of the table is looked at for so many packets."""


class Expiry:
    """``end`` ends flows, here and at their replicas. ``node`` is the name of this runtime."""

    def __init__(
        self, engine: Engine, node: str, *, switch: Ref, end: Callable[[list[bytes], Counts | None], None]
    ) -> None:
        self._engine = engine
        self._node = node
        self._switch = switch
        self._end = end
        self._found: dict[bytes, int] = {}
        """Flows to propose, and their packet counts."""
        self._some = trio.Event()

    def look(self, packets: int) -> None:
        """So many packets were processed: look at a slice of the table, so that the scan costs a fraction of them."""
        if len(self._found) < IDLE_FLOWS_MAX:
            keys, counts = self._engine.idle(max(1, packets // PACKETS_PER_IDLE_LOOK))
            if len(keys):
                self._found.update(zip(keys, counts.tolist(), strict=True))
                self._some.set()

    async def run(self) -> None:
        """Ask, and end those that the switch has forgotten (or that it says are not ours), for ever."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            found, self._found = self._found, {}
            keys, counts = list(found), np.fromiter(found.values(), np.uint32, len(found))
            question = ExpireFlows(self._node, b"".join(keys), pack_u32(counts))
            answer = unpack_statuses((await self._switch.ask(question, FlowStatuses)).statuses)
            gone = (answer == Status.OK) | (answer == Status.UNKNOWN)
            self._end([keys[index] for index in np.flatnonzero(gone).tolist()], counts[gone])
            self._engine.unpin([keys[index] for index in np.flatnonzero(~gone).tolist()])
