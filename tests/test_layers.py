"""The rules about layers that import-linter cannot state; its contracts are in pyproject.toml (``make layers``)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "nfactor"

# By path, not by module, so that a file is held to the rule from the moment it exists.
PURE = (
    "errors.py",
    "packet",
    "dataplane",
    "compiled",
    "functions",
    "protocols",
    "actors/link.py",
    "actors/detector.py",
)
IMPURE = {
    "asyncio", "concurrent", "multiprocessing", "random", "secrets", "select", "selectors", "signal", "socket",
    "subprocess", "threading", "time", "trio", "zmq",
}  # fmt: skip
HEAVY = ("llvmlite", "msgpack", "numpy", "rich", "trio", "zmq")
FOLDERS_THREE_DEEP = {"backends/dpdk"}
NO_SOURCE = {"__pycache__", "captures"}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute"
            yield node.lineno, node.module or ""


def test_the_pure_half_imports_nothing_impure() -> None:
    """Protocol code takes ``now`` as an argument and hands its outputs over: no trio, clock, randomness or sockets."""
    files = [
        path for top in PURE for path in ([PACKAGE / top] if top.endswith(".py") else (PACKAGE / top).rglob("*.py"))
    ]
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {module}"
        for path in files
        if path.exists()
        for line, module in imports_of(path)
        if module.split(".")[0] in IMPURE
    ]
    assert [] == found


def test_imports_are_absolute() -> None:
    """A reader sees from the import line alone which layer it reaches for."""
    assert all(module for path in PACKAGE.rglob("*.py") for _, module in imports_of(path))


def test_folders_are_shallow() -> None:
    """Two levels of folders, never three, except ``backends/dpdk``."""
    folders = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_dir() and path.name not in NO_SOURCE]
    assert [] == [str(path) for path in folders if len(path.parts) > 1 and path.as_posix() not in FOLDERS_THREE_DEEP]


def test_importing_nfactor_is_cheap() -> None:
    """``import nfactor`` loads none of the libraries under it: names are looked up when first used."""
    program = f"import sys, nfactor; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert "[]" == done.stdout.strip()
