"""How much a primary has under way to its replicas: more is not begun than one of them could be sent again."""

from nfactor.cluster.commit import Commit

UNSTORED_PACKETS_MAX = 8192
"""Packets that wait for their states to be stored; while there are so many, no more are taken from the port."""
UNSTORED_OCTETS_MAX = 16 << 20
"""The same in octets. When the replica dies, all of one flow goes into one message, which the link has to take."""
UNSTORED_COMMITS_MAX = 1024
"""The same in commits to one replica."""


class Backlog:
    """Of commits that were sent, and are not known to be stored."""

    def __init__(self) -> None:
        self._packets = self._octets = 0

    def is_full(self, commits: int) -> bool:
        """Whether no more may be begun; there are so many ``commits`` to that replica which has most of them."""
        much = self._packets >= UNSTORED_PACKETS_MAX or self._octets >= UNSTORED_OCTETS_MAX
        return much or commits >= UNSTORED_COMMITS_MAX

    def add(self, commit: Commit) -> None:
        """It was sent."""
        self._packets += len(commit.burst)
        self._octets += _octets(commit)

    def remove(self, commit: Commit) -> None:
        """It is stored, or its replica is dead."""
        self._packets -= len(commit.burst)
        self._octets -= _octets(commit)


def _octets(commit: Commit) -> int:
    return len(commit.message.packets) if commit.message is not None else 0
