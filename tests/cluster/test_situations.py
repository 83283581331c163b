"""Schedules contain what they are drawn for: each situation that the protocols have a rule for comes about in them."""

from collections import Counter

import pytest

from nfactor.testing.draws import SCENARIOS
from nfactor.testing.faults import What
from nfactor.testing.schedules import run

SEEDS = 60
"""Of each scenario."""
AT_LEAST = {
    **{f"{what.name}: {what.value}": 10 for what in What},
    # messages and packets that meet a fault
    "a message lost by a cut": 300,
    "a message lost by a partition": 500,
    "a message lost with its session": 40,
    "a message of a slow node": 500,
    "a question is lost": 200,
    "an answer is lost": 50,
    "the last answer of a migration is lost": 5,
    "a question comes again": 200,
    "a question of an earlier life comes late": 1,
    "a message for an earlier life": 100,
    "a packet lost by a port": 200,
    "a marker or receipt lost by a port": 30,
    # nodes
    "a runtime dies": 100,
    "a switch dies": 15,
    "the coordinator dies": 15,
    "a runtime begins again": 30,
    "a switch begins again": 15,
    "the coordinator begins again": 15,
    "a runtime is declared dead, and lives": 15,
    "a frame of a runtime that is fenced": 80,
    "the coordinator hears nobody for longer than a second": 5,
    "a switch or the coordinator sleeps": 10,
    "a node whose clock is not true": 100,
    "a runtime is launched": 4,
    # what falls together
    "two deaths overlap": 15,
    "a death whose loss is held to the bound in packets": 15,
    "a runtime dies while another is being recovered": 5,
    "the source of a migration dies in it": 25,
    "the target of a migration dies in it": 25,
    "a target dies that is the replica of flows on their way to it": 10,
    "a switch dies in a migration": 5,
    "the coordinator dies in a recovery": 2,
    "flows set out whose recovery is not over": 2,
    "a runtime dies that has an idle flow": 25,
    "a runtime dies where there are failure domains": 12,
    # what is refused
    "a target refuses some flows of a set": 15,
    "PrepareFlows is answered with FULL": 100,
    "a packet dropped as flow_table_full": 300,
    "a packet dropped as migration_buffer_full": 30,
    "a packet dropped as orphan_buffer_full": 20,
    "RedirectFlows is answered with UNKNOWN": 2,
    "ClaimFlows is answered with STALE": 3,
    "ClaimFlows is answered with EXISTS": 15,
    "ClaimFlows is answered with UNKNOWN": 1,
    "ExpireFlows is answered with BUSY": 50,
    "FinishFlows is answered with UNKNOWN": 4,
    # several switches
    "several switches own keys of a set": 25,
    "a packet is passed on to another switch": 3_000,
    "a switch learns an alias from another": 150,
    "a packet for an alias at another switch": 80,
}
"""How often, in all scenarios together. About a third of what was counted when this was written: seeds are drawn
otherwise whenever a scenario changes, and a situation should not fade without anybody seeing it."""


@pytest.mark.slow
def test_each_situation_comes_about() -> None:
    seen = Counter[str]()
    for scenario in SCENARIOS:
        for seed in range(SEEDS):
            seen += run(scenario, seed)
    assert {} == {what: (least, seen[what]) for what, least in AT_LEAST.items() if seen[what] < least}
