"""Machine code: made by LLVM, kept on disk, and loaded with a checksum.

A chain's object code is kept under a name that is a hash of everything that it follows from: the chain's text, every
file of this package, the version of LLVM and the processor. Whatever is edited has another name, so stale code is
never found; what is damaged has another checksum, and is made again (LLVM itself would crash on it). A directory that
cannot be written costs the keeping.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

import llvmlite
import llvmlite.binding as llvm

from nfactor.compiled import arithmetic, blocks, bucket, changes, helpers, lag, loop, outer, owners, parse, sets, table
from nfactor.compiled.codegen import Library, ModuleCode

CACHE_DIRECTORY: Final = "NFACTOR_CACHE"
"""The environment variable that says where compiled chains are kept."""
_CHECKSUM_OCTETS: Final = 32

Modules: TypeAlias = tuple[ModuleType, ...]
CHAIN: Final[Modules] = (arithmetic, helpers, bucket, table, blocks, parse, loop, sets, changes, lag)
"""What is compiled with the text of a chain."""
SWITCH: Final[Modules] = (bucket, table, blocks, parse, owners)
"""The flow table of a virtual switch, which has no text."""
OUTER: Final[Modules] = (outer,)
"""Passes over outer headers; no text either."""


class Code:
    """Compiled functions, by name; each takes and gives words. The memory goes with the object."""

    def __init__(self, object_code: bytes, modules: Modules = CHAIN) -> None:
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(object_code))
        self._engine.finalize_object()
        for name, arguments in _entries(modules).items():
            address = self._engine.get_function_address(name)
            kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arguments)  # lets go of the GIL
            setattr(self, name, kind(address))

    def address(self, name: str) -> int:
        """Where a function begins."""
        address: int = self._engine.get_function_address(name)
        return address

    def __getattr__(self, name: str) -> Callable[..., int]:
        raise AttributeError(name)  # the functions are attributes of each object


@cache
def load(text: str, modules: Modules = CHAIN) -> Code:
    """The code of a chain, or of other modules, from the disk if it is there."""
    path = directory() / f"{name_of(text, modules)}.o"
    object_code = _read(path)
    if object_code is None:
        object_code = compiled(text, modules)
        _keep(path, object_code)
    return Code(object_code, modules)


def directory() -> Path:
    """Where compiled chains are kept: ``NFACTOR_CACHE``, or ``nfactor`` in the user's cache directory."""
    named = os.environ.get(CACHE_DIRECTORY)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nfactor"


def name_of(text: str, modules: Modules = CHAIN) -> str:
    """The name under which a chain's code is kept."""
    names = " ".join(module.__name__ for module in modules)
    return hashlib.sha256((_library_text() + names + text).encode()).hexdigest()[:32]


def compiled(text: str, modules: Modules = CHAIN) -> bytes:
    """The object code of a chain; ``modules`` of the dialect are compiled with it."""
    library = Library()
    for module in modules:
        library.add_module(module)
    library.add_text(text)
    object_code: bytes = _machine().emit_object(optimised(library))
    return object_code


def optimised(library: Library) -> llvm.ModuleRef:
    """All that Python calls of a library, as LLVM has it in the end."""
    code = ModuleCode(library)
    for name in library.entries():
        code.function(name)
    module = llvm.parse_assembly(str(code.module))
    machine = _machine()
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module


def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


@cache
def _library_text() -> str:
    """All that a chain's code follows from beside its text."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    host = (llvmlite.__version__, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    return "\n".join([*host, *(file.read_text(encoding="utf-8") for file in files)])


@cache
def _entries(modules: Modules) -> dict[str, int]:
    """The functions that Python calls, and how many words each takes."""
    library = Library()
    for module in modules:
        library.add_module(module)
    return {name: len(library[name].node.args.args) for name in library.entries()}


def _read(path: Path) -> bytes | None:
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    checksum, object_code = kept[:_CHECKSUM_OCTETS], kept[_CHECKSUM_OCTETS:]
    return object_code if _sealed(object_code)[:_CHECKSUM_OCTETS] == checksum else None


def _sealed(object_code: bytes) -> bytes:
    """The code with its checksum in front, as it is kept."""
    return hashlib.sha256(object_code).digest() + object_code


def _keep(path: Path, object_code: bytes) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # who writes there, runs code as its owner
        draft.write_bytes(_sealed(object_code))
        draft.replace(path)
