"""Every example runs to its end, and says what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAYS = {
    "ping_two_hosts.py": "500 questions, each answered",
    "worker_pool.py": "60 jobs done by",
    "chat.py": "cy hears ada: hello",
}


def test_each_example_has_an_expectation() -> None:
    assert sorted(SAYS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name: str) -> None:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert SAYS[name] in done.stdout
