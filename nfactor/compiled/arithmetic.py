"""Integers as NFs mean them, on 64-bit words: exact, or an exception.

Python's integers have no width. A compiled one is a word, signed or (where it cannot be negative but exceeds 63 bits)
unsigned. The translator knows the range of every operation; where the result may not fit, it calls what is here, which
raises rather than compute something else than Python would. ``cx`` and ``site`` say where it happened.
"""

from nfactor.compiled.layout import FAIL_SITE
from nfactor.compiled.machine import below, inlined, lshr, sadd, smul, ssub, st_64, uadd, udiv, umul, urem

_BITS = 64
_SIGN = -(1 << 63)


@inlined
def fail(cx: int, site: int) -> None:
    """Note where, and raise."""
    st_64(cx + FAIL_SITE, site)
    raise ArithmeticError


@inlined
def add(cx: int, site: int, a: int, b: int) -> int:
    result, overflow = sadd(a, b)
    if overflow:
        fail(cx, site)
    return result


@inlined
def sub(cx: int, site: int, a: int, b: int) -> int:
    result, overflow = ssub(a, b)
    if overflow:
        fail(cx, site)
    return result


@inlined
def mul(cx: int, site: int, a: int, b: int) -> int:
    result, overflow = smul(a, b)
    if overflow:
        fail(cx, site)
    return result


@inlined
def add_unsigned(cx: int, site: int, a: int, b: int) -> int:
    result, overflow = uadd(a, b)
    if overflow:
        fail(cx, site)
    return result


@inlined
def mul_unsigned(cx: int, site: int, a: int, b: int) -> int:
    result, overflow = umul(a, b)
    if overflow:
        fail(cx, site)
    return result


@inlined
def sub_unsigned(cx: int, site: int, a: int, b: int) -> int:
    """The signed difference of two unsigned words."""
    result = a - b
    if (result < 0) != below(a, b):
        fail(cx, site)
    return result


@inlined
def shift_left(cx: int, site: int, a: int, bits: int) -> int:
    """Signed; shifted back it must be what it was."""
    if bits < 0 or (a != 0 and (bits >= _BITS or (a << bits) >> bits != a)):
        fail(cx, site)
    return a << bits if bits < _BITS else 0


@inlined
def shift_left_unsigned(cx: int, site: int, a: int, bits: int) -> int:
    if bits < 0 or (a != 0 and (bits >= _BITS or lshr(a << bits, bits) != a)):
        fail(cx, site)
    return a << bits if bits < _BITS else 0


@inlined
def shift_left_cut(cx: int, site: int, a: int, bits: int) -> int:
    """The lowest 64 bits of what is shifted."""
    if bits < 0:
        fail(cx, site)
    return a << bits if bits < _BITS else 0


@inlined
def shift_right(cx: int, site: int, a: int, bits: int) -> int:
    if bits < 0:
        fail(cx, site)
    return a >> bits if bits < _BITS else a >> (_BITS - 1)


@inlined
def shift_right_unsigned(cx: int, site: int, a: int, bits: int) -> int:
    if bits < 0:
        fail(cx, site)
    return lshr(a, bits) if bits < _BITS else 0


@inlined
def quotient(cx: int, site: int, a: int, b: int) -> int:
    """Rounded down, as Python does."""
    if b == 0 or (a == _SIGN and b == -1):
        fail(cx, site)
    return a // b


@inlined
def rest(cx: int, site: int, a: int, b: int) -> int:
    """Of the sign of ``b``, as in Python."""
    if b == 0:
        fail(cx, site)
    return 0 if b == -1 else a % b


@inlined
def quotient_unsigned(cx: int, site: int, a: int, b: int) -> int:
    if b == 0:
        fail(cx, site)
    return udiv(a, b)


@inlined
def rest_unsigned(cx: int, site: int, a: int, b: int) -> int:
    if b == 0:
        fail(cx, site)
    return urem(a, b)


@inlined
def below_mixed(a: int, b: int) -> bool:
    """``a < b`` of a signed and an unsigned word."""
    return a < 0 or below(a, b)


@inlined
def above_mixed(a: int, b: int) -> bool:
    """``a > b`` of a signed and an unsigned word."""
    return a >= 0 and below(b, a)


@inlined
def equal_mixed(a: int, b: int) -> bool:
    """``a == b`` of a signed and an unsigned word."""
    return a >= 0 and a == b


@inlined
def least(a: int, b: int) -> int:
    return min(a, b)


@inlined
def most(a: int, b: int) -> int:
    return max(a, b)


@inlined
def least_unsigned(a: int, b: int) -> int:
    return b if below(b, a) else a


@inlined
def most_unsigned(a: int, b: int) -> int:
    return b if below(a, b) else a


@inlined
def place(cx: int, site: int, index: int, count: int) -> int:
    """The place that an index means, from the end if it is negative; there must be one."""
    if index < 0:
        index += count
    if not below(index, count):
        fail(cx, site)
    return index


@inlined
def place_forward(cx: int, site: int, index: int, count: int) -> int:
    """The same for an index that is known not to be negative."""
    if not below(index, count):
        fail(cx, site)
    return index


@inlined
def reach(cx: int, site: int, at: int, octets: int, count: int) -> int:
    """``at``, where so many octets must be."""
    if at < 0 or at + octets > count:
        fail(cx, site)
    return at


@inlined
def number(condition: bool) -> int:
    """0 or 1."""
    return 1 if condition else 0
