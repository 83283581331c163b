"""A chain as one text: every function that its NFs reach, each translated for what it is called with."""

import ast
import re
from types import FunctionType
from typing import Any, Final

import attrs

from nfactor.compiled import layout
from nfactor.compiled.scope import ROUNDS_BEFORE_WIDENING, Scope
from nfactor.compiled.source import Source
from nfactor.compiled.statements import Statements
from nfactor.compiled.values import Const, Group, Int, Real, Value, widened
from nfactor.dataplane.state import Schema
from nfactor.errors import NotCompilable

_ROUNDS_MAX: Final = 40
_INLINED_LINES_MAX: Final = 40
_FUNCTION: Final = re.compile(r"\bf\d+_\w+")


@attrs.frozen
class Made:
    """A function in one specialisation. The texts of ``returned`` mean nothing."""

    name: str
    returned: Value
    lines: tuple[str, ...] = ()


@attrs.frozen
class Site:
    """A place in an NF where something can fail."""

    file: str
    line: int
    what: str


class Program:
    """What the functions of one chain have in common."""

    def __init__(self) -> None:
        self.slots: list[Any] = []
        self.sites: list[Site] = [Site("?", 0, "an error")]
        self.record_classes: list[type] = []
        self._site_numbers: dict[Site, int] = {}
        self._templates: dict[type, Any] = {}
        self._sources: dict[FunctionType, Source] = {}
        self._made: dict[Any, Made] = {}
        self._under_way: list[Any] = []

    def slot(self, memory: Any) -> int:
        """The number of the slot of something that lies in memory."""
        for number, known in enumerate(self.slots):
            if known is memory:
                return number
        if len(self.slots) == layout.SLOTS_MAX:
            raise NotCompilable("?", 0, f"the chain uses more than {layout.SLOTS_MAX} tables")
        self.slots.append(memory)
        return len(self.slots) - 1

    def site(self, file: str, line: int, what: str) -> int:
        """The number of a place that can fail."""
        site = Site(file, line, what)
        if site not in self._site_numbers:
            self._site_numbers[site] = len(self.sites)
            self.sites.append(site)
        return self._site_numbers[site]

    def record_class(self, cls: type) -> int:
        """The number of a class of emitted records."""
        if cls not in self.record_classes:
            self.record_classes.append(cls)
        return self.record_classes.index(cls)

    def template(self, schema: Schema) -> Any:
        """A record of that class with its defaults, to begin with."""
        if schema.cls not in self._templates:
            self._templates[schema.cls] = schema.cls()
        return self._templates[schema.cls]

    def source(self, function: FunctionType) -> Source:
        """The source of a function, read once."""
        if function not in self._sources:
            self._sources[function] = Source(function)
        return self._sources[function]

    def function(self, node: ast.AST, caller: Scope | None, function: FunctionType, bound: dict[str, Value]) -> Made:
        """The function for these parameters."""
        key = (function, tuple((name, _key(value)) for name, value in bound.items()))
        made = self._made.get(key)
        if made is None:
            if key in self._under_way and caller is not None:
                caller.refuse(node, f"{function.__name__} calls itself; write a loop")
            self._under_way.append(key)
            made = self._made[key] = self._translate(function, bound)
            self._under_way.pop()
        return made

    def _translate(self, function: FunctionType, bound: dict[str, Value]) -> Made:
        source = self.source(function)
        name = f"f{len(self._made) + len(self._under_way)}_{source.name.strip('_')}"
        variables: dict[str, Any] = {}
        for turn in range(_ROUNDS_MAX):
            scope = Statements(self, source, bound)
            scope.variables, scope.widen = variables, turn >= ROUNDS_BEFORE_WIDENING
            scope.assigned = set(source.parameters)
            scope.adopt_slots(bound)
            scope.block(source.node.body)
            if not scope.changed:
                return self._finish(name, scope)
        raise NotCompilable(
            source.file, source.line(source.node), f"{source.name}: the ranges of its variables never settle"
        )

    def _finish(self, name: str, scope: Statements) -> Made:
        source = scope.source
        falls_off = scope.assigned is not None
        values = [value for value in scope.returned if not (isinstance(value, Const) and value.value is None)]
        if values and (falls_off or len(values) < len(scope.returned)):
            scope.refuse(source.node, f"{source.name} returns a value on some ways and nothing on others")
        returned = _join(scope, values)
        prologue = [
            f"    {letter}{slot} = ld_i64(cx + {layout.SLOTS + layout.SLOT_OCTETS * slot + at})"
            for slot in scope.slots_used
            for letter, at in (("b", 0), ("n", layout.WORD))
        ]
        body = "\n".join(scope.lines)
        prologue = [line for line in prologue if re.search(rf"\b{line.split()[0]}\b", body)]
        head = f"def {name}({', '.join(['cx', 'pk', 'row', *_words(scope.bound)])}) -> {_annotation(returned)}:"
        inside = [*prologue, *scope.lines]
        decorator = "@inlined" if len(inside) <= _INLINED_LINES_MAX else "@outlined"
        return Made(
            name,
            returned,
            (decorator, head, f"    # {source.function.__module__}.{source.function.__qualname__}", *inside),
        )

    def text(self, roots: list[str]) -> str:
        """The functions that are reached from these, callees first."""
        by_name = {made.name: made for made in self._made.values()}
        order: dict[str, Made] = {}

        def visit(name: str) -> None:
            if name in order or name not in by_name:
                return
            for line in by_name[name].lines[3:]:
                for called in _FUNCTION.findall(line):
                    visit(called)
            order[name] = by_name[name]

        for root in roots:
            visit(root)
        return "\n\n\n".join("\n".join(made.lines) for made in order.values()) + "\n"


def _key(value: Value) -> Any:
    if isinstance(value, Const):
        return ("const", id(value.value))
    return value


def _annotation(returned: Value) -> str:
    match returned:
        case Int():
            return "int"
        case Real():
            return "float"
        case Group(items):
            return f"tuple[{', '.join(map(_annotation, items))}]"
    return "None"


def _words(bound: dict[str, Value]) -> list[str]:
    """The names of the parameters that are passed as words, in order."""
    words: list[str] = []

    def visit(name: str, value: Value) -> None:
        if isinstance(value, Group):
            for at, item in enumerate(value.items):
                visit(f"{name}_{at}", item)
        elif isinstance(value, Int | Real):
            words.append(f"v_{name}: float" if isinstance(value, Real) else f"v_{name}")
        else:
            words.extend(
                text
                for text in (f"a_{name}", f"c_{name}")
                if text in (getattr(value, "base", ""), getattr(value, "count", ""))
            )

    for name, value in bound.items():
        visit(name, value)
    return words


def _join(scope: Statements, values: list[Value]) -> Value:
    """One description of everything that is returned."""
    if not values:
        return Const(None)
    first = values[0]
    if isinstance(first, Group):
        if any(not isinstance(value, Group) or len(value.items) != len(first.items) for value in values):
            scope.refuse(scope.source.node, f"{scope.source.name} returns tuples of different lengths")
        columns = zip(*(value.items for value in values if isinstance(value, Group)), strict=True)
        return Group(tuple(_join(scope, list(column)) for column in columns))
    if any(isinstance(value, Real) for value in values):
        if not all(isinstance(value, Real) for value in values):
            scope.refuse(scope.source.node, f"{scope.source.name} returns integers and real numbers; convert them")
        return Real("")
    low = min(value.low for value in values if isinstance(value, Int))
    high = max(value.high for value in values if isinstance(value, Int))
    if not Int("", low, high).fits:
        scope.refuse(scope.source.node, f"{scope.source.name} returns what may be negative or beyond 63 bits; mask it")
    exact = low == high
    return Int("", *((low, high) if exact else widened(low, high)))
