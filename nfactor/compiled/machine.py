"""What compiled code can do beside arithmetic on words: load and store at an address, multiply to 128 bits, prefetch.

This is the lowest layer of the dialect that ``codegen`` compiles. Here the operations are names for who reads, checks
and lints code in the dialect, with what they mean; ``codegen`` emits an instruction or two for each. Addresses and
integers are 64-bit words; an unsigned one has the same bits. Loads widen by the signedness of what is loaded, stores
cut to the width.

Functions are marked ``inlined`` (always a part of whoever calls them), ``outlined`` (never: what is rarely needed must
not fill the loop) or ``entry`` (called from Python, with words).
"""

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def inlined(function: F) -> F:
    """Mark a function as always inlined."""
    return function


def outlined(function: F) -> F:
    """Mark a function as never inlined."""
    return function


def entry(function: F) -> F:
    """Mark a function as callable from Python."""
    return function


def _compiled_only() -> NoReturn:
    raise NotImplementedError("this exists in compiled code alone")


def ld_u8(address: int) -> int:
    _compiled_only()


def ld_u16(address: int) -> int:
    _compiled_only()


def ld_u32(address: int) -> int:
    _compiled_only()


def ld_u64(address: int) -> int:
    _compiled_only()


def ld_i8(address: int) -> int:
    _compiled_only()


def ld_i16(address: int) -> int:
    _compiled_only()


def ld_i32(address: int) -> int:
    _compiled_only()


def ld_i64(address: int) -> int:
    _compiled_only()


def ld_fixed(address: int) -> int:
    """Load a word that no compiled code writes: once is enough, whatever is stored elsewhere meanwhile."""
    _compiled_only()


def ld_shared(address: int) -> int:
    """Load a word that another thread may write meanwhile: each time anew."""
    _compiled_only()


def ld_f64(address: int) -> float:
    _compiled_only()


def st_8(address: int, value: int) -> None:
    _compiled_only()


def st_16(address: int, value: int) -> None:
    _compiled_only()


def st_32(address: int, value: int) -> None:
    _compiled_only()


def st_64(address: int, value: int) -> None:
    _compiled_only()


def st_f64(address: int, value: float) -> None:
    _compiled_only()


def prefetch(address: int) -> None:
    """Have the line of that address brought into the cache; any address will do."""
    _compiled_only()


def fold_product(a: int, b: int) -> int:
    """Both halves of the 128-bit product of two unsigned words, xored."""
    _compiled_only()


def copy_octets(target: int, source: int, octets: int) -> None:
    """``memcpy``."""
    _compiled_only()


def clear_octets(target: int, octets: int) -> None:
    """``memset`` to zero."""
    _compiled_only()


def sadd(a: int, b: int) -> tuple[int, bool]:
    """The sum of signed words, and whether it overflowed."""
    _compiled_only()


def ssub(a: int, b: int) -> tuple[int, bool]:
    _compiled_only()


def smul(a: int, b: int) -> tuple[int, bool]:
    _compiled_only()


def uadd(a: int, b: int) -> tuple[int, bool]:
    """The same of unsigned words."""
    _compiled_only()


def umul(a: int, b: int) -> tuple[int, bool]:
    _compiled_only()


def below(a: int, b: int) -> bool:
    """``a < b`` of unsigned words."""
    _compiled_only()


def lshr(a: int, bits: int) -> int:
    """An unsigned word shifted right by less than 64."""
    _compiled_only()


def udiv(a: int, b: int) -> int:
    """The quotient of unsigned words; ``b`` is not 0."""
    _compiled_only()


def urem(a: int, b: int) -> int:
    _compiled_only()


def call_address(address: int, a: int, b: int, c: int) -> int:
    """Call a function at an address."""
    _compiled_only()


def swap16(word: int) -> int:
    """The number that two octets are in big-endian order, of the number that they are in little-endian order."""
    _compiled_only()


def swap32(word: int) -> int:
    _compiled_only()


def swap64(word: int) -> int:
    _compiled_only()


def real_of(word: int) -> float:
    """A signed word as a double."""
    _compiled_only()


def real_of_unsigned(word: int) -> float:
    _compiled_only()


def word_of(real: float) -> int:
    """Towards zero; the double is within the range of a word."""
    _compiled_only()
