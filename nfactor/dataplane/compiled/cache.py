"""Compiled chains on disk, so that a chain is compiled once per machine and not per start.

A module's text is everything that its code follows from, but for the library below it: so its name is a hash of the
text, of every file of this package, and of the versions of Python, numba and llvmlite (numba itself looks at the CPU).
Whatever is edited has another name, and stale code is never found.
"""

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

import llvmlite
import numba

CACHE_DIRECTORY = "NFACTOR_CACHE"
"""The environment variable that says where compiled chains are kept."""


def directory() -> Path:
    """Where compiled chains are kept: ``NFACTOR_CACHE``, or ``nfactor`` in the user's cache directory."""
    named = os.environ.get(CACHE_DIRECTORY)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfactor"


def name_of(text: str) -> str:
    """The name of the module of that text."""
    return f"chain_{hashlib.sha256((_library() + text).encode()).hexdigest()[:24]}"


@cache
def _library() -> str:
    """All that a chain's code follows from beside its text."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    versions = (sys.version, numba.__version__, llvmlite.__version__)
    return "\n".join([*versions, *(file.read_text(encoding="utf-8") for file in files)])


def load(text: str) -> ModuleType:
    """The module of that text. Its functions are compiled when they are first called, or come from the disk.

    A directory that cannot be written costs the caching, no more."""
    name = name_of(text)
    path = directory() / name / f"{name}.py"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        elif path.read_text(encoding="utf-8") != text:
            raise OSError("damaged")
        return _import(name, path)
    except (OSError, UnicodeDecodeError):
        forget(text)
        path = Path(tempfile.mkdtemp(prefix="nfactor-")) / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        return _import(name, path)


def forget(text: str) -> None:
    """Remove what is on the disk of that module: it turned out to be damaged."""
    with suppress(OSError):
        shutil.rmtree(directory() / name_of(text))


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba looks a cached function's module up by name
    spec.loader.exec_module(module)
    return module
