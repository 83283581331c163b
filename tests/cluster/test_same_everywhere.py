"""A run of a cluster is the same whatever the hashes of strings are: nobody's order is that of a set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from tests.cluster.harness import run, traffic
how = dict(replication="strict", migrate_every=7, kill_at=60, switches=2, mistreated=0.02)
print(run(traffic(10, 150, 5), runtimes=3, seed=5, **how).digest)
"""


@pytest.mark.slow
def test_the_digest_of_a_run_does_not_hang_on_the_hashes_of_strings() -> None:
    digests = set()
    for seed in range(3):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM]
        ran = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        digests.add(ran.stdout)
    assert len(digests) == 1
