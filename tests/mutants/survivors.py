"""Mutants that no schedule catches, and why. A name that is not here has to be caught."""

_REFUSED = (
    "A switch turns none of a set only if it takes the source for dead: whatever that does then counts nothing. That "
    "there is no such row the machine says itself."
)
_NONE = "A set of which nothing is left is over, and as many flows have moved: none."
_WAITS = (
    "The set waits for the same answers and markers there. What is another is what its target's death leads to while "
    "switches have not answered: flows are claimed that may not have been turned, and a switch whose answer comes then "
    "is one of which nothing was asked, which the machine says."
)
_COUNT = (
    "A count: flows that came back are told to the coordinator as moved; where somebody died what was told is not "
    "compared with what switches did. tests/protocols/test_migration.py says that the set is ABORTED."
)
_CLAIMS = (
    "The claims are made all the same: when the last switch has answered, or when sources take back and the set is "
    "told once more that its target is dead."
)
_TWICE = (
    "The set is not over, and is told of its target's death once more when sources take back: then it claims flows "
    "that were never turned, which the switch refuses, and keeps them. tests/protocols/test_migration.py has the state."
)
_REPORTED = (
    "What is reported twice has mostly the same owner and epoch. It takes the end of a session, a flow that ends and "
    "two deaths to make it matter, and no schedule that is surveyed comes to it. Stories fail that are told in "
    "tests/cluster/test_found_by_schedules.py and tests/cluster/test_read_twice.py."
)

_STATISTICS = "A count for statistics, which no promise speaks of."
_SCANNED = "Flows never end then. That they do not end too soon is promised, and that they end at all is not."
_NUMBERS = "A runtime has no more numbers then, and that it has some is promised by nobody: its flows find no port."

OF_ROLES: dict[str, str] = {
    "Membership.begin: if not (self._launches)": (
        "Whether a runtime is launched is promised by none of the letters: tests/cluster/test_domains.py."
    ),
    "Membership._lose_life: if not (self.view.is_life(earlier.name, earlier.address))": (
        "The earlier life is silent, and is declared dead for that, a second later."
    ),
    "Membership._admit: if not (member not in self._members)": (
        "It takes another death while the view with a new runtime is on its way to the switches: only then is anybody "
        "told of replicas before they take its frames."
    ),
    "Membership.heard: if not (self.view.is_life(message.node, message.address))": (
        "The coordinator hears nobody, and asks the switches each second, which do. It is for that that they are asked."
    ),
    "Membership._declare_dead: self.view.term + 1 without the 1": (
        "It takes a second death whose view the switches have while that of the first is on its way."
    ),
    "Membership._over: if not (self._observed)": (
        "The outside is not told that a recovery is over, which is for reports: tests/cluster/test_recovery.py."
    ),
    "ReferenceSets.pin: if not (row is None)": (
        "Only flows that belong together are pinned by their keys, and schedules have none: "
        "tests/cluster/test_groups.py."
    ),
    "ReferenceEngine._first_packet: self._refused += 1 without the 1": _STATISTICS,
    "ReferenceEngine._begin: self._created += 1 without the 1": _STATISTICS,
    "ReferenceEngine.idle: if not (not self._time_outs.never)": _SCANNED,
    "ReferenceEngine.idle: if not (not self._next_to_scan())": _SCANNED,
    "ReferenceEngine.idle: if not (not self._next_to_scan()) (2)": _SCANNED,
    "Pool.take: self.refusals[_EMPTY] += 1 without the 1": _STATISTICS,
    "Pool.give_back: self.refusals[_STRAY] += 1 without the 1": _STATISTICS,
    "Pool.give_back: self.marks[_FREE] += 1 without the 1": (
        "Of a pool that is not leased, which no cluster has: tests/dataplane/test_shared.py."
    ),
    "Pools._look: if not (is_idle)": "How often pools are looked at.",
    "Pools._ask_for_more: stock.leases + 1 without the 1": _NUMBERS,
    "Replicator.commit: if not (any_dropped(codes))": (
        "Packets that have no flow are told of through a replica: a little later, and once."
    ),
    "Replicator.resend: self.resent += 1 without the 1": _STATISTICS,
}
"""Of code that is no table (``tests/mutants/role_guards.py``)."""

SURVIVORS: dict[str, str] = OF_ROLES | {
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
    "RETURNING + RETURNED to DONE": _COUNT,
    "RETURNING + MARKER to DONE": _COUNT,
    "RETURNING + MARKER to ABORTED": (
        "The set counts as over before its claims are answered. What is answered then is done all the same."
    ),
    "RETURNING + ANSWERED to DONE": (
        "The code says so itself, before a judge can: what is claimed back and then given is not held any more."
    ),
    "LeaseBook.free: if not (book is None)": "It tells how many are free, to tests; no node asks.",
    "DOOMED + MARKER to RETURNING": _CLAIMS,
    "DOOMED + MARKER to INSTALLING": _CLAIMS,
    "PREPARING + PREPARED to DRAINING": _WAITS,
    "REDIRECTING + ANSWERED to DRAINING": _WAITS,
    "REDIRECTING + MARKER to DRAINING": _WAITS,
    "REDIRECTING + REFUSED passed over": _REFUSED,
    **{f"PREPARING + DIED to {state}": _TWICE for state in ("DRAINING", "INSTALLING", "RETURNING")},
    **{
        f"REDIRECTING + REFUSED to {state}": _REFUSED
        for state in ("PREPARING", "REDIRECTING", "DRAINING", "INSTALLING", "DOOMED", "RETURNING", "DONE")
    },
}
