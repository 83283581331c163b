"""Reading pcapng files: sections of either byte order, interfaces of any link type and clock, and packet blocks.

Blocks that hold no packets are passed over, whatever they are. Unlike in pcap there is no room for our header in place,
so frames are copied one by one. A simple packet block has no time; its packet gets 0.
"""

import os
import struct
from typing import BinaryIO, TypeAlias

import attrs

from nfactor.packet.burst import Burst
from nfactor.packet.capture_reader import FRAME_OCTETS_MAX, RECORD_OCTETS_MAX, CaptureReader
from nfactor.packet.cluster_frame import LINKTYPE_MAX, header

SECTION_HEADER, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D
OPTION_END, OPTION_TSRESOL, OPTION_TSOFFSET = 0, 9, 14
BURST_OCTETS_MAX = 1 << 20
"""A burst ends with the packet that reaches this."""

_SECTION_MAGIC = SECTION_HEADER.to_bytes(4, "big")  # the same in both byte orders, on purpose
_TIME_MAX = (1 << 63) - 1

Frame: TypeAlias = tuple[bytes, int, int]
"""The octets behind our header, the wire length, the time."""


class CutShort(Exception):
    """Nothing can be read from here on; says why. Never leaves this file."""


def is_pcapng(start: bytes) -> bool:
    """Whether a file that begins so is a pcapng file."""
    return start[:4] == _SECTION_MAGIC


@attrs.frozen
class Interface:
    """What an interface description block says."""

    linktype: int
    header: bytes
    """Our header for its frames."""
    frame_octets_max: int
    """What was kept of a frame at most."""
    ticks_per_second: int
    offset_s: int

    def time(self, high: int, low: int) -> int:
        """Nanoseconds of a time stamp: exact, and within 64 bits whatever the file says."""
        time = (high << 32 | low) * 1_000_000_000 // self.ticks_per_second + self.offset_s * 1_000_000_000
        return max(-_TIME_MAX, min(time, _TIME_MAX))


class PcapngReader(CaptureReader):
    """A pcapng file under way."""

    format = "pcapng"

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO, start: bytes) -> None:
        super().__init__(path, file, start)
        self._interfaces: list[Interface] = []
        try:
            self._next_block()
        except CutShort as error:
            raise self._broken(f"the section header is broken: {error}") from None
        try:
            while not self._interfaces and (block := self._next_block()):
                self._frame_of(*block)  # there can be none before an interface: that is damage
        except CutShort as error:
            self._cut(str(error))
        if self._interfaces:
            self.linktype = self._interfaces[0].linktype

    def _read(self, packets_max: int) -> Burst | None:
        frames: list[Frame] = []
        octets = 0
        try:
            while not self.truncated and len(frames) < packets_max and octets < BURST_OCTETS_MAX:
                block = self._next_block()
                if block is None:
                    break
                frame = self._frame_of(*block)
                if frame is not None:
                    frames.append(frame)
                    octets += len(frame[0])
        except CutShort as error:
            self._cut(f"after frame {self._frames + len(frames)}: {error}")
        if not frames:
            return None
        columns = list(zip(*frames, strict=True))
        first = self._frames + 1
        marks = range(first, first + len(frames))
        return Burst.from_frames(columns[0], wire_lengths=columns[1], times=columns[2], marks=marks)

    def _next_block(self) -> tuple[int, int, int] | None:
        """The next block's kind and where its body begins and ends in the buffer; None at the end of the file."""
        if not self._available(12):
            if len(self._buffer) > self._position:
                raise CutShort("the file is cut short in the head of a block")
            return None
        if self._buffer.startswith(_SECTION_MAGIC, self._position):
            self._set_order(self._section_order())
            self._interfaces = []
        kind, octets = self._head.unpack_from(self._buffer, self._position)
        if not 12 <= octets <= RECORD_OCTETS_MAX:
            raise CutShort(f"a block claims to have {octets} octets")
        if not self._available(octets):
            raise CutShort("the file is cut short in a block")
        start = self._position
        end = self._position = start + octets
        if self._number.unpack_from(self._buffer, end - 4)[0] != octets:
            raise CutShort("a block's two lengths differ")
        return kind, start + 8, end - 4

    def _section_order(self) -> str:
        magic = self._buffer[self._position + 8 : self._position + 12]
        if magic == BYTE_ORDER_MAGIC.to_bytes(4, "big"):
            return ">"
        if magic == BYTE_ORDER_MAGIC.to_bytes(4, "little"):
            return "<"
        raise CutShort("a section has no known byte order")

    def _set_order(self, order: str) -> None:
        """Read numbers so from now on: every section has its own byte order."""
        self._order = order
        self._head = struct.Struct(order + "II")
        self._number = struct.Struct(order + "I")
        self._enhanced = struct.Struct(order + "IIIII")
        self._old = struct.Struct(order + "HxxIIII")

    def _frame_of(self, kind: int, start: int, end: int) -> Frame | None:
        """The packet of a block that holds one. An interface block is taken note of."""
        if kind == ENHANCED_PACKET:
            return self._timed_frame(self._enhanced, start, end)
        if kind == OLD_PACKET:
            return self._timed_frame(self._old, start, end)
        if kind == SIMPLE_PACKET:
            return self._simple_frame(start, end)
        if kind == INTERFACE:
            self._interfaces.append(self._interface(start, end))
        return None

    def _timed_frame(self, layout: struct.Struct, start: int, end: int) -> Frame:
        data = start + layout.size
        if data > end:
            raise CutShort("a packet block is too short")
        number, high, low, captured, wire_length = layout.unpack_from(self._buffer, start)
        if number >= len(self._interfaces):
            raise CutShort(f"a packet of interface {number}, which is not described")
        if captured > FRAME_OCTETS_MAX or data + captured > end:
            raise CutShort(f"a packet claims to have {captured} octets")
        interface = self._interfaces[number]
        octets = interface.header + self._buffer[data : data + captured]
        return octets, wire_length, interface.time(high, low)

    def _simple_frame(self, start: int, end: int) -> Frame:
        """Only the original length stands in the block; what was captured follows from the interface's limit."""
        if not self._interfaces:
            raise CutShort("a packet of interface 0, which is not described")
        if start + 4 > end:
            raise CutShort("a packet block is too short")
        (wire_length,) = self._number.unpack_from(self._buffer, start)
        interface = self._interfaces[0]
        captured = min(wire_length, interface.frame_octets_max, end - start - 4)
        return interface.header + self._buffer[start + 4 : start + 4 + captured], wire_length, 0

    def _interface(self, start: int, end: int) -> Interface:
        if start + 8 > end:
            raise CutShort("an interface block is too short")
        linktype, snap_octets = struct.unpack_from(self._order + "HxxI", self._buffer, start)
        if linktype > LINKTYPE_MAX:
            raise CutShort(f"link type {linktype} is unknown")
        options = self._options(start + 8, end)
        resolution = options.get(OPTION_TSRESOL, b"\x06")[:1] or b"\x06"
        exponent = resolution[0] & 0x7F
        offset = options.get(OPTION_TSOFFSET, b"")
        return Interface(
            linktype,
            header(linktype),
            min(snap_octets or FRAME_OCTETS_MAX, FRAME_OCTETS_MAX),
            2**exponent if resolution[0] & 0x80 else 10**exponent,
            struct.unpack(self._order + "q", offset)[0] if len(offset) == 8 else 0,
        )

    def _options(self, start: int, end: int) -> dict[int, bytes]:
        """The options of a block; a list that runs over the end is read as far as it goes."""
        options: dict[int, bytes] = {}
        while start + 4 <= end:
            code, octets = struct.unpack_from(self._order + "HH", self._buffer, start)
            if code == OPTION_END:
                break
            options[code] = self._buffer[start + 4 : min(start + 4 + octets, end)]
            start += 4 + (octets + 3 & ~3)
        return options
