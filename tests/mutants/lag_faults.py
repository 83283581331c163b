"""Faults where states follow the packets (``every``), written one by one."""

from typing import Any

import numpy as np

from nfactor.cluster import lag
from nfactor.cluster.replicator import Replicator
from tests.mutants.mutant import Fault, Mutant, patched, writer

MUTANTS: list[Mutant] = []
written = writer(MUTANTS)


@written("an owner dies whose flows lag and they go on", needed=1, by="g")
def a_flow_that_is_due_is_not_told() -> Fault:
    """Under ``every``: its count begins anew all the same."""

    def mutant(self: Replicator, rows: Any, codes: Any) -> None:
        self._lag.add(rows)

    return patched(Replicator, _count_lag=mutant)


@written("cluster", needed=11, by="g")
def a_flow_is_told_of_once() -> Fault:
    """Under ``every``: it counts as told from then on, and its replica keeps the first state."""
    follow_up = Replicator._follow_up
    told: list[Any] = []

    def mutant(self: Replicator, rows: Any) -> None:
        new = np.array([all(row is not other for other in told) for row in rows], bool)
        told.extend(rows[new])
        self._changes.of(rows[~new])
        follow_up(self, rows[new])

    return patched(Replicator, _follow_up=mutant)


@written("an owner dies a while after the last packets of its flows", needed=1, by="g")
def what_lags_is_told_three_times_too_late() -> Fault:
    """Under ``every``: by the clock."""
    return patched(lag, LAG_STEPS=3 * lag.LAG_STEPS)


@written("recovery", needed=57, by="i")
def a_flow_is_told_of_only_when_it_is_due() -> Fault:
    """Under ``every``: never by the clock."""
    return patched(Replicator, step=lambda self: None)


@written("an owner dies whose flows lag and they go on", needed=1, by="g")
def a_flow_may_lag_by_one_packet_more_than_was_said() -> Fault:
    """Under ``every``: it is told of with its last packet but one, so two more are one too many."""
    begin = lag.Lag.__init__

    def mutant(self: lag.Lag, changes: Any, packets_max: int) -> None:
        begin(self, changes, packets_max + 2)

    return patched(lag.Lag, __init__=mutant)
