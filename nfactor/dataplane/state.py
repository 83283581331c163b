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

A state object *is* its record: a ``ctypes`` structure over those octets, whose fields Python reads and writes as plain
ints, floats, arrays and bytes. What is stored is taken modulo the field's width at once, so a field means the same to
interpreted and to compiled code; of a byte string the first ``n`` octets are kept. An array has its length for ever:
write its elements. Records that NFs emit are declared the same way.
"""

import ctypes
import zlib
from typing import Annotated, Any, ClassVar, Final, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

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
    """The same layout for numpy; a byte string is a sub-record ``(used: u2, octets: V n)``."""
    version: str
    """Eight hexadecimal digits that change with the layout (names, widths, order)."""

    def pack(self, value: Any) -> bytes:
        """A copy of a state object's record: ``size`` octets."""
        assert type(value) is self.cls, f"{value!r} is no {self.cls.__qualname__}"
        return bytes(value)  # type: ignore[no-any-return, call-overload]

    def unpack(self, record: bytes | memoryview, offset: int = 0) -> Any:
        """A new state object from the ``size`` octets at ``offset``."""
        return self.cls.from_buffer_copy(record, offset)  # type: ignore[attr-defined]

    def at(self, address: int) -> Any:
        """The state object whose record lies at that address in memory, and stays there: nothing is copied."""
        return self.cls.from_address(address)  # type: ignore[attr-defined]

    def field(self, name: str) -> Field | None:
        """The field of that name."""
        return next((field for field in self.fields if field.name == name), None)


class _Record(ctypes.LittleEndianStructure):
    """What all state classes have in common."""

    def __init__(self, *values: Any, **named: Any) -> None:
        schema = schema_of(type(self))
        if len(values) > len(schema.fields):
            raise TypeError(f"{type(self).__name__} has {len(schema.fields)} fields, {len(values)} values were given")
        given = dict(zip((field.name for field in schema.fields), values, strict=False))
        for name, value in {**type(self).__defaults__, **given, **named}.items():
            field = schema.field(name)
            if field is None:
                raise TypeError(f"{type(self).__name__} has no field {name}")
            if isinstance(field.kind, Array):
                getattr(self, name)[:] = _elements(value, field.kind)
            else:
                setattr(self, name, value)

    __defaults__: ClassVar[dict[str, Any]] = {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        fields = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in schema_of(type(self)).fields)
        return f"{type(self).__name__}({fields})"


def _elements(value: Any, kind: Array) -> list[Any]:
    if len(value) != kind.count:
        raise CallerError(f"an array of {kind.count} holds {len(value)} values")
    return list(value)


class _Elements:
    """How an array field compares and shows itself: as the list of its elements."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Elements | list | tuple) and list(self) == list(other)  # type: ignore[call-overload,arg-type]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))  # type: ignore[call-overload]


def ctype_of(scalar: Scalar) -> Any:
    """The ctypes type of a number."""
    return _CTYPES[scalar.code]


def array_type(element: Scalar, count: int) -> Any:
    """The ctypes type of an array of numbers, whose objects show themselves as lists."""
    fields = {"_type_": ctype_of(element), "_length_": count}
    return type(f"{element.name}x{count}", (_Elements, ctypes.Array), fields)


_CTYPES: Final = {
    "B": ctypes.c_uint8,
    "H": ctypes.c_uint16,
    "I": ctypes.c_uint32,
    "Q": ctypes.c_uint64,
    "b": ctypes.c_int8,
    "h": ctypes.c_int16,
    "i": ctypes.c_int32,
    "q": ctypes.c_int64,
    "d": ctypes.c_double,
}


@dataclass_transform(kw_only_default=False)
def state(cls: type[T]) -> type[T]:
    """Make a state (or record) class: a structure over its record, every field zero unless given, and its ``Schema``.

    Raises ``CallerError`` naming class and field where an annotation is not a type of this module.
    """
    kinds = _kinds(cls)
    fields, size = _place(kinds)
    members: dict[str, Any] = {
        name: value
        for name, value in vars(cls).items()
        if name not in ("__dict__", "__weakref__", "__slots__", "__annotations__") and name not in kinds
    }
    structure: list[tuple[str, Any]] = []
    for field in fields:
        match field.kind:
            case Scalar():
                structure.append((field.name, ctype_of(field.kind)))
            case Array(element, count):
                structure.append((field.name, array_type(element, count)))
            case Octets(octets_max):
                used, octets_of = f"_{field.name}_used", f"_{field.name}_octets"
                structure += [(used, ctypes.c_uint16), (octets_of, ctypes.c_uint8 * octets_max)]
                members[field.name] = _octets_property(used, octets_of, octets_max)
    end = fields[-1].offset + _shape(fields[-1].kind)[1] if fields else 0
    if end < size:
        structure.append(("_", ctypes.c_uint8 * (size - end)))
    members["_fields_"] = structure
    members["__defaults__"] = {name: vars(cls)[name] for name in kinds if name in vars(cls)}
    made: Any = type(cls.__name__, (_Record,), members | {"__qualname__": cls.__qualname__})
    assert ctypes.sizeof(made) == size, "ctypes lays fields out as we do"
    version = f"{zlib.crc32(repr([(f.name, f.kind, f.offset) for f in fields]).encode()):08x}"
    made.__schema__ = Schema(made, fields, size, _dtype(fields, size), version)
    return made  # type: ignore[no-any-return]


def _octets_property(used: str, octets_of: str, octets_max: int) -> property:
    def get(self: Any) -> bytes:
        return bytes(getattr(self, octets_of))[: getattr(self, used)]

    def put(self: Any, value: bytes) -> None:
        kept = bytes(value[:octets_max])
        setattr(self, used, len(kept))
        setattr(self, octets_of, type(getattr(self, octets_of)).from_buffer_copy(kept.ljust(octets_max, b"\0")))

    return property(get, put)


@dataclass_transform(kw_only_default=False)
def record(cls: type[T]) -> type[T]:
    """Make a class of what an NF emits, or of the rows of a table: the same fixed-width fields as state."""
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


_USED_OCTETS: Final = 2  # a byte string is preceded by its used length, u16


def _place(kinds: dict[str, Kind]) -> tuple[tuple[Field, ...], int]:
    """The fields at naturally aligned offsets, and the size of the record."""
    fields: list[Field] = []
    end = 0
    for name, kind in kinds.items():
        alignment, size, _ = _shape(kind)
        offset = -(-end // alignment) * alignment
        fields.append(Field(name, kind, offset))
        end = offset + size
    return tuple(fields), max(8, -(-end // 8) * 8)


def _dtype(fields: tuple[Field, ...], size: int) -> "np.dtype[np.void]":
    description: Any = {
        "names": [field.name for field in fields],
        "formats": [_shape(field.kind)[2] for field in fields],
        "offsets": [field.offset for field in fields],
        "itemsize": size,
    }
    dtype: np.dtype[np.void] = np.dtype(description)
    return dtype


def _shape(kind: Kind) -> tuple[int, int, Any]:
    """``(alignment, octets, numpy dtype)`` of a field."""
    match kind:
        case Scalar():
            return kind.octets, kind.octets, np.dtype("<" + kind.code)
        case Array():
            dtype = np.dtype(("<" + kind.element.code, (kind.count,)))
            return kind.element.octets, kind.element.octets * kind.count, dtype
        case Octets():
            n = kind.octets_max
            return _USED_OCTETS, _USED_OCTETS + n, np.dtype([("used", "<u2"), ("octets", f"V{n}")])
