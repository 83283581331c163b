"""Faults in migrations, written one by one: each breaks one thing that the protocol leans on."""

from typing import Any

import numpy as np

from nfactor.cluster import liaison
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.messages import Done, FlowsInstalled, FlowStatuses, InstallFlows, PrepareFlows, unpack_u32
from nfactor.cluster.replicator import Replicator
from nfactor.dataplane import flow_row
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import HELD
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet import cluster_frame
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.migration import Bury, Effect, MigrationSource, State
from tests.mutants.mutant import OWN, Fault, Mutant, both, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


@written("migration", needed=8, by="a")
def the_marker_on_the_data_path_is_not_awaited() -> Fault:
    """The switch's answer on the control path is taken for the end of the flows' packets."""
    prepared = MigrationSource.prepared

    def mutant(self: MigrationSource, statuses: Any) -> list[Effect]:
        effects = prepared(self, statuses)
        self._unmarked = set()
        return effects

    return patched(MigrationSource, prepared=mutant)


@written("recovery", needed=163, by="e")
def the_marker_is_passed_on_before_what_it_follows_is_stored() -> Fault:
    """States leave while packets that they include still wait for a replica."""

    def mutant(self: FlowTable, frame: bytes) -> None:
        migration = cluster_frame.read_marker(frame)
        assert migration is not None
        self.when_marked(migration, frame[6:12])

    return patched(FlowTable, _marker_arrived=mutant)


@written("migration", needed=4, by="d")
def the_target_holds_flows_only_when_their_states_are_here() -> Fault:
    """Packets that come before the states find a flow that begins anew."""
    install = FlowTable.install

    def prepare(self: FlowTable, message: PrepareFlows) -> FlowStatuses:
        return FlowStatuses(bytes(len(FlowKeys.of_octets(message.keys))))

    def late(self: FlowTable, message: InstallFlows) -> Any:
        self.expect(message.migration, message.source, FlowKeys.of_octets(message.keys), unpack_u32(message.epochs))
        return install(self, message)

    return patched(FlowTable, prepare=prepare, install=late)


@written("migration", needed=4, by="e")
def packets_of_held_flows_are_processed_at_once() -> Fault:
    """As if the flow were new; then its state comes and takes their place."""
    process_one = ReferenceEngine._process_one

    def mutant(self: ReferenceEngine, pkt: Any, *place: int) -> int:
        code = process_one(self, pkt, *place)
        if code == HELD:
            row = self._rows[pkt.flow]
            self._begin(row, 0)
            row.phase = flow_row.LEAVING
            code = process_one(self, pkt, *place)
            row.phase = flow_row.HELD
        return code

    return patched(ReferenceEngine, _process_one=mutant)


@written("migration", needed=3, by="b")
def what_waited_is_processed_in_the_wrong_order() -> Fault:
    """The last burst first."""
    drain = FlowTable._drain

    def mutant(self: FlowTable) -> int:
        self._holding._room._bursts.reverse()
        return drain(self)

    return patched(FlowTable, _drain=mutant)


@written("migration", needed=3, by="i")
def what_waited_is_never_processed() -> Fault:
    """The states are here, and the packets stay in the buffer."""
    return patched(FlowTable, _drain=lambda self: 0)


@written("migration", needed=1, by="e")
def the_states_are_those_of_when_the_flows_were_picked() -> Fault:
    """Stop-and-copy without the stop: what came between is forgotten."""
    pick, depart = FlowTable.pick, FlowTable.depart
    early: dict[bytes, Any] = {}

    def first(self: FlowTable, flows_max: int) -> Any:
        picked = pick(self, flows_max)
        early.update(zip(picked[0], self._engine.copy(picked[0])[1], strict=True))
        return picked

    def then(self: FlowTable, migration: int, keys: FlowKeys) -> Any:
        depart(self, migration, keys)
        return np.array([early[key] for key in keys])

    return patched(FlowTable, pick=first, depart=then)


@written("migration", needed=1, by="f")
def the_end_of_each_state_is_lost_on_the_way() -> Fault:
    """What one field of the last network function was: the rest comes as it left."""
    take_over = FlowTable._take_over

    def mutant(self: FlowTable, keys: FlowKeys, epochs: Any, records: Any) -> Any:
        cut = records.copy()
        cut[:, -4:] = 0
        return take_over(self, keys, epochs, cut)

    return patched(FlowTable, _take_over=mutant)


@written("migration", needed=1, by="d")
def a_flow_that_left_stays_where_it_was() -> Fault:
    """The source sends the state and keeps the flow."""
    depart = ReferenceEngine.depart

    def mutant(self: ReferenceEngine, keys: Any) -> Any:
        rows = {key: (self._rows[key].phase, self._rows[key].steps) for key in keys}
        answer = depart(self, keys)
        for key, (phase, steps) in rows.items():
            self._rows[key].phase, self._rows[key].steps = phase, steps
        return answer

    return patched(ReferenceEngine, depart=mutant)


@written("migration", needed=1, by="i")
def tombstones_are_never_buried() -> Fault:
    """A flow that comes back finds its own."""
    return patched(FlowTable, bury=lambda self, keys, epochs: None)


@written("migration", needed=1)
def tombstones_are_buried_at_once() -> Fault:
    """Packets that come late begin the flow anew."""
    return patched(liaison, TOMBSTONE_S=0.0)


@written("cluster", needed=1)
def a_cancelled_migration_is_held_for_ever() -> Fault:
    """The target goes on waiting for flows that will not come."""
    return patched(FlowTable, cancel=lambda self, message: Done())


@written("replication", needed=1, by="h")
def flows_that_moved_stay_at_their_old_replica() -> Fault:
    """Nobody tells it to forget them: an old state may come back."""

    def mutant(self: Replicator, migration: int, keys: FlowKeys) -> None:
        self._departed._flows.pop(migration, None)

    return patched(Replicator, moved=mutant)


@written("a source dies whose flows are on their way", needed=1, by="e")
def the_old_replica_forgets_before_the_target_has_stored() -> Fault:
    """For a moment no replica covers the flow."""
    departed = Replicator.departed

    def mutant(self: Replicator, migration: int, keys: FlowKeys, records: Any) -> None:
        departed(self, migration, keys, records)
        self.moved(migration, keys)

    return patched(Replicator, departed=mutant)


@written("a target dies whose replica has not stored what came", needed=1, by="e")
def the_target_answers_before_its_replica_has_stored() -> Fault:
    """The source believes the flows protected, and lets their old replicas forget them."""
    when_stored = Replicator.when_stored

    def mutant(self: Replicator, then: Any) -> None:
        if _answers(then):
            then()
        else:
            when_stored(self, then)

    return patched(Replicator, when_stored=mutant)


def _answers(call: Any) -> bool:
    """Whether it is about an answer to ``InstallFlows``, at whatever depth."""
    return isinstance(call, FlowsInstalled) or any(map(_answers, getattr(call, "args", ())))


@written("recovery", needed=59, by="e")
def the_states_are_not_kept_until_the_target_has_answered() -> Fault:
    """No rollback: what was on its way to a target that died is gone."""
    died = MigrationSource.died

    def mutant(self: MigrationSource) -> list[Effect]:
        if self.state is State.INSTALLING:
            self.state = State.DONE
            return [Bury(self.keys, self.epochs)]
        return died(self)

    return patched(MigrationSource, died=mutant)


@written("recovery", needed=59, by="e")
def a_flow_that_is_turned_back_has_its_old_epoch() -> Fault:
    """The claim of the source is no newer than what it gave away."""
    claim = MigrationSource._claim

    def mutant(self: MigrationSource) -> list[Effect]:
        self.epochs = self.epochs - np.uint32(1) if self.state is State.RETURNING else self.epochs
        return claim(self)

    return patched(MigrationSource, _claim=mutant)


@written("migration", needed=1, by="i")
def the_epoch_of_a_flow_that_moves_is_not_raised() -> Fault:
    """A later owner is no newer than an earlier one."""
    init = MigrationSource.__init__

    def mutant(self: MigrationSource, keys: Any, epochs: Any, *rest: Any) -> None:
        init(self, keys, epochs, *rest)
        self.epochs = epochs

    return patched(MigrationSource, __init__=mutant)


@written("cluster", needed=64, by="d")
def the_switch_redirects_whoever_owns_the_flow() -> Fault:
    """A source that is not the owner any more gives the flow away."""
    redirect = Dispatcher.redirect

    def mutant(self: Dispatcher, keys: Any, epochs: Any, *, source: int, target: int, now: float) -> Any:
        for key in keys:
            if key in self._entries:
                self._entries[key].owner = source
        return redirect(self, keys, epochs, source=source, target=target, now=now)

    return patched(Dispatcher, redirect=mutant)


@written("cluster", needed=27, by="d")
def the_switch_accepts_a_lower_epoch() -> Fault:
    """An order that was overtaken by a newer one is obeyed."""
    redirect, claim = Dispatcher.redirect, Dispatcher.claim

    def newer(self: Dispatcher, keys: Any, epochs: Any) -> Any:
        known = [entry.epoch if (entry := self._entries.get(key)) else 0 for key in keys]
        return np.maximum(epochs, np.array(known, np.uint32) + np.uint32(1))

    return both(
        patched(
            Dispatcher,
            redirect=lambda self, keys, epochs, **rest: redirect(self, keys, newer(self, keys, epochs), **rest),
        ),
        patched(
            Dispatcher,
            claim=lambda self, keys, epochs, packets, **rest: claim(
                self, keys, newer(self, keys, epochs), packets, **rest
            ),
        ),
    )


@written("migration", needed=79, by="i")
def the_marker_that_was_lost_is_not_sent_again() -> Fault:
    """Ports lose; the migration waits for ever."""
    return patched(liaison.Liaison, _look_for_marker=lambda self, migration, switch: None)


@written("migration", needed=1, by=OWN)
def the_target_refuses_what_it_had_promised_to_take() -> Fault:
    """It lets go of what it holds when the states come."""
    install = FlowTable.install

    def mutant(self: FlowTable, message: InstallFlows) -> Any:
        self.give_up(message.migration)
        return install(self, message)

    return patched(FlowTable, install=mutant)
