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
    """Where a pump waits while what is behind it is full."""

    def __init__(self) -> None:
        self._lot: trio.lowlevel.ParkingLot | None = None

    def look(self) -> None:
        """There may be room."""
        if self._lot is not None:
            self._lot.unpark_all()

    async def wait(self, is_full: Callable[[], bool]) -> None:
        """Return when there is room."""
        while is_full():
            if self._lot is None:
                self._lot = trio.lowlevel.ParkingLot()
            await self._lot.park()
