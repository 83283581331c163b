"""What the documentation shows runs."""

import re
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
SNIPPETS = [
    (f"{page.relative_to(REPOSITORY)}:{number}", snippet)
    for page in PAGES
    if "_build" not in page.parts
    for number, snippet in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize(("name", "snippet"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
def test_a_snippet_runs_and_the_tests_in_it_pass(name: str, snippet: str) -> None:
    names: dict[str, Any] = {"__name__": name}
    exec(compile(snippet, name, "exec"), names)
    for title, test in list(names.items()):
        if title.startswith("test_"):
            test()


def test_the_readme_has_a_network_function_with_its_test() -> None:
    (snippet,) = [text for name, text in SNIPPETS if name.startswith("README")]
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
