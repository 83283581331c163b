"""Tasks of async actors that have had nothing to do for a while are ended: each costs 4 kB, and the next message makes
a new one for some microseconds."""

from typing import TYPE_CHECKING

from nfactor.actors.timers import Timers

if TYPE_CHECKING:
    from nfactor.actors.cell import Cell

REST_AFTER_S = 1.0
"""An actor's task ends when it has been idle for so long, or up to twice that."""


class Rests:
    """Who was idle lately, and how many messages each had handled by then."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._idle: dict[Cell, int] = {}
        self._idle_before: dict[Cell, int] = {}
        self._is_armed = False

    def note(self, cell: "Cell", handled: int) -> None:
        """The task of an actor begins to wait."""
        self._idle[cell] = handled
        if not self._is_armed:
            self._arm()

    def _arm(self) -> None:
        self._is_armed = True
        self._timers.after(REST_AFTER_S, self._fire)

    def _fire(self) -> None:
        self._is_armed = False
        for cell, handled in self._idle_before.items():
            if cell.mailbox is not None and cell.mailbox.handled == handled:
                cell.rest()
        self._idle_before, self._idle = self._idle, {}
        if self._idle_before:
            self._arm()
