"""Every promise on the page of guarantees has a test."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "reference" / "guarantees.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!promise|what fails)", line)]
TESTS = {
    name
    for path in Path(__file__).parent.glob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_promise_names_a_test_that_exists(row: str) -> None:
    names = re.findall(r"`(\w+)`", row.split("|")[-2])
    assert names
    assert set(names) <= TESTS


def test_a_promise_stands_in_a_table_and_nowhere_else() -> None:
    sections = PAGE.split("\n## ")[1:]
    assert 6 <= len(sections)
    for section in sections[:-1]:
        outside = [line for line in section.splitlines()[1:] if line and not line.startswith("|")]
        assert [] == outside
