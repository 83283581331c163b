"""Mutants that no schedule catches, and why. A name that is not here has to be caught."""

SURVIVORS: dict[str, str] = {
    "tombstones are buried at once": (
        "Nothing comes late where a pair of ports is one queue, as on the heap: the marker is behind every packet. A "
        "tombstone stands for cards with several queues. What it does to packets is in tests/dataplane/test_engines.py."
    ),
    "a cancelled migration is held for ever": (
        "A switch refuses to turn a flow only if it takes the source for dead, and the dead are not believed when they "
        "cancel: the flows are let go of at the end of the source's recovery. Cancelling makes it sooner."
    ),
    "replicas claim before replicas are replaced": (
        "What is claimed is given to the dead one among others, and again to another one a step later. Between the two "
        "it is unprotected, and says so: only a second death could cost it, and two at once are not promised."
    ),
    "Caller.resend: self.resent += 1 without the 1": "A count for statistics: tests/protocols/test_calls.py.",
    "Answerer.take: self.repeated += 1 without the 1": "A count for statistics: tests/protocols/test_calls.py.",
    "Answerer.take: if not (question.settled > known.settled)": (
        "Answers are remembered for ever, which costs memory and nothing else: tests/protocols/test_calls.py."
    ),
    "Outstanding.begin: self._last += 1 without the 1": (
        "Who waits for what began so far waits for all that began since, too: a migration takes longer where packets "
        "go on, and no promise says how long. tests/protocols/test_replication.py says for what one waits."
    ),
}
