"""Judges of a cluster at rest: the counts of its nodes agree with each other, and no flow is tied to anything."""

from functools import partial

import numpy as np

from nfactor.dataplane.engine import Status
from nfactor.dataplane.owners import owner_number
from nfactor.testing.checkers import Violation
from nfactor.testing.heap_cluster import HeapCluster, Runtime, Switch
from nfactor.testing.limits import FLOWS_MAX


def neighbours_agree(cluster: HeapCluster) -> None:
    """(a) What no node has said of packets died with the dead: as many as their neighbours gave to them and did not get
    back. And what a living node was given by another is what it got. For runs in which no port lost anything."""
    dead = {death.node for death in cluster.history.deaths}
    nodes: list[Switch | Runtime] = [*cluster.switches.values(), *cluster.runtimes.values()]
    ledgers = {node.node.name: node.ledger for node in nodes if node.node.name not in dead}
    given = sum(ledger.handed[name] for ledger in ledgers.values() for name in dead)
    came = sum(ledger.taken[name] for ledger in ledgers.values() for name in dead)
    history = cluster.history
    lost = given - came - sum(history.told_by[name] for name in dead)
    inside = len(history.flow_of) - len(history.out) - len(history.dropped)
    if lost != inside:
        raise Violation(
            f"(a) conservation: nobody has heard of {inside} packets; {lost} died by the neighbours' counts"
        )
    for giver, ledger in ledgers.items():
        for taker, count in ledger.handed.items():
            if taker in ledgers and ledgers[taker].taken[giver] != count:
                got = ledgers[taker].taken[giver]
                raise Violation(f"(a) conservation: {giver} gave {count} packets to {taker}, which got {got}")


def migrations_are_counted(cluster: HeapCluster, *, all_move: bool) -> None:
    """(a) What the coordinator was told of migrations is what the switches did. For runs in which nobody died: there is
    no reason then why any flow that set out should stay, if it does not end (``all_move``), but that its target does
    not want it."""
    told = sum(event.flows for event in cluster.history.ended)
    done = sum(switch.dispatcher.statistics().redirected for switch in cluster.switches.values())
    if told != done:
        raise Violation(f"(a) conservation: {told} flows moved, as the coordinator was told; switches moved {done}")
    stayed = sum(event.failed for event in cluster.history.ended)
    refused = sum(runtime.flows.refused for runtime in cluster.runtimes.values())
    if all_move and stayed != refused:
        raise Violation(
            f"(i) liveness: {stayed} flows set out and did not move, {refused} of them as they were refused"
        )


def copies_are_of_flows(cluster: HeapCluster) -> None:
    """(h) Replicas have one copy of each flow where it is now, and none of where it was."""
    if len(cluster.living()) < 2:
        return
    copies = sum(runtime.replicas.copies for runtime in cluster.living())
    flows = sum(runtime.engine.statistics().flows for runtime in cluster.living())
    if cluster.mode.replicates and copies != flows:
        raise Violation(f"(h) protection: there are {flows} flows and {copies} copies of flows")


def owners_agree(cluster: HeapCluster) -> None:
    """(d) Each flow that a runtime has is its own at the switch that owns the key, in no later epoch: else nobody could
    move or claim it. (An earlier one may be: the key's next life had begun here when the switch had just forgotten the
    first.)"""
    switches = [cluster.switches[name] for name in sorted(cluster.switches)]
    for runtime in cluster.living():
        keys = runtime.engine.keys()
        epochs, _, _ = runtime.engine.copy(keys)
        for key, epoch in zip(keys, epochs.tolist(), strict=True):
            switch = switches[owner_number(key, len(switches))]
            every = np.arange(1, epoch + 1, dtype=np.uint32)
            if (switch.dispatcher.turned([key] * epoch, every, runtime.number) != Status.OK).all():
                raise Violation(
                    f"(d) one owner: {runtime.node.name} has flow {cluster.flow_of_key[key]} in epoch {epoch}, and "
                    f"{switch.node.name} has it elsewhere, or in a later one"
                )


def commits_are_confirmed(cluster: HeapCluster) -> None:
    """(i) Whatever went to replicas is known to be stored."""
    for runtime in cluster.living():
        stored: list[str] = []
        runtime.flows.replicator.when_stored(partial(stored.append, runtime.node.name))
        if not stored:
            raise Violation(f"(i) liveness: {runtime.node.name} waits for ever for a commit to be confirmed")


def flows_are_free(cluster: HeapCluster) -> None:
    """(i) Nothing is under way for any flow: each may set out. (They are pinned by that, so this comes last.)"""
    for runtime in cluster.living():
        flows, name = runtime.engine.statistics().flows, runtime.node.name
        load = runtime.flows.workload().flows
        if load != flows:
            raise Violation(f"(i) liveness: {name} has {flows} flows, and says that it will have {load}")
        free = len(runtime.flows.pick(FLOWS_MAX)[0])
        if free != flows:
            raise Violation(f"(i) liveness: {flows - free} flows of {name} can neither move nor end any more")
