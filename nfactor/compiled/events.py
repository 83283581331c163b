"""What NFs emit: records in a buffer, in order, each with the key of its flow, until they are made objects."""

from typing import Any

from nfactor.compiled import layout
from nfactor.compiled.memory_map import Piece, Words
from nfactor.compiled.program import Program
from nfactor.dataplane.state import schema_of
from nfactor.packet.cluster_frame import KEY_OCTETS


class Events:
    """The buffer of one engine. ``program`` numbers the classes of records."""

    def __init__(self, program: Program, context: Words) -> None:
        self._program = program
        self._context = context
        self._buffer = Piece(layout.EMITTED_OCTETS)
        self._taken: list[tuple[bytes, Any]] = []
        context[layout.EMITTED], context[layout.EMITTED_SIZE] = self._buffer.address, layout.EMITTED_OCTETS

    @property
    def crowded(self) -> bool:
        """Whether what a block of packets may emit might not fit."""
        return self._context[layout.EMITTED_USED] > layout.EMITTED_OCTETS - layout.EMIT_RESERVE

    def put(self, key: bytes, record: Any) -> None:
        """A record of an interpreted NF, in order with those of compiled ones. Raises ``OverflowError`` if there is no
        room, which costs the NF its packet."""
        number, octets = self._program.record_class(type(record)), schema_of(type(record)).pack(record)
        event = key + number.to_bytes(4, "little") + len(octets).to_bytes(4, "little") + octets
        used = self._context[layout.EMITTED_USED]
        if used + len(event) > layout.EMITTED_OCTETS:
            raise OverflowError("more records than there is room for (EMIT_RESERVE)")
        self._buffer.array[used : used + len(event)] = memoryview(event)
        self._context[layout.EMITTED_USED] = used + len(event)

    def empty(self) -> None:
        """Make objects of what is in the buffer."""
        used, at = self._context[layout.EMITTED_USED], 0
        octets = self._buffer.array[:used].tobytes()
        while at < used:
            number = int.from_bytes(octets[at + layout.EV_CLASS : at + layout.EV_OCTETS], "little")
            schema = schema_of(self._program.record_classes[number])
            start = at + layout.EV_RECORD
            self._taken.append((octets[at : at + KEY_OCTETS], schema.unpack(octets, start)))
            at = start + schema.size
        self._context[layout.EMITTED_USED] = 0

    def take(self) -> list[tuple[bytes, Any]]:
        """All since the last call."""
        self.empty()
        taken, self._taken = self._taken, []
        return taken
