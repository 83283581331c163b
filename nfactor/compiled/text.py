"""The text of a chain: its NFs' functions, and ``chain``, ``farewell``, ``deallocate``, which the loop calls."""

import inspect
from collections.abc import Sequence
from types import FunctionType
from typing import Any

import attrs

from nfactor.compiled import layout
from nfactor.compiled.changes_text import changes_text
from nfactor.compiled.program import Program
from nfactor.compiled.values import Const, FlowValue, Int, PacketValue, Record, Value
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.changes import bit_of, parts_of
from nfactor.dataplane.nf import DROP, NF
from nfactor.dataplane.state import Schema
from nfactor.errors import NotCompilable


@attrs.frozen
class ChainText:
    """The text, and what it refers to by number."""

    text: str
    program: Program
    offsets: tuple[int, ...]
    """Where in a row each NF's state begins."""
    plain: dict[int, NotCompilable]
    """NFs, by place in the chain, that are called back, and why."""


@attrs.frozen
class _Stage:
    """What is called of an NF: expressions, or "" for nothing."""

    process: str
    expires: str = ""
    deallocates: str = ""


def chain_text(chain: Chain, first_code: int, *, split: bool = False) -> ChainText:
    """Translate a chain. ``first_code`` is the code of the first drop reason of the first NF.

    Raises ``NotCompilable`` for the first NF that cannot be compiled; with ``split``, only if none can.
    """
    program = Program()
    stages: list[_Stage] = []
    offsets: list[int] = []
    plain: dict[int, NotCompilable] = {}
    offset = layout.ROW_STATES
    for number, (function, schema) in enumerate(zip(chain.functions, chain.schemas, strict=True)):
        offsets.append(offset)
        _refuse_allocation(function)
        try:
            stages.append(_compiled(program, function, _state(schema, number, offset)))
        except NotCompilable as error:
            if not split:
                raise
            plain[number] = error
            stages.append(_plain_stage(function, number))
        offset += schema.size if schema is not None else 0
    if len(plain) == len(stages):
        raise plain[0]
    calls = [call for stage in stages for call in (stage.process, stage.expires, stage.deallocates) if call]
    parts = [
        program.text([call.partition("(")[0] for call in calls]),
        _chain([stage.process for stage in stages], [len(reasons) for reasons in chain.reasons], first_code),
        _ends("farewell", [(stage.expires, stage.deallocates) for stage in stages], count=True),
        changes_text(parts_of(chain)),
        _ends("deallocate", [(stage.deallocates,) for stage in stages], count=False),
    ]
    return ChainText("\n\n".join(parts), program, tuple(offsets), plain)


def _state(schema: Schema | None, number: int, offset: int) -> Value:
    if schema is None:
        return Const(None)
    return Record(schema, f"(row + {offset})", _mark(number))


def _mark(number: int) -> str:
    """The statement that says that the state of the NF at that place has changed."""
    dirty = f"row + {layout.ROW_DIRTY}"
    return f"st_8({dirty}, ld_u8({dirty}) | {bit_of(number)})"


def _compiled(program: Program, function: NF, state: Value) -> _Stage:
    return _Stage(
        f"{_process_pkt(program, function, state)}(cx, pk, row)",
        _method(program, function, "flow_expires", FlowValue(), state),
        _method(program, function, "deallocate_fs", state),
    )


def _plain_stage(function: NF, number: int) -> _Stage:
    """An NF that is called back; its ``deallocate_fs`` goes with ``flow_expires``."""
    says = type(function).flow_expires is not NF.flow_expires or type(function).deallocate_fs is not NF.deallocate_fs
    leaves = type(function).deallocate_fs is not NF.deallocate_fs
    return _Stage(
        f"plain_packet(cx, {number}, pk, row)",
        f"plain_end(cx, {number}, 1, row)" if says else "",
        f"plain_end(cx, {number}, 2, row)" if leaves else "",
    )


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
    return f"{program.function(source.node, None, _plain(method), bound).name}(cx, pk, row)"


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
        lines.append(f"{indent}verdict = {name}")
    lines += ["    except Exception:", "        return nf_error(cx, stage, pk, row)"]
    lines += ["    if verdict <= 1 and verdict >= 0:", "        return verdict"]
    base = first_code
    for number, count in enumerate(reasons):
        lines += [
            f"    if stage == {number} and verdict >= {DROP} and verdict < {DROP + count}:",
            f"        return verdict + {base - DROP}",
        ]
        base += count
    lines += [f"    st_64(cx + {layout.FAIL_SITE}, 0)", "    return nf_error(cx, stage, pk, row)"]
    return "\n".join(lines) + "\n"


def _ends(name: str, stages: Sequence[tuple[str, ...]], *, count: bool) -> str:
    """What is called when a flow ends or leaves, NF by NF: the failure of one does not silence another."""
    lines = ["@outlined", f"def {name}(cx, pk, row) -> None:"]
    if count:
        lines.append(f"    st_64(cx + {layout.EXPIRED}, ld_i64(cx + {layout.EXPIRED}) + 1)")
    for number, calls in enumerate(stages):
        said = [call for call in calls if call]
        if said and said[0].startswith("plain_end"):
            said = said[:1]  # a plain NF's farewell has its deallocation with it
        if said:
            lines += ["    try:", *(f"        {call}" for call in said)]
            lines += ["    except Exception:", f"        nf_error(cx, {number}, 0, row)"]
    return "\n".join([*lines, "    return"]) + "\n"
