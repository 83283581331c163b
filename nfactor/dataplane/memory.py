"""Memory of an NF that is not a flow's: configuration tables, numbers to scribble in, and state of the runtime.

Compiled code reads what an NF holds where it lies, so it must lie in one piece and have fixed widths:

- ``Table``: configuration, as rows of a record class or as numbers; ``replace`` puts another in its place at any time,
  between two bursts, and nothing is compiled again;
- ``numbers``: an array of numbers that the NF may write, of which nothing outlasts a packet unless the NF wants it to;
- an attribute that is a state object (``self.totals = Totals()``) is shared by all flows of the runtime.

Every other attribute of an NF is a constant of its compiled code.
"""

import ctypes
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, overload

from nfactor.dataplane.state import Array, Scalar, Schema, array, array_type, ctype_of, schema_of

T = TypeVar("T")


class Table(Generic[T]):
    """Rows of a record class (``Table(Rule, rules)``) or numbers of one width (``Table(nf.u32, ports)``).

    Raises ``CallerError`` where the first argument is neither. An NF indexes it, iterates over it and asks its length,
    and does not write it.
    """

    changes: ClassVar[int] = 0
    """Replacements of all tables so far, so that an engine sees at a glance whether to look."""

    def __init__(self, row: Any, rows: Iterable[T] = ()) -> None:
        is_record = isinstance(row, type) and "__schema__" in vars(row)
        self.row: Schema | Scalar = schema_of(row) if is_record else array(row, 1).element
        self._type = row if is_record else ctype_of(self.row)  # type: ignore[arg-type]
        self.replace(rows)

    def replace(self, rows: Iterable[T]) -> None:
        """These rows from now on; the old ones stay what they were for who holds them."""
        given = list(rows)
        self.rows: Any = (self._type * len(given))(*given)
        Table.changes += 1

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> T:
        row: T = self.rows[index]
        return row

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)


@overload
def numbers(element: Any, values: int) -> list[int]: ...
@overload
def numbers(element: Any, values: Iterable[int]) -> list[int]: ...
def numbers(element: Any, values: Any) -> Any:
    """``numbers(nf.u64, 4)``: four zeros; ``numbers(nf.u16, (80, 443))``: these. Elements wrap as fields do."""
    given = [0] * values if isinstance(values, int) else list(values)
    kind: Array = array(element, max(1, len(given)))
    return array_type(kind.element, len(given))(*given)


def text(words: list[int], octets: int) -> bytes:
    """The first ``octets`` octets of an array of numbers as a byte string: where a record is emitted, say."""
    return bytes(words)[:octets]


def place_of(memory: Any) -> tuple[int, int]:
    """Address and number of elements of something that compiled code reads where it lies. It must outlive that."""
    if isinstance(memory, Table):
        memory = memory.rows
    if isinstance(memory, ctypes.Array):
        return ctypes.addressof(memory), len(memory)
    if isinstance(memory, ctypes.Structure):
        return ctypes.addressof(memory), 1
    import numpy as np

    found = np.asarray(memory)
    return int(found.ctypes.data), len(found)
