"""Who is declared dead and when, what a dead runtime can still do, and crashes in the middle of everything."""

from contextlib import ExitStack
from functools import partialmethod
from typing import Any
from unittest import mock

import pytest
import trio

from nfactor.backends.faulty import LinkRule
from nfactor.cluster import replay
from nfactor.cluster.actor_host import ActorHost
from nfactor.cluster.ledger import AccountingError, Ledger
from nfactor.cluster.membership import DEAD_AFTER_S
from nfactor.cluster.messages import (
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    NotifyClusterCfg,
    PrepareFlows,
    ReadView,
    RedirectFlows,
)
from nfactor.cluster.names import COORDINATOR, FLOWS, MEMBERSHIP, runtime_name
from nfactor.cluster.outcome_messages import NodeCounters, ReadCounters
from nfactor.cluster.recovery_messages import ClaimFlows, FalseAlarms, ReadFalseAlarms, StoreCommit
from nfactor.cluster.role import Role
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.packet import cluster_frame
from nfactor.protocols.calls import Address
from nfactor.testing import packets
from tests.cluster.harness import Inside, Run, run, traffic
from tests.cluster.test_cluster import FRAMES, key_of, per_flow, with_numbering


def check_undisturbed(result: Run, frames: list[bytes] = FRAMES) -> None:
    """What came out is what one runtime makes of the frames that are not listed as lost."""
    lost = {mark for marks in result.outcome.lost.values() for mark in marks}
    alone = run(frames, functions=with_numbering, without=lost)
    assert per_flow(result, frames) == per_flow(alone, frames)
    assert result.rows() == alone.rows()


class Killer:
    """Kills a runtime when the n-th message of a class is sent: its sender, or the runtime that it goes to."""

    def __init__(self, message: type, who: str, nth: int) -> None:
        self._message = message
        self._who = who
        self._left = nth
        self.inside: Inside | None = None
        self.killed = ""

    def look(self, inside: Inside) -> None:
        self.inside = inside
        inside.check_nodes()

    def saw(self, sender: str, receiver: str, message: object) -> None:
        if type(message) is self._message and self.inside is not None and not self.killed:
            self._left -= 1
            victim = sender if self._who == "sender" else receiver
            if self._left <= 0 and victim in self.inside.cluster.lives:
                self.killed = victim
                self.inside.cluster.kill(victim)

    def patches(self) -> Any:
        ask, tell, finish = Role.ask, ActorHost.tell, Role._finish

        def asked(role: Role, node: str, actor: str, message: object, *more: Any) -> None:
            self.saw(role.host.node, node, message)
            ask(role, node, actor, message, *more)

        def told(host: ActorHost, node: str, actor: str, message: object) -> None:
            self.saw(host.node, node, message)
            tell(host, node, actor, message)

        def answered(role: Role, asker: Address, life: int, number: int, answer: object) -> None:
            self.saw(role.host.node, asker.node, answer)
            finish(role, asker, life, number, answer)

        stack = ExitStack()
        stack.enter_context(mock.patch.multiple(Role, ask=asked, _finish=answered))
        stack.enter_context(mock.patch.object(ActorHost, "tell", told))
        return stack


STEPS = [
    (PrepareFlows, "sender"),
    (PrepareFlows, "receiver"),
    (RedirectFlows, "sender"),
    (InstallFlows, "sender"),
    (InstallFlows, "receiver"),
    (FlowsInstalled, "sender"),
    (FlowsInstalled, "receiver"),
    (StoreCommit, "sender"),
    (StoreCommit, "receiver"),
]


@pytest.mark.parametrize("nth", [3, 8])
@pytest.mark.parametrize(("message", "who"), STEPS, ids=lambda value: getattr(value, "__name__", value))
def test_a_crash_at_a_step_of_a_migration_costs_only_what_is_listed(message: type, who: str, nth: int) -> None:
    killer = Killer(message, who, nth)
    result = run(
        FRAMES, functions=with_numbering, runtimes=3, replication="strict", migrate_every=50, remember=True,
        look=killer.look, patches=killer.patches(), seed=nth,
    )  # fmt: skip
    assert list(result.outcome.lost) == [killer.killed]
    check_undisturbed(result)


def test_the_target_may_die_while_its_source_waits_for_the_switch() -> None:
    """Its flows were turned to it already, so they have to be claimed back."""
    killed: list[str] = []
    insides: list[Inside] = []
    claims: list[str] = []
    original = Role.ask

    def ask(role: Role, node: str, actor: str, message: Any, *more: Any) -> None:
        if (
            isinstance(message, RedirectFlows)
            and not killed
            and insides
            and insides[0].cluster.outside.packets_in > 300
        ):
            killed.append(message.target)
            insides[0].cluster.kill(message.target)
        if isinstance(message, ClaimFlows) and message.dead in killed:
            claims.append(message.runtime)
        original(role, node, actor, message, *more)

    def look(inside: Inside) -> None:
        insides[:] = [inside]

    result = run(
        FRAMES, functions=with_numbering, runtimes=3, replication="strict", migrate_every=50, remember=True, look=look,
        patches=mock.patch.object(Role, "ask", ask),
    )  # fmt: skip
    assert len(claims) >= 3, "two replicas, and the source of the migration"
    check_undisturbed(result)


def test_one_runtime_may_die_after_another() -> None:
    def look(inside: Inside) -> None:
        inside.check_nodes()
        outside = inside.cluster.outside
        if len(outside.lost) == len(outside.recovered) == 4 - len(inside.cluster.lives) and (
            outside.packets_in > 400 * (5 - len(inside.cluster.lives)) and len(inside.cluster.lives) > 2
        ):
            inside.cluster.kill(max(inside.cluster.lives))

    result = run(
        FRAMES, functions=with_numbering, runtimes=4, replication="strict", migrate_every=50, remember=True, look=look
    )
    assert len(result.outcome.lost) == 2
    check_undisturbed(result)


def test_a_runtime_that_only_the_coordinator_cannot_hear_lives_on() -> None:
    """The second witness: the switch hears it."""
    alarms: list[int] = []
    members: list[int] = []

    async def last(inside: Inside) -> None:
        inside.network.add_rule(LinkRule(source="runtime-1", target="coordinator", cut=True))
        await trio.sleep(3 * DEAD_AFTER_S)
        membership = inside.cluster.node.ref(COORDINATOR, MEMBERSHIP)
        alarms.append((await membership.ask(ReadFalseAlarms(), FalseAlarms)).count)
        members.append(len((await membership.ask(ReadView(), NotifyClusterCfg)).members))

    run(FRAMES[:100], runtimes=2, last=last)
    assert alarms[0] > 0
    assert members == [3]


def test_a_runtime_that_is_declared_dead_and_wakes_is_not_believed() -> None:
    """Nobody hears it for a while. Its flows are another's by then, and each packet comes once."""
    relays: list[int] = []
    cut: list[str] = []

    def look(inside: Inside) -> None:
        outside = inside.cluster.outside
        if outside.packets_in > 500 and not cut:
            cut.append("runtime-0")
            outside.missing.append("runtime-0")
            for other in ("coordinator", "switch-0", "runtime-1", "runtime-2", "outside"):
                inside.network.add_rule(LinkRule(source="runtime-0", target=other, cut=True))
                inside.network.add_rule(LinkRule(source=other, target="runtime-0", cut=True))

    async def last(inside: Inside) -> None:
        zombie = inside.cluster.lives["runtime-0"]
        assert not zombie.killed
        relays.append(inside.relays[0].fenced)
        port = next(
            end for end in inside.network._ends.values() if end._node == "runtime-0" and hasattr(end, "address")
        )
        inside.network._rules.clear()
        inside.network._generation += 1
        burst = packets.burst_of([FRAMES[0]])

        switch = next(member.address for member in inside.cluster.members if member.kind == "switch")
        cluster_frame.readdress(burst, target=switch, source=port.address)
        assert port.send(burst) == 1  # type: ignore[attr-defined]
        await trio.sleep(0.01)
        relays.append(inside.relays[0].fenced)

    result = run(
        FRAMES, functions=with_numbering, runtimes=3, replication="strict", remember=True, look=look, last=last
    )
    assert list(result.outcome.lost) == ["runtime-0"]
    assert len(set(result.out.marks)) == len(result.out.marks)
    assert relays[1] == relays[0] + 1, "what it sends now is dropped, and counted"
    check_undisturbed(result)


@pytest.mark.parametrize("bound", [1, 5, 40])
def test_under_every_a_state_lags_behind_by_no_more_than_was_said(bound: int) -> None:
    """Numbers within a flow go back by no more than the bound, which counts packets of one runtime."""
    frames = traffic(flows=1, count=900)
    result = run(frames, functions=with_numbering, runtimes=3, replication=f"every={bound}", kill_at=500)
    (lost,) = result.outcome.lost.values()
    numbers = {mark: int.from_bytes(frame[-4:], "big") for mark, frame in result.out.frames.items()}
    before, after = max(mark for mark in numbers if mark < lost[0]), min(mark for mark in numbers if mark > lost[-1])
    in_flight = len([mark for mark in numbers if lost[0] < mark < lost[-1]])
    assert 0 <= numbers[before] + in_flight + 1 - numbers[after] <= bound + 16, "and the burst that was being processed"


def test_without_replication_flows_of_a_dead_runtime_begin_anew() -> None:
    result = run(FRAMES, runtimes=3, kill_at=500)
    assert result.outcome.recovered[0].flows == 0
    (lost,) = result.outcome.lost.values()
    rows = {row.key for row in result.rows()}
    survivors = {key_of(FRAMES[mark - 1])[: len(next(iter(rows)))] for mark in result.out.marks if mark > 900}
    assert len(survivors) == 40, "every flow is served again"
    assert len(result.outcome.nodes) == 3
    assert 0 < len(lost) <= 256


def test_how_much_is_unprotected_can_be_asked_at_any_time() -> None:
    seen: list[tuple[int, int]] = []

    async def ask(inside: Inside) -> None:
        for name in sorted(inside.cluster.lives):
            counters = await inside.cluster.node.ref(name, FLOWS).ask(ReadCounters(), NodeCounters)
            assert counters.protection is not None
            seen.append((counters.protection.flows, inside.cluster.lives[name].engine.statistics().flows))

    frames = traffic(flows=20, count=300)
    stay = mock.patch.object(replay, "_end_flows", mock.AsyncMock())
    run(frames, runtimes=3, replication="strict", last=ask, patches=stay)
    assert [0, 0, 0] == [flows for flows, _ in seen]
    assert sum(there for _, there in seen) == 20
    seen.clear()
    run(frames, runtimes=2, replication="strict", kill_at=100, last=ask, patches=stay)
    ((unprotected, there),) = seen
    assert unprotected == there > 0, "the last one has nobody"


def test_a_ledger_that_lies_is_found_out_by_its_neighbours() -> None:
    original = Ledger.hand

    def hand(self: Ledger, node: str, count: int) -> None:
        original(self, node, count)
        if node == "runtime-0" and count > 0:
            self.handed[node] += 1

    patches = mock.patch.multiple(Ledger, hand=hand)
    error = pytest.RaisesExc(AccountingError, match="packets are inside after the death of runtime-")
    with pytest.RaisesGroup(error, flatten_subgroups=True):
        run(traffic(flows=1, count=200), runtimes=2, kill_at=50, patches=patches)


def test_a_target_refuses_a_source_that_is_not_in_the_cluster() -> None:
    answers: list[bytes] = []

    async def last(inside: Inside) -> None:
        table = inside.cluster.node.ref(runtime_name(0), FLOWS)
        request = PrepareFlows(1, "runtime-9", bytes(48), bytes((1, 0, 0, 0)))
        answers.append((await table.ask(request, FlowStatuses)).statuses)

    run(FRAMES[:10], last=last)
    assert answers == [bytes((1,))]


def test_flows_for_which_the_replica_has_no_room_end_with_what_they_had_to_say() -> None:
    """Tables of 16 rows, 40 flows: what is not refused by a table at first may be by the one that recovers it."""
    small = mock.patch.object(ReferenceEngine, "__init__", partialmethod(ReferenceEngine.__init__, flows_max=16))
    result = run(FRAMES, runtimes=3, replication="strict", kill_at=500, patches=small)
    (recovered,) = result.outcome.recovered
    assert recovered.flows < 16
    rows = result.rows()
    counted = sum(row.packets_ab + row.packets_ba for row in rows)
    assert counted == result.outcome.packets_out, "every packet that came out is in a row"
