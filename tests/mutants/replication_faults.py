"""Faults in replication, and in the calls that all protocols ask by, written one by one."""

from functools import partial
from typing import Any

import attrs
import numpy as np

from nfactor.cluster.assurance import Assurance
from nfactor.cluster.commit import Commit
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.names import FLOWS
from nfactor.cluster.recovery_messages import CommitsStored, StoreCommit
from nfactor.cluster.relay import Relay
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.role import Role
from nfactor.dataplane.engine import REPLY
from nfactor.dataplane.reference_changes import ReferenceChanges, ReferenceCopies
from nfactor.protocols.calls import Answerer, Caller
from nfactor.protocols.dealing import Deal
from nfactor.protocols.replication import Channel, Outstanding, ReplicaStore, Watermark
from tests.mutants.mutant import OWN, Fault, Mutant, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


@written("recovery", needed=2, by="h")
def a_replica_releases_before_it_stores() -> Fault:
    """The states are stored two milliseconds later."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: StoreCommit) -> None:
        late: list[Any] = []

        def keep(store: ReplicaStore, primary: str, sequence: int, *what: Any) -> None:
            store._stored[primary] = sequence
            late.append(what)

        with patched(ReplicaStore, store=keep):
            store(self, message)
        for changes, ended in late:
            self.host.after(0.002, partial(_store_late, self._store, message.primary, changes, ended))

    return patched(ReplicaTable, store=mutant)


_NONE = np.zeros(0, np.intp)


def _store_late(store: ReplicaStore, primary: str, changes: bytes, ended: Any) -> None:
    if primary not in store._copies:
        store._copies[primary] = store._open_copies()
    store._copies[primary].apply(changes)
    store._copies[primary].drop(ended)


@written("a source dies whose last packet is not stored", needed=1, by="e")
def packets_leave_before_any_replica_has_their_state() -> Fault:
    """Under strict replication as under ``every``."""
    commit = Replicator.commit

    def mutant(self: Replicator, burst: Any, rows: Any, codes: Any, emitted: Any) -> None:
        if self._mode.strict and self._deal.replicas:
            self._egress.at_once(self._engine.reasons, burst, codes, emitted)
            self._follow_up(rows)
        else:
            commit(self, burst, rows, codes, emitted)

    return patched(Replicator, commit=mutant)


@written("a source dies that the outside has not heard", needed=1, by="e")
def drops_are_told_before_their_state_is_stored() -> Fault:
    """They are seen outside as much as a packet is."""
    commit = Replicator.commit

    def mutant(self: Replicator, burst: Any, rows: Any, codes: Any, emitted: Any) -> None:
        dropped = codes > REPLY
        self._egress.at_once(self._engine.reasons, burst.select(np.flatnonzero(dropped)), codes[dropped], [])
        burst, codes = burst.select(np.flatnonzero(~dropped)), codes[~dropped]
        commit(self, burst, rows[~dropped] if len(rows) else rows, codes, emitted)

    return patched(Replicator, commit=mutant)


@written("a source dies that the outside has not heard", needed=1, by="e")
def records_are_told_before_their_state_is_stored() -> Fault:
    """A record that nobody remembers having emitted."""
    commit = Replicator.commit

    def mutant(self: Replicator, burst: Any, rows: Any, codes: Any, emitted: Any) -> None:
        self._egress.at_once(self._engine.reasons, burst.slice(0, 0), codes[:0], emitted)
        commit(self, burst, rows, codes, [])

    return patched(Replicator, commit=mutant)


@written("recovery", needed=8, by=OWN)
def flows_are_not_replicated_again_when_their_replica_dies() -> Fault:
    """Only their packets go through another."""
    move_to = Replicator._move_to

    def mutant(self: Replicator, replica: str, keys: Any, buckets: Any, rest: Commit) -> None:
        move_to(self, replica, keys[:0], buckets[:0], rest)

    return patched(Replicator, _move_to=mutant)


@written("recovery", needed=6, by="e")
def packets_that_a_dead_replica_held_are_not_sent_again() -> Fault:
    """The states go to another replica, and what waited there is gone."""
    return patched(Commit, after=lambda self, sequence, came: (self.part(_NONE, _NONE), 0))


@written("recovery", needed=2, by="c")
def all_packets_that_a_dead_replica_held_are_sent_again() -> Fault:
    """The watermarks are ignored."""
    return patched(Commit, after=lambda self, sequence, came: (self, 0))


@written("recovery", needed=2, by="c")
def outcomes_that_a_dead_replica_told_are_told_again() -> Fault:
    """Of the watermarks, that of drops and records is ignored."""
    after = Commit.after
    return patched(Commit, after=lambda self, sequence, came: after(self, sequence, attrs.evolve(came, outcomes=0)))


@written("recovery", needed=6, by="e")
def the_packets_watermark_is_one_too_high() -> Fault:
    """Of a dead replica."""
    after = Commit.after

    def mutant(self: Commit, sequence: int, came: Watermark) -> tuple[Commit, int]:
        return after(
            self, sequence, attrs.evolve(came, packets={switch: last + 1 for switch, last in came.packets.items()})
        )

    return patched(Commit, after=mutant)


@written("recovery", needed=2, by="c")
def receipts_are_ignored() -> Fault:
    """Nobody knows how far a dead replica had come."""
    note = Relay._note
    return patched(Relay, _note=lambda self, runtime, sequences: note(self, runtime, {}))


@written("recovery", needed=64, by="c")
def packets_behind_the_last_receipt_are_not_remembered() -> Fault:
    """They came, and the receipt behind them did not."""
    return patched(Relay, _keep_loose=lambda self, runtime, burst: None)


@written("recovery", needed=8, by="e")
def a_commit_is_complete_before_the_outside_has_answered() -> Fault:
    """Its drops and records are still to be told when its primary forgets them."""

    def mutant(self: Reporter, primary: bytes, sequence: int) -> None:
        self.completed(primary, sequence)
        self.wake()

    return patched(Reporter, complete=mutant)


@written("replication", needed=3, by="i")
def one_commit_too_many_is_acknowledged() -> Fault:
    """Off by one, at the primary: the next commit is let go as well."""
    stored = Channel.stored

    def mutant(self: Channel[Any], sequence: int) -> Any:
        return stored(self, min(sequence + 1, self._last))

    return patched(Channel, stored=mutant)


@written("replication", needed=1, by="i")
def one_commit_too_few_is_acknowledged() -> Fault:
    """Off by one, at the replica: the last commit never counts as stored."""

    def mutant(self: ReplicaTable, primary: bytes) -> None:
        name = self.view.at(primary)
        if name is not None and primary in self._done:
            self.host.tell(name, FLOWS, CommitsStored(self.host.node, self._done[primary] - 1, primary))

    return patched(ReplicaTable, _confirm=mutant)


@written("replication", needed=1, by="a")
def a_commit_that_comes_twice_is_released_twice() -> Fault:
    """Stored once, but what it holds leaves again."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: StoreCommit) -> None:
        following = self._store.following(message.primary)
        if message.sequence < following:
            self._store._stored[message.primary] = message.sequence - 1
            with patched(ReferenceCopies, apply=lambda self, changes: None):
                store(self, message)
            self._store._stored[message.primary] = following - 1
        else:
            store(self, message)

    return patched(ReplicaTable, store=mutant)


@written("replication", needed=1, by=OWN)
def a_gap_in_the_commits_is_not_noticed() -> Fault:
    """What the session lost is not waited for."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: StoreCommit) -> None:
        if message.sequence > self._store.following(message.primary):
            self._store._stored[message.primary] = message.sequence - 1
        store(self, message)

    return patched(ReplicaTable, store=mutant)


@written("replication", needed=1, by="i")
def commits_that_were_lost_are_not_sent_again() -> Fault:
    """The primary waits for a confirmation that will not come."""
    return patched(Replicator, resend=lambda self: None)


@written("replication", needed=7, by="i")
def a_confirmation_that_was_lost_is_not_said_again() -> Fault:
    """A replica ignores what it has, and says nothing."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: StoreCommit) -> None:
        if message.sequence >= self._store.following(message.primary):
            store(self, message)

    return patched(ReplicaTable, store=mutant)


@written("recovery", needed=20, by=OWN)
def a_replica_forgets_flows_of_any_epoch() -> Fault:
    """A flow may be back before its first departure is over."""
    return patched(ReplicaStore, forget=lambda self, primary, keys, epochs: _drop(self, primary, keys))


def _drop(store: ReplicaStore, primary: str, keys: Any) -> None:
    if primary in store._copies:
        store._copies[primary].drop(keys)


@written("replication", needed=8, by="h")
def a_replica_keeps_flows_that_have_ended() -> Fault:
    """They would live again when their primary dies."""
    store = ReplicaStore.store

    def mutant(self: ReplicaStore, primary: str, sequence: int, changes: bytes, ended: Any) -> None:
        store(self, primary, sequence, changes, ended[:0])

    return patched(ReplicaStore, store=mutant)


@written("a source dies whose last packet is not stored", needed=1, by="e")
def who_waits_for_what_is_stored_is_called_one_piece_early() -> Fault:
    """Off by one: the piece itself is not waited for."""

    def mutant(self: Outstanding, then: Any) -> None:
        self._waiting.append((self._last - 1, then))
        self.settle()

    return patched(Outstanding, when_done=mutant)


@written("recovery", needed=8, by=OWN)
def a_living_replicas_buckets_are_dealt_anew() -> Fault:
    """A bucket leaves a replica that lives, which is not told."""
    change = Deal.change

    def mutant(self: Deal, replicas: Any, apart: Any = ()) -> Any:
        change(self, replicas, apart)
        without = np.arange(len(self._holders))
        numbers = np.array([self._names.index(name) for name in replicas], np.int16)
        self._holders[:] = numbers[without % len(numbers)] if len(numbers) else -1
        return np.zeros(len(self._holders), bool)

    return patched(Deal, change=mutant)


@written("replication", needed=4, by="h")
def a_change_is_sent_without_its_header() -> Fault:
    """A flow that an engine is asked about once counts as asked about, though nothing was said of it."""

    def mutant(self: ReferenceChanges, rows: Any) -> Any:
        first = list(rows.tolist()[:1])
        for row in rows.tolist()[1:]:
            if row is not None and row not in first:
                row.dirty = 0
        return self._changed(row for row in first if row is not None and row.dirty and self._lives(row))

    return patched(ReferenceChanges, of=mutant)


@written("migration", needed=6, by=OWN)
def a_question_that_comes_twice_is_acted_on_twice() -> Fault:
    """The answerer does not look whether it knows it."""
    take = Answerer.take

    def mutant(self: Answerer, asker: Any, life: int, question: Any) -> bool:
        known = self._askers.get(asker)
        if known is not None:
            known.answers.pop(question.number, None)
        return take(self, asker, life, question)

    return patched(Answerer, take=mutant)


@written("migration", needed=1, by="i")
def an_answer_that_was_lost_is_not_said_again() -> Fault:
    """The question that comes again is known, and that is all."""
    answer = Answerer.answer

    def mutant(self: Answerer, asker: Any, life: int, number: int, body: bytes) -> None:
        answer(self, asker, life, number, body)
        known = self._askers.get(asker)
        if known is not None and number in known.answers:
            known.answers[number] = None

    return patched(Answerer, answer=mutant)


@written("migration", needed=1, by="i")
def a_question_is_asked_once() -> Fault:
    """What the session loses is lost."""
    return patched(Caller, resend=lambda self, now: None)


@written("migration", needed=11, by="i")
def answers_are_forgotten_before_the_asker_has_them() -> Fault:
    """The least number that is waited for is said to be one higher."""
    take = Answerer.take

    def mutant(self: Answerer, asker: Any, life: int, question: Any) -> bool:
        return take(self, asker, life, attrs.evolve(question, settled=question.number))

    return patched(Answerer, take=mutant)


@written("replication", needed=2, by="a")
def the_ledger_hands_one_packet_more() -> Fault:
    """What neighbours gave to a node is off by one."""

    def mutant(self: Ledger, node: str, count: int) -> None:
        self.sent += count
        self.handed[node] += count + 1

    return patched(Ledger, hand=mutant)


@written("replication", needed=2, by="a")
def the_ledger_does_not_count_what_came_from_a_node() -> Fault:
    """The sums of the node itself add up all the same."""

    def mutant(self: Ledger, node: str, count: int) -> None:
        self.received += count

    return patched(Ledger, take=mutant)


@written("recovery", needed=2, by="a")
def the_ledger_keeps_what_a_dead_replica_was_handed() -> Fault:
    """Packets that are sent again through another are handed twice."""
    hand = Ledger.hand
    return patched(Ledger, hand=lambda self, node, count: hand(self, node, max(0, count)))


@written("a replica wakes that its primary does not know to be dead", needed=1, by="e")
def a_replica_confirms_though_nobody_has_heard_a_sign_of_its_life() -> Fault:
    """It may have been declared dead, and nobody believes what it releases."""
    return patched(Assurance, lasts=lambda self, now: True)


@written("a question comes that a dead life of a target was asked", needed=1, by="i")
def a_runtime_acts_on_questions_that_an_earlier_life_of_it_was_asked() -> Fault:
    """A link had kept them."""
    hears = Role._hears

    def mutant(self: Role, call: Any) -> bool:
        return hears(self, attrs.evolve(call, to=0))

    return patched(Role, _hears=mutant)
