"""When it is told that flows have come here: not before the switches know where they are.

A switch that has begun again asks every runtime which flows it has. What comes to a runtime behind its report is in the
report of the one that sent it, unless that one reports when it has heard that the flow has come: then it would be in
nobody's. So nobody hears of it before each switch that has begun again has its table.
"""

from collections import deque
from collections.abc import Callable, Iterable

from nfactor.cluster.messages import Done
from nfactor.cluster.names import LIAISON
from nfactor.cluster.recovery_messages import AwaitTable


class Announcements:
    """``ask`` as in ``Role``."""

    def __init__(self, ask: Callable[..., None]) -> None:
        self._ask = ask
        self._without_table = 0
        """Switches that may not have their tables."""
        self._untold: deque[Callable[[], object]] = deque()

    def tables_are_lost(self, switches: Iterable[str]) -> None:
        """Some of these have begun again."""
        for switch in switches:
            self._without_table += 1
            self._ask(switch, LIAISON, AwaitTable(), Done, self._has_table)

    def _has_table(self, answer: Done | None) -> None:
        assert answer is not None, "switches do not leave"
        self._without_table -= 1
        while self._untold and not self._without_table:
            self._untold.popleft()()

    def tell(self, say: Callable[[], object]) -> None:
        """Say that some have come, when that may be said."""
        if self._without_table:
            self._untold.append(say)
        else:
            say()
