"""What a switch that has begun again knows of its earlier lives: which views had them, and that they tell no more.

A runtime dies, and its switch before it has said what that had released; the question reaches the switch's next life.
That does not know, and primaries may hear so before they hear that the switch has begun again: the recovery of the one
does not wait for the admission of the other. So whoever is asked in the stead of an earlier life says so. What went
that way is in doubt then, and is not sent again (``Replicator.doubt``).
"""

from nfactor.cluster.messages import NotifyClusterCfg, Released, ViewTaken
from nfactor.cluster.role import Later


class EarlierLives:
    """Of the switch which has the address ``own`` now."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._addresses: dict[bytes, None] = {}
        self._early: list[Later] = []
        """Of those who have given a view with an earlier life, and may be answered when there is one with this one."""

    def is_one_in(self, message: NotifyClusterCfg, name: str) -> bool:
        """Whether the switch of that name, which is this one, is in that view in an earlier life."""
        mine = next((member.address for member in message.members if member.name == name), self._own)
        if mine != self._own:
            self._addresses[mine] = None
        return mine != self._own

    def wait(self) -> Later:
        """An answer for ``answer``."""
        self._early.append(Later())
        return self._early[-1]

    def taken(self, released: tuple[Released, ...]) -> ViewTaken:
        """There is a view with this life, which knows that much of what the dead have released. It answers those who
        wait for it, too."""
        taken = ViewTaken((*released, *(Released("", b"", 0, address) for address in self._addresses)))
        early, self._early = self._early, []
        for later in early:
            later.answer(taken)
        return taken
