"""Writing capture files: frames leave as they came, with their times and original lengths, and all or nothing.

The file grows under another name beside its own and takes its name in ``close``; what fails or is aborted leaves
nothing behind. pcap holds one link type; pcapng as many as come, one interface each, described when it is first needed.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

from nfactor.errors import CaptureError
from nfactor.packet.burst import Burst
from nfactor.packet.capture_reader import FRAME_OCTETS_MAX, CaptureReader
from nfactor.packet.cluster_frame import LINKTYPE_ETHERNET, unwrap
from nfactor.packet.pcap import MICROSECONDS, NANOSECONDS
from nfactor.packet.pcapng import BYTE_ORDER_MAGIC, ENHANCED_PACKET, INTERFACE, OPTION_TSRESOL, SECTION_HEADER

_PCAP_FILE = struct.Struct("<IHHIIII")
_PCAP_RECORD = struct.Struct("<IIII")
_SECTION = struct.Struct("<IIIHHqI")
_INTERFACE = struct.Struct("<IIHHIHHBxxxII")
_ENHANCED = struct.Struct("<IIIIIII")
_U32 = 0xFFFFFFFF


class CaptureWriter:
    """A capture file being written. A context manager: an error inside it aborts, otherwise it closes."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: Literal["pcap", "pcapng"] = "pcap",
        linktype: int = LINKTYPE_ETHERNET,
        nanoseconds: bool = True,
    ) -> None:
        """``linktype`` and ``nanoseconds`` matter for pcap alone; pcapng is always written with nanoseconds."""
        self.path = os.fspath(path)
        self.packets = 0
        self._linktype = linktype
        self._tick = 1 if nanoseconds else 1000
        self._interfaces: dict[int, int] = {}
        self._pcapng = format == "pcapng"
        named = Path(path)
        # A device or pipe (/dev/stdout) is written to, never replaced.
        self._final = None if named.exists() and not named.is_file() else named.resolve()
        self._growing = named if self._final is None else self._final.with_name(_partial(self._final.name))
        try:
            self._file: BinaryIO = self._growing.open("wb")
        except OSError as error:
            raise self._failed(error) from None
        self._write(self._file_header(nanoseconds))

    @classmethod
    def like(cls, reader: CaptureReader, path: str | os.PathLike[str]) -> "CaptureWriter":
        """A writer of the format, link type and resolution that the reader's file has."""
        return cls(path, format=reader.format, linktype=reader.linktype, nanoseconds=reader.nanoseconds)

    def write(self, burst: Burst) -> None:
        """Append the packets, without our header where they have it. ``CaptureError`` if the disk does not take them,
        or for a link type that the file cannot hold; the file is then gone."""
        data = burst.data.data
        record = self._pcapng_record if self._pcapng else self._pcap_record
        pieces: list[bytes | memoryview] = []
        columns = (burst.offsets, burst.lengths, burst.wire_lengths, burst.times)
        for start, length, wire_length, time in zip(*(column.tolist() for column in columns), strict=True):
            end = start + length
            start, linktype, _ = unwrap(data, start, end)
            record(pieces, data[start:end], linktype, wire_length, time)
        self._write(b"".join(pieces))
        self.packets += len(burst)

    def close(self) -> None:
        """Finish the file and give it its name; idempotent, and nothing after ``abort``."""
        if self._file.closed:
            return
        try:
            self._file.close()
            if self._final is not None:
                self._growing.replace(self._final)
        except OSError as error:
            self.abort()
            raise self._failed(error) from None

    def abort(self) -> None:
        """Leave nothing behind; nothing after ``close``."""
        if self._final is not None:
            self._growing.unlink(missing_ok=True)
        with suppress(OSError):  # what was not yet written is of no use
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _file_header(self, nanoseconds: bool) -> bytes:
        if self._pcapng:
            return _SECTION.pack(SECTION_HEADER, _SECTION.size, BYTE_ORDER_MAGIC, 1, 0, -1, _SECTION.size)
        magic = NANOSECONDS if nanoseconds else MICROSECONDS
        return _PCAP_FILE.pack(magic, 2, 4, 0, 0, FRAME_OCTETS_MAX, self._linktype)

    def _pcap_record(
        self, pieces: list[bytes | memoryview], frame: memoryview, linktype: int, wire_length: int, time: int
    ) -> None:
        if linktype != self._linktype:
            self.abort()
            problem = f"a frame of link type {linktype} in a pcap file of link type {self._linktype}; write pcapng"
            raise CaptureError(f"{self.path}: {problem}")
        seconds, nanoseconds = divmod(time, 1_000_000_000)
        pieces.append(_PCAP_RECORD.pack(seconds & _U32, nanoseconds // self._tick, len(frame), wire_length))
        pieces.append(frame)

    def _pcapng_record(
        self, pieces: list[bytes | memoryview], frame: memoryview, linktype: int, wire_length: int, time: int
    ) -> None:
        interface = self._interfaces.get(linktype)
        if interface is None:
            interface = self._interfaces[linktype] = len(self._interfaces)
            size = _INTERFACE.size
            # The option says 10^-9 s; the word behind it ends the options.
            pieces.append(_INTERFACE.pack(INTERFACE, size, linktype, 0, 0, OPTION_TSRESOL, 1, 9, 0, size))
        padding = -len(frame) % 4
        size = _ENHANCED.size + len(frame) + padding + 4
        high, low = time >> 32 & _U32, time & _U32
        pieces.append(_ENHANCED.pack(ENHANCED_PACKET, size, interface, high, low, len(frame), wire_length))
        pieces.append(frame)
        pieces.append(bytes(padding) + size.to_bytes(4, "little"))

    def _write(self, octets: bytes) -> None:
        try:
            self._file.write(octets)
        except OSError as error:
            self.abort()
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> CaptureError:
        return CaptureError(f"{self.path}: cannot be written: {error.strerror}")


def _partial(name: str) -> str:
    """Hidden, and not shared with another process that writes the same file."""
    return f".{name}.{os.getpid()}.partial"
