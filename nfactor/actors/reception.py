"""How a node takes in what its transport has: woken when something is there, or asking again and again (polling).

A task of the node does it, or, in its place, a task that waits for the only answer under way: then what wakes it is the
answer itself, and not another task a turn of trio's loop later. The node's task *lends* the transport to whoever asks
next after it has brought a lone answer, and gets it back with each answer; who asks again at once has it again.

To sleep and to be woken takes longer than most answers take to come. So who waits for the only answer under way lets
other tasks run once, and then asks the transport some dozens of times before it sleeps, and offers its core to other
processes in between; when that was in vain, it sleeps at once the next times. A node with ``busy_poll_s`` asks as often
before it lets other tasks run, for each turn of trio's loop costs several times as much as asking.
"""

import os
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from nfactor.actors.frame import is_frame
from nfactor.actors.parking import Answer, Signal
from nfactor.actors.pump import PASS_MESSAGES_MAX
from nfactor.backends.base import Transport

if TYPE_CHECKING:
    from nfactor.actors.node import Node

_DATAGRAMS_MAX = 256
"""Datagrams taken in before other tasks run."""
_POLLS_MAX = 50
"""Times that the transport is asked before other tasks run: some 0.1 ms where nothing comes."""
ANSWER_POLLS_MAX = 100
"""Default of the times that it is asked for an answer before the asker sleeps."""
_POLL_S_MAX = 0.0005
"""And no longer than this, even if others have the core meanwhile, to whom it was offered. Then it is better to sleep:
who wakes up has its turn before who has worked."""
_PAUSE_MAX = 255
"""Asks that sleep at once after one that polled in vain, if all before were in vain too; half as many after each that
was not."""


class Reception:
    """``run`` is a task of the node."""

    def __init__(self, node: "Node", transport: Transport, busy_poll_s: float, answer_polls_max: int) -> None:
        self._node = node
        self._transport = transport
        self._busy_poll_s = busy_poll_s
        self._poll_until = 0.0
        self._answer_polls_max = answer_polls_max if transport.is_live and not busy_poll_s else 0
        self._pause = self._pause_left = 0
        """So many asks sleep at once after one that polled in vain."""
        self.polls_in_vain = 0
        self._is_waiting = False
        """The node's task waits for the transport, or polls."""
        self._is_parked = False
        """It sleeps."""
        self._is_lent = False
        """A task that waits for an answer does."""
        self._returned = Signal()

    async def run(self) -> None:
        """Take in what comes, for ever."""
        while True:
            if self._is_lent:
                await self._returned.wait()
                continue
            self._is_waiting = True
            try:
                if self._node.is_polling and trio.current_time() < self._poll_until:
                    await trio.lowlevel.checkpoint()
                else:
                    self._is_parked = True
                    await self._transport.wait_readable()
            except trio.ClosedResourceError:
                return
            finally:
                self._is_parked = False
            self._is_waiting = self._node.is_polling
            if self._node.is_polling:
                self.poll(None)
            elif self._take_in(_DATAGRAMS_MAX) == _DATAGRAMS_MAX or self._node.departures.has_answered_last:
                await trio.lowlevel.checkpoint()  # who has the answer may ask again, and then waits here itself

    async def wait(self, answer: Answer) -> None:
        """Wait until an answer is over; and take in what comes meanwhile, unless somebody else does."""
        if self._is_waiting or self._is_lent:
            await answer.wait()
            return
        self._is_lent = True
        transport = self._transport
        try:
            while not answer.is_over:
                answer.interrupt = transport.interrupt
                await transport.wait_readable()
                answer.interrupt = None
                if self._node.is_over:
                    break
                self._take_in(_DATAGRAMS_MAX)
        except trio.ClosedResourceError:
            pass  # the node is unheard from now on
        finally:
            answer.interrupt = None
            self._is_lent = False
            self._returned.set()
        if not answer.is_over:
            await answer.wait()

    def expects_soon(self) -> bool:
        """Who waits for the only answer under way had better poll for it than sleep, as far as can be known."""
        if self._pause_left:
            self._pause_left -= 1
            return False
        return self._answer_polls_max > 0

    def poll_for(self, answer: Answer) -> None:
        """Look for an answer until it has come, another task has something to do, or it takes too long."""
        if self._node.is_over:
            return
        begun = perf_counter()
        if self.poll(answer, self._answer_polls_max) and perf_counter() - begun < _POLL_S_MAX:
            self._pause //= 2
        else:
            self.polls_in_vain += 1
            self._pause = self._pause_left = min(2 * self._pause + 1, _PAUSE_MAX)

    def poll(self, answer: Answer | None, polls_max: int = _POLLS_MAX) -> bool:
        """Take in what comes in the next moment, until an answer is there or another task has something to do. While
        nothing comes, other processes may run: the one that is to answer, for one. True: it is the answer that was
        looked for."""
        pump, departures, found = self._node.pump, self._node.departures, 0
        handled_max, until = pump.handled + PASS_MESSAGES_MAX, perf_counter() + _POLL_S_MAX
        for _ in range(polls_max):
            found = self._take_in(1)
            if found:
                if departures.has_answered or (answer is not None and answer.is_over):
                    break
            else:
                os.sched_yield()
            if not pump.is_idle or pump.handled >= handled_max or perf_counter() >= until:
                break
        if found and (self._is_parked or self._is_lent) and self._take_in(_DATAGRAMS_MAX):
            self._transport.interrupt()  # more may be there, and nothing will tell of it those who sleep
        return answer is not None and answer.is_over

    def _take_in(self, datagrams_max: int) -> int:
        """What is there, at most so many datagrams; what is to be sent because of it is sent. How many it were."""
        receive = self._transport.receive
        arrived = receive()
        if arrived is None:
            return 0
        node, departures, now, taken = self._node, self._node.departures, self._node.now(), 0
        pump, peers = node.pump, node.peers
        handled_max = pump.handled + PASS_MESSAGES_MAX
        departures.has_answered = departures.has_answered_last = False
        try:
            while arrived is not None:
                departures.in_pass = True
                name, datagram = arrived
                peer = peers.get(name)
                if peer is None and is_frame(datagram):
                    peer = node.peer(name)
                if peer is None:
                    node.strangers += 1
                else:
                    peer.receive(datagram, now)
                taken += 1
                if departures.is_urgent:
                    departures.flush(now)
                if departures.has_answered or taken == datagrams_max or pump.handled >= handled_max:
                    break
                arrived = receive()
        finally:
            departures.flush(now)
        self._poll_until = now + self._busy_poll_s
        return taken
