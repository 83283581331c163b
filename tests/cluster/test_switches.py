"""Several switches that share the keys, and nodes of every kind that die and begin again while packets run."""

from unittest import mock

import pytest
import trio

from nfactor.cluster import replay
from nfactor.cluster.names import COORDINATOR, runtime_name
from nfactor.cluster.replay import Pace
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import TimeOuts
from nfactor.testing import packets
from tests.cluster.harness import Inside, mixed_traffic, run, traffic
from tests.cluster.test_cluster import ALONE, FRAMES, by_key, per_flow, with_numbering
from tests.cluster.test_recovery import check_undisturbed


@pytest.mark.parametrize("mode", ["none", "strict"])
def test_several_switches_change_nothing_that_can_be_seen_from_outside(mode: str) -> None:
    passed_on: list[int] = []

    def look(inside: Inside) -> None:
        inside.check_nodes()
        passed_on[:] = [sum(ledger.handed[f"switch-{n}"] for ledger in inside.ledgers) for n in range(3)]

    result = run(
        FRAMES, functions=with_numbering, runtimes=3, switches=3, migrate_every=50, replication=mode, look=look
    )
    assert per_flow(result, FRAMES) == per_flow(ALONE, FRAMES)
    assert result.rows() == ALONE.rows()
    assert result.outcome.migrations.completed > 10
    assert sum(passed_on) > 300, "what comes to another switch than the owner of its key is passed on"


def test_a_crash_of_a_runtime_behind_several_switches_costs_only_what_is_listed() -> None:
    check_undisturbed(
        run(
            FRAMES,
            functions=with_numbering,
            runtimes=3,
            switches=2,
            replication="strict",
            migrate_every=50,
            kill_at=500,
        )
    )


@pytest.mark.slow
def test_flows_that_end_are_agreed_with_the_switch_that_owns_their_key() -> None:
    frames, outs = mixed_traffic(60, 900, 5), TimeOuts(tcp_idle_s=15, tcp_closed_s=2, udp_idle_s=10)
    alone = run(frames, step_s=0.3, time_outs=outs)
    shared = run(frames, step_s=0.3, time_outs=outs, runtimes=3, switches=2, migrate_every=40)
    assert by_key(alone) == by_key(shared)


class Restart:
    """Ends a node when so many packets are in, once nothing is inside, and restarts it a little later."""

    def __init__(self, name: str, at: int, again_at: int) -> None:
        self.name, self.at, self.again_at = name, at, again_at
        self.ended = self.restarted = False

    def look(self, inside: Inside) -> None:
        packets = inside.cluster.outside.packets_in
        if not self.ended and packets >= self.at:
            self.ended = True
            inside.here.lives[self.name].end()
        elif self.ended and not self.restarted and packets >= self.again_at:
            self.restarted = True
            inside.here.restart(self.name)


def test_a_coordinator_that_dies_and_begins_again_is_not_missed_by_packets() -> None:
    """Flows go on, and so do the migrations that it had named; later ones wait for it."""
    restart = Restart(COORDINATOR, 300, 500)
    result = run(
        FRAMES, functions=with_numbering, runtimes=3, replication="strict", migrate_every=50, look=restart.look
    )
    assert restart.restarted
    assert per_flow(result, FRAMES) == per_flow(ALONE, FRAMES)
    assert result.rows() == ALONE.rows()


def test_a_runtime_that_dies_while_there_is_no_coordinator_is_recovered_when_there_is_one() -> None:
    restart = Restart(COORDINATOR, 300, 310)

    def look(inside: Inside) -> None:
        restart.look(inside)
        if inside.cluster.outside.packets_in >= 305 and runtime_name(1) in inside.cluster.lives:
            inside.cluster.kill(runtime_name(1))

    result = run(FRAMES, functions=with_numbering, runtimes=3, replication="strict", remember=True, look=look)
    assert list(result.outcome.lost) == [runtime_name(1)]
    check_undisturbed(result)


def test_a_runtime_that_begins_again_comes_back_empty_and_gets_new_flows() -> None:
    flows = [0]

    def look(inside: Inside) -> None:
        outside, cluster = inside.cluster.outside, inside.cluster
        if outside.packets_in >= 400 and runtime_name(1) in cluster.lives and not outside.lost:
            cluster.kill(runtime_name(1))
            inside.here.restart(runtime_name(1))
        engine = inside.here.lives[runtime_name(1)].engine
        if outside.lost and engine is not None:
            flows.append(engine.statistics().flows)

    frames = [*FRAMES[:1000], *traffic(flows=80, count=1500, seed=3)]
    pace = Pace(burst_packets=16, window_packets=256, gap_s=0.002)
    result = run(
        frames, functions=with_numbering, runtimes=3, replication="strict", remember=True, look=look, pace=pace
    )
    assert max(flows) > 5
    check_undisturbed(result, frames)


def test_a_switch_that_has_lost_its_table_gives_no_flow_to_another_runtime() -> None:
    owners: list[dict[bytes, int]] = []
    came: list[int] = []

    def table(inside: Inside) -> dict[bytes, int]:
        dispatcher = inside.dispatchers[-1]
        assert isinstance(dispatcher, Dispatcher)
        return {key: entry.owner for key, entry in dispatcher._entries.items()}

    async def last(inside: Inside) -> None:
        outside = inside.cluster.outside
        owners.append(table(inside))
        inside.here.lives["switch-0"].end()
        inside.here.restart("switch-0")
        await trio.sleep(0.5)
        owners.append(table(inside))
        before = outside.packets_out
        await outside.feed(packets.burst_of(FRAMES[:200], first_mark=5000))
        await outside.wait_empty()
        owners.append(table(inside))
        came.append(outside.packets_out - before)

    stay = mock.patch.object(replay, "_end_flows", mock.AsyncMock())
    run(FRAMES[:600], runtimes=3, migrate_every=50, replication="strict", last=last, patches=stay)
    before, after, later = owners
    assert len(before) == 40
    assert before == after == later
    assert came == [200]
