"""Takes bursts from a port, for as long as the node runs: where packets come in on trio."""

from collections.abc import Callable

import trio

from nfactor.backends.base import Port
from nfactor.packet.burst import Burst

BURSTS_PER_PASS_MAX = 16
"""Bursts of one port that are taken before other tasks of the node get their turn."""


async def pump(port: Port, take: Callable[[Burst], None], flush: Callable[[], None]) -> None:
    """Call ``take`` with every burst that comes, and ``flush`` after some."""
    while True:
        await port.wait_readable()
        for _ in range(BURSTS_PER_PASS_MAX):
            burst = port.receive()
            if burst is None:
                break
            take(burst)
        flush()


class Gate:
    """Where a pump waits while what is behind it is full. It has a clock that stands still meanwhile: what waits before
    the gate does not come in by waiting."""

    def __init__(self, is_full: Callable[[], bool], now: Callable[[], float]) -> None:
        self._is_full, self._now = is_full, now
        self._lot: trio.lowlevel.ParkingLot | None = None
        self._shut_since_s: float | None = None
        self._shut_s = 0.0

    @property
    def open_s(self) -> float:
        """What its clock says, in seconds: it has been open for as long as lies between two times of it."""
        until = self._now() if self._shut_since_s is None else self._shut_since_s
        return until - self._shut_s

    def is_open(self) -> bool:
        """Whether there is room. If not, what is to come in waits, from now on and until this is asked again."""
        is_full = self._is_full()
        if is_full and self._shut_since_s is None:
            self._shut_since_s = self._now()
        elif not is_full and self._shut_since_s is not None:
            self._shut_s += self._now() - self._shut_since_s
            self._shut_since_s = None
        return not is_full

    def look(self) -> None:
        """There may be room."""
        if self._lot is not None:
            self._lot.unpark_all()

    async def wait(self) -> None:
        """Return when there is room."""
        while not self.is_open():
            if self._lot is None:
                self._lot = trio.lowlevel.ParkingLot()
            await self._lot.park()
