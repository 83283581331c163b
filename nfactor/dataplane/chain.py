"""A service chain: network functions in order, and the record that holds one flow's state for all of them.

The record of a flow is the concatenation of a header of the engine's own and the records of its NFs, each at an offset
that the chain knows. What the chain can get wrong is found when it is built, not when the first packet comes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from nfactor.dataplane.nf import NF, Alias
from nfactor.dataplane.shared import Counter, Pool
from nfactor.dataplane.state import Scalar, Schema, i64, schema_of, state, u8, u32
from nfactor.errors import CallerError


@state
class FlowHeader:
    """What the engine itself keeps per flow and sends along with the NFs' states."""

    last_ns: i64
    """The last packet: its age, so that clock skew expires nothing; its time where the packets' clock is common to
    all."""
    epoch: u32
    """Ownership epoch (DESIGN section 6)."""
    packets: u32
    """Packets that the flow was sent so far, modulo 2^32: what a switch checks before it forgets the flow."""
    initiator: u8
    """0 if the first packet went from ``a`` to ``b`` of the key, 1 if the other way; ``NOBODY``: none came yet."""
    closing: u8
    """How TCP ended so far: bits 1 and 2 for a FIN in either direction, 4 for a RST."""


HEADER = schema_of(FlowHeader)
NOBODY: Final = 2
"""The initiator of a flow that is here before its first packet is, which will say so. The bit is its own, so that it
costs a packet one comparison of what it has in hand; NFs are never shown it."""


@attrs.frozen
class Bond:
    """Where an NF's state says which flows belong together (``NF.together``)."""

    place: int
    """Of the NF in the chain."""
    field: str
    offset: int
    """In a flow's states, from the first NF's on."""
    octets: int


@attrs.frozen
class Chain:
    """An ordered service chain. Build it with ``Chain.of``; raises ``CallerError`` for what is no NF or no schema."""

    functions: tuple[NF, ...]
    schemas: tuple[Schema | None, ...]
    """Per NF, the schema of its state; None where it has none."""
    record_size: int
    """Octets of a flow's whole record, the engine's header included."""
    reasons: tuple[tuple[str, ...], ...]
    """Per NF, the drop reasons by verdict, counted from ``DROP``."""
    bonds: tuple[Bond, ...] = ()
    """What makes flows belong together."""

    @classmethod
    def of(cls, functions: Sequence[NF]) -> "Chain":
        """Check the NFs and lay out the flow record."""
        if not functions:
            raise CallerError("a chain needs at least one network function")
        for function in functions:
            if not isinstance(function, NF):
                raise CallerError(f"{function!r} is not a network function: pass instances of nf.NF subclasses")
        names = [function.name for function in functions]
        for name in names:
            if names.count(name) > 1:
                raise CallerError(f"{name} stands twice in the chain; give one of them another `name`")
        schemas = tuple(None if f.State is None else schema_of(f.State) for f in functions)
        return cls(
            tuple(functions),
            schemas,
            HEADER.size + sum(schema.size for schema in schemas if schema is not None),
            tuple((f.name, *(f"{f.name}_{reason}" for reason in f.drop_reasons)) for f in functions),
            tuple(_bonds(functions, schemas)),
        )

    @property
    def has_aliases(self) -> bool:
        """Whether flows may have other keys as well."""
        return any(Alias in function.records for function in self.functions)

    def pools(self) -> dict[str, Pool]:
        """Pools that NFs have as attributes, as ``NF.attribute``."""
        return {name: held for name, held in self._held() if isinstance(held, Pool)}

    def counters(self) -> dict[str, int]:
        """What counters that NFs have as attributes say, likewise; and what pools refused."""
        found = {name: held.value for name, held in self._held() if isinstance(held, Counter)}
        for name, pool in self.pools().items():
            found |= {f"{name}.none_left": pool.refused_empty, f"{name}.stray": pool.refused_stray}
        return found

    def _held(self) -> Iterator[tuple[str, Any]]:
        for function in self.functions:
            for name, held in vars(function).items():
                yield f"{function.name}.{name}", held

    def new_states(self) -> list[Any]:
        """Fresh NF states for a new flow, in chain order."""
        return [function.allocate_new_fs() for function in self.functions]

    def pack(self, header: FlowHeader, states: Sequence[Any]) -> bytes:
        """The record of one flow: ``record_size`` octets."""
        parts = [HEADER.pack(header)]
        parts += [schema.pack(fs) for schema, fs in zip(self.schemas, states, strict=True) if schema is not None]
        return b"".join(parts)

    def unpack(self, record: bytes | memoryview) -> tuple[FlowHeader, list[Any]]:
        """The header and the NF states of one flow from its record."""
        if len(record) != self.record_size:
            raise CallerError(
                f"a flow record of {len(record)} octets for a chain whose records have {self.record_size}"
            )
        header: FlowHeader = HEADER.unpack(record)
        offset, states = HEADER.size, []
        for schema, function in zip(self.schemas, self.functions, strict=True):
            if schema is None:
                states.append(function.allocate_new_fs())
            else:
                states.append(schema.unpack(record, offset))
                offset += schema.size
        return header, states


def _bonds(functions: Sequence[NF], schemas: Sequence[Schema | None]) -> Iterator[Bond]:
    offset = 0
    for place, (function, schema) in enumerate(zip(functions, schemas, strict=True)):
        if function.together:
            field = None if schema is None else schema.field(function.together)
            kind = None if field is None else field.kind
            if field is None or not isinstance(kind, Scalar) or kind.signed or kind.real:
                raise CallerError(f"{function.name}.together: {function.together!r} is no unsigned field of its State")
            yield Bond(place, field.name, offset + field.offset, kind.octets)
        offset += 0 if schema is None else schema.size
