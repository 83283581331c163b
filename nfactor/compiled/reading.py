"""Packets whose headers are not plain: read by the parser of the reference engine, into the block's packet records."""

from typing import Any, Final

import numpy as np

from nfactor.compiled import layout
from nfactor.compiled.memory_map import Piece
from nfactor.errors import CallerError, MalformedPacket
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.fields import Packet
from nfactor.packet.headers import parse

_FIELDS: Final[dict[str, tuple[str, int]]] = {
    "key": ("V48", layout.PK_KEY),
    "start": ("i4", layout.PK_START),
    "end": ("i4", layout.PK_END),
    "l3": ("i4", layout.PK_L3),
    "l4": ("i4", layout.PK_L4),
    "payload": ("i4", layout.PK_PAYLOAD),
    "payload_end": ("i4", layout.PK_PAYLOAD_END),
    "length": ("u4", layout.PK_LENGTH),
    "fragment_id": ("u4", layout.PK_FRAGMENT_ID),
    "ethertype": ("u2", layout.PK_ETHERTYPE),
    "vlan": ("u2", layout.PK_VLAN),
    "inner_vlan": ("u2", layout.PK_INNER_VLAN),
    "linktype": ("u2", layout.PK_LINKTYPE),
    "source_port": ("u2", layout.PK_SOURCE_PORT),
    "target_port": ("u2", layout.PK_TARGET_PORT),
    "version": ("u1", layout.PK_VERSION),
    "protocol": ("u1", layout.PK_PROTOCOL),
    "tcp_flags": ("u1", layout.PK_TCP_FLAGS),
    "foreign": ("u1", layout.PK_FOREIGN),
    "fragment": ("u1", layout.PK_FRAGMENT),
    "more_fragments": ("u1", layout.PK_MORE_FRAGMENTS),
}
_OURS: Final[dict[str, tuple[str, int]]] = {
    "code": ("u1", layout.PK_CODE),
    "key_direction": ("u1", layout.PK_KEY_DIRECTION),
    "read": ("u1", layout.PK_READ),
    "time": ("i8", layout.PK_TIME),
    "mark": ("u8", layout.PK_MARK),
}
_ALL: Final = {**_FIELDS, **_OURS}
RECORD: Final = np.dtype(
    {
        "names": list(_ALL),
        "formats": [kind for kind, _ in _ALL.values()],
        "offsets": [offset for _, offset in _ALL.values()],
        "itemsize": layout.PK_OCTETS,
    }
)
"""A packet record as numpy reads it."""
_NAMES: Final = tuple(name for name in _FIELDS if name != "key")
LEFT = 2
"""``read`` of a packet that was read here: its hash is still to be computed."""


class Reader:
    """``malformed`` are the codes of packets that cannot be read, by reason."""

    def __init__(self, classifier: FlowClassifier, malformed: dict[str, int]) -> None:
        self._classifier = classifier
        self._malformed = malformed
        self.packets = 0
        """Packets that were read here."""

    def read(self, burst: Burst, first: int, count: int, block: Piece) -> None:
        """Fill in the records of those packets of a block that are not read yet."""
        records = block.array.view(RECORD)[:count]
        pkt = Packet(burst.octets())
        for place in np.flatnonzero(records["read"] == 0).tolist():
            self._read(pkt, burst, first + place, records[place : place + 1])
            self.packets += 1

    def _read(self, pkt: Packet, burst: Burst, index: int, record: Any) -> None:
        offset, length = int(burst.offsets[index]), int(burst.lengths[index])
        if offset < 0 or offset + length > len(pkt.data):
            raise CallerError(f"frame {index} of a burst lies outside its data: {length} octets at {offset}")
        record["time"], record["mark"], record["read"] = burst.times[index], burst.marks[index], LEFT
        try:
            parse(pkt, offset, offset + length, int(burst.wire_lengths[index]))
        except MalformedPacket as error:
            record["code"] = self._malformed[error.reason]
            return
        record["code"] = 0
        key, direction = self._classifier.classify(pkt)
        record["key"], record["key_direction"] = np.frombuffer(key, "V48")[0], direction
        for name in _NAMES:
            record[name] = getattr(pkt, name)
