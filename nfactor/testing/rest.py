"""Judges of a cluster at rest: the counts of its nodes agree with each other, and no flow is tied to anything."""

from functools import partial

import numpy as np

from nfactor.dataplane.engine import Status
from nfactor.dataplane.owners import owner_number
from nfactor.testing.checkers import FULL, NAT
from nfactor.testing.judged import JudgedCluster, JudgedNode, state_of
from nfactor.testing.limits import FLOWS_MAX
from nfactor.testing.lineage import CHOSEN
from nfactor.testing.violation import Violation


def one_owner(cluster: JudgedCluster, *, flows_end: bool) -> None:
    """(d) Of each flow; two flows of one key may be there for a moment, when the switch has let the first one end and
    its runtime does not know yet."""
    owners: dict[tuple[bytes, int], str] = {}
    for runtime in cluster.living():
        for key in list(runtime.engine.keys()):
            life = key, state_of(runtime.engine, key).born if flows_end else 0
            if life in owners and (life[1] or not flows_end):  # else no packet came so far
                flow = cluster.flow_of_key[key]
                raise Violation(f"(d) one owner: flow {flow} is at {owners[life]} and at {runtime.name}")
            owners[life] = runtime.name
    if flows_end:
        cluster.history.last_at |= {born: name for (_, born), name in owners.items()}


def nothing_is_half_done(cluster: JudgedCluster, *, serves: bool) -> None:
    """(i) And everything is protected. ``serves``: packets are to pass."""
    living = cluster.living()
    for runtime in living:
        name = runtime.name
        if runtime.liaison.migrations_open:
            raise Violation(f"(i) liveness: {runtime.liaison.migrations_open} migrations of {name} never ended")
        if runtime.ledger.buffered and serves:
            raise Violation(f"(i) liveness: {runtime.ledger.buffered} packets wait at {name} for ever")
        unprotected = runtime.flows.replicator.unprotected_flows()
        if cluster.mode.replicates and len(living) > 1 and unprotected:
            raise Violation(f"(i) liveness: {unprotected} flows of {name} are never protected again")
        if runtime.engine.statistics().rows != runtime.engine.statistics().flows:
            raise Violation(f"(i) liveness: {name} still waits for flows, or remembers some that left")
    if serves:
        commits_are_confirmed(cluster)
    for switch in cluster.switches.values():
        if switch.ledger.buffered:
            raise Violation(f"(i) liveness: {switch.ledger.buffered} packets wait at {switch.name} for ever")


def probes_came(cluster: JudgedCluster, probes: dict[int, int], quiet_s: float, *, limited: bool) -> None:
    """(i) Every flow is served: each has had one more packet, of that mark, which came out, or was dropped by a
    function; or, where tables are small (``limited``), for want of room; or no runtime is left."""
    served = {came.mark for came in cluster.history.out}
    reasons = {CHOSEN, *(FULL if limited else ()), *(() if cluster.living() else ("no_runtime",))}
    dropped = {mark: reason for reason, mark in cluster.history.dropped}
    for flow, mark in probes.items():
        reason = dropped.get(mark)
        if mark not in served and reason not in reasons and not (reason or "").startswith(NAT):
            what = f"its packet was dropped as {reason}" if reason else "no packet of it comes out"
            raise Violation(f"(i) liveness: flow {flow} is not served, {quiet_s} s after the last fault: {what}")


def neighbours_agree(cluster: JudgedCluster) -> None:
    """(a) What no node has said of packets died with the dead: as many as their neighbours gave to them and did not get
    back. And what a living node was given by another is what it got. For runs in which no port lost anything."""
    dead = {death.node for death in cluster.history.deaths}
    nodes: list[JudgedNode] = [*cluster.switches.values(), *cluster.runtimes.values()]
    ledgers = {node.name: node.ledger for node in nodes if node.name not in dead}
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


def migrations_are_counted(cluster: JudgedCluster, *, all_move: bool) -> None:
    """(a) What the coordinator was told of migrations is what the switches did. For runs in which nobody died: there is
    no reason then why any flow that set out should stay, if it does not end (``all_move``), but that its target does
    not want it."""
    told = sum(event.flows for event in cluster.history.ended)
    done = sum(switch.dispatcher.statistics().redirected for switch in cluster.switches.values())
    if told != done:
        raise Violation(f"(a) conservation: {told} flows moved, as the coordinator was told; switches moved {done}")
    stayed = sum(event.failed for event in cluster.history.ended)
    refused = sum(runtime.refused for runtime in cluster.runtimes.values())
    if all_move and stayed != refused:
        raise Violation(
            f"(i) liveness: {stayed} flows set out and did not move, {refused} of them as they were refused"
        )


def copies_are_of_flows(cluster: JudgedCluster) -> None:
    """(h) Each flow has one copy, which is as it is itself, at another runtime, as its owner's; and there are no
    others."""
    living = cluster.living()
    if len(living) < 2 or not cluster.mode.replicates:
        return
    flows: dict[tuple[str, bytes], tuple[int, bytes]] = {}
    for runtime in living:
        keys = runtime.engine.keys()
        epochs, records, _ = runtime.engine.copy(keys)
        for key, epoch, record in zip(keys, epochs.tolist(), records, strict=True):
            flows[runtime.name, key] = epoch, record.tobytes()
    unseen = sum(runtime.replicas.copies for runtime in living) - len(flows)
    for holder in living:
        for owner in living:
            keys, epochs, records = holder.replicas.copies_of(owner.name)
            for key, epoch, record in zip(keys, epochs.tolist(), records, strict=True):
                what = f"flow {cluster.flow_of_key.get(key)}, of {owner.name}"
                if owner is holder or flows.pop((owner.name, key), None) != (epoch, record.tobytes()):
                    raise Violation(f"(h) protection: {holder.name} has a copy of {what}, which is not as it is there")
    for owner_name, key in flows:
        raise Violation(f"(h) protection: flow {cluster.flow_of_key.get(key)}, of {owner_name}, has no copy")
    if unseen:
        raise Violation(f"(h) protection: there are {unseen} copies besides, of flows of the dead")


def owners_agree(cluster: JudgedCluster) -> None:
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
                    f"(d) one owner: {runtime.name} has flow {cluster.flow_of_key[key]} in epoch {epoch}, and "
                    f"{switch.name} has it elsewhere, or in a later one"
                )


def commits_are_confirmed(cluster: JudgedCluster) -> None:
    """(i) Whatever went to replicas is known to be stored."""
    for runtime in cluster.living():
        stored: list[str] = []
        runtime.flows.replicator.when_stored(partial(stored.append, runtime.name))
        if not stored:
            raise Violation(f"(i) liveness: {runtime.name} waits for ever for a commit to be confirmed")


def flows_are_free(cluster: JudgedCluster) -> None:
    """(i) Nothing is under way for any flow: each may set out. (They are pinned by that, so this comes last.)"""
    for runtime in cluster.living():
        flows, name = runtime.engine.statistics().flows, runtime.name
        load = runtime.flows.workload().flows
        if load != flows:
            raise Violation(f"(i) liveness: {name} has {flows} flows, and says that it will have {load}")
        free = len(runtime.flows.pick(FLOWS_MAX)[0])
        if free != flows:
            raise Violation(f"(i) liveness: {flows - free} flows of {name} can neither move nor end any more")
