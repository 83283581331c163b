"""The text of a chain: its NFs' functions, and what the engine's loop calls: ``chain``, ``farewell``, ``deallocate``."""

import inspect
from types import FunctionType
from typing import Any, Final

import attrs

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.compiled import layout
from nfactor.dataplane.compiled.program import Program
from nfactor.dataplane.compiled.values import Const, FlowValue, Int, PacketValue, Record, Value
from nfactor.dataplane.nf import DROP, NF
from nfactor.errors import NotCompilable

_DIRTY_BITS: Final = 8


@attrs.frozen
class ChainText:
    """The text, and what it refers to by number."""

    text: str
    program: Program


def chain_text(chain: Chain, first_code: int) -> ChainText:
    """Translate a chain. ``first_code`` is the code of the first drop reason of the first NF.

    Raises ``NotCompilable`` for the first NF that cannot be compiled.
    """
    program = Program()
    stages: list[str] = []
    farewells: list[list[str]] = []
    deallocations: list[tuple[int, str]] = []
    offset = layout.ROW_STATES
    for number, (function, schema) in enumerate(zip(chain.functions, chain.schemas, strict=True)):
        state: Value = Const(None)
        if schema is not None:
            bit = 1 << min(number, _DIRTY_BITS - 1)
            state = Record(
                schema, f"(row + {offset})", f"st_8(row + {layout.ROW_DIRTY}, ld_u8(row + {layout.ROW_DIRTY}) | {bit})"
            )
            offset += schema.size
        _refuse_allocation(function)
        stages.append(_process_pkt(program, function, state))
        ends = [_method(program, function, "flow_expires", FlowValue(), state)]
        ends.append(_method(program, function, "deallocate_fs", state))
        farewells.append([name for name in ends if name])
        if ends[1]:
            deallocations.append((number, ends[1]))
    names = [*stages, *(name for ends in farewells for name in ends)]
    parts = [
        program.text(names),
        _chain(stages, [len(reasons) for reasons in chain.reasons], first_code),
        _farewell(farewells),
        _deallocate(deallocations),
    ]
    return ChainText("\n\n".join(parts), program)


def _refuse_allocation(function: NF) -> None:
    method = type(function).allocate_new_fs
    if method is not NF.allocate_new_fs:
        file, line = inspect.getsourcefile(method) or "?", method.__code__.co_firstlineno
        raise NotCompilable(
            file, line, "allocate_new_fs cannot be compiled; give the State's fields their first values instead"
        )


def _process_pkt(program: Program, function: NF, state: Value) -> str:
    method = _plain(type(function).process_pkt)
    source = program.source(method)
    made = program.function(
        source.node, None, method, dict(zip(source.parameters, (Const(function), PacketValue(), state), strict=True))
    )
    if not isinstance(made.returned, Int):
        raise NotCompilable(
            source.file, source.line(source.node), "process_pkt must return a verdict: nf.FORWARD, nf.DROP, nf.drop(…)"
        )
    return made.name


def _method(program: Program, function: NF, name: str, *arguments: Value) -> str:
    """The function of a hook, or "" where the NF has none of its own."""
    method: Any = getattr(type(function), name)
    if method is getattr(NF, name):
        return ""
    source = program.source(_plain(method))
    bound = dict(zip(source.parameters, (Const(function), *arguments), strict=True))
    return program.function(source.node, None, _plain(method), bound).name


def _plain(method: Any) -> FunctionType:
    if not isinstance(method, FunctionType):
        raise NotCompilable("?", 0, f"{method!r} is no plain function; define it with def, without decorators")
    return method


def _chain(stages: list[str], reasons: list[int], first_code: int) -> str:
    lines = ["@inlined", "def chain(cx, pk, row) -> int:", "    stage, verdict = 0, 0", "    try:"]
    indent = "        "
    for number, name in enumerate(stages):
        if number:
            lines += [f"{indent}if verdict == 0:", f"{indent}    stage = {number}"]
            indent += "    "
        lines.append(f"{indent}verdict = {name}(cx, pk, row)")
    lines += ["    except Exception:", "        return nf_error(cx, stage)"]
    lines += ["    if verdict <= 1 and verdict >= 0:", "        return verdict"]
    base = first_code
    for number, count in enumerate(reasons):
        lines += [
            f"    if stage == {number} and verdict >= {DROP} and verdict < {DROP + count}:",
            f"        return verdict + {base - DROP}",
        ]
        base += count
    lines += [f"    st_64(cx + {layout.FAIL_SITE}, 0)", "    return nf_error(cx, stage)"]
    return "\n".join(lines) + "\n"


def _farewell(farewells: list[list[str]]) -> str:
    lines = ["@outlined", "def farewell(cx, pk, row) -> None:"]
    lines.append(f"    st_64(cx + {layout.EXPIRED}, ld_i64(cx + {layout.EXPIRED}) + 1)")
    for number, names in enumerate(farewells):
        if names:
            lines.append("    try:")
            lines += [f"        {name}(cx, pk, row)" for name in names]
            lines += ["    except Exception:", f"        nf_error(cx, {number})"]
    return "\n".join(lines) + "\n"


def _deallocate(deallocations: list[tuple[int, str]]) -> str:
    lines = ["@outlined", "def deallocate(cx, pk, row) -> None:"]
    for number, name in deallocations:
        lines += ["    try:", f"        {name}(cx, pk, row)", "    except Exception:", f"        nf_error(cx, {number})"]
    return "\n".join([*lines, "    return"]) + "\n"

