"""Faults that lose packets and count them nowhere, written one by one."""

from typing import Any

import attrs

from nfactor.cluster.addresses import life_of
from nfactor.cluster.intake import Intake
from nfactor.cluster.relay import Relay
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.switch import VirtualSwitch
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.burst_codec import pack_burst, unpack_burst
from tests.mutants.mutant import Fault, Mutant, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


def _but_the_last(burst: Burst) -> Burst:
    """One packet is left always, or nothing would be served, which is another judge's affair."""
    return burst.slice(0, max(1, len(burst) - 1))


@written("restarts", needed=2, by="a")
def a_switch_that_has_begun_again_loses_packets() -> Fault:
    """The last packet of each burst, before it counts it."""
    packets_in = VirtualSwitch.packets_in

    def mutant(self: VirtualSwitch, burst: Burst) -> None:
        packets_in(self, burst if self._again is None else _but_the_last(burst))

    return patched(VirtualSwitch, packets_in=mutant)


@written("restarts", needed=2, by="a")
def a_switch_that_has_begun_again_loses_what_comes_back() -> Fault:
    """The same of packets on their way out."""
    pass_on = Relay.pass_on

    def mutant(self: Relay, burst: Burst) -> None:
        pass_on(self, burst if life_of(self._outside.address) == 1 else _but_the_last(burst))

    return patched(Relay, pass_on=mutant)


@written("restarts", needed=4, by="a")
def a_runtime_that_has_begun_again_loses_packets() -> Fault:
    """The last packet of each burst."""
    take = Intake.take

    def mutant(self: Intake, burst: Burst) -> None:
        take(self, burst if life_of(self._port.address) == 1 else _but_the_last(burst))

    return patched(Intake, take=mutant)


@written("restarts", needed=42, by="a")
def a_replica_that_has_begun_again_loses_packets_of_commits() -> Fault:
    """The last packet of each, whose state it has stored. It counts what it lets out."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: Any) -> None:
        burst = unpack_burst(message.packets)
        if self.own_life > 1 and len(burst) > 1:
            message = attrs.evolve(message, packets=pack_burst(_but_the_last(burst)))
        store(self, message)

    return patched(ReplicaTable, store=mutant)


@written("restarts", needed=8, by="e")
def a_replica_loses_packets_that_a_switch_has_sent_which_has_begun_again() -> Fault:
    """The same in any life."""
    store = ReplicaTable.store

    def mutant(self: ReplicaTable, message: Any) -> None:
        burst = unpack_burst(message.packets)
        if len(burst) > 1 and life_of(cluster_frame.sources(burst)[-1]) > 1:
            message = attrs.evolve(message, packets=pack_burst(_but_the_last(burst)))
        store(self, message)

    return patched(ReplicaTable, store=mutant)
