"""Ranges: what an operation on integers can give, and how words of known ranges are compared."""

import ast
from collections.abc import Callable
from typing import Any, Final

from nfactor.compiled.scope import word
from nfactor.compiled.values import SIGNED_MAX, SIGNED_MIN, UNSIGNED_MAX, Int

OPERATORS: Final[dict[type[ast.AST], tuple[str, Callable[[Any, Any], Any]]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("-", lambda a, b: a - b),
    ast.Mult: ("*", lambda a, b: a * b),
    ast.FloorDiv: ("//", lambda a, b: a // b),
    ast.Mod: ("%", lambda a, b: a % b),
    ast.LShift: ("<<", lambda a, b: a << b),
    ast.RShift: (">>", lambda a, b: a >> b),
    ast.BitAnd: ("&", lambda a, b: a & b),
    ast.BitOr: ("|", lambda a, b: a | b),
    ast.BitXor: ("^", lambda a, b: a ^ b),
    ast.Div: ("/", lambda a, b: a / b),
}
COMPARISONS: Final[dict[type[ast.AST], tuple[str, Callable[[Any, Any], bool]]]] = {
    ast.Eq: ("==", lambda a, b: a == b),
    ast.NotEq: ("!=", lambda a, b: a != b),
    ast.Lt: ("<", lambda a, b: a < b),
    ast.LtE: ("<=", lambda a, b: a <= b),
    ast.Gt: (">", lambda a, b: a > b),
    ast.GtE: (">=", lambda a, b: a >= b),
}
_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
SHIFT_MAX: Final = 64


def is_mask(value: Int) -> bool:
    """Whether ``&`` with it gives what is right although the other side is cut."""
    return not value.cut and value.low >= 0


def range_of(sign: str, a: Int, b: Int) -> tuple[int, int]:
    """The least and the greatest result, as Python would compute it."""
    if sign in ("&", "|", "^"):
        return _bit_range(sign, a, b)
    if sign == "%":
        return (
            (0, min(b.high - 1, a.high if a.low >= 0 else b.high - 1))
            if b.low > 0
            else (min(b.low + 1, 0), max(b.high - 1, 0))
        )
    if sign == "//":
        if b.low > 0:
            return min(a.low // b.low, a.low // b.high), max(a.high // b.low, a.high // b.high)
        bound = max(abs(a.low), abs(a.high))
        return -bound, bound
    if sign in ("<<", ">>"):
        least, most = max(b.low, 0), min(max(b.high, 0), 2 * SHIFT_MAX)
        ends = [_BY_SIGN[sign](x, n) for x in (a.low, a.high) for n in (least, most)]
    else:
        ends = [_BY_SIGN[sign](x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return min(ends), max(ends)


_BY_SIGN: Final = dict(OPERATORS.values())


def _bit_range(sign: str, a: Int, b: Int) -> tuple[int, int]:
    bits = max(x.bit_length() for x in (a.low, a.high, b.low, b.high))
    if a.low >= 0 and b.low >= 0:
        return (0, min(a.high, b.high)) if sign == "&" else (0, (1 << bits) - 1)
    return -(1 << bits), (1 << bits) - 1


def checked(text: str, low: int, high: int, unsigned: bool) -> Int:
    """The result of an operation that raises where the word overflows."""
    least, most = (0, UNSIGNED_MAX) if unsigned else (SIGNED_MIN, SIGNED_MAX)
    return Int(text, min(max(low, least), most), max(min(high, most), least))


def compare(sign: str, a: Int, b: Int) -> bool | str:
    """Text of a comparison of two exact words; what it is, if the ranges tell."""
    compute = next(compute for text, compute in COMPARISONS.values() if text == sign)
    if a.low == a.high and b.low == b.high and a.simple and b.simple:
        return compute(a.low, b.low)
    x, y = word(a), word(b)
    if not a.unsigned and not b.unsigned:
        return f"({x} {sign} {y})"
    if a.low >= 0 and b.low >= 0:
        if sign in ("==", "!="):
            return f"({x} {sign} {y})"
        return {
            "<": f"below({x}, {y})",
            ">": f"below({y}, {x})",
            "<=": f"(not below({y}, {x}))",
            ">=": f"(not below({x}, {y}))",
        }[sign]
    if a.low >= 0:
        sign, x, y = _MIRRORED[sign], y, x
    return {
        "==": f"equal_mixed({x}, {y})",
        "!=": f"(not equal_mixed({x}, {y}))",
        "<": f"below_mixed({x}, {y})",
        ">=": f"(not below_mixed({x}, {y}))",
        ">": f"above_mixed({x}, {y})",
        "<=": f"(not above_mixed({x}, {y}))",
    }[sign]
