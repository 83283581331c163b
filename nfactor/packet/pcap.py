"""Reading pcap files: classic libpcap, both byte orders, micro- and nanoseconds, and Kuznetzov's longer records.

A record's header is exactly as long as our own header of a frame in the cluster: 16 octets. So a burst is a piece of
the file as it is: one copy of the piece, and our header written over every record header. The only work per packet in
Python is finding where the next one begins; times and lengths are taken from all headers at once.
"""

import os
import struct
from typing import BinaryIO

import numpy as np

from nfactor.packet.burst import Burst
from nfactor.packet.capture_reader import FRAME_OCTETS_MAX, CaptureReader
from nfactor.packet.cluster_frame import HEADER_OCTETS, LINKTYPE_MAX, header

FILE_HEADER_OCTETS = 24
RECORD_HEADER_OCTETS = 16
MICROSECONDS, NANOSECONDS, KUZNETZOV = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_KUZNETZOV_EXTRA_OCTETS = 8
"""Interface, protocol and packet type between the record header and the frame."""

assert RECORD_HEADER_OCTETS == HEADER_OCTETS


def is_pcap(start: bytes) -> bool:
    """Whether a file that begins so is a pcap file."""
    magics = (MICROSECONDS, NANOSECONDS, KUZNETZOV)
    return int.from_bytes(start[:4], "big") in magics or int.from_bytes(start[:4], "little") in magics


class PcapReader(CaptureReader):
    """A pcap file under way."""

    format = "pcap"

    def __init__(self, path: str | os.PathLike[str], file: BinaryIO, start: bytes) -> None:
        super().__init__(path, file, start)
        if not self._available(FILE_HEADER_OCTETS):
            raise self._broken("the file header is cut short")
        order = ">" if self._buffer[0] == 0xA1 else "<"
        magic, major, linktype = struct.unpack_from(order + "IH14xI", self._buffer)
        if major != 2:
            raise self._broken(f"pcap version {major} is unknown")
        # The upper half of the link type says whether frames end with a checksum; it does not belong to the type.
        self.linktype = linktype & 0xFFFF
        if self.linktype > LINKTYPE_MAX:
            raise self._broken(f"link type {self.linktype} is unknown")
        self.nanoseconds = magic == NANOSECONDS
        self._position = FILE_HEADER_OCTETS
        self._tick = 1 if self.nanoseconds else 1000
        self._overhead = RECORD_HEADER_OCTETS + (_KUZNETZOV_EXTRA_OCTETS if magic == KUZNETZOV else 0)
        self._columns = np.dtype(order + "u4")
        self._captured = struct.Struct(order + "I")
        self._header = np.frombuffer(header(self.linktype), np.uint8)

    def _read(self, packets_max: int) -> Burst | None:
        """Records of one buffer's worth; the buffer is filled again only when it holds no whole record."""
        if not self._record_available():
            return None
        records, end = self._scan(packets_max)
        region = np.frombuffer(bytearray(memoryview(self._buffer)[self._position : end]), np.uint8)
        starts = np.array(records, np.int64) - self._position
        offsets = starts + (self._overhead - HEADER_OCTETS)
        fields = region[starts[:, None] + _HEADER_COLUMNS].view(self._columns)
        region[offsets[:, None] + _HEADER_COLUMNS] = self._header
        self._position = end
        first = self._frames + 1
        return Burst(
            region,
            offsets,
            fields[:, 2].astype(np.uint32) + np.uint32(HEADER_OCTETS),
            fields[:, 3].astype(np.uint32),
            fields[:, 0].astype(np.int64) * 1_000_000_000 + fields[:, 1].astype(np.int64) * self._tick,
            np.arange(first, first + len(records), dtype=np.uint64),
        )

    def _scan(self, packets_max: int) -> tuple[list[int], int]:
        """Where the next whole records in the buffer begin, and where the last of them ends."""
        buffer, captured, overhead = self._buffer, self._captured.unpack_from, self._overhead
        size, position = len(buffer), self._position
        records: list[int] = []
        while len(records) < packets_max and position + overhead <= size:
            (octets,) = captured(buffer, position + 8)
            following = position + overhead + octets
            if following > size or octets > FRAME_OCTETS_MAX:
                break
            records.append(position)
            position = following
        return records, position

    def _record_available(self) -> bool:
        """Have one whole record in the buffer; if there is none, note whether the file was cut."""
        frame = self._frames + 1
        if not self._available(self._overhead):
            if len(self._buffer) > self._position:
                self._cut(f"the file is cut short in the header of frame {frame}")
            return False
        (octets,) = self._captured.unpack_from(self._buffer, self._position + 8)
        if octets > FRAME_OCTETS_MAX:
            self._cut(f"frame {frame} claims to have {octets} octets; what follows cannot be read")
            return False
        if not self._available(self._overhead + octets):
            self._cut(f"the file is cut short in frame {frame}")
            return False
        return True


_HEADER_COLUMNS = np.arange(RECORD_HEADER_OCTETS)
