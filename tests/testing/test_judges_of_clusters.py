"""Judges that look into a cluster, each of one in which a single thing was broken by hand: it says so, and was silent
before."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs
import numpy as np
import pytest

from nfactor.cluster.ledger import AccountingError
from nfactor.cluster.messages import MigrationEnded
from nfactor.cluster.names import COORDINATOR, POOLS
from nfactor.cluster.pools import Pools
from nfactor.dataplane.engine import TimeOuts
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing import heap
from nfactor.testing.faults import Schedule
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime
from nfactor.testing.nat_cluster import NAT, NatCluster
from nfactor.testing.rest import (
    commits_are_confirmed,
    copies_are_of_flows,
    flows_are_free,
    migrations_are_counted,
    neighbours_agree,
    nothing_is_half_done,
    one_owner,
    owners_agree,
    probes_came,
)
from nfactor.testing.schedules import Run
from nfactor.testing.violation import Violation


def with_a_flow() -> tuple[Run, HeapCluster, Runtime, Runtime]:
    """The run of a schedule, in which a flow has had two packets; its cluster, who has the flow, and who its copy."""
    judge = Run(Schedule("replication", 1, runtimes=2))
    cluster = judge.cluster
    cluster.feed(0, 2)
    wait(cluster)
    owner = next(runtime for runtime in cluster.runtimes.values() if cluster.key_of[0] in list(runtime.engine.keys()))
    other = next(runtime for runtime in cluster.runtimes.values() if runtime is not owner)
    return judge, cluster, owner, other


def wait(cluster: HeapCluster) -> None:
    cluster.network.run(cluster.network.now_us + 100_000)


def put(runtime: Runtime, keys: FlowKeys, source: Runtime, flows: FlowKeys) -> None:
    """Flows of those keys are there, with the states that others have where they are."""
    epochs, records, _ = source.engine.copy(flows)
    assert not runtime.engine.hold(keys, epochs).any()
    assert not runtime.engine.install(keys, epochs, records).any()


def says(letter: str, what: str, judge: Callable[[], object], breaks: Callable[[], object]) -> None:
    """Silent before, and not behind."""
    judge()
    breaks()
    with pytest.raises(Violation, match=rf"^\({letter}\) .*{what}"):
        judge()


# -------------------------------------------------------------------- (a) conservation


def test_a_node_that_has_sent_what_it_never_had_is_seen_at_its_next_event() -> None:
    _, cluster, owner, _ = with_a_flow()
    owner.ledger.sent += 1
    with pytest.raises(AccountingError, match="2 packets came in or were made, 3 are accounted for"):
        wait(cluster)


def test_neighbours_whose_counts_differ_have_lost_a_packet() -> None:
    _, cluster, owner, _ = with_a_flow()
    (switch,) = cluster.switches.values()
    what, name = "switch-0 gave 3 packets to runtime-0, which got 2", owner.node.name
    says("a", what, lambda: neighbours_agree(cluster), lambda: switch.ledger.hand(name, 1))


def test_a_packet_of_which_nobody_has_heard_did_not_die_where_nobody_died() -> None:
    """It was lost on its last way, from the switch to the outside."""
    _, cluster, _, _ = with_a_flow()
    what = "nobody has heard of 1 packets; 0 died by the neighbours' counts"
    says("a", what, lambda: neighbours_agree(cluster), cluster.history.out.pop)


def test_packets_that_died_with_a_runtime_are_as_many_as_were_given_to_it() -> None:
    """Two came to it that are not outside; of one more its neighbours have not heard."""
    _, cluster, owner, other = with_a_flow()
    cluster.network.cuts.add((owner.node.name, other.node.name))
    cluster.feed(0, 2)
    cluster.network.run(cluster.network.now_us + 5_000)
    cluster.kill(owner.node.name)
    what = "nobody has heard of 3 packets; 2 died by the neighbours' counts"
    says("a", what, lambda: neighbours_agree(cluster), cluster.history.out.pop)


def told_of_a_migration(cluster: HeapCluster, owner: Runtime, other: Runtime, *, moved: int, failed: int) -> None:
    names = {"source": owner.node.name, "target": other.node.name}
    cluster.history.ended.append(MigrationEnded(migration=1, flows=moved, failed=failed, buffered=0, **names))


def test_a_flow_that_moved_as_the_coordinator_was_told_and_at_no_switch() -> None:
    _, cluster, owner, other = with_a_flow()
    moves = partial(told_of_a_migration, cluster, owner, other, moved=1, failed=0)
    says("a", "1 flows moved", lambda: migrations_are_counted(cluster, all_move=True), moves)


def test_a_flow_that_set_out_and_did_not_move_was_refused_or_has_ended() -> None:
    """Where flows end, one may have done so on its way."""
    _, cluster, owner, other = with_a_flow()
    stays = partial(told_of_a_migration, cluster, owner, other, moved=0, failed=1)
    all_move = partial(migrations_are_counted, cluster, all_move=True)
    says("i", "1 flows set out and did not move, 0 of them as they were refused", all_move, stays)
    migrations_are_counted(cluster, all_move=False)
    other.flows.refused = 1
    all_move()


# -------------------------------------------------------------------- (d) one owner


def test_a_flow_on_two_runtimes_has_two_owners() -> None:
    _, cluster, owner, other = with_a_flow()
    keys = FlowKeys.of([cluster.key_of[0]])

    def take_as_well() -> None:
        put(other, keys, owner, keys)

    says("d", "flow 0 is at runtime-0 and at runtime-1", partial(one_owner, cluster, flows_end=False), take_as_well)


def test_a_flow_that_its_switch_has_elsewhere_has_two_owners() -> None:
    _, cluster, _, other = with_a_flow()
    (switch,) = cluster.switches.values()
    entry = switch.dispatcher._entries[cluster.key_of[0]]
    says("d", "elsewhere", lambda: owners_agree(cluster), lambda: setattr(entry, "owner", other.number))


def test_nobody_goes_back_to_an_earlier_view() -> None:
    judge, _, owner, _ = with_a_flow()
    terms = [7]
    says("d", "from view 7 to 6", lambda: judge._check_view(owner.node, terms[-1]), lambda: terms.append(6))


# -------------------------------------------------------------------- (h) protection


def test_a_flow_of_which_there_is_no_copy_is_not_protected() -> None:
    _, cluster, _, other = with_a_flow()
    copies = other.replicas._store._copies
    says("h", "flow 0, of .*, has no copy", lambda: copies_are_of_flows(cluster), copies.clear)


def test_a_copy_of_a_flow_that_nobody_has_is_one_too_many() -> None:
    """It is of a runtime that is no more."""
    _, cluster, owner, other = with_a_flow()
    copies = other.replicas._store._copies

    def keep() -> None:
        copies["runtime-9"] = copies[owner.name]

    says("h", "there are 1 copies besides", lambda: copies_are_of_flows(cluster), keep)


def test_a_copy_that_is_not_as_its_flow_protects_nothing() -> None:
    """Of an earlier epoch; of the flow as it was; or at its owner's own runtime."""
    for what in ("epoch", "record", "holder"):
        _, cluster, owner, other = with_a_flow()
        copies = other.replicas._store._copies

        def spoil(what: str = what, owner: Runtime = owner, copies: dict[str, Any] = copies) -> None:
            keys, epochs, records = copies[owner.name].all()
            if what == "holder":
                owner.replicas._store._copies[owner.name] = copies.pop(owner.name)
            else:
                wrong = keys, epochs + np.uint32(what == "epoch"), records ^ np.uint8(what == "record")
                setattr(copies[owner.name], "all", lambda: wrong)  # noqa: B010 - this one object's

        says("h", "which is not as it is there", lambda: copies_are_of_flows(cluster), spoil)  # noqa: B023


# -------------------------------------------------------------------- (i) liveness


@pytest.mark.parametrize("reason", ["fenced", "no_runtime", "late", "flow_table_full", ""])
def test_a_flow_whose_packet_does_not_come_out_is_not_served(reason: str) -> None:
    """Nor if it is dropped by us: but for want of room, where there may be none."""
    _, cluster, _, _ = with_a_flow()
    mark = cluster.history.out[0].mark
    probe = partial(probes_came, cluster, {0: mark}, 5.0, limited=False)

    def drop() -> None:
        cluster.history.out.clear()
        cluster.history.dropped += [(reason, mark)] if reason else []

    says("i", f"dropped as {reason}" if reason else "no packet of it comes out", probe, drop)
    if reason == "flow_table_full":
        probes_came(cluster, {0: mark}, 5.0, limited=True)


@pytest.mark.parametrize("witness", ["coordinator", "switch-0"])
def test_who_has_been_heard_of_lately_is_not_dead(witness: str) -> None:
    """By the coordinator; or by a switch that has just told it so. It is declared dead nevertheless."""
    _, cluster, _, other = with_a_flow()
    network, name = cluster.network, other.name
    cluster.deaths.note_declared()
    now_us, heard_us = network.now_us, network.heard_us
    heard_us.clear()
    heard_us[name, witness, "Heartbeat"].append(now_us - 300_000)
    if witness != COORDINATOR:
        heard_us[COORDINATOR, witness, "Witness"].append(now_us - 1200)
        heard_us[witness, COORDINATOR, "LastHeard"].append(now_us - 1000)
    says("i", f"lives and was declared dead, though {witness} had heard of it 300 ms", cluster.deaths.note_declared,
         lambda: cluster.membership._declare_dead(name))  # fmt: skip


def test_a_packet_that_waits_when_all_is_quiet_waits_for_ever() -> None:
    for at_switch in (False, True):
        judge, cluster, owner, _ = with_a_flow()
        node = cluster.switches["switch-0"] if at_switch else owner

        def keep(node: object = node) -> None:
            node.ledger.buffer(1)  # type: ignore[attr-defined]

        says("i", "1 packets wait", judge._check_quiet, keep)


def test_a_migration_that_is_open_when_all_is_quiet_never_ends() -> None:
    judge, cluster, owner, other = with_a_flow()

    def set_out_and_hear_nothing() -> None:
        cluster.network.cuts.add((other.node.name, owner.node.name))
        judge.faults.migrate(owner.node.name, other.node.name)
        wait(cluster)

    says("i", "1 migrations of runtime-0 never ended", judge._check_quiet, set_out_and_hear_nothing)


def test_a_commit_that_is_not_confirmed_when_all_is_quiet_never_is() -> None:
    _, cluster, owner, other = with_a_flow()

    def store_and_say_nothing() -> None:
        cluster.network.cuts.add((other.node.name, owner.node.name))
        cluster.feed(0)
        wait(cluster)

    says("i", "waits for ever for a commit", lambda: commits_are_confirmed(cluster), store_and_say_nothing)


def test_a_flow_whose_state_no_replica_has_when_all_is_quiet_never_will_be_protected() -> None:
    """Packets do not pass either, where their states have to be stored before; but that is another complaint."""
    _, cluster, owner, other = with_a_flow()

    def store_nothing() -> None:
        cluster.network.cuts.add((owner.node.name, other.node.name))
        for flow in (1, 2):  # which are dealt in turn
            cluster.feed(flow)
        wait(cluster)

    judge = partial(nothing_is_half_done, cluster, serves=False)
    says("i", f"1 flows of {owner.node.name} are never protected again", judge, store_nothing)


def test_a_flow_that_is_held_when_all_is_quiet_never_comes() -> None:
    judge, cluster, _, other = with_a_flow()

    def hold() -> None:
        assert not other.engine.hold(FlowKeys.of([cluster.key_of[0]]), np.ones(1, np.uint32)).any()

    says("i", f"{other.node.name} still waits for flows, or remembers some that left", judge._check_quiet, hold)


def test_a_runtime_that_takes_flows_for_gone_which_are_there_has_set_out_with_them_for_ever() -> None:
    """It hears nothing of those that it has set out with. (That nothing is said before, see below.)"""
    judge, cluster, owner, other = with_a_flow()
    cluster.network.cuts.add((other.node.name, owner.node.name))
    judge.faults.migrate(owner.node.name, other.node.name)
    wait(cluster)
    with pytest.raises(Violation, match=r"^\(i\) .*runtime-0 has 1 flows, and says that it will have 0"):
        flows_are_free(cluster)


def test_a_cluster_whose_nodes_do_not_hear_of_each_other_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "CONTROL_US", (2_000_000, 2_000_000))
    with pytest.raises(Violation, match=r"^\(i\) liveness: a cluster without faults is not ready within a second"):
        Run(Schedule("replication", 1))


def test_a_flow_whose_probe_does_not_come_out_is_not_served() -> None:
    judge, cluster, _, _ = with_a_flow()
    says("i", "flow 0 is not served", judge._probe, lambda: cluster.network.kill("switch-0"))


def test_a_flow_that_is_tied_to_something_can_neither_move_nor_end() -> None:
    for tie in (False, True):
        _, cluster, owner, _ = with_a_flow()
        if tie:
            owner.engine.pick(1)
            with pytest.raises(Violation, match=r"^\(i\) .*1 flows of runtime-0 can neither move nor end"):
                flows_are_free(cluster)
        else:
            flows_are_free(cluster)


# -------------------------------------------------------------------- (k) ports


def with_a_port(*, flows_end: bool = False) -> NatCluster:
    """A flow has gone out through a NAT."""
    outs = TimeOuts(udp_idle_s=2.0) if flows_end else TimeOuts(never=True)
    mode = Mode.parse("strict")
    cluster = NatCluster(Random(1), runtimes=2, mode=mode, ports=4, block=2, time_outs=outs)
    cluster.network.rng.random = lambda: 1.0  # type: ignore[method-assign]  # the server is silent
    cluster.feed(0)
    wait(cluster)
    assert 1 == len(cluster.went), f"the packet has an address of {NAT}"
    return cluster


def test_a_number_with_two_flows_is_seen_at_once() -> None:
    cluster = with_a_port()
    owner = next(runtime for runtime in cluster.runtimes.values() if len(list(runtime.engine.keys())))

    def have_it_twice() -> None:
        another = FlowKeys.of([bytes(len(cluster.key_of[0]))])
        put(owner, another, owner, FlowKeys.of([cluster.key_of[0]]))

    says("k", "is with flow 0", cluster.check_event, have_it_twice)


@pytest.mark.parametrize("flows_end", [False, True])
def test_a_port_that_comes_out_with_one_life_after_another_is_seen_in_the_end(flows_end: bool) -> None:
    """Where flows end, only if the first of them is there again."""
    cluster = with_a_port(flows_end=flows_end)
    (went,) = cluster.went
    later = [attrs.evolve(went, born=90, mark=90), *([attrs.evolve(went, mark=91)] if flows_end else [])]
    judge = lambda: cluster.check_over(flows_end=flows_end)  # noqa: E731
    says("k", f"port {went.port} was with flows born", judge, lambda: cluster.went.extend(later))


def test_an_answer_that_comes_to_another_flow_is_seen() -> None:
    cluster = with_a_port()
    (went,) = cluster.went
    cluster.answers[50], to = went, [(went.born, 1000)]
    what = f"the answer 50 to port {went.port} of flow 0"
    says("k", what, lambda: cluster._check_answer(50, *to[-1]), lambda: to.append((went.born + 1, 1001)))


def test_an_answer_that_finds_nobody_is_seen_in_the_end() -> None:
    cluster = with_a_port()
    cluster.answers[50], dropped = cluster.went[0], cluster.history.dropped
    judge = lambda: cluster.check_over(flows_end=False)  # noqa: E731
    says("k", r"answer 50 to port \d+ did not find flow 0", judge, lambda: dropped.append(("nat_unsolicited", 50)))


@pytest.mark.parametrize(
    ("free_twice", "what"),
    [(True, "is free, and somewhere else"), (False, "is lost, and was last with runtime-0, which lives")],
)
def test_a_number_that_is_free_twice_or_lost_is_seen_in_the_end(free_twice: bool, what: str) -> None:
    """The second if who had it lives: what a dead one had is lost with it."""
    cluster = with_a_port()
    pools = cluster.runtimes["runtime-0"].node.roles[POOLS]
    assert isinstance(pools, Pools)
    (stock,) = pools.stocks.values()

    def free_it() -> None:
        (number,) = stock.mine - {*stock.pool.free_numbers().tolist()} or stock.mine
        stock.pool.put([number])

    judge = lambda: cluster.check_over(flows_end=False)  # noqa: E731
    says("k", what, judge, free_it if free_twice else stock.pool.take)
