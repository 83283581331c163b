"""What the translator knows of an expression: the text that computes it, and what its value can be.

An integer has a range, which follows from the widths of the fields and constants that it is made of. The range decides
whether the word that holds it is signed or unsigned, and whether an operation needs to be checked.
"""

from typing import Any, Final, TypeAlias

import attrs

from nfactor.dataplane.state import Scalar, Schema

SIGNED_MIN: Final = -(1 << 63)
SIGNED_MAX: Final = (1 << 63) - 1
UNSIGNED_MAX: Final = (1 << 64) - 1
_CLASSES: Final = (
    *((0, (1 << bits) - 1) for bits in (1, 8, 16, 32, 63)),
    (SIGNED_MIN, SIGNED_MAX),
    (0, UNSIGNED_MAX),
)
"""Ranges that variables and parameters are widened to, so that there are few of them."""


@attrs.frozen
class Int:
    """An integer from ``low`` to ``high``. ``cut``: the text gives only its lowest 64 bits."""

    text: str
    low: int
    high: int
    cut: bool = False
    boolean: bool = False
    """The text is a condition, not a word."""
    simple: bool = False
    """The text may stand twice: a name or a number."""

    @property
    def fits(self) -> bool:
        """Whether a word, signed or unsigned, can hold every value of the range."""
        return (self.low >= 0 and self.high <= UNSIGNED_MAX) or (self.low >= SIGNED_MIN and self.high <= SIGNED_MAX)

    @property
    def unsigned(self) -> bool:
        """Whether the word has to be read as unsigned."""
        return self.high > SIGNED_MAX


@attrs.frozen
class Real:
    """A double."""

    text: str


@attrs.frozen
class Const:
    """Something that is known when the chain is built: a number, a function, an object that the NF holds."""

    value: Any


@attrs.frozen
class View:
    """Numbers of one width, one behind the other in memory."""

    element: Scalar
    base: str
    """Text of the address of the first."""
    count: str
    """Text of how many there are."""
    mark: str = ""
    """Statement that says that a flow's state has changed; none if it is no state."""
    constant: bool = False
    """May not be written."""


@attrs.frozen
class Record:
    """A state, a record or the row of a table."""

    schema: Schema
    base: str
    mark: str = ""
    constant: bool = False


@attrs.frozen
class Octets:
    """A byte string: its octets from an address on, and how many there are. ``count_max`` bounds ``count``."""

    base: str
    count: str
    count_max: int


@attrs.frozen
class Rows:
    """A table of records."""

    schema: Schema
    base: str
    count: str


@attrs.frozen
class Grid:
    """A constant of nested tuples of equal lengths, below some indices."""

    base: str
    dimensions: tuple[int, ...]
    low: int
    high: int
    offset: str = "0"


@attrs.frozen
class Group:
    """A tuple of values."""

    items: tuple["Value", ...]


@attrs.frozen
class PacketValue:
    """The ``pkt`` of ``process_pkt``."""


@attrs.frozen
class FlowValue:
    """The ``flow`` of ``flow_expires``."""


Value: TypeAlias = Int | Real | Const | View | Record | Octets | Rows | Grid | Group | PacketValue | FlowValue


def of_scalar(scalar: Scalar, text: str) -> Int | Real:
    """What a field of that width holds."""
    if scalar.real:
        return Real(text)
    bits = 8 * scalar.octets
    return Int(text, -(1 << bits - 1), (1 << bits - 1) - 1) if scalar.signed else Int(text, 0, (1 << bits) - 1)


def constant(value: int) -> Int:
    """A number that is known; beyond 64 bits it can only be cut."""
    word = value & UNSIGNED_MAX
    word = word - (1 << 64) if word > SIGNED_MAX else word
    text = str(word) if word > SIGNED_MIN else "(-9223372036854775807 - 1)"
    known = Int(text if word >= 0 else f"({text})", value, value, simple=True)
    return known if known.fits else attrs.evolve(known, cut=True)


def widened(low: int, high: int) -> tuple[int, int]:
    """The smallest of a few ranges that holds this one."""
    for least, most in _CLASSES:
        if least <= low and high <= most:
            return least, most
    return min(low, SIGNED_MIN), max(high, UNSIGNED_MAX)
