"""What a node counts."""

import attrs

from nfactor.actors.mailbox import MailboxStatistics
from nfactor.actors.peer import PeerStatistics


@attrs.frozen
class NodeStatistics:
    """Counts since the node was opened."""

    name: str
    incarnation: int
    handled: int
    """Messages handled in turns, by the pump or as they arrived; not those of actors with a task of their own, and not
    questions that were answered at once."""
    mailboxes: dict[str, MailboxStatistics]
    """By name, of the actors that are there now and have had a message."""
    actors: int
    """Actors that are there now."""
    peers: dict[str, PeerStatistics]
    dead_letters: dict[str, int]
    """By reason; see DeadLetter."""
    late_replies: int
    """Replies of local actors whose asker did not wait any more."""
    datagrams_refused: int
    """Datagrams that the transport did not take; the link sends them again."""
    timers_refused: int
    """Messages of timers that found a full mailbox."""
    strangers: int
    """Datagrams from senders that were never heard of, and that were no frames of ours."""
    polls_in_vain: int
    """Times that an asker looked for its answer ``answer_polls_max`` times, or was needed elsewhere, and then slept."""
