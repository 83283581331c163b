"""Until when nobody can have declared this runtime dead: what a replica may say while it is believed.

A runtime may live and be declared dead: it slept, or its signs of life were lost. From then on switches and the outside
drop what it sends, and it hears nothing of that. What it confirmed as a replica would be believed all the same, by
every primary that has not heard either, and then neither of them sends the packets again. So who has heard a sign of
life says so, and a runtime takes no commit and confirms none when the last such sign is so old that it may be dead.
Nobody has to be asked before it is fenced, which would take longer with each that does not answer.

(Another way is to tell every runtime first, and to fence behind that. It makes each recovery wait for the slowest.)
"""

from math import inf
from typing import Final

_PART: Final = 0.9
"""Of the time after which a silent runtime is declared dead; in the rest what it has released is on its way."""


class Assurance:
    """``dead_after_s``: who is silent for so long to all who listen may be declared dead. Times are this node's."""

    def __init__(self, dead_after_s: float) -> None:
        self._seconds = _PART * dead_after_s
        self._until_s = -inf
        self.refused = 0
        """Commits that came while it had lapsed. They come again."""

    def heard(self, said_s: float) -> None:
        """Somebody has heard the sign of life that was given then."""
        self._until_s = max(self._until_s, said_s + self._seconds)

    def lasts(self, now: float) -> bool:
        """Whether nobody can have declared it dead by now."""
        return now < self._until_s
