"""The house rules that a program can check, checked."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

LIBRARY = sorted((REPOSITORY / "nfactor").rglob("*.py"))
SOURCES = sorted(
    path for top in ("nfactor", "tests", "examples", "benchmarks") for path in (REPOSITORY / top).rglob("*.py")
)

# Put together here, so that this file does not find itself.
WORDS = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
UNFINISHED = re.compile(rf"\b({'|'.join(WORDS)})\b(?!\(#\d+\))")
LICENCE = re.compile(r"^#.*(Copyright|Licen[cs]ed under|All rights reserved)", re.IGNORECASE | re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """The path as a reader would say it."""
    return path.relative_to(REPOSITORY).as_posix()


@cache
def text_of(path: Path) -> str:
    """The source text."""
    return path.read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed source."""
    return ast.parse(text_of(path), str(path))


def functions_of(path: Path) -> Iterator[Function]:
    """All functions and methods of a file."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


def test_files_are_short() -> None:
    """A file is one idea, and fits in 400 lines."""
    lines = {name_of(path): len(text_of(path).splitlines()) for path in SOURCES}
    assert {} == {name: count for name, count in lines.items() if count > FILE_LINES_MAX}


def test_functions_are_short() -> None:
    """A function, its docstring included, fits in 60 lines."""
    too_long = {
        f"{name_of(path)}:{node.lineno} {node.name}": lines
        for path in SOURCES
        for node in functions_of(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert {} == too_long


def test_modules_say_what_they_are() -> None:
    """Every module that holds anything opens with a docstring whose first line is a whole sentence."""
    silent = []
    for path in SOURCES:
        docstring = ast.get_docstring(tree_of(path)) or ""
        first = docstring.split("\n\n")[0].rstrip()
        if text_of(path).strip() and not first.endswith((".", "::", ":")):
            silent.append(name_of(path))
    assert [] == silent


def test_what_is_unfinished_has_an_issue() -> None:
    """Notes of unfinished work name their issue: ``(#12)`` right behind the word."""
    found = [
        f"{name_of(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert [] == found


def test_the_library_does_not_print() -> None:
    """Only the command line writes to the terminal."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in LIBRARY
        if not name_of(path).startswith("nfactor/cli/")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert [] == found


def test_no_licence_blocks() -> None:
    """The licence is in LICENSE; a file carries at most one SPDX line."""
    assert [] == [name_of(path) for path in SOURCES if LICENCE.search(text_of(path))]


@pytest.mark.parametrize(
    ("line", "unfinished"),
    [(f"# {WORDS[0]}: later", True), (f"# {WORDS[0]}(#12): later", False), ("a todo list", False)],
)
def test_the_rule_for_unfinished_work(line: str, unfinished: bool) -> None:
    """The pattern finds the bare word, and lets one with an issue pass."""
    assert unfinished == bool(UNFINISHED.search(line))
