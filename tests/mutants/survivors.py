"""Mutants that no schedule catches, and why. A name that is not here has to be caught."""

_REFUSED = (
    "A switch turns none of a set only if it takes the source for dead: whatever that does then counts nothing, and "
    "what is not in its table is an error, which is caught."
)
_NONE = "A set of which nothing is left is over, and as many flows have moved: none."
_TWICE = (
    "The set is not over, and is told of its target's death once more when sources take back: then it claims flows "
    "that were never turned, which the switch refuses, and keeps them. tests/protocols/test_migration.py has the state."
)
_REPORTED = (
    "What is reported twice has mostly the same owner and epoch. It takes the end of a session, a flow that ends and "
    "two deaths to make it matter, and no schedule that is surveyed comes to it. Stories fail that are told in "
    "tests/cluster/test_found_by_schedules.py and tests/cluster/test_read_twice.py."
)

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
    "LeaseBook.lease: if not (last.count == count)": (
        "Who asks again gets nothing, and asks no other question from then on. That a runtime has numbers at all is "
        "promised by nobody: its flows find no port. tests/protocols/test_leasing.py says that the answer is the same."
    ),
    **{
        f"Rebuild.take: if not (flows.{what})": _REPORTED for what in ("perhaps", "owner == runtime", "owner in living")
    },
    "Outstanding.begin: self._last += 1 without the 1": (
        "Who waits for what began so far waits for all that began since, too: a migration takes longer where packets "
        "go on, and no promise says how long. tests/protocols/test_replication.py says for what one waits."
    ),
    "MigrationSource.prepared: if not (holds)": (
        "Only of a group is a flow refused while others are held, and schedules have no groups; to cancel what is not "
        "held changes nothing. tests/protocols/test_migration.py and tests/cluster/test_groups.py have them."
    ),
    "DOOMED + REFUSED to DONE": _NONE,
    "PREPARING + REFUSED to DONE": _NONE,
    "RETURNING + RETURNED to DONE": (
        "A count: flows that came back are told to the coordinator as moved; where somebody died what was told is not "
        "compared with what switches did. tests/protocols/test_migration.py says that the set is ABORTED."
    ),
    **{f"PREPARING + DIED to {state}": _TWICE for state in ("DRAINING", "INSTALLING", "RETURNING")},
    **{
        f"REDIRECTING + REFUSED to {state}": _REFUSED
        for state in ("PREPARING", "REDIRECTING", "DRAINING", "INSTALLING", "DOOMED", "RETURNING", "DONE")
    },
}
