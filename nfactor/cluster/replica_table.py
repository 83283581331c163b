"""The flows of other runtimes, for which this runtime is the replica: stores their states, and releases what they hold.

The paper's replica actors (section 4.1.3), as one table. A commit is stored, and in the same breath its packets leave
by the egress, with a receipt behind them that tells the switch how far this primary's packets have come; its drops and
records go to the outside; and when those are known to have arrived, the primary may forget the commit.
"""

from collections.abc import Callable, Iterator
from functools import partial

import attrs
import numpy as np

from nfactor.actors import handles
from nfactor.cluster.addresses import life_of
from nfactor.cluster.assurance import Assurance
from nfactor.cluster.egress import Egress
from nfactor.cluster.flow_report import FlowReport
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import (
    Done,
    FlowStatuses,
    pack_u32,
    unpack_statuses,
    unpack_u32,
)
from nfactor.cluster.names import FLOWS, LIAISON
from nfactor.cluster.ownership import Places, by_owner
from nfactor.cluster.recovery_messages import (
    ClaimFlows,
    CommitsStored,
    FinishFlows,
    FlowsClaimed,
    ForgetReplicas,
    ForgoFlows,
    Recover,
    StepTaken,
    StoreCommit,
)
from nfactor.cluster.reporter import Reporter
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View
from nfactor.compiled import outer_headers
from nfactor.dataplane.changes import Copies, packets_of
from nfactor.dataplane.engine import Epochs, Records, Status, are
from nfactor.packet.burst_codec import unpack_burst
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import ReplicaStore

RECOVERY_BATCH_FLOWS_MAX = 4096
"""Flows that are claimed by one question to a switch, at most."""


class ReplicaTable(Role):
    """``flows`` is the flow table of this runtime; ``copies`` makes room for the flows of another."""

    hears_first = ()

    def __init__(
        self,
        egress: Egress,
        ledger: Ledger,
        reporter: Reporter,
        copies: Callable[[], Copies],
        flows: FlowTable,
        view: View,
        assurance: Assurance,
    ) -> None:
        self._egress = egress
        self.own_life = life_of(egress.address)
        self._ledger = ledger
        self._reporter = reporter
        self._flows = flows
        self.view = view
        self._assurance = assurance
        self._store = ReplicaStore(copies)
        self._done: dict[bytes, int] = {}
        """By primary (its address: its next life counts anew), the last commit of which everything is told."""
        self.gaps = 0
        """Commits that came before an earlier one, and were ignored."""
        self._claims = 0
        self._takeovers: dict[str, _Takeover] = {}
        """By dead runtime."""
        self._left: dict[str, list[_Batch]] = {}
        """By dead runtime, what another that is dead had turned to it, and was not there to finish."""
        self._given: dict[str, list[tuple[str, _Batch]]] = {}
        """By dead runtime whose recovery is not over, what others have taken in its stead, and who. They say so before
        their replicas have it: one of those may be dead, and not be replaced before this recovery is over."""
        self._forgone: dict[str, list[_Batch]] = {}
        """By dead runtime, flows of its that have ended here, for want of room, while it is being recovered."""
        reporter.completed = self._completed
        view.when_finished = self._finished_with

    @property
    def copies(self) -> int:
        """Copies of flows that are here."""
        return len(self._store)

    def copies_of(self, primary: str) -> tuple[FlowKeys, Epochs, Records]:
        """Those of one primary: keys, epochs (u32) and records (u8, a row each), which stay here."""
        return self._store.look(primary)

    def may_tell(self) -> None:
        """The outside believes this runtime, and may be told what happens here: before that its word would be lost."""
        self._reporter.begin(self.ask)

    @handles(StoreCommit)
    def store(self, message: StoreCommit) -> None:
        """Store the states, then release; neither for who is dead, nor if it may itself be thought to be."""
        primary, sequence = message.primary, message.sequence
        if primary not in self.view or message.to != self._egress.address:
            return
        if not self._assurance.lasts(self.host.now()):
            self._assurance.refused += 1
            return
        following = self._store.following(primary)
        if sequence > following:
            self.gaps += 1  # one before it was lost with a session of the link, and will come again, and this one too
            return
        if sequence < following:
            self._confirm(message.address)  # the confirmation may have been lost
            return
        self._store.store(primary, sequence, message.changes, FlowKeys.of_octets(message.ended))
        burst = unpack_burst(message.packets)
        self._reporter.begin_commit()
        self._ledger.take(primary, len(burst) + sum(message.counts))
        if len(burst):
            switches = outer_headers.count_sources(burst)
            self._egress.packets(burst)
            for switch in switches:
                self._egress.receipt(switch, message.address, sequence)
        self._egress.drops(message.reasons, message.counts, message.marks)
        self._egress.records(list(message.emitted))
        self._reporter.complete(message.address, sequence)

    def _completed(self, primary: bytes, sequence: int) -> None:
        """All that the primary's commits up to this one held has left: it may forget them."""
        if self.view.at(primary) is not None:
            self._done[primary] = sequence
            self._confirm(primary)

    def _confirm(self, primary: bytes) -> None:
        name = self.view.at(primary)
        if name is not None and primary in self._done and self._assurance.lasts(self.host.now()):
            self.host.tell(name, FLOWS, CommitsStored(self.host.node, self._done[primary], primary))

    @handles(ForgetReplicas)
    def forget(self, message: ForgetReplicas) -> Done:
        """The flows have moved away from that primary."""
        self._store.forget(message.primary, FlowKeys.of_octets(message.keys), unpack_u32(message.epochs))
        return Done()

    # ---------------------------------------------------------------- recovery

    @handles(Recover)
    def recover(self, message: Recover) -> Later:
        """Take over what that dead runtime had here: one batch for one switch after another."""
        later = Later()
        earlier = self._takeovers.get(message.node)
        if earlier is not None:
            earlier.over.append(later.answer)  # a coordinator that has begun again asks anew
            return later
        keys, epochs, records = self._store.take(message.node)
        self._done = {primary: last for primary, last in self._done.items() if self.view.at(primary) is not None}
        takeover = _Takeover(message.node, [later.answer], self._by_switch(keys, epochs + np.uint32(1), records))
        self._takeovers[message.node] = takeover
        self._claim_next(takeover)
        return later

    def _by_switch(self, keys: FlowKeys, epochs: Epochs, records: Records) -> "list[_Batch]":
        return [
            _Batch(switch, FlowKeys(keys.array[some]), epochs[some], records[some])
            for switch, places in by_owner(keys, self.view.names("switch"))
            for some in _batches(places)
        ]

    def take_back(self, target: str, then: Callable[[object], None]) -> None:
        """A runtime to which flows were turned is dead, and whoever has its states has claimed them. In the place of
        those who turned them and are dead as well, claim the rest, as they would. ``then`` is called when that is over.
        """
        earlier = self._takeovers.get(target)
        if earlier is not None:
            earlier.over.append(then)  # a coordinator that has begun again asks anew
            return
        batches = [*self._left.pop(target, []), *self._given_to(target)]
        for source in self.view.unfinished:
            if source != target and source not in self._takeovers:
                keys, epochs, records = self._store.look(source)
                batches += self._by_switch(keys, epochs + np.uint32(1), records)
        raised = [attrs.evolve(batch, epochs=batch.epochs + np.uint32(1)) for batch in batches]
        takeover = self._takeovers[target] = _Takeover(target, [then], raised, rest=True)
        self._claim_next(takeover)

    def _given_to(self, target: str) -> "list[_Batch]":
        """What that one had taken in the stead of others whose recoveries are not over. Where it had been stored, or
        has moved on, its switch knows a later owner or epoch by the time that this is claimed."""
        found = [batch for given in self._given.values() for owner, batch in given if owner == target]
        self._given = {
            source: [(owner, batch) for owner, batch in given if owner != target]
            for source, given in self._given.items()
        }
        return found

    def _claim_next(self, takeover: "_Takeover") -> None:
        """Of what is here of their keys, the dead one may have had the next life: the switch had let ours end, and the
        word is lost. Packets of the one would be processed by the other, so it is waited for."""
        if not takeover.batches:
            del self._takeovers[takeover.dead]
            for then in takeover.over:
                then(StepTaken(takeover.taken))
            return
        batch = takeover.batches[0]
        self._flows.when_ends_are_known(batch.switch, batch.keys, partial(self._hold_and_claim, takeover))

    def _hold_and_claim(self, takeover: "_Takeover") -> None:
        """Claim flows at their switch, to become their primary. Packets may be here before the switch's answer is, so
        the flows are held first; those for which there is no room end first, as far as they are still the dead one's,
        and then are only asked about, in an epoch that gets none."""
        batch = takeover.batches[0]
        self._claims += 1
        claim, node, keys = self._claims, self.host.node, batch.keys  # a number that no migration has
        full = self._flows.expect(claim, node, keys, batch.epochs) == Status.FULL
        rest = np.where(full, np.uint32(0), batch.epochs)
        self._forgo(takeover.dead, batch.at(np.flatnonzero(full)), partial(self._claim, takeover, claim, rest))

    def forgo(
        self, dead: str, switch: str, keys: FlowKeys, epochs: Epochs, records: Records, then: Callable[[], None]
    ) -> None:
        """Flows that come back from a target that is dead, and for which there is no room: as far as they are still the
        dead one's, they end. Then do that."""
        self._forgo(dead, _Batch(switch, keys, epochs, records), then)

    def _forgo(self, dead: str, batch: "_Batch", then: Callable[[], None]) -> None:
        if not len(batch.keys):
            then()
            return

        def end(answer: FlowStatuses | None) -> None:
            assert answer is not None, "switches do not leave"
            gone = batch.at(np.flatnonzero(are(unpack_statuses(answer.statuses), Status.OK)))
            self._forgone.setdefault(dead, []).append(gone)
            self._flows.farewell(gone.keys, gone.records)
            then()

        question = ForgoFlows(self.host.node, dead, batch.keys.octets(), pack_u32(batch.epochs))
        self.ask(batch.switch, LIAISON, question, FlowStatuses, end)

    def _claim(self, takeover: "_Takeover", claim: int, epochs: Epochs) -> None:
        batch = takeover.batches[0]
        packets = pack_u32(packets_of(batch.records))
        question = ClaimFlows(self.host.node, takeover.dead, batch.keys.octets(), pack_u32(epochs), packets)
        self.ask(batch.switch, LIAISON, question, FlowsClaimed, partial(self._claimed, takeover, claim))

    def _claimed(self, takeover: "_Takeover", claim: int, answer: FlowsClaimed | None) -> None:
        """Become the primary of what is ours now. What the dead runtime was about to give to another that lives is
        given there in its stead; what had just ended says what it had to say."""
        assert answer is not None, "switches do not leave"
        batch = takeover.batches.pop(0)
        keys, epochs, records = batch.keys, batch.epochs, batch.records
        statuses = np.frombuffer(answer.statuses, np.uint8)
        ours, ended = are(statuses, Status.OK), are(statuses, Status.UNKNOWN)
        takeover.taken += self._flows.adopt(claim, keys.where(ours), epochs[ours], records[ours])
        if takeover.rest:  # what others have, or has ended, is no affair of who had turned it
            for source in self.view.unfinished:
                self._store.forget(source, keys.where(ours), epochs[ours])
            self._claim_next(takeover)
            return
        self._flows.farewell(keys.where(ended), records[ended])
        elsewhere, owners = np.flatnonzero(are(statuses, Status.EXISTS)), np.array(answer.owners, object)
        takeover.finishing = {}
        for owner in dict.fromkeys(answer.owners):
            takeover.finishing[owner] = batch.at(elsewhere[owners == owner])
        for owner, given in list(takeover.finishing.items()):
            states = FinishFlows(takeover.dead, given.keys.octets(), pack_u32(given.epochs), given.records.tobytes())
            self.ask(owner, FLOWS, states, FlowStatuses, partial(self._finished, takeover, owner))
        if not answer.owners:
            self._claim_next(takeover)

    def _finished(self, takeover: "_Takeover", owner: str, answer: FlowStatuses | None) -> None:
        """None: that one is dead as well. Its own replicas have what it had of them; the rest is left for
        ``take_back``."""
        given = takeover.finishing.pop(owner)
        if answer is None and owner in self.view.unfinished:
            self._left.setdefault(owner, []).append(given)
        elif answer is not None:
            took = np.flatnonzero(are(unpack_statuses(answer.statuses), Status.OK))
            takeover.taken += len(took)
            self._given.setdefault(takeover.dead, []).append((owner, given.at(took)))
        if not takeover.finishing:
            self._claim_next(takeover)

    def _finished_with(self, dead: str) -> None:
        """Its recovery is over: the switches have let go of it. Of those who have taken something in its stead, some
        may be dead by now, and not recovered."""
        self._forgone.pop(dead, None)
        self._left.pop(dead, None)
        self._given_to(dead)
        for owner, batch in self._given.pop(dead, ()):
            if owner in self.view.unfinished:
                self._left.setdefault(owner, []).append(batch)

    def report(self, report: FlowReport) -> None:
        """For a switch that has lost its table: flows of runtimes that are dead, and that are here, or were given to
        others in their stead."""
        for name in self.view.unfinished:
            if name in self.view.known and self.view.known[name].kind == "runtime":
                report.add(self.view.known[name], *self._store.look(name), perhaps=True)
        for dead, takeover in self._takeovers.items():
            # Nobody knows which of the rest had been turned to the dead one.
            lead = np.uint32(2 if takeover.rest else 1)
            for batch in takeover.batches:
                report.add(self.view.known[dead], batch.keys, batch.epochs - lead, batch.records, perhaps=True)
            for owner, batch in takeover.finishing.items():
                report.add(self.view.known[owner], batch.keys, batch.epochs, batch.records)
        given = [(owner, [batch]) for taken in self._given.values() for owner, batch in taken]
        lost = [(owner, batches) for owner, batches in given if owner not in self.view]  # who lives speaks for itself
        for owner, batches in (*self._left.items(), *lost, *self._forgone.items()):
            for batch in batches:
                report.add(self.view.known[owner], batch.keys, batch.epochs, batch.records, perhaps=True)


def _batches(places: Places) -> Iterator[Places | slice]:
    """Places, in order, of so many flows at once; as a slice where they are neighbours, of which nothing is copied."""
    for start in range(0, len(places), RECOVERY_BATCH_FLOWS_MAX):
        some = places[start : start + RECOVERY_BATCH_FLOWS_MAX]
        first, last = int(some[0]), int(some[-1])
        yield slice(first, last + 1) if last - first + 1 == len(some) else some


@attrs.frozen(eq=False)
class _Batch:
    """Flows of a dead runtime whose keys one switch owns, with the epochs that they will have here."""

    switch: str
    keys: FlowKeys
    epochs: Epochs
    records: Records

    def at(self, places: Places) -> "_Batch":
        """Some of them."""
        return _Batch(self.switch, self.keys.at(places), self.epochs[places], self.records[places])


@attrs.define(eq=False)
class _Takeover:
    """The flows of a dead runtime whose replicas were here, on their way to a new primary."""

    dead: str
    over: list[Callable[[object], None]]
    """Who is to be told."""
    batches: list[_Batch]
    """What has not been claimed yet."""
    taken: int = 0
    """How many go on, here or elsewhere."""
    finishing: dict[str, _Batch] = attrs.Factory(dict)
    """What was given to other runtimes that have not answered."""
    rest: bool = False
    """It is about flows that were turned to the dead one, and that its own replicas have not claimed."""
