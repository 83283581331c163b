"""Messages of one class as a flat list of their fields' values, for runs of tells (``actors.runs``).

What a message costs in a run is one call that looks at its fields and notes their values, and at the other end one turn
of a loop; packing and unpacking happen once a run. Only for classes of a few plain fields whose instances are made by
filling slots: then the values are known to be good when they are noted, and are not changed until they are packed.
"""

import typing
from collections.abc import Callable
from typing import Any

import attrs

from nfactor.actors.convert import Mismatch, is_plain

STRING_OCTETS_MAX = 32
"""A longer string travels in an envelope of its own."""
_CHECKS: dict[type, str] = {
    int: "not -0x8000000000000000 <= {0} <= 0xFFFFFFFFFFFFFFFF",
    float: "",
    bool: "",
    type(None): "",
    bytes: f"len({{0}}) > {STRING_OCTETS_MAX}",
    str: f"len({{0}}) > {STRING_OCTETS_MAX} or not {{0}}.isascii()",
}
"""By type: what else keeps a value from being noted (msgpack could not hold it, or it is long)."""
_OCTETS_MAX = {int: 9, float: 9, bool: 1, type(None): 1, bytes: 2 + STRING_OCTETS_MAX, str: 2 + STRING_OCTETS_MAX}


@attrs.frozen
class Flat:
    """How the messages of one class travel in a run."""

    tag: int
    width: int
    """Values of one message."""
    octets_max: int
    """What they come to, packed."""
    note: Callable[[Any, list[Any]], bool]
    """Append the values of a message; False: they cannot travel, or not so."""
    take: Callable[[list[Any]], list[object]]
    """The messages of a list of values; raises Mismatch."""


def compile_flat(cls: type, tag: int) -> Flat | None:
    """For a message class whose annotations are known to be good; None: it cannot travel so."""
    hints = typing.get_type_hints(cls)
    fields = [(field.name, hints[field.name]) for field in attrs.fields(cls)]
    if not is_plain(cls) or not fields or any(kind not in _CHECKS for _, kind in fields):
        return None
    names: dict[str, Any] = {"cls": cls, "new": object.__new__, "Mismatch": Mismatch}
    reads, checks, fills = [], [], []
    for number, (name, kind) in enumerate(fields):
        value, more = f"v{number}", _CHECKS[kind]
        names[f"t{number}"], names[f"s{number}"] = kind, getattr(cls, name).__set__
        unfit = f"type({value}) is not t{number}" + (f" or {more.format(value)}" if more else "")
        reads += [f" {value} = m.{name}", f" if {unfit}: return False"]
        checks.append(f"  if type({value}) is not t{number}: raise Mismatch({value}, '{name}: {kind.__name__}')")
        fills.append(f"  s{number}(m, {value})")
    width = len(fields)
    values = ", ".join(f"v{number}" for number in range(width))
    groups = "each" if width == 1 else f"zip({', '.join(['each'] * width)})"
    source = "\n".join(
        [
            "def note(m, values):",
            *reads,
            " values.append(v0)" if width == 1 else f" values.extend(({values}))",
            " return True",
            "def take(values):",
            f" if len(values) % {width}: raise Mismatch(values, 'fields in groups of {width}')",
            " messages = []",
            " append, each = messages.append, iter(values)",
            f" for {values} in {groups}:",
            *checks,
            "  m = new(cls)",
            *fills,
            "  append(m)",
            " return messages",
        ]
    )
    exec(compile(source, f"<run of {cls.__qualname__}>", "exec"), names)
    return Flat(tag, width, sum(_OCTETS_MAX[kind] for _, kind in fields), names["note"], names["take"])
