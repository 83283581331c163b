"""Calls: of the few builtins that mean something here, of methods of the packet, and of functions, which are translated
anew for what they are called with."""

import ast
import re
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

import attrs

from nfactor.compiled.access import Bound
from nfactor.compiled.expressions import Expressions
from nfactor.compiled.scope import described, word
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
from nfactor.dataplane import memory
from nfactor.dataplane.state import Array, Octets as OctetsKind, Scalar, Schema

_LOCAL_NAME: Final = re.compile(r"\b[avct]\w*_\w+|\bt\d+\b|\bc_\w+")
_SLOT_NAME: Final = re.compile(r"\b[bn](\d+)\b")


class Calls(Expressions):
    """See the module."""

    def call(self, node: ast.Call) -> Value:
        """``function(…)``."""
        called = self.exact(node.func)
        if not isinstance(called, Const):
            self.refuse(node, f"{self.source.text(node)}: {described(called)} cannot be called")
        function = called.value
        if isinstance(function, Bound):
            return self._of_bound(node, function)
        if function is memory.text:
            return self._text(node)
        builtin = self._builtins.get(function) if isinstance(function, BuiltinFunctionType | type) else None
        if builtin is not None:
            return builtin(self, node)
        if isinstance(function, FunctionType):
            return self._function(node, function, [])
        if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
            return self._function(node, function.__func__, [Const(function.__self__)])
        if isinstance(getattr(function, "__schema__", None), Schema):
            self.refuse(node, f"{self.source.text(node)}: a record can be made to be emitted, and for nothing else")
        name = getattr(function, "__qualname__", repr(function))
        self.refuse(node, f"{self.source.text(node)}: {name} cannot be called from compiled code; {_advice(name)}")

    # ---------------------------------------------------------------- builtins

    def _of_bound(self, node: ast.Call, bound: Bound) -> Value:
        if bound.name == "emit":
            self._emit_record(node)
            return Const(None)
        (argument,) = self._arguments(node, 1)
        octets = {"u16": 2, "u32": 4, "u64": 8}[bound.name]
        site = self.site(node, f"{self.source.text(node)}: index out of range")
        return Int(f"packet_{bound.name}(cx, {site}, {word(self.integer(argument))})", 0, (1 << 8 * octets) - 1)

    def _arguments(self, node: ast.Call, *counts: int) -> list[ast.expr]:
        if node.keywords or len(node.args) not in counts or any(isinstance(a, ast.Starred) for a in node.args):
            self.refuse(node, f"{self.source.text(node)}: give it {' or '.join(map(str, counts))} plain arguments")
        return node.args

    def _len(self, node: ast.Call) -> Value:
        value = self.exact(self._arguments(node, 1)[0])
        if isinstance(value, Const):
            value = self.memory(node, value.value)
        match value:
            case View(count=count) | Rows(count=count):
                return Int(count, 0, (1 << 31) - 1, simple=True)
            case Octets(count=count, count_max=most):
                return Int(count, 0, most)
            case Group(items):
                return Const(len(items))
            case Const(known) if isinstance(known, tuple | bytes | str):
                return Const(len(known))
        self.refuse(node, f"{self.source.text(node)}: {described(value)} has no length")

    def _extreme(self, node: ast.Call) -> Value:
        least = isinstance(node.func, ast.Name) and node.func.id == "min"
        if len(node.args) < 2:
            self.refuse(node, f"{self.source.text(node)}: give it two or more numbers")
        numbers = [self.number(argument, self.exact(argument)) for argument in node.args]
        result = numbers[0]
        for other in numbers[1:]:
            if isinstance(result, Real) or isinstance(other, Real):
                self.refuse(node, f"{self.source.text(node)}: compare real numbers with < and >")
            if (result.unsigned and other.low < 0) or (other.unsigned and result.low < 0):
                self.refuse(
                    node, f"{self.source.text(node)} mixes a number beyond 63 bits with one that may be negative"
                )
            name = ("least" if least else "most") + ("_unsigned" if result.unsigned or other.unsigned else "")
            low, high = ((min, min) if least else (max, max))[0], (min if least else max)
            result = Int(
                f"{name}({word(result)}, {word(other)})", low(result.low, other.low), high(result.high, other.high)
            )
        return result

    def _abs(self, node: ast.Call) -> Value:
        value = self.number(node, self.exact(self._arguments(node, 1)[0]))
        if isinstance(value, Real):
            return Real(f"(-{value.text} if {value.text} < 0.0 else {value.text})")
        if value.low >= 0:
            return value
        negative = self.operation(node, "-", Int("0", 0, 0, simple=True), value, False)
        high = max(value.high, -value.low)
        return Int(f"({word(value)} if {word(value)} >= 0 else {negative.text})", 0, min(high, (1 << 63) - 1))

    def _int(self, node: ast.Call) -> Value:
        value = self.number(node, self.exact(self._arguments(node, 1)[0]))
        if isinstance(value, Real):
            site = self.site(node, "a real number that is no 64-bit integer")
            return Int(f"truncated(cx, {site}, {value.text})", -(1 << 63), (1 << 63) - 1)
        return attrs.evolve(value, text=word(value), boolean=False)

    def _bool(self, node: ast.Call) -> Value:
        known = self.condition(self._arguments(node, 1)[0])
        return Const(known) if isinstance(known, bool) else Int(known, 0, 1, boolean=True)

    def _float(self, node: ast.Call) -> Value:
        return Real(self.real(self.number(node, self.exact(self._arguments(node, 1)[0]))))

    def _divmod(self, node: ast.Call) -> Value:
        left, right = self._arguments(node, 2)
        return Group(tuple(self.binary(node, left, sign, right, False) for sign in (ast.FloorDiv(), ast.Mod())))

    _builtins: Final[dict[Any, Callable[["Calls", ast.Call], Value]]] = {
        len: _len,
        min: _extreme,
        max: _extreme,
        abs: _abs,
        int: _int,
        bool: _bool,
        float: _float,
        divmod: _divmod,
    }

    def _text(self, node: ast.Call) -> Value:
        """``nf.text(words, octets)``."""
        words, octets = self._arguments(node, 2)
        view, count = self.exact(words), self.integer(octets)
        if not isinstance(view, View) or view.element.real:
            self.refuse(node, f"{self.source.text(node)}: nf.text takes an array of numbers and a count of octets")
        if count.low < 0 or count.unsigned:
            self.refuse(node, f"{self.source.text(node)}: the count of octets may be negative")
        held = self.temporary()
        self.emit(f"{held} = least({word(count)}, {view.count} * {view.element.octets})")
        return Octets(view.base, held, 0xFFFF)

    # ---------------------------------------------------------------- records

    def _emit_record(self, node: ast.Call) -> None:
        (made,) = self._arguments(node, 1)
        if self.conditional:
            self.refuse(node, f"{self.source.text(node)}: emit in a statement of its own")
        called = self.exact(made.func) if isinstance(made, ast.Call) else Const(None)
        schema = getattr(called.value, "__schema__", None) if isinstance(called, Const) else None
        if not isinstance(made, ast.Call) or not isinstance(schema, Schema):
            self.refuse(node, f"{self.source.text(node)}: write emit(Record(field=…)), with an @nf.record class")
        given = dict(zip((field.name for field in schema.fields), made.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in made.keywords if keyword.arg}
        stores = [self._field_store(made, schema, name, value) for name, value in given.items()]
        site = self.site(node, "more records than there is room for (EMIT_RESERVE)")
        event = self.temporary()
        template = self.slot(self.program.template(schema))[0]
        number = self.program.record_class(schema.cls)
        self.emit(f"{event} = emit_begin(cx, {site}, row, {number}, {schema.size}, {template})")
        for store in stores:
            self.emit(store.format(event=event))

    def _field_store(self, node: ast.AST, schema: Schema, name: str, value: ast.expr) -> str:
        field = schema.field(name)
        if field is None:
            names = ", ".join(field.name for field in schema.fields)
            self.refuse(node, f"{schema.cls.__name__} has no field {name}; it has {names}")
        if isinstance(field.kind, Array):
            self.refuse(
                node, f"{schema.cls.__name__}.{name} is an array, which cannot be emitted yet; use single fields"
            )
        if isinstance(field.kind, OctetsKind):
            octets = self.octets(value, self.exact(value))
            count = self.temporary()
            self.emit(f"{count} = {octets.count}")
            return f"put_octets({{event}} + {field.offset}, {field.kind.octets_max}, {octets.base}, {count})"
        number = self.number(value, self.loose(value))
        held = self.temporary()
        self.emit(f"{held} = {self.real(number) if field.kind.real else word(number)}")
        store = "st_f64" if field.kind.real else f"st_{8 * field.kind.octets}"
        if isinstance(number, Real) and not field.kind.real:
            self.refuse(node, f"a real number for {schema.cls.__name__}.{name}; convert it: int(…)")
        return f"{store}({{event}} + {field.offset}, {held})"

    # ---------------------------------------------------------------- functions

    def _function(self, node: ast.Call, function: FunctionType, first: list[Value]) -> Value:
        names = self.program.source(function).parameters
        given: dict[str, Value] = dict(zip(names, first, strict=False))
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            self.refuse(node, f"{self.source.text(node)}: write the arguments out")
        for name, argument in zip(names[len(first) :], node.args, strict=False):
            given[name] = self.exact(argument)
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in names or keyword.arg in given:
                self.refuse(node, f"{self.source.text(node)}: {function.__name__} takes no such argument")
            given[keyword.arg] = self.exact(keyword.value)
        given = {**_defaults(function, names), **given}
        missing = [name for name in names if name not in given]
        if missing or len(node.args) + len(first) > len(names):
            self.refuse(node, f"{self.source.text(node)}: {function.__name__} takes {', '.join(names) or 'nothing'}")
        passed: list[str] = []
        bound = {name: self._pass(argument, name, given[name], passed) for name, argument in self._sources(node, names)}
        made = self.program.function(node, self, function, bound)
        text = f"{made.name}({', '.join(['cx', 'pk', 'row', *passed])})"
        return self._returned(node, text, made.returned)

    def _sources(self, node: ast.Call, names: list[str]) -> list[tuple[str, ast.AST]]:
        return [(name, node) for name in names]

    def _pass(self, node: ast.AST, name: str, value: Value, passed: list[str]) -> Value:
        """What the parameter is bound to in the function; ``passed`` gains the texts of its words."""
        if isinstance(value, Const) and isinstance(value.value, bool | int | float):
            value = self.number(node, value)
        match value:
            case Int():
                if value.cut:
                    self.refuse(node, "an argument that does not fit in 64 bits; mask it")
                passed.append(word(value))
                return Int(f"v_{name}", *widened(value.low, value.high), simple=True)
            case Real():
                passed.append(value.text)
                return Real(f"v_{name}")
            case Group(items):
                return Group(tuple(self._pass(node, f"{name}_{at}", item, passed) for at, item in enumerate(items)))
            case View() | Octets() | Rows() | Record():
                if _LOCAL_NAME.search(value.base):
                    passed.append(value.base)
                    value = attrs.evolve(value, base=f"a_{name}")
                if not isinstance(value, Record) and _LOCAL_NAME.search(value.count):
                    passed.append(value.count)
                    value = attrs.evolve(value, count=f"c_{name}")
                return value
            case Grid() if _LOCAL_NAME.search(value.offset):
                self.refuse(node, f"{name}: part of a tuple cannot be passed on; pass the index")
        return value

    def _returned(self, node: ast.AST, text: str, returned: Value) -> Value:
        """What a call gives."""
        match returned:
            case Int():
                return attrs.evolve(returned, text=text, simple=False)
            case Real():
                return Real(text)
            case Group(items):
                if self.conditional:
                    self.refuse(node, f"{self.source.text(node)}: call it in a statement of its own")
                names = [self.temporary() for _ in items]
                self.emit(f"{', '.join(names)} = {text}")
                return Group(
                    tuple(
                        attrs.evolve(item, text=name, simple=True) if isinstance(item, Int) else Real(name)
                        for name, item in zip(names, items, strict=True)
                    )
                )
        if self.conditional:
            self.refuse(node, f"{self.source.text(node)} returns nothing, and cannot stand in an expression")
        self.emit(text)
        return Const(None)

    def adopt_slots(self, bound: dict[str, Value]) -> None:
        """Slots that parameters are bound to textually are used here too."""
        for value in bound.values():
            for slot in _SLOT_NAME.findall(repr(value)):
                self.slots_used[int(slot)] = None


def _defaults(function: FunctionType, names: list[str]) -> dict[str, Value]:
    defaults = function.__defaults__ or ()
    count = function.__code__.co_argcount
    positional = dict(zip(names[count - len(defaults) : count], defaults, strict=True))
    return {name: Const(value) for name, value in {**positional, **(function.__kwdefaults__ or {})}.items()}


def _advice(name: str) -> str:
    if name.endswith(("from_bytes", "to_bytes")):
        return "use pkt.u16(at), pkt.u32(at), pkt.u64(at), pkt.source_low and the like, or nf.text"
    if name in ("print", "open", "str", "format"):
        return "there are no strings and no files in compiled code; emit a record"
    if name in ("sum", "any", "all", "sorted", "zip", "map", "filter", "reversed"):
        return "write a loop"
    if name in ("list", "dict", "set"):
        return "use an array in the flow's state, nf.numbers(…), or an nf.Table"
    return "write it with numbers and functions of your own, or leave this NF to the reference engine"


__all__ = ["Calls", "FlowValue", "PacketValue", "Scalar"]
