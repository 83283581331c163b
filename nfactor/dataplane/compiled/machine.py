"""What compiled code can do that Python cannot say: load and store at an address, multiply to 128 bits, prefetch.

Everything that depends on numba's extension interface is in this file. Addresses and integers are 64-bit words; an
unsigned one has the same bits. Loads widen to 64 bits by the signedness of what is loaded, stores cut to the width.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = {"nogil": True, "error_model": "python", "boundscheck": False}
"""Bounds are checked by the code itself, against what it may touch."""


def inlined(function: F) -> F:
    """Compile as a part of whoever calls it."""
    return numba.njit(forceinline=True, **OPTIONS)(function)  # type: ignore[no-any-return]


def outlined(function: F) -> F:
    """Compile as a function of its own: what is rarely needed must not fill the loop."""
    return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]


def entry(function: F) -> F:
    """Compile as a function that Python calls, and keep it on disk."""
    return numba.njit(cache=True, **OPTIONS)(function)  # type: ignore[no-any-return]


def _loader(bits: int, signed: bool) -> Any:
    def load(typingctx: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()))
            value.align = 1
            if bits == 64:
                return value
            return (builder.sext if signed else builder.zext)(value, ir.IntType(64))

        return types.int64(types.int64), generate

    return intrinsic(load)


def _storer(bits: int) -> Any:
    def store(typingctx: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            builder.store(value, builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(store)


ld_u8, ld_u16, ld_u32, ld_u64 = (_loader(bits, False) for bits in (8, 16, 32, 64))
ld_i8, ld_i16, ld_i32, ld_i64 = (_loader(bits, True) for bits in (8, 16, 32, 64))
st_8, st_16, st_32, st_64 = (_storer(bits) for bits in (8, 16, 32, 64))


@intrinsic
def ld_f64(typingctx: Any, address: Any) -> Any:
    """Load a double."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = builder.load(builder.inttoptr(args[0], ir.DoubleType().as_pointer()))
        value.align = 1
        return value

    return types.float64(types.int64), generate


@intrinsic
def st_f64(typingctx: Any, address: Any, value: Any) -> Any:
    """Store a double."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.DoubleType().as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), generate


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Have the line of that address brought into the cache; any address will do."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch.p0", (), kind)
        builder.call(function, [builder.inttoptr(args[0], pointer), word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def fold_product(typingctx: Any, a: Any, b: Any) -> Any:
    """Both halves of the 128-bit product of two unsigned words, xored."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, wide(64)), word)
        return builder.xor(high, builder.trunc(product, word))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def copy_octets(typingctx: Any, target: Any, source: Any, octets: Any) -> Any:
    """``memcpy``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, ir.IntType(64), ir.IntType(1)])
        function = builder.module.declare_intrinsic("llvm.memcpy.p0.p0.i64", (), kind)
        target, source = (builder.inttoptr(address, pointer) for address in args[:2])
        builder.call(function, [target, source, args[2], ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def clear_octets(typingctx: Any, target: Any, octets: Any) -> Any:
    """``memset`` to zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, ir.IntType(8), ir.IntType(64), ir.IntType(1)])
        function = builder.module.declare_intrinsic("llvm.memset.p0.i64", (), kind)
        builder.call(function, [builder.inttoptr(args[0], pointer), ir.IntType(8)(0), args[1], ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _overflow(name: str) -> Any:
    """``(result, overflowed)`` of an operation on signed or unsigned words."""

    def operate(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word = ir.IntType(64)
            kind = ir.FunctionType(ir.LiteralStructType([word, ir.IntType(1)]), [word, word])
            function = builder.module.declare_intrinsic(f"llvm.{name}.with.overflow.i64", (), kind)
            both = builder.call(function, args)
            bits = [builder.extract_value(both, 0), builder.extract_value(both, 1)]
            return context.make_tuple(builder, signature.return_type, bits)

        return types.Tuple((types.int64, types.boolean))(types.int64, types.int64), generate

    return intrinsic(operate)


sadd, ssub, smul, uadd, umul = map(_overflow, ("sadd", "ssub", "smul", "uadd", "umul"))


def _unsigned(operation: str) -> Any:
    def operate(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            if operation == "<":
                return builder.icmp_unsigned("<", args[0], args[1])
            return getattr(builder, operation)(args[0], args[1])

        returned = types.boolean if operation == "<" else types.int64
        return returned(types.int64, types.int64), generate

    return intrinsic(operate)


below, lshr, udiv, urem = map(_unsigned, ("<", "lshr", "udiv", "urem"))
"""Unsigned: less than, shift right (by less than 64), quotient and rest (by what is not 0)."""
