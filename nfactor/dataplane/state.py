"""State schemas: classes of fixed-width fields, and the record layout that follows from them.

A flow's state must be taken out of a runtime and put into another without asking the NF (paper section 3.3). So a state
class says the width of each field, and everything else follows: a record of fixed size (numpy dtype and ``struct``
format, naturally aligned, little-endian), a version that changes when the layout does, and the copy in both directions.
Extracting the state of a thousand flows is then a copy of bytes::

    @state
    class Counters:
        packets: u64
        octets: u64
        last_sizes: Annotated[list[int], array(u16, 4)]
        host: Annotated[bytes, octets(64)]

In Python the fields are plain ints, floats, lists and bytes. A record holds an integer modulo its width, as the same
field wraps in compiled code; of a byte string the first ``n`` octets. Records that NFs emit are declared the same way.
"""

import struct
import zlib
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Final, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

import attrs
import numpy as np

from nfactor.errors import CallerError

T = TypeVar("T")


@attrs.frozen
class Scalar:
    """A number of fixed width; ``code`` is its struct and numpy code."""

    name: str
    code: str
    octets: int
    signed: bool = False
    real: bool = False

    def wrap(self, value: Any) -> Any:
        """The value as a field of this width holds it: integers modulo the width."""
        if self.real:
            return float(value)
        value = int(value) & ((1 << (8 * self.octets)) - 1)
        return value - (1 << (8 * self.octets)) if self.signed and value >> (8 * self.octets - 1) else value


@attrs.frozen
class Array:
    """A fixed number of numbers of one width."""

    element: Scalar
    count: int


@attrs.frozen
class Octets:
    """A byte string of at most ``octets_max`` octets."""

    octets_max: int


Kind = Scalar | Array | Octets

u8 = Annotated[int, Scalar("u8", "B", 1)]
u16 = Annotated[int, Scalar("u16", "H", 2)]
u32 = Annotated[int, Scalar("u32", "I", 4)]
u64 = Annotated[int, Scalar("u64", "Q", 8)]
i8 = Annotated[int, Scalar("i8", "b", 1, signed=True)]
i16 = Annotated[int, Scalar("i16", "h", 2, signed=True)]
i32 = Annotated[int, Scalar("i32", "i", 4, signed=True)]
i64 = Annotated[int, Scalar("i64", "q", 8, signed=True)]
f64 = Annotated[float, Scalar("f64", "d", 8, real=True)]


def array(element: Any, count: int) -> Array:
    """For ``Annotated[list[int], array(u32, 4)]``: four u32. ``element`` is one of the scalar types of this module."""
    scalar = _kind(element)
    if not isinstance(scalar, Scalar) or count < 1:
        raise CallerError(f"array({element!r}, {count}): takes one of u8 … f64 and a count of at least 1")
    return Array(scalar, count)


def octets(octets_max: int) -> Octets:
    """For ``Annotated[bytes, octets(64)]``: up to 64 octets."""
    if not 1 <= octets_max <= 0xFFFF:
        raise CallerError(f"octets({octets_max}): takes 1 to 65535")
    return Octets(octets_max)


@attrs.frozen
class Field:
    """One field of a schema and where its octets lie in the record."""

    name: str
    kind: Kind
    offset: int


@attrs.frozen
class Schema:
    """The record layout of one state or record class."""

    cls: type
    fields: tuple[Field, ...]
    size: int
    """Octets of a record, a multiple of 8."""
    dtype: "np.dtype[np.void]"
    """The same layout for numpy and numba; a byte string is a sub-record ``(used: u2, octets: V n)``."""
    version: str
    """Eight hexadecimal digits that change with the layout (names, widths, order)."""
    _struct: struct.Struct
    _scalars: Callable[[Any], tuple[Any, ...]] | None
    """All fields of a state object at once, where every one of them is a number; most state is."""

    def pack(self, value: Any) -> bytes:
        """The record of a state object: ``size`` octets. Integers are taken modulo their width."""
        if self._scalars is not None:
            try:
                return self._struct.pack(*self._scalars(value))
            except struct.error:  # a value beyond its width
                pass
        return self._struct.pack(*self._values(value))

    def unpack(self, record: bytes | memoryview, offset: int = 0) -> Any:
        """A new state object from the ``size`` octets at ``offset``."""
        numbers = self._struct.unpack_from(record, offset)
        if self._scalars is not None:
            return self.cls(*numbers)
        values = iter(numbers)
        return self.cls(*(_from_record(field.kind, values) for field in self.fields))

    def _values(self, value: Any) -> list[Any]:
        flat: list[Any] = []
        for field in self.fields:
            _to_record(field.kind, getattr(value, field.name), flat)
        return flat


def _to_record(kind: Kind, value: Any, flat: list[Any]) -> None:
    match kind:
        case Scalar():
            flat.append(kind.wrap(value))
        case Array():
            if len(value) != kind.count:
                raise CallerError(f"an array of {kind.count} holds {len(value)} values")
            flat.extend(kind.element.wrap(item) for item in value)
        case Octets():
            used = bytes(value[: kind.octets_max])
            flat += (len(used), used)


def _from_record(kind: Kind, values: Any) -> Any:
    match kind:
        case Scalar():
            return next(values)
        case Array():
            return [next(values) for _ in range(kind.count)]
        case Octets():
            used = next(values)
            return next(values)[:used]


@dataclass_transform(kw_only_default=False)
def state(cls: type[T]) -> type[T]:
    """Make a state (or record) class: slots, every field zero unless given, and its ``Schema``.

    Raises ``CallerError`` naming class and field where an annotation is not a type of this module.
    """
    kinds = _kinds(cls)
    for name, kind in kinds.items():
        if name not in vars(cls):
            setattr(cls, name, _zero(kind))
    made: Any = attrs.define(slots=True, eq=True, auto_attribs=True)(cls)
    made.__schema__ = _layout(made, kinds)
    return made  # type: ignore[no-any-return]


@dataclass_transform(kw_only_default=False)
def record(cls: type[T]) -> type[T]:
    """Make a class of what an NF emits: the same fixed-width fields as state."""
    return state(cls)


def schema_of(cls: type) -> Schema:
    """The schema of a class that ``state`` made; ``CallerError`` if it did not."""
    schema = vars(cls).get("__schema__")
    if not isinstance(schema, Schema):
        raise CallerError(f"{cls.__qualname__} is no state class: decorate it with @nf.state")
    return schema


def _kinds(cls: type) -> dict[str, Kind]:
    hints = get_type_hints(cls, include_extras=True)
    kinds: dict[str, Kind] = {}
    for name, hint in hints.items():
        kind = _kind(hint)
        if kind is None:
            raise CallerError(
                f"{cls.__qualname__}.{name}: {hint!r} has no fixed width; use nf.u8 … nf.f64, "
                "Annotated[list[int], nf.array(…)] or Annotated[bytes, nf.octets(…)]"
            )
        kinds[name] = kind
    return kinds


def _kind(hint: Any) -> Kind | None:
    if get_origin(hint) is Annotated:
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Scalar | Array | Octets):
                return extra
    return None


def _zero(kind: Kind) -> Any:
    match kind:
        case Scalar():
            return 0.0 if kind.real else 0
        case Array():
            return attrs.field(factory=_zeros(kind))
        case Octets():
            return b""


def _zeros(kind: Array) -> Callable[[], list[Any]]:
    return lambda: [0.0 if kind.element.real else 0] * kind.count


_USED_OCTETS: Final = 2  # a byte string is preceded by its used length, u16


def _layout(cls: type, kinds: dict[str, Kind]) -> Schema:
    """Place the fields at naturally aligned offsets and derive struct format, dtype and version from that."""
    fields: list[Field] = []
    formats, dtypes, end = ["<"], [], 0
    for name, kind in kinds.items():
        alignment, size, code, dtype = _shape(kind)
        offset = -(-end // alignment) * alignment
        formats.append(f"{offset - end}x{code}")
        fields.append(Field(name, kind, offset))
        dtypes.append(dtype)
        end = offset + size
    size = max(8, -(-end // 8) * 8)
    formats.append(f"{size - end}x")
    description: Any = {
        "names": [field.name for field in fields],
        "formats": dtypes,
        "offsets": [field.offset for field in fields],
        "itemsize": size,
    }
    version = f"{zlib.crc32(repr([(f.name, f.kind, f.offset) for f in fields]).encode()):08x}"
    scalars = None
    if len(fields) > 1 and all(isinstance(field.kind, Scalar) for field in fields):
        scalars = attrgetter(*kinds)
    return Schema(cls, tuple(fields), size, np.dtype(description), version, struct.Struct("".join(formats)), scalars)


def _shape(kind: Kind) -> tuple[int, int, str, Any]:
    """``(alignment, octets, struct code, numpy dtype)`` of a field."""
    match kind:
        case Scalar():
            return kind.octets, kind.octets, kind.code, np.dtype("<" + kind.code)
        case Array():
            code = kind.element.code
            return (
                kind.element.octets,
                kind.element.octets * kind.count,
                f"{kind.count}{code}",
                np.dtype(("<" + code, (kind.count,))),
            )
        case Octets():
            n = kind.octets_max
            return (
                _USED_OCTETS,
                _USED_OCTETS + n,
                f"H{n}s",
                np.dtype([("used", "<u2"), ("octets", f"V{n}")]),
            )
