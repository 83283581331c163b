"""Pools of a whole cluster: filled before the first packet, and every number with one flow whatever happens."""

from random import Random
from typing import Any

import numpy as np
import pytest

from nfactor.cluster import pools
from nfactor.cluster.lease_messages import BeStocked, LeaseNumbers, NumbersLeased, ReturnNumbers, Stocked, TakeNumbers
from nfactor.cluster.leases import Leases
from nfactor.cluster.messages import Migrating, NotifyClusterCfg, SetMigrationTarget, pack_u32
from nfactor.cluster.names import COORDINATOR, LEASES, LIAISON, POOLS
from nfactor.cluster.plan import runtime_member
from nfactor.cluster.role import Later, Role
from nfactor.cluster.view import View
from nfactor.dataplane.engine import TimeOuts
from nfactor.protocols.replication import Mode
from nfactor.testing import schedules
from nfactor.testing.lineage import CHOSEN
from nfactor.testing.nat_cluster import NatCluster
from nfactor.testing.violation import Violation

NAME = "nat.ports"


def cluster(runtimes: int = 2, mode: str = "strict", ports: int = 12, block: int = 2, **options: Any) -> NatCluster:
    return NatCluster(Random(1), runtimes=runtimes, mode=Mode.parse(mode), ports=ports, block=block, **options)


def run(made: NatCluster, seconds: float) -> None:
    made.network.run(made.network.now_us + round(seconds * 1e6))


def keeper(made: NatCluster, runtime: str) -> Any:
    return made.network.nodes[runtime].roles[POOLS]


def leases(made: NatCluster) -> Any:
    return made.network.nodes[COORDINATOR].roles[LEASES]


def mine(made: NatCluster, runtime: str) -> set[int]:
    stocks: dict[str, Any] = keeper(made, runtime).stocks
    numbers: set[int] = stocks[NAME].mine
    return numbers


def test_every_runtime_has_a_block_before_the_first_packet_comes() -> None:
    made = cluster()
    assert [{0, 1}, {2, 3}] == sorted((mine(made, name) for name in made.runtimes), key=min)


def test_more_is_asked_for_before_there_is_none_left() -> None:
    made = cluster(runtimes=1, mode="none", block=4)
    for flow in range(3):
        made.feed(flow)
    run(made, 0.2)
    assert ([], 8) == (made.history.dropped, len(mine(made, "runtime-0")))


def test_a_number_whose_flow_ends_elsewhere_comes_home() -> None:
    made = cluster(mode="none", time_outs=TimeOuts(udp_idle_s=2.0), packet_step_s=1.0, block=4)
    made.feed(0)
    run(made, 0.05)
    home, away = sorted(made.runtimes, key=lambda name: made.runtimes[name].engine.statistics().flows)[::-1]
    stock = keeper(made, home).stocks[NAME]
    (number,) = mine(made, home) - set(stock.pool.free_numbers().tolist())
    made.coordinator.ask(home, LIAISON, SetMigrationTarget(away, 1), Migrating, lambda _: None)
    run(made, 2.5)  # a flow that has just moved does not end
    made.network.rng.random = lambda: 1.0  # type: ignore[method-assign]  # the server is silent
    for _ in range(12):
        made.feed(1)
        made.feed(2)
        run(made, 0.2)
    assert 1 == keeper(made, away).stocks[NAME].returns
    assert number in stock.pool.free_numbers()


def test_who_is_not_in_the_view_or_has_had_a_later_life_is_not_believed() -> None:
    made = cluster()
    told: list[Any] = []
    for node, life in (("runtime-9", 1), ("runtime-0", 0)):
        told.append(leases(made).act(LeaseNumbers(node, life, NAME, 12, 2, 1)))
        told.append(leases(made).act(ReturnNumbers(node, life, NAME, 1, pack_u32(np.array([3], np.uint32)))))
    assert [True, True] == [later.is_there for later in told[1::2]]
    assert ([NumbersLeased(b"")] * 2, 4) == (told[::2], leases(made).refused)


def test_numbers_for_another_life_or_that_are_free_already_are_not_taken() -> None:
    made = cluster()
    stock, numbers = keeper(made, "runtime-0").stocks[NAME], pack_u32(np.array([*mine(made, "runtime-0")], np.uint32))
    for life, pool in ((7, NAME), (1, "another"), (1, NAME), (1, NAME)):  # of which the last is one that comes again
        keeper(made, "runtime-0").act(TakeNumbers(life, pool, "runtime-1", 1, 1, numbers))
    assert (2, 2) == (stock.pool.free, stock.doubled)


def test_a_leaser_that_begins_again_goes_on_where_the_last_one_was() -> None:
    made = cluster(runtimes=3, mode="none", ports=12, block=2)
    made.kill(COORDINATOR)
    made.restart(COORDINATOR)
    for flow in range(6):
        made.feed(flow)
    run(made, 3.0)
    held = [number for name in made.runtimes for number in mine(made, name)]
    assert len(held) == len(set(held)) > 6


def test_a_leaser_that_begins_again_passes_nothing_on_to_a_life_that_is_over() -> None:
    """It knew of no life from before it began. A number of a dead one was passed on to that one's next life, which did
    not take it: nobody had it from then on."""
    made = cluster()
    numbers = mine(made, "runtime-1")
    for node in ("runtime-1", COORDINATOR):
        made.kill(node)
        made.restart(node)
        run(made, 2.0)
    free = leases(made).book.free(NAME)
    leases(made).act(ReturnNumbers("runtime-0", 1, NAME, 1, pack_u32(np.array([*numbers], np.uint32))))
    assert free + len(numbers) == leases(made).book.free(NAME)


def test_a_leaser_that_has_lost_its_journal_leases_nothing() -> None:
    made = cluster()
    lost = Leases(made.membership.view, [], begins=False)
    assert NumbersLeased(b"") == lost.lease(LeaseNumbers("runtime-0", 1, NAME, 12, 2, 1))


def test_a_leaser_that_dies_before_it_has_leased_anything_is_followed_by_one_that_leases() -> None:
    journal: list[Any] = []
    Leases(View(), journal, begins=True)
    following = Leases(cluster().membership.view, journal, begins=False)
    assert NumbersLeased(pack_u32(np.array([0, 1], np.uint32))) == following.lease(
        LeaseNumbers("runtime-0", 1, NAME, 12, 2, 1)
    )


def test_a_runtime_that_was_idle_asks_for_more_as_soon_as_half_a_block_is_gone() -> None:
    """It looked ten times a second while nothing happened: what came before the next look found no number."""
    made = cluster(runtimes=1, mode="none", ports=512, block=8)
    run(made, 1.0)
    for flow in range(40):
        made.feed(flow)
        run(made, 0.002)
    run(made, 0.1)
    assert {CHOSEN} == {reason for reason, _ in made.history.dropped}


def test_a_number_of_a_dead_life_is_free_though_the_next_one_has_not_asked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaser knew of the next life from its questions alone. It passed the number on to the dead one, and nobody
    had it from then on."""
    view, asked = View(), list[Any]()
    leaser = Leases(view, [], begins=True)
    monkeypatch.setattr(leaser, "ask", lambda *question: asked.append(question))
    other = runtime_member(1, 1, "")
    view.take(NotifyClusterCfg(1, (runtime_member(0, 1, ""), other)))
    numbers = leaser.lease(LeaseNumbers("runtime-0", 1, NAME, 1, 1, 1)).numbers
    view.take(NotifyClusterCfg(2, (other,)))
    view.take(NotifyClusterCfg(3, (runtime_member(0, 2, ""), other)))
    leaser.give_back(ReturnNumbers("runtime-1", 1, NAME, 1, numbers))
    assert ([], 1) == (asked, leaser.book.free(NAME))


def following(there: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Leases, View, list[Any], list[Any]]:
    """A second life of the leaser, whose journal says that runtime-0 has a number in its first life. Of runtime-0 life
    ``there`` is in the view (0: none). What it asks, and who has been told that all are stocked."""
    view, journal, asked, stocked = View(), list[Any](), list[Any](), list[Any]()
    view.take(NotifyClusterCfg(1, (runtime_member(0, 1, ""), runtime_member(1, 1, ""))))
    Leases(view, journal, begins=True).lease(LeaseNumbers("runtime-0", 1, NAME, 1, 1, 1))
    view, lives = View(), [runtime_member(0, there, "")] if there else []
    leaser = Leases(view, journal, begins=False)
    monkeypatch.setattr(leaser, "ask", lambda *question: asked.append(question))
    view.take(NotifyClusterCfg(2, (*lives, runtime_member(1, 1, ""))))
    return leaser, view, asked, stocked


def test_the_next_leaser_passes_nothing_on_before_it_knows_who_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """nat 4057: runtime-0 had begun again, and had not said so to the leaser before that began again, too. The number
    was passed on to its first life."""
    leaser, _, asked, stocked = following(2, monkeypatch)
    answer = leaser.act(ReturnNumbers("runtime-1", 1, NAME, 1, pack_u32(np.array([0], np.uint32))))
    assert isinstance(answer, Later)
    leaser.stock(lambda: stocked.append(1))
    assert [("runtime-0", BeStocked()), ("runtime-1", BeStocked())] == [(to, what) for to, _, what, *_ in asked]
    lives = {"runtime-0": 2, "runtime-1": 1}
    for to, *_, then in asked:
        assert (False, []) == (answer.is_there, stocked)
        then(Stocked(lives[to]))
    assert (True, [1], 1) == (answer.is_there, stocked, leaser.book.free(NAME))


def test_who_is_dead_when_the_next_leaser_begins_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """nat 4142: runtime-0 was out of the view by then, and came in again before it had said anything to the leaser."""
    leaser, view, asked, stocked = following(0, monkeypatch)
    leaser.stock(lambda: stocked.append(1))
    asked.pop()[-1](Stocked(1))
    view.take(NotifyClusterCfg(3, (runtime_member(0, 2, ""), runtime_member(1, 1, ""))))
    leaser.act(ReturnNumbers("runtime-1", 1, NAME, 1, pack_u32(np.array([0], np.uint32))))
    assert ([], 1) == (asked, leaser.book.free(NAME))


def test_a_number_of_a_holder_that_lives_is_passed_on_by_the_next_leaser(monkeypatch: pytest.MonkeyPatch) -> None:
    leaser, _, asked, stocked = following(1, monkeypatch)
    leaser.stock(lambda: stocked.append(1))
    for *_, then in [asked.pop(), asked.pop()]:
        then(Stocked(1))
    leaser.act(ReturnNumbers("runtime-1", 1, NAME, 1, pack_u32(np.array([0], np.uint32))))
    assert (["runtime-0"], 0) == ([to for to, *_ in asked], leaser.book.free(NAME))


def test_where_there_is_nobody_everybody_is_stocked() -> None:
    done: list[int] = []
    Leases(View(), [], begins=True).stock(lambda: done.append(1))
    assert [1] == done


# ---------------------------------------------------------------- what must be caught


def _own_everything(self: pools.Pools) -> None:
    self.stocks = {}


def _lease_what_the_dead_had(self: Leases, node: str) -> None:
    Role._forget_node(self, node)
    book = self.book._pools.get(NAME)
    for number, holder in self.book.held(NAME).items() if book else ():
        if holder.node == node and book:
            del book.holder[number]
            book.free.append(number)


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "every runtime owns all numbers": (pools.Pools, "begin", _own_everything),
    "what the dead had is leased again": (Leases, "_forget_node", _lease_what_the_dead_had),
}
SCHEDULES = {
    "every runtime owns all numbers": 5,
    "what the dead had is leased again": 400,
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_pool_that_is_wrong_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the judge of ports, within so many schedules."""
    monkeypatch.setattr(*FAULTS[fault])
    for seed in range(SCHEDULES[fault]):
        try:
            schedules.run("nat", seed)
        except Violation as violation:
            if str(violation).startswith("(k) ports"):
                return
    pytest.fail(f"{fault}: nobody noticed")
