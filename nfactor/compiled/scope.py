"""What is common to the translation of one function: its names, what is known of them, and how it is refused."""

import ast
import builtins
from typing import Any, NoReturn

import attrs

from nfactor.compiled.source import Source
from nfactor.compiled.values import (
    Const,
    FlowValue,
    Grid,
    Group,
    Int,
    Octets,
    PacketValue,
    Real,
    Record,
    Rows,
    Value,
    View,
    widened,
)
from nfactor.errors import NotCompilable

ROUNDS_BEFORE_WIDENING = 3
"""A range that still grows after so many rounds is one of a loop that nobody can count."""


@attrs.define
class Variable:
    """What is known of a local variable that holds a number."""

    low: int | None = None
    high: int | None = None
    real: bool = False


class Scope:
    """One function in one specialisation. ``program`` is the ``Program`` that it becomes a part of."""

    def __init__(self, program: Any, source: Source, bound: dict[str, Value]) -> None:
        self.program = program
        self.source = source
        self.bound = bound
        """Parameters."""
        self.variables: dict[str, Variable] = {}
        self.aliases: dict[str, Value] = {}
        """Local names of what is no number."""
        self.assigned: set[str] | None = set()
        """Local names that have a value here, whichever way was taken; None where no way leads."""
        self.lines: list[str] = []
        self.depth = 1
        self.changed = False
        self.widen = False
        self.temporaries = 0
        self.slots_used: dict[int, None] = {}
        self.marked = False

    # ---------------------------------------------------------------- text

    def emit(self, line: str) -> None:
        """One more line."""
        self.lines.append("    " * self.depth + line)

    def temporary(self) -> str:
        """A name of our own."""
        self.temporaries += 1
        return f"t{self.temporaries}"

    def refuse(self, node: ast.AST, problem: str) -> NoReturn:
        """This cannot be compiled. The message says what to write instead."""
        raise NotCompilable(self.source.file, self.source.line(node), problem)

    def site(self, node: ast.AST, what: str) -> int:
        """The number by which compiled code says that something failed here."""
        site: int = self.program.site(self.source.file, self.source.line(node), what)
        return site

    def slot(self, memory: Any) -> tuple[str, str]:
        """Texts of address and length of something that lies in memory."""
        slot = self.program.slot(memory)
        self.slots_used[slot] = None
        return f"b{slot}", f"n{slot}"

    # ---------------------------------------------------------------- names

    def lookup(self, node: ast.Name) -> Value:
        """What a name stands for."""
        name = node.id
        if name in self.source.locals:
            if self.assigned is not None and name not in self.assigned:
                self.refuse(node, f"{name} may not have a value here; give it one before")
            return self._local(name)
        if name in self.source.globals:
            return Const(self.source.globals[name])
        if hasattr(builtins, name):
            return Const(getattr(builtins, name))
        self.refuse(node, f"the name {name} is not known")

    def _local(self, name: str) -> Value:
        if name in self.aliases:
            return self.aliases[name]
        known = self.variables.get(name)
        if known is None:
            return self.bound[name] if name in self.bound else Int(f"v_{name}", 0, 0, simple=True)
        if known.real:
            return Real(f"v_{name}")
        assert known.low is not None
        assert known.high is not None
        return Int(f"v_{name}", known.low, known.high, simple=True)

    def assign(self, node: ast.AST, name: str, value: Value) -> None:
        """Give a local variable a value that is exact."""
        if self.assigned is not None:
            self.assigned.add(name)
        if isinstance(value, Int | Real) and name not in self.aliases:
            self._learn(node, name, value)
            self.emit(f"v_{name} = {word(value)}")
            return
        if isinstance(value, Group):
            value = Group(tuple(self._part(node, f"{name}_{at}", item) for at, item in enumerate(value.items)))
        elif isinstance(value, Record | View | Octets | Rows) and value.base != f"a_{name}":
            self.emit(f"a_{name} = {value.base}")
            value = attrs.evolve(value, base=f"a_{name}")
        elif isinstance(value, Int | Real):
            self.refuse(node, f"{name} is a number here and something else elsewhere; use two names")
        if name in self.variables or self.aliases.get(name, value) != value:
            self.refuse(node, f"{name} stands for different things in different places; use two names")
        self.aliases[name] = value

    def _part(self, node: ast.AST, name: str, value: Value) -> Value:
        if not isinstance(value, Int | Real):
            return value
        self._learn(node, name, value)
        self.emit(f"v_{name} = {word(value)}")
        return self._local(name)

    def _learn(self, node: ast.AST, name: str, value: Int | Real) -> None:
        known = self.variables.get(name)
        if known is None:
            known = self.variables[name] = Variable()
            self.changed = True
            if name in self.bound:
                self._learn(node, name, self.bound[name])  # type: ignore[arg-type]
                known = self.variables[name]
        if isinstance(value, Real) or known.real:
            if isinstance(value, Int) or known.low is not None:
                self.refuse(
                    node, f"{name} is an integer here and a real number elsewhere; convert it, or use two names"
                )
            known.real = True
            return
        low = value.low if known.low is None else min(known.low, value.low)
        high = value.high if known.high is None else max(known.high, value.high)
        if (low, high) != (known.low, known.high):
            if self.widen:
                low, high = widened(low, high)
            known.low, known.high, self.changed = low, high, True
        if not Int("", low, high).fits:
            self.refuse(
                node,
                f"{name} may be negative ({low}) and beyond 63 bits ({high}) at once, which no word can hold; "
                "begin with a number that is not negative, or mask with & nf.MASK_63",
            )

    def number(self, node: ast.AST, value: Value) -> Int | Real:
        """The value as a number."""
        if isinstance(value, Const) and isinstance(value.value, bool | int):
            from nfactor.compiled.values import constant

            return constant(int(value.value))
        if isinstance(value, Const) and isinstance(value.value, float):
            return Real(repr(value.value))
        if isinstance(value, Int | Real):
            return value
        self.refuse(node, f"{self.source.text(node)} is {described(value)}, where a number is needed")


def word(value: Int | Real) -> str:
    """The text of the word, for a condition too."""
    return f"number({value.text})" if isinstance(value, Int) and value.boolean else value.text


def described(value: Value) -> str:
    """What a value is, for people."""
    match value:
        case Const(None):
            return "None"
        case Const(known):
            return f"{known!r}" if isinstance(known, int | float | str | bytes | tuple) else type(known).__name__
        case View():
            return f"an array of {value.element.name}"
        case Record():
            return f"a {value.schema.cls.__name__}"
        case Octets():
            return "a byte string"
        case Rows():
            return f"a table of {value.schema.cls.__name__}"
        case Grid() | Group():
            return "a tuple"
        case PacketValue():
            return "the packet"
        case FlowValue():
            return "the flow"
        case _:
            return "a number"
