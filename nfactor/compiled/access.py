"""Attributes, indices and stores: what lies in packets, states, tables and the objects that an NF holds."""

import ast
import ctypes
from array import array
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, Final

import attrs
import numpy as np

from nfactor.compiled import layout
from nfactor.compiled.scope import Scope, described, word
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
    of_scalar,
)
from nfactor.dataplane.memory import Table
from nfactor.dataplane.state import Array, Octets as OctetsKind, Scalar, Schema
from nfactor.packet.cluster_frame import KEY_OCTETS

_PLACES: Final = {
    "start": layout.PK_START,
    "end": layout.PK_END,
    "l3": layout.PK_L3,
    "l4": layout.PK_L4,
    "payload": layout.PK_PAYLOAD,
    "payload_end": layout.PK_PAYLOAD_END,
}
_PLACE_MAX: Final = (1 << 31) - 1
_UNSIGNED_MAX: Final = (1 << 64) - 1
_NUMBERS: Final = {
    "length": (layout.PK_LENGTH, 32),
    "fragment_id": (layout.PK_FRAGMENT_ID, 32),
    "ethertype": (layout.PK_ETHERTYPE, 16),
    "vlan": (layout.PK_VLAN, 16),
    "inner_vlan": (layout.PK_INNER_VLAN, 16),
    "linktype": (layout.PK_LINKTYPE, 16),
    "source_port": (layout.PK_SOURCE_PORT, 16),
    "target_port": (layout.PK_TARGET_PORT, 16),
    "version": (layout.PK_VERSION, 8),
    "protocol": (layout.PK_PROTOCOL, 8),
    "tcp_flags": (layout.PK_TCP_FLAGS, 8),
    "mark": (layout.PK_MARK, 64),
}
_FLAGS: Final = {
    "direction": layout.PK_DIRECTION,
    "foreign": layout.PK_FOREIGN,
    "fragment": layout.PK_FRAGMENT,
    "more_fragments": layout.PK_MORE_FRAGMENTS,
}
_HALVES: Final = ("source_high", "source_low", "target_high", "target_low")
_METHODS: Final = ("u16", "u32", "u64", "emit")
_SCALARS: Final = {
    np.dtype("<" + code): Scalar(code, code, np.dtype(code).itemsize, signed=code in "bhiq", real=code == "d")
    for code in "BHIQbhiqd"
}


@attrs.frozen
class Bound:
    """A method of the packet or the flow."""

    owner: Value
    name: str


class Access(Scope):
    """See the module."""

    # ---------------------------------------------------------------- reading

    def attribute(self, node: ast.AST, owner: Value, name: str) -> Value:
        """``owner.name``."""
        match owner:
            case PacketValue():
                return self._of_packet(node, name)
            case Record():
                return self._field(node, owner, name)
            case FlowValue():
                return self._of_flow(node, name)
            case Const(value):
                return self._of_object(node, value, name)
        self.refuse(node, f"{self.source.text(node)}: {described(owner)} has no attribute {name}")

    def _of_packet(self, node: ast.AST, name: str) -> Value:
        if name in _PLACES:
            return Int(f"ld_i32(pk + {_PLACES[name]})", -1, _PLACE_MAX)
        if name in _NUMBERS:
            at, bits = _NUMBERS[name]
            return Int(f"ld_u{bits}(pk + {at})", 0, (1 << bits) - 1)
        if name in _FLAGS:
            return Int(f"ld_u8(pk + {_FLAGS[name]})", 0, 1)
        if name in _HALVES:
            return Int(f"{name}(cx, pk)", 0, (1 << 64) - 1)
        if name == "time":
            return Int(f"ld_i64(pk + {layout.PK_TIME})", -(1 << 63), (1 << 63) - 1)
        if name == "data":
            return View(_SCALARS[np.dtype("u1")], "frames(cx)", f"ld_i64(cx + {layout.DATA_SIZE})")
        if name == "snapped":
            return Int("snapped(pk)", 0, 1, boolean=True)
        if name in _METHODS:
            return Const(Bound(PacketValue(), name))
        known = ", ".join(sorted((*_PLACES, *_NUMBERS, *_FLAGS, *_HALVES, "time", "data", "snapped", *_METHODS)))
        self.refuse(node, f"pkt.{name} is not known to compiled code; there is {known}")

    def _of_flow(self, node: ast.AST, name: str) -> Value:
        if name == "key":
            return Octets("row", str(KEY_OCTETS), KEY_OCTETS)
        if name == "initiator":
            return Int(f"(ld_u8(row + {layout.ROW_INITIATOR}) & 1)", 0, 1)
        if name == "emit":
            return Const(Bound(FlowValue(), name))
        self.refuse(node, f"flow.{name} is not known to compiled code; there is emit, initiator, key")

    def _field(self, node: ast.AST, owner: Record, name: str) -> Value:
        field = owner.schema.field(name)
        if field is None:
            names = ", ".join(field.name for field in owner.schema.fields)
            self.refuse(node, f"{owner.schema.cls.__name__} has no field {name}; it has {names}")
        address = f"({owner.base} + {field.offset})"
        match field.kind:
            case Scalar():
                return of_scalar(field.kind, f"{_load(field.kind)}({address})")
            case Array(element, count):
                return View(element, address, str(count), owner.mark, owner.constant)
            case OctetsKind(octets_max):
                return Octets(f"({owner.base} + {field.offset + 2})", f"ld_u16({address})", octets_max)

    def _of_object(self, node: ast.AST, owner: Any, name: str) -> Value:
        if owner is None or isinstance(owner, int | float | bytes | str | tuple):
            self.refuse(node, f"{self.source.text(node)}: {described(Const(owner))} has nothing that can be compiled")
        try:
            found = getattr(owner, name)
        except AttributeError:
            self.refuse(node, f"{type(owner).__name__} has no attribute {name}")
        return self.memory(node, found)

    def memory(self, node: ast.AST, found: Any) -> Value:
        """Something that a name or an attribute stands for: what lies in memory gets a slot."""
        if isinstance(found, Table):
            base, count = self.slot(found)
            if isinstance(found.row, Scalar):
                return View(found.row, base, count, constant=True)
            return Rows(found.row, base, count)
        schema = getattr(type(found), "__schema__", None)
        if isinstance(schema, Schema):
            return Record(schema, self.slot(found)[0])
        if isinstance(found, memoryview | np.ndarray | array | ctypes.Array):
            return self._numbers(node, found)
        if isinstance(found, list | dict | set | bytearray):
            self.refuse(
                node,
                f"{self.source.text(node)} is a {type(found).__name__}, which compiled code cannot share; "
                "make it nf.numbers(…), an nf.Table or a tuple",
            )
        return Const(found)

    def _numbers(self, node: ast.AST, found: Any) -> View:
        try:
            numbers = np.asarray(found)
        except (TypeError, ValueError):
            numbers = np.zeros((0, 0))
        element = _SCALARS.get(numbers.dtype)
        if element is None or numbers.ndim != 1 or not numbers.flags.c_contiguous:
            self.refuse(node, f"{self.source.text(node)} is no row of numbers of one width; make it nf.numbers(…)")
        base, count = self.slot(found)
        return View(element, base, count, constant=not numbers.flags.writeable)

    # ---------------------------------------------------------------- indices

    def item(self, node: ast.AST, owner: Value, index: ast.expr) -> Value:
        """``owner[index]``."""
        if isinstance(owner, Const):
            owner = self.memory(node, owner.value)
        if isinstance(index, ast.Slice):
            return self._slice(node, owner, index)
        if isinstance(owner, Const | Group):
            return self._of_tuple(node, owner, index)
        at = self.integer(index)
        match owner:
            case View():
                place = self._place(node, at, owner.count)
                return of_scalar(owner.element, f"{_load(owner.element)}({_address(owner, place)})")
            case Rows():
                place = self._place(node, at, owner.count)
                return Record(owner.schema, f"({owner.base} + {place} * {owner.schema.size})", constant=True)
            case Grid():
                return self._of_grid(node, owner, at)
            case Octets():
                place = self._place(node, at, owner.count)
                return Int(f"ld_u8({owner.base} + {place})", 0, 255)
        self.refuse(node, f"{self.source.text(node)}: {described(owner)} has no items")

    def _place(self, node: ast.AST, at: Int, count: str) -> str:
        if at.low == at.high and at.simple and count.isdigit():
            place = at.low + (int(count) if at.low < 0 else 0)
            if 0 <= place < int(count):
                return str(place)
            self.refuse(node, f"{self.source.text(node)}: there are {count}, from 0 on")
        if count.isdigit() and at.low >= 0 and at.high < int(count):
            return word(at)
        site = self.site(node, f"{self.source.text(node)}: index out of range")
        return f"{'place_forward' if at.low >= 0 else 'place'}(cx, {site}, {word(at)}, {count})"

    def _of_tuple(self, node: ast.AST, owner: Const | Group, index: ast.expr) -> Value:
        at = self.integer(index)
        items: Any = owner.items if isinstance(owner, Group) else owner.value
        if not isinstance(items, tuple | bytes):
            self.refuse(node, f"{self.source.text(node)}: {described(owner)} has no items")
        if at.low == at.high and at.simple:
            if not -len(items) <= at.low < len(items):
                self.refuse(node, f"{self.source.text(node)}: there are {len(items)}, from 0 on")
            return owner.items[at.low] if isinstance(owner, Group) else self.memory(node, items[at.low])
        if isinstance(owner, Group):
            self.refuse(node, f"{self.source.text(node)}: the index of this tuple must be a number that is known")
        return self._of_grid(node, self._grid(node, items), at)

    def _grid(self, node: ast.AST, items: Any) -> Grid:
        numbers, dimensions = _flattened(items)
        if not numbers or not Int("", min(numbers), max(numbers)).fits:
            self.refuse(
                node,
                f"{self.source.text(node)}: to take items of a tuple by a variable index, all must be integers of at "
                "most 64 bits, and tuples inside it equally long",
            )
        base, _ = self.slot(tuple_memory(items, numbers))
        return Grid(base, dimensions, min(numbers), max(numbers))

    def _of_grid(self, node: ast.AST, grid: Grid, at: Int) -> Value:
        rest = int(np.prod(grid.dimensions[1:], dtype=int))
        place = f"{grid.offset} + {self._place(node, at, str(grid.dimensions[0]))} * {rest}"
        if len(grid.dimensions) > 1:
            return attrs.evolve(grid, dimensions=grid.dimensions[1:], offset=place)
        return Int(f"ld_i64({grid.base} + ({place}) * 8)", grid.low, grid.high)

    def _slice(self, node: ast.AST, owner: Value, index: ast.Slice) -> Value:
        if not (
            isinstance(owner, View) and owner.element.octets == 1 and index.lower and index.upper and not index.step
        ):
            self.refuse(node, f"{self.source.text(node)}: only data[start:end] of octets can be compiled")
        start, end = self.integer(index.lower), self.integer(index.upper)
        if start.low < -1 or end.low < -1:
            self.refuse(node, f"{self.source.text(node)}: a slice that may begin or end below 0; count from the front")
        first = f"clamped({word(start)}, {owner.count})"
        return Octets(
            f"({owner.base} + {first})", f"slice_octets({word(start)}, {word(end)}, {owner.count})", 0xFFFF_FFFF
        )

    # ---------------------------------------------------------------- writing

    def store(self, target: ast.Attribute | ast.Subscript, value: Callable[[], Value]) -> None:
        """``target = value``; the value may be cut, as what it is stored in cuts it."""
        owner = self.owner(target)
        if isinstance(target, ast.Subscript):
            if not isinstance(owner, View) or owner.constant:
                self.refuse(
                    target, f"{self.source.text(target)} cannot be written: {described(owner)} is configuration"
                )
            computed = value()
            address = _address(owner, self._place(target, self.index(target), owner.count))
            self._put(target, owner.element, address, computed, owner.mark)
            return
        if isinstance(owner, Const):
            self.refuse(
                target,
                f"{self.source.text(target)} belongs to the NF, not to a flow; keep it in the flow's state, or in a "
                "state object of the NF (self.totals = Totals())",
            )
        if not isinstance(owner, Record) or owner.constant:
            self.refuse(target, f"{self.source.text(target)} cannot be written")
        field = owner.schema.field(target.attr)
        if field is None:
            self.attribute(target, owner, target.attr)
            raise AssertionError
        computed = value()
        if isinstance(field.kind, Scalar):
            self._put(target, field.kind, f"{owner.base} + {field.offset}", computed, owner.mark)
        elif isinstance(field.kind, OctetsKind):
            octets = self.octets(target, computed)
            self.mark(owner.mark)
            self.emit(
                f"put_octets({owner.base} + {field.offset}, {field.kind.octets_max}, {octets.base}, {octets.count})"
            )
        else:
            self.refuse(target, f"{self.source.text(target)} is an array; write its elements")

    def owner(self, target: ast.Attribute | ast.Subscript) -> Value:
        """What is written into."""
        value = self.exact(target.value)
        return self.memory(target, value.value) if isinstance(value, Const) else value

    def index(self, target: ast.Subscript) -> Int:
        """Where."""
        if isinstance(target.slice, ast.Slice):
            self.refuse(target, f"{self.source.text(target)}: write element by element, in a loop")
        return self.integer(target.slice)

    def _put(self, node: ast.AST, element: Scalar, address: str, computed: Value, mark: str) -> None:
        number = self.number(node, computed)
        self.mark(mark)
        if element.real:
            self.emit(f"st_f64({address}, {self.real(number)})")
        elif isinstance(number, Real):
            self.refuse(
                node, f"a real number for {self.source.text(node)}, which is {element.name}; convert it: int(…)"
            )
        else:
            self.emit(f"st_{8 * element.octets}({address}, {word(number)})")

    def mark(self, mark: str) -> None:
        """Say that the flow's state has changed; once is enough on the way here."""
        if mark and not self.marked:
            self.emit(mark)
            self.marked = True

    def octets(self, node: ast.AST, value: Value) -> Octets:
        """The value as a byte string."""
        if isinstance(value, Const) and isinstance(value.value, bytes):
            if not value.value:
                return Octets("cx", "0", 0)
            base, _ = self.slot(tuple_memory(value.value, ()))
            return Octets(base, str(len(value.value)), len(value.value))
        if isinstance(value, Octets):
            return value
        self.refuse(node, f"{self.source.text(node)}: {described(value)}, where a byte string is needed")

    # Of the classes built on this one.

    def exact(self, node: ast.expr) -> Value:
        """See ``Expressions``."""
        raise NotImplementedError

    def integer(self, node: ast.expr) -> Int:
        """See ``Expressions``."""
        raise NotImplementedError

    def real(self, value: Int | Real) -> str:
        """See ``Expressions``."""
        raise NotImplementedError


_TUPLES: dict[Any, Any] = {}


def tuple_memory(items: Any, numbers: Sequence[int]) -> Any:
    """The same memory for the same tuple of numbers, as words; for a byte string without numbers, its octets."""
    key = (type(items), items, bool(numbers))
    if key not in _TUPLES:
        words = np.array([number & _UNSIGNED_MAX for number in numbers], np.uint64)
        _TUPLES[key] = words if numbers else np.frombuffer(items, np.uint8)
    return _TUPLES[key]


def _flattened(items: Any) -> tuple[list[int], tuple[int, ...]]:
    """The integers of tuples inside tuples, in order, and the lengths by depth; none if they are not regular."""
    if all(isinstance(item, int) for item in items):
        return [int(item) for item in items], (len(items),)
    if not all(isinstance(item, tuple | bytes) for item in items):
        return [], ()
    parts = [_flattened(item) for item in items]
    if len({dimensions for _, dimensions in parts}) != 1:
        return [], ()
    return [number for numbers, _ in parts for number in numbers], (len(items), *parts[0][1])


def _load(element: Scalar) -> str:
    if element.real:
        return "ld_f64"
    return f"ld_{'i' if element.signed else 'u'}{8 * element.octets}"


def _address(view: View, place: str) -> str:
    size = view.element.octets
    return f"{view.base} + {place}" if size == 1 else f"{view.base} + {place} * {size}"


def is_method(value: Value) -> bool:
    """Whether it is a bound method of an object that is known."""
    return isinstance(value, Const) and isinstance(value.value, MethodType)
