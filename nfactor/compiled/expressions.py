"""Expressions: arithmetic on ranges, comparisons and conditions.

``exact(node)`` gives a value that is what Python would compute; ``loose(node)`` may give one of which only the lowest
64 bits are right (``Int.cut``), which is all that a store into a field or a mask looks at, and saves the check.
"""

import ast
import re
from collections.abc import Callable
from typing import Any, Final

from nfactor.compiled.access import Access
from nfactor.compiled.ranges import COMPARISONS, OPERATORS, SHIFT_MAX, checked, compare, is_mask, range_of
from nfactor.compiled.scope import word
from nfactor.compiled.values import (
    SIGNED_MAX,
    SIGNED_MIN,
    UNSIGNED_MAX,
    Const,
    Group,
    Int,
    Real,
    Value,
    constant,
)

_AMONG_MAX: Final = 64
_REPEATED_MAX: Final = 4
_CALL: Final = re.compile(r"\bf\d+_")


class Expressions(Access):
    """See the module."""

    def exact(self, node: ast.expr) -> Value:
        """What Python would compute."""
        return self._value(node, False)

    def loose(self, node: ast.expr) -> Value:
        """The same, or its lowest 64 bits."""
        return self._value(node, True)

    def integer(self, node: ast.expr) -> Int:
        """An exact integer."""
        value = self.number(node, self.exact(node))
        if isinstance(value, Real):
            self.refuse(
                node, f"{self.source.text(node)} is a real number where an integer is needed; convert it: int(…)"
            )
        if value.cut:
            self.refuse(node, f"{self.source.text(node)} does not fit in 64 bits; mask it")
        return value

    def _value(self, node: ast.expr, loose: bool) -> Value:
        match node:
            case ast.Constant(value):
                return Const(value)
            case ast.Name():
                return self.lookup(node)
            case ast.Attribute(value, name):
                return self.attribute(node, self.exact(value), name)
            case ast.Subscript(value, ast.expr() as index):
                return self.item(node, self.exact(value), index)
            case ast.BinOp(left, operator, right):
                return self.binary(node, left, operator, right, loose)
            case ast.UnaryOp(ast.Not(), operand):
                known = self.condition(operand)
                return Const(not known) if isinstance(known, bool) else Int(f"(not {known})", 0, 1, boolean=True)
            case ast.UnaryOp(operator, operand):
                return self._unary(node, operator, operand, loose)
            case ast.BoolOp(operator, parts):
                return self._first_that_decides(node, parts, all_of=isinstance(operator, ast.And))
            case ast.Compare():
                known = self.condition(node)
                return Const(known) if isinstance(known, bool) else Int(known, 0, 1, boolean=True)
            case ast.IfExp(test, body, orelse):
                return self._choice(node, test, body, orelse, loose)
            case ast.Call():
                return self.call(node)
            case ast.Tuple(items) | ast.List(items):
                values = [self.exact(item) for item in items]
                if all(isinstance(value, Const) for value in values):
                    return Const(tuple(value.value for value in values if isinstance(value, Const)))
                return Group(tuple(values))
            case _:
                self.refuse(node, f"{self.source.text(node)}: {_name(node)} cannot be compiled; {_instead(node)}")

    def call(self, node: ast.Call) -> Value:
        """See ``calls``."""
        raise NotImplementedError

    # ---------------------------------------------------------------- arithmetic

    def binary(self, node: ast.AST, left: ast.expr, operator: ast.operator, right: ast.expr, loose: bool) -> Value:
        """``left operator right``."""
        if type(operator) not in OPERATORS:
            self.refuse(node, f"the operator in {self.source.text(node)} cannot be compiled; write it with + - * // %")
        sign, compute = OPERATORS[type(operator)]
        a, b = self.number(left, self.loose(left)), self.number(right, self.loose(right))
        if isinstance(a, Real) or isinstance(b, Real) or sign == "/":
            return self._real(node, sign, a, b)
        known = self._known(node, a, b, compute)
        if known is not None:
            return known
        if sign == "&" and (is_mask(a) or is_mask(b)):
            high = min(x.high for x in (a, b) if is_mask(x))
            return Int(f"({word(a)} & {word(b)})", 0, high)
        if not (loose and sign in "+-*&|^<<"):
            a, b = self.integer(left), self.integer(right)
        elif sign == "<<":
            b = self.integer(right)
        return self.operation(node, sign, a, b, loose)

    def _known(self, node: ast.AST, a: Int, b: Int, compute: Callable[[Any, Any], Any]) -> Int | None:
        """The result, if both are known."""
        if a.low != a.high or b.low != b.high or not (a.simple and b.simple) or abs(b.low) > UNSIGNED_MAX:
            return None
        try:
            return constant(compute(a.low, b.low))
        except (ArithmeticError, ValueError) as error:
            self.refuse(node, f"{self.source.text(node)}: {error}")

    def operation(self, node: ast.AST, sign: str, a: Int, b: Int, loose: bool) -> Int:
        """An integer operation on two words. Without ``loose`` both are exact."""
        low, high = range_of(sign, a, b)
        # A sum of signed words stays one: else every counter of a loop would end as an unsigned word.
        may_be_unsigned = a.unsigned or b.unsigned or sign in ("<<", "|", "^")
        fits = Int("", low, high).fits and (high <= SIGNED_MAX or may_be_unsigned) and not (a.cut or b.cut)
        x, y = word(a), word(b)
        site = self.site(node, "an integer of more than 64 bits")
        if sign in ("//", "%"):
            return self._division(node, sign, a, b, low, high)
        if sign == ">>":
            return self._shift_right(node, a, b, low, high)
        if sign == "<<":
            if b.low >= 0 and b.high < SHIFT_MAX and (fits or loose):
                return Int(f"({x} << {y})", low, high, cut=not fits)
            if loose:
                return Int(f"shift_left_cut(cx, {site}, {x}, {y})", low, high, cut=not fits)
            name = "shift_left_unsigned" if a.unsigned else "shift_left"
            return checked(f"{name}(cx, {site}, {x}, {y})", low, high, a.unsigned)
        if fits or loose:
            return Int(f"({x} {sign} {y})", low, high, cut=not fits)
        if sign in "&|^":
            self.refuse(node, f"{self.source.text(node)} may be negative or beyond 63 bits, which no word can hold")
        unsigned = a.unsigned or b.unsigned
        if unsigned and (a.low < 0 or b.low < 0):
            self.refuse(
                node, f"{self.source.text(node)} mixes a number beyond 63 bits with one that may be negative; mask one"
            )
        name = {"+": "add", "-": "sub", "*": "mul"}[sign] + ("_unsigned" if unsigned else "")
        return checked(f"{name}(cx, {site}, {x}, {y})", low, high, unsigned and sign != "-")

    def _division(self, node: ast.AST, sign: str, a: Int, b: Int, low: int, high: int) -> Int:
        site = self.site(node, "division by zero")
        name = "quotient" if sign == "//" else "rest"
        if a.unsigned or b.unsigned:
            if a.low < 0 or b.low < 0:
                self.refuse(node, f"{self.source.text(node)} divides with a number beyond 63 bits and one below 0")
            return Int(f"{name}_unsigned(cx, {site}, {word(a)}, {word(b)})", low, high)
        if a.low >= 0 and b.low > 0:
            return Int(f"{'udiv' if sign == '//' else 'urem'}({word(a)}, {word(b)})", low, high)
        return Int(f"{name}(cx, {site}, {word(a)}, {word(b)})", max(low, SIGNED_MIN), min(high, SIGNED_MAX))

    def _shift_right(self, node: ast.AST, a: Int, b: Int, low: int, high: int) -> Int:
        name = "lshr" if a.unsigned else ""
        if b.low >= 0 and b.high < SHIFT_MAX:
            text = f"lshr({word(a)}, {word(b)})" if name else f"({word(a)} >> {word(b)})"
            return Int(text, low, high)
        site = self.site(node, "a shift by a negative number")
        name = "shift_right_unsigned" if a.unsigned else "shift_right"
        return Int(f"{name}(cx, {site}, {word(a)}, {word(b)})", low, high)

    def _unary(self, node: ast.AST, operator: ast.unaryop, operand: ast.expr, loose: bool) -> Value:
        value = self.number(operand, self.loose(operand) if loose else self.exact(operand))
        if isinstance(value, Real):
            if isinstance(operator, ast.Invert):
                self.refuse(node, "~ of a real number means nothing")
            return Real(f"(-{value.text})") if isinstance(operator, ast.USub) else value
        if isinstance(operator, ast.UAdd):
            return value
        sign, low, high = (
            ("-", -value.high, -value.low) if isinstance(operator, ast.USub) else ("~", ~value.high, ~value.low)
        )
        if value.simple and value.low == value.high:
            return constant(low)
        if not Int("", low, high).fits and not loose:
            if sign == "~":
                self.refuse(node, f"{self.source.text(node)} is below -2^63; mask it with &")
            return self.operation(node, "-", constant(0), value, False)
        return Int(f"({sign}{word(value)})", low, high, cut=value.cut or not Int("", low, high).fits)

    def _real(self, node: ast.AST, sign: str, a: Int | Real, b: Int | Real) -> Real:
        if sign not in ("+", "-", "*", "/"):
            self.refuse(node, f"{self.source.text(node)}: {sign} on real numbers cannot be compiled; use + - * /")
        x, y = (self.real(value) for value in (a, b))
        if sign == "/":
            return Real(f"divide(cx, {self.site(node, 'division by zero')}, {x}, {y})")
        return Real(f"({x} {sign} {y})")

    def real(self, value: Int | Real) -> str:
        """The text of the value as a double."""
        if isinstance(value, Real):
            return value.text
        return f"{'real_of_unsigned' if value.unsigned else 'real_of'}({word(value)})"

    def _choice(self, node: ast.IfExp, test: ast.expr, body: ast.expr, orelse: ast.expr, loose: bool) -> Value:
        known = self.condition(test)
        if isinstance(known, bool):
            return self._value(body if known else orelse, loose)
        conditional, self.conditional = self.conditional, True
        a, b = (self._value(part, loose) for part in (body, orelse))
        self.conditional = conditional
        if isinstance(a, Group) and isinstance(b, Group) and len(a.items) == len(b.items):
            pairs = zip(a.items, b.items, strict=True)
            return Group(tuple(self._either(node, known, *pair) for pair in pairs))
        return self._either(node, known, a, b)

    def _first_that_decides(self, node: ast.BoolOp, parts: list[ast.expr], *, all_of: bool) -> Value:
        """What ``and`` and ``or`` give: one of their operands, which is only a condition if all of them are."""
        conditional = self.conditional
        values: list[Int | Real] = []
        for at, part in enumerate(parts):
            self.conditional = conditional or at > 0
            values.append(self.number(part, self.exact(part)))
            self.conditional = conditional
        if all(isinstance(value, Int) and (value.boolean or (value.low >= 0 and value.high <= 1)) for value in values):
            known = self.condition(node)
            return Const(known) if isinstance(known, bool) else Int(known, 0, 1, boolean=True)
        result: Value = values[-1]
        for value in reversed(values[:-1]):
            if _CALL.search(value.text):
                self.refuse(
                    node, f"{self.source.text(node)}: give what is called a name of its own in a statement before"
                )
            test = f"({word(value)} != 0)"
            result = self._either(node, test, *((result, value) if all_of else (value, result)))
        return result

    def _either(self, node: ast.AST, test: str, body: Value, orelse: Value) -> Value:
        a, b = self.number(node, body), self.number(node, orelse)
        if isinstance(a, Real) or isinstance(b, Real):
            return Real(f"({self.real(a)} if {test} else {self.real(b)})")
        text = f"({word(a)} if {test} else {word(b)})"
        both = Int(text, min(a.low, b.low), max(a.high, b.high), cut=a.cut or b.cut)
        if not both.fits and not both.cut:
            self.refuse(node, f"{self.source.text(node)} may be negative or beyond 63 bits, which no word can hold")
        return both

    # ---------------------------------------------------------------- conditions

    def condition(self, node: ast.expr) -> bool | str:
        """The text of a condition, or what it is if that is known."""
        match node:
            case ast.BoolOp(operator, parts):
                return self._junction(isinstance(operator, ast.And), parts)
            case ast.UnaryOp(ast.Not(), operand):
                known = self.condition(operand)
                return (not known) if isinstance(known, bool) else f"(not {known})"
            case ast.Compare(left, operators, rights):
                return self._comparisons(node, left, operators, rights)
        value = self.exact(node)
        if isinstance(value, Const):
            return bool(value.value)
        if isinstance(value, Int) and value.boolean:
            return value.text
        return f"({word(self.number(node, value))} != 0)"

    def _junction(self, all_of: bool, parts: list[ast.expr]) -> bool | str:
        texts: list[str] = []
        conditional = self.conditional
        for at, part in enumerate(parts):
            self.conditional = conditional or at > 0
            known = self.condition(part)
            self.conditional = conditional
            if isinstance(known, str):
                texts.append(known)
            elif known is not all_of:
                if not texts:
                    return known
                texts.append(str(known))
                break
        return f"({(' and ' if all_of else ' or ').join(texts)})" if texts else all_of

    def _comparisons(
        self, node: ast.Compare, left: ast.expr, operators: list[ast.cmpop], rights: list[ast.expr]
    ) -> bool | str:
        texts: list[str] = []
        for at, (operator, right) in enumerate(zip(operators, rights, strict=True)):
            before = left if at == 0 else rights[at - 1]
            known = self._comparison(node, before, operator, right, chained=len(rights) > 1)
            if known is False:
                return False if not texts else f"({' and '.join(texts)} and False)"
            if isinstance(known, str):
                texts.append(known)
        return f"({' and '.join(texts)})" if texts else True

    def _comparison(
        self, node: ast.AST, left: ast.expr, operator: ast.cmpop, right: ast.expr, *, chained: bool
    ) -> bool | str:
        if isinstance(operator, ast.In | ast.NotIn):
            return self._among(node, left, right, inside=isinstance(operator, ast.In))
        x, y = self.exact(left), self.exact(right)
        if isinstance(operator, ast.Is | ast.IsNot):
            if isinstance(x, Const) and isinstance(y, Const):
                return (x.value is y.value) == isinstance(operator, ast.Is)
            if isinstance(y, Const) and y.value is None:
                return isinstance(operator, ast.IsNot)
            self.refuse(node, f"{self.source.text(node)}: `is` cannot be compiled; compare with ==")
        if isinstance(x, Const) and isinstance(y, Const):
            return bool(COMPARISONS[type(operator)][1](x.value, y.value))
        a, b = self.number(left, x), self.number(right, y)
        sign = COMPARISONS[type(operator)][0]
        if isinstance(a, Real) or isinstance(b, Real):
            return f"({self.real(a)} {sign} {self.real(b)})"
        return compare(sign, a, b)

    def _among(self, node: ast.AST, left: ast.expr, right: ast.expr, *, inside: bool) -> bool | str:
        group = self.exact(right)
        value = self.exact(left)
        if isinstance(group, Const) and isinstance(group.value, tuple | frozenset | set | list | range):
            items: list[Value] = [Const(item) for item in sorted(group.value)]
        elif isinstance(group, Group):
            items = list(group.items)
        else:
            self.refuse(node, f"{self.source.text(node)}: `in` can be compiled for a tuple of numbers alone")
        if isinstance(value, Const) and all(isinstance(item, Const) for item in items):
            return (value.value in [item.value for item in items if isinstance(item, Const)]) == inside
        if len(items) > _AMONG_MAX:
            self.refuse(
                node, f"{self.source.text(node)}: more than {_AMONG_MAX} numbers; look them up in a tuple by index"
            )
        a = self.number(left, value)
        numbers = [self.number(right, item) for item in items]
        if isinstance(a, Real) or not a.simple:
            name = self.held(node, a, len(items))
            a = Int(name, a.low, a.high) if isinstance(a, Int) else Real(name)
        if isinstance(a, Real):
            self.refuse(node, f"{self.source.text(node)}: `in` cannot be compiled for real numbers")
        tests = [compare("==", a, b) for b in numbers if isinstance(b, Int)]
        if True in tests:
            return inside
        text = f"({' or '.join(test for test in tests if isinstance(test, str)) or 'False'})"
        return text if inside else f"(not {text})"

    def held(self, node: ast.AST, value: Int | Real, times: int) -> str:
        """The text of a word that is used so many times. It is computed before the statement that it stands in."""
        if self.conditional:
            if times > _REPEATED_MAX or _CALL.search(value.text):
                self.refuse(
                    node, f"{self.source.text(node)}: give the left side a name of its own in a statement before"
                )
            return word(value)
        name = self.temporary()
        self.emit(f"{name} = {word(value)}")
        return name

    conditional = False
    """Whether the expression at hand may not be computed at all, or more than once (behind ``and``, in a ``while``)."""


def _name(node: ast.AST) -> str:
    names: dict[type[ast.AST], str] = {
        ast.ListComp: "a list comprehension",
        ast.SetComp: "a set comprehension",
        ast.DictComp: "a dict comprehension",
        ast.GeneratorExp: "a generator expression",
        ast.Lambda: "a lambda",
        ast.Dict: "a dict",
        ast.Set: "a set",
        ast.JoinedStr: "an f-string",
        ast.Await: "await",
        ast.Yield: "yield",
        ast.Starred: "an unpacking",
        ast.NamedExpr: ":=",
    }
    return names.get(type(node), type(node).__name__)


def _instead(node: ast.AST) -> str:
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return "write a loop"
    if isinstance(node, ast.Lambda):
        return "define a function"
    if isinstance(node, ast.Dict | ast.Set):
        return "make a table of records (nf.Table), or look numbers up in a tuple"
    if isinstance(node, ast.JoinedStr):
        return "there are no strings in compiled code; keep numbers, and make text of them where records are read"
    return "write it as assignments of its own"
