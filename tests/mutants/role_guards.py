"""Mutants made from the text of the code that does what the tables of states on ``docs/explanation/protocols.md`` say
and is no table itself: each condition inverted, as in ``tests/mutants/guards.py``.

========================================  ================================================================
question, at its asker; at its answerer   ``Caller``, ``Answerer``: see ``guards``
flow, at a runtime                        ``ReferenceSets``, ``ReferenceEngine``
key, at its switch                        ``Dispatcher``: see ``guards``; ``VirtualSwitch``
commit, at the primary                    ``Replicator``; ``Channel``, ``Outstanding``: see ``guards``
runtime, to the coordinator; that joins   ``Membership``
switch that begins again                  ``Rebuild``: see ``guards``; ``VirtualSwitch``
coordinator that begins again             ``Survey``; ``Membership``
number, in the leaser's book              ``LeaseBook``: see ``guards``
number, in the pool of its holder         ``Pool``, ``Pools``
========================================  ================================================================
"""

from collections.abc import Iterator

from nfactor.cluster.membership import Membership
from nfactor.cluster.pools import Pools
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.survey import Survey
from nfactor.cluster.suspicions import Suspicions
from nfactor.cluster.switch import VirtualSwitch
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.dataplane.reference_sets import ReferenceSets
from nfactor.dataplane.shared import Pool
from tests.mutants.guards import Machines, of
from tests.mutants.mutant import Mutant

ROLES: Machines = (
    (Membership, (), "restarts"),
    (Suspicions, ("to_ask_about", "is_dead"), "restarts"),
    (Survey, (), "restarts"),
    (ReferenceSets, (), "cluster"),
    (ReferenceEngine, ("idle", "expire", "_end", "_first_packet", "_begin"), "cluster"),
    (Pool, ("take", "give_back"), "nat"),
    (Pools, (), "nat"),
    (Replicator, ("commit", "resend", "_without_replica", "stored", "_give"), "recovery"),
    (VirtualSwitch, ("configure", "_reported"), "restarts"),
)

OTHERWISE = {
    "Membership._admit: if not (member.kind == 'switch')": "cluster",
    "Suspicions.is_dead: if not (len(said) < switches)": "cluster",
    "ReferenceEngine.expire: if not (packets is not None and row.packets & COUNT_MASK != packets[index])": "nat",
    "Replicator.resend: if not (len(channel) and self._now() - self._confirmed_s[replica] >= RESEND_COMMITS_S)": (
        "replication"
    ),
}
"""What only another scenario uses; or where it does not crash."""
NEEDED = {
    "Membership.begin: if not (self._again)": 17,
    "Membership._admit: if not (member.kind == 'switch')": 19,
    "Survey._look: if not (self._over or self._needed or (self._wanted and self._is_patient))": 70,
    "Pools._restock: if not (self.host.node in self.view)": 85,
    "Pool.give_back: if not (self.marks[_LEASED])": 36,
    "ReferenceSets.hold: if not (row.phase != flow_row.GONE)": 11,
    "ReferenceSets.hold: if not (row.epoch >= epoch)": 11,
}
"""Those that took more than ten schedules."""
CRASHES = {
    "Membership._close_again: if not (recovery is not None and recovery.step is Step.CLOSING and "
    "(switch not in recovery.waiting))",
    "Membership._launch_where_needed: if not (self._launching is not None and self._replicated)",
    "Membership._start_step: if not (recovery.step is Step.FENCING)",
    "Membership._answered: if not (isinstance(answer, ViewTaken) and recovery.step is Step.FENCING)",
    "Membership._answered: if not (isinstance(answer, StepTaken))",
    "Membership._proceed: if not (step is Step.VIEWING)",
    "Membership._proceed: if not (step is Step.REPLACING)",
    "Membership._proceed: if not (id(recovery) in self._admissions)",
    "Membership._told: if not (held is not None and (not held.waiting) and "
    "(held.step in (Step.CLAIMING, Step.RETURNING)))",
    "Membership._admitted: if not (later is not None)",
    "Membership._next: if not (self._recovery is not None)",
    "Membership._next: if not (self._waiting)",
    "ReferenceSets.unpin: if not (epochs is None)",
    "ReferenceSets.hold: if not (row is None)",
    "ReferenceSets.copy: if not (row is None or row.phase >= flow_row.HELD)",
    "Replicator.commit: if not (places is None)",
    "Replicator._give: if not (not len(channel))",
    "VirtualSwitch.configure: if not (self._rebuild is not None)",
}
"""Those that go on with what is not there."""


def mutants() -> Iterator[Mutant]:
    """All of them."""
    yield from of(ROLES, otherwise=OTHERWISE, needed=NEEDED, crashes=CRASHES)
