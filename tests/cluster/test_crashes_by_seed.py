"""Crashes drawn at random: traffic, chain, mode, runtimes, migrations and the moment of death come from a seed.

Each is run under both engines. Here one runtime dies, and what was lost with it is known to the packet: what came out
is compared with an undisturbed run of all the others. (Whatever else may happen to whole nodes is in
``test_node_schedules``.) ``make nightly`` tries many more (``NFACTOR_SEEDS=A:B``). To see one again: ``pytest -k
'seed_N'``.
"""

import os
import random
from collections.abc import Sequence
from typing import Literal

import pytest

from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.nf import NF
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.functions.monitor import Monitor
from tests.cluster.harness import Inside, mixed_traffic, run, traffic
from tests.cluster.test_cluster import Numbering, by_key

FOUND = (347, 386, 409)
"""Seeds that found something that the others below did not."""
ENGINES: tuple[Literal["reference", "auto"], ...] = ("reference", "auto")
FIRST, LAST = map(int, os.environ.get("NFACTOR_SEEDS", "300:306").split(":"))
TIME_OUTS = TimeOuts(tcp_idle_s=15, tcp_closed_s=2, udp_idle_s=10)


def is_fragment(frame: bytes) -> bool:
    """Later fragments of a packet whose first died with a node keep the label that the switch gave them; a run without
    the first could not know where they belong."""
    return frame[12:14] == b"\x08\x00" and bool(frame[20] & 0x3F or frame[21])


def functions(seed: int) -> Sequence[NF]:
    rules = parse_rules(["deny udp from any to any"]) if seed % 3 == 0 else None
    return [Monitor(), Firewall(rules), *([Numbering()] if seed % 2 == 0 else [])]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(FIRST, LAST), *FOUND], ids=lambda seed: f"seed_{seed}")
def test_whatever_happens_only_what_is_listed_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randrange(300, 1300)
    frames = mixed_traffic(60, count, seed) if seed % 2 else traffic(rng.randrange(3, 80), count, seed)
    frames = [frame for frame in frames if not is_fragment(frame)]
    step_s = rng.choice([0.001, 0.3])
    mode = rng.choice(["strict", "strict-hold"])
    runtimes = rng.choice([2, 3, 4] if mode == "strict" else [3, 4])
    migrate_every, kill_at = rng.choice([0, 7, 17, 40, 100]), rng.randrange(20, len(frames))
    data_latency_s = rng.choice([1e-6, 20e-6, 100e-6, 1e-3])  # control messages take 30 to 60 µs
    rng.choice([0, 1])  # once said which engine, and the seeds that found something are to stay what they were
    mistreated, switches = rng.choice([0.0, 0.0, 0.02]), rng.choice([1, 1, 2])
    for engine in ENGINES:
        crashed = run(
            frames, functions=lambda: functions(seed), step_s=step_s, time_outs=TIME_OUTS, seed=seed,
            runtimes=runtimes, replication=mode, migrate_every=migrate_every, kill_at=kill_at,
            data_latency_s=data_latency_s, look=Inside.check_nodes, engine=engine, mistreated=mistreated,
            switches=switches,
        )  # fmt: skip
        (lost,) = crashed.outcome.lost.values()
        alone = run(
            frames, functions=lambda: functions(seed), step_s=step_s, time_outs=TIME_OUTS, seed=seed, without=set(lost)
        )
        assert by_key(alone) == by_key(crashed)
        assert alone.outcome.dropped == crashed.outcome.dropped
        assert sorted(alone.out.marks) == sorted(crashed.out.marks)
        assert alone.out.frames == crashed.out.frames, "octet for octet, the number within its flow included"
