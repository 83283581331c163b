"""What the documentation shows runs."""

import inspect
import json
import linecache
import re
from pathlib import Path
from typing import Any

import pytest

from nfactor.cli.main import main

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
PROGRAMS = {
    str(page.relative_to(REPOSITORY)): "\n".join(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )
    for page in PAGES
    if "_build" not in page.parts
}
"""What a reader has who copied all the Python of a page into one file."""


@pytest.mark.parametrize("page", [page for page, program in PROGRAMS.items() if program])
def test_the_python_of_a_page_runs_and_its_tests_pass(page: str, tmp_path: Path) -> None:
    """A test may ask for ``tmp_path``, as under pytest."""
    names: dict[str, Any] = {"__name__": page}
    file = f"<{page}>"
    linecache.cache[file] = (0, None, PROGRAMS[page].splitlines(keepends=True), file)  # compiled NFs need their source
    exec(compile(PROGRAMS[page], file, "exec"), names)
    for title, test in list(names.items()):
        if title.startswith("test_"):
            test(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(test).parameters else {}))


def test_the_tutorials_network_function_drops_the_same_packets_though_its_flows_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "limiter.py").write_text(PROGRAMS["docs/tutorial/first-nf.md"])
    monkeypatch.chdir(tmp_path)
    capture = str(REPOSITORY / "nfactor" / "cli" / "captures" / "demo.pcap")
    dropped = []
    for options in ((), ("--runtimes", "3", "--migrate-every", "100")):
        command = ["replay", capture, "--chain", "limiter:Limiter,monitor", "--report", "report.json", *options]
        assert main(command) == 0
        dropped.append(json.loads((tmp_path / "report.json").read_text())["packets"]["dropped"])
    assert dropped[0] == dropped[1]
    assert dropped[0]["limiter_too_fast"] > 100


def test_the_readme_has_a_network_function_with_its_test() -> None:
    snippet = PROGRAMS["README.md"]
    assert "def test_" in snippet
    assert "class Limit(nf.NF)" in snippet


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    if "_build" in page.parts:
        pytest.skip("built")
    text = page.read_text("utf-8")
    inside = re.findall(
        r"`((?:packet|dataplane|functions|protocols|actors|backends|cluster|testing|cli)/\w+\.py)", text
    )
    whole = re.findall(r"`((?:nfactor|tests|examples|benchmarks|docs)/[\w/]+\.\w+)", text)
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not link.startswith("http")]
    for name in [*(f"nfactor/{path}" for path in inside), *whole]:
        assert (REPOSITORY / name).exists(), name
    for link in links:
        assert (page.parent / link).exists(), link
