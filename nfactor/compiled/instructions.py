"""The instructions behind the names of ``machine``, as LLVM builds them."""

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir

from nfactor.compiled.pieces import mark

WORD: Final = ir.IntType(64)
BIT: Final = ir.IntType(1)
DOUBLE: Final = ir.DoubleType()
_OCTETS: Final = ir.IntType(8).as_pointer()

Builder = Any
Instruction = Callable[..., Any]


def _load(bits: int, signed: bool) -> Instruction:
    def build(builder: Builder, address: Any, piece: str | None = None) -> Any:
        value = mark(builder, builder.load(builder.inttoptr(address, ir.IntType(bits).as_pointer())), piece)
        value.align = 1
        if bits == 64:
            return value
        return (builder.sext if signed else builder.zext)(value, WORD)

    return build


def _store(bits: int) -> Instruction:
    def build(builder: Builder, address: Any, value: Any, piece: str | None = None) -> None:
        cut = value if bits == 64 else builder.trunc(value, ir.IntType(bits))
        pointer = builder.inttoptr(address, ir.IntType(bits).as_pointer())
        mark(builder, builder.store(cut, pointer, align=1), piece)

    return build


def _load_fixed(builder: Builder, address: Any) -> Any:
    value = _load(64, True)(builder, address)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def _load_shared(builder: Builder, address: Any) -> Any:
    return builder.load_atomic(builder.inttoptr(address, WORD.as_pointer()), "monotonic", 8)


def _swap(bits: int) -> Instruction:
    def build(builder: Builder, word: Any) -> Any:
        narrow = ir.IntType(bits)
        cut = word if bits == 64 else builder.trunc(word, narrow)
        swapped = _call(builder, f"llvm.bswap.i{bits}", narrow, [narrow], [cut])
        return swapped if bits == 64 else builder.zext(swapped, WORD)

    return build


def _load_double(builder: Builder, address: Any) -> Any:
    value = builder.load(builder.inttoptr(address, DOUBLE.as_pointer()))
    value.align = 1
    return value


def _store_double(builder: Builder, address: Any, value: Any) -> None:
    builder.store(value, builder.inttoptr(address, DOUBLE.as_pointer()), align=1)


def _call(builder: Builder, name: str, returned: Any, types: list[Any], values: list[Any]) -> Any:
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(returned, types), name)
    return builder.call(function, values)


def _prefetch(builder: Builder, address: Any) -> None:
    word = ir.IntType(32)
    pointer = builder.inttoptr(address, _OCTETS)
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [_OCTETS, word, word, word], [pointer, word(1), word(3), word(1)])


def _fold_product(builder: Builder, a: Any, b: Any) -> Any:
    wide = ir.IntType(128)
    product = builder.mul(builder.zext(a, wide), builder.zext(b, wide))
    high = builder.trunc(builder.lshr(product, wide(64)), WORD)
    return builder.xor(high, builder.trunc(product, WORD))


def _copy(builder: Builder, target: Any, source: Any, octets: Any) -> None:
    pointers = [builder.inttoptr(address, _OCTETS) for address in (target, source)]
    _call(builder, "llvm.memcpy.p0.p0.i64", ir.VoidType(), [_OCTETS, _OCTETS, WORD, BIT], [*pointers, octets, BIT(0)])


def _clear(builder: Builder, target: Any, octets: Any) -> None:
    octet = ir.IntType(8)
    values = [builder.inttoptr(target, _OCTETS), octet(0), octets, BIT(0)]
    _call(builder, "llvm.memset.p0.i64", ir.VoidType(), [_OCTETS, octet, WORD, BIT], values)


def _overflow(name: str) -> Instruction:
    def build(builder: Builder, a: Any, b: Any) -> tuple[Any, Any]:
        both = ir.LiteralStructType([WORD, BIT])
        result = _call(builder, f"llvm.{name}.with.overflow.i64", both, [WORD, WORD], [a, b])
        return builder.extract_value(result, 0), builder.extract_value(result, 1)

    return build


def least(builder: Builder, a: Any, b: Any) -> Any:
    """Of signed words."""
    return builder.select(builder.icmp_signed("<", b, a), b, a)


def most(builder: Builder, a: Any, b: Any) -> Any:
    """Of signed words."""
    return builder.select(builder.icmp_signed(">", b, a), b, a)


def _call_address(builder: Builder, address: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(WORD, [WORD, WORD, WORD])
    return builder.call(builder.inttoptr(address, kind.as_pointer()), [a, b, c])


ACCESSES: Final[dict[str, Instruction]] = {
    **{f"ld_u{bits}": _load(bits, False) for bits in (8, 16, 32, 64)},
    **{f"ld_i{bits}": _load(bits, True) for bits in (8, 16, 32, 64)},
    **{f"st_{bits}": _store(bits) for bits in (8, 16, 32, 64)},
}
"""Loads and stores; they take the piece of memory that they touch besides, if it is known."""
INSTRUCTIONS: Final[dict[str, Instruction]] = {
    **ACCESSES,
    "ld_fixed": _load_fixed,
    "ld_shared": _load_shared,
    "ld_f64": _load_double,
    "st_f64": _store_double,
    **{f"swap{bits}": _swap(bits) for bits in (16, 32, 64)},
    "prefetch": _prefetch,
    "fold_product": _fold_product,
    "copy_octets": _copy,
    "clear_octets": _clear,
    **{name: _overflow(name) for name in ("sadd", "ssub", "smul", "uadd", "umul")},
    "below": lambda builder, a, b: builder.icmp_unsigned("<", a, b),
    "lshr": lambda builder, a, b: builder.lshr(a, b),
    "udiv": lambda builder, a, b: builder.udiv(a, b),
    "urem": lambda builder, a, b: builder.urem(a, b),
    "real_of": lambda builder, a: builder.sitofp(a, DOUBLE),
    "real_of_unsigned": lambda builder, a: builder.uitofp(a, DOUBLE),
    "word_of": lambda builder, a: builder.fptosi(a, WORD),
    "call_address": _call_address,
    "min": least,
    "max": most,
}
"""By name: takes the builder and the operands' values."""


def floor_divide(builder: Builder, a: Any, b: Any) -> Any:
    """Rounded down, as Python does."""
    quotient, remainder = builder.sdiv(a, b), builder.srem(a, b)
    uneven = builder.icmp_signed("!=", remainder, WORD(0))
    differ = builder.icmp_signed("<", builder.xor(remainder, b), WORD(0))
    return builder.sub(quotient, builder.zext(builder.and_(uneven, differ), WORD))


def floor_rest(builder: Builder, a: Any, b: Any) -> Any:
    """Of the sign of ``b``, as in Python."""
    remainder = builder.srem(a, b)
    uneven = builder.icmp_signed("!=", remainder, WORD(0))
    differ = builder.icmp_signed("<", builder.xor(remainder, b), WORD(0))
    return builder.add(remainder, builder.select(builder.and_(uneven, differ), b, WORD(0)))
