"""How a node takes in what its transport has: woken when something is there, or asking again and again (busy polling).

While it polls, a node asks its transport some dozens of times before it lets other tasks run, for each turn of trio's
loop costs several times as much as asking. Who waits for an answer polls too, in its own task, so that the answer need
not wake anybody.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from nfactor.backends.base import Transport

if TYPE_CHECKING:
    from nfactor.actors.node import Node

_DATAGRAMS_MAX = 256
"""Datagrams taken in before other tasks run."""
_POLLS_MAX = 50
"""Times that the transport is asked before other tasks run: some 0.1 ms where nothing comes."""


class Reception:
    """``run`` is a task of the node."""

    def __init__(self, node: "Node", transport: Transport, busy_poll_s: float) -> None:
        self._node = node
        self._transport = transport
        self._busy_poll_s = busy_poll_s
        self._poll_until = 0.0
        self.is_polling = busy_poll_s > 0

    async def run(self) -> None:
        """Take in what comes, for ever."""
        while True:
            try:
                if self.is_polling and trio.current_time() < self._poll_until:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._transport.wait_readable()
            except trio.ClosedResourceError:
                return
            taken = self._take_in()
            if self.is_polling:
                self.poll(lambda: False)
            elif taken == _DATAGRAMS_MAX:
                await trio.lowlevel.checkpoint()

    def poll(self, is_enough: Callable[[], bool]) -> None:
        """Take in what comes in the next moment, until it is enough or another task has something to do."""
        for _ in range(_POLLS_MAX):
            if is_enough() or not self._node.pump.is_idle:
                return
            self._take_in()

    def _take_in(self) -> int:
        """What is there, at most so many datagrams; what is to be sent because of it is sent."""
        transport = self._transport
        arrived = transport.receive()
        if arrived is None:
            return 0
        node, now, taken = self._node, trio.current_time(), 0
        node.departures.in_pass = True
        while arrived is not None:
            name, datagram = arrived
            node.peer(name).receive(datagram, now)
            taken += 1
            if taken == _DATAGRAMS_MAX:
                break
            arrived = transport.receive()
        node.departures.flush()
        self._poll_until = now + self._busy_poll_s
        return taken
