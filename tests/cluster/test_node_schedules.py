"""Schedules of faults, drawn from seeds, through whole nodes on trio: every promise is kept, under both engines."""

import os
import re
from unittest import mock

import pytest

from nfactor.cli.main import main
from nfactor.cluster import flow_table, lag
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.changes import Changes
from nfactor.dataplane.engine import Records
from nfactor.testing.node_draws import NodeSchedule, Trouble, What, draw
from nfactor.testing.node_schedules import NodeRun, run
from nfactor.testing.violation import Violation

SCHEDULES = int(os.environ.get("NFACTOR_NODE_SCHEDULES", "24"))
FOUND = (29, 63, 348)
"""Seeds beyond these that found something."""
FAULTS = (
    "bounds judged", "coordinator begins again", "coordinator dies", "corrupted", "cut", "datagrams_cut",
    "declared dead, and live", "duplicated", "flows moved", "lost", "packets_cut", "packets_lost", "part", "reordered",
    "runtime begins again", "runtime dies", "second deaths", "slow", "switch begins again", "switch dies",
)  # fmt: skip


@pytest.mark.slow
def test_no_schedule_of_whole_nodes_breaks_a_promise_and_every_kind_of_fault_strikes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In as many processes as there are cores. A fault that is drawn and strikes nothing would show nothing."""
    status = main(["simulate", "nodes", "--seeds", f"0:{SCHEDULES}"])
    shown = capsys.readouterr().out
    assert 0 == status, shown
    sums, struck = shown.splitlines()
    assert sums.startswith(f"nodes: {SCHEDULES:,} schedules, 0 violations, ")
    counts = {what: int(count.replace(",", "")) for what, count in re.findall(r"([a-z][a-z_, ]*?) ([\d,]*\d)", struck)}
    assert set(FAULTS) == counts.keys()
    assert [] == [what for what in FAULTS if not counts[what]]


@pytest.mark.slow
@pytest.mark.parametrize("seed", FOUND, ids=lambda seed: f"seed_{seed}")
def test_a_schedule_that_once_broke_a_promise_keeps_all(seed: int) -> None:
    run(seed)


@pytest.mark.slow
def test_a_state_that_no_engine_by_itself_would_have_is_a_violation() -> None:
    """States arrive at the target of a migration with another direction of their first packet. (That a flow which
    begins anew took its first packet for one that goes forth was found so.)"""
    initiator_at = [field.name for field in HEADER.fields].index("initiator")
    place, unpack = HEADER.fields[initiator_at].offset, flow_table.unpack_records  # type: ignore[attr-defined]

    def turned_round(octets: bytes, record_size: int) -> Records:
        records = unpack(octets, record_size).copy()
        records[:, place] ^= 1
        return records

    with (
        mock.patch.object(flow_table, "unpack_records", turned_round),
        pytest.raises(Violation, match=r"\(f\) transparency: one engine by itself brings flow \d+ to another state"),
    ):
        run(2)


@pytest.mark.slow
def test_a_state_that_lags_by_twice_the_bound_is_a_violation() -> None:
    """Packets come to two flows fast enough for that, and one of their owners dies."""
    dies = Trouble(40_000, What.DIE, ("runtime-0",))
    dense = NodeSchedule(
        3, runtimes=2, mode="every=4", flows=2, bursts=80, migrations=0, traffic_us=60_000, troubles=[dies]
    )
    within = NodeRun(dense)
    within.judge()
    assert within.struck["bounds judged"]
    begin = lag.Lag.__init__

    def begin_late(self: lag.Lag, changes: Changes, packets_max: int) -> None:
        begin(self, changes, 2 * packets_max)

    with (
        mock.patch.object(lag.Lag, "__init__", begin_late),
        pytest.raises(Violation, match=r"\(g\) loss bound: "),
    ):
        NodeRun(dense).judge()


def test_schedules_draw_every_mode_and_every_fault() -> None:
    schedules = [draw(seed) for seed in range(100)]
    modes = {"none", "strict", "strict-hold", "every=4", "every=3/20ms"}
    assert modes == {schedule.mode for schedule in schedules}
    assert set(What) == {trouble.what for schedule in schedules for trouble in schedule.troubles}
    dead = {trouble.who[0].partition("-")[0] for s in schedules for trouble in s.troubles if trouble.what is What.DIE}
    assert {"runtime", "switch", "coordinator"} == dead


@pytest.mark.slow
def test_what_happens_can_be_followed() -> None:
    lines: list[str] = []
    schedule = draw(3)
    node_run = NodeRun(schedule)
    node_run.follow(lines.append)
    node_run.judge()
    assert "--- reference engine" == lines[0]
    assert any("in go packet" in line for line in lines)
    assert any("out come packet" in line for line in lines)
