"""Capture files for tests, built block by block."""

import struct
from pathlib import Path
from typing import TypeAlias

from nfactor.packet.burst import Burst, concatenate
from nfactor.packet.capture import CaptureReader, open_capture

Record: TypeAlias = tuple[int, bytes, int]
"""Time in ticks, octets, original length."""


def pcap(
    records: list[Record], *, order: str = "<", magic: int = 0xA1B2C3D4, linktype: int = 1, ticks: int = 10**6
) -> bytes:
    """A pcap file; ``ticks`` a second go into the times."""
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for time, octets, original in records:
        file += struct.pack(order + "IIII", time // ticks, time % ticks, len(octets), original) + extra + octets
    return file


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    """A section header."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(linktype: int = 1, options: bytes = b"", order: str = "<", snap: int = 0) -> bytes:
    """An interface description."""
    return block(1, struct.pack(order + "HHI", linktype, 0, snap) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """One option of a block."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(octets: bytes, number: int = 0, time: int = 0, order: str = "<", captured: int | None = None) -> bytes:
    """An enhanced packet block; ``captured`` is a false length."""
    length = len(octets) if captured is None else captured
    numbers = struct.pack(order + "IIIII", number, time >> 32, time & 0xFFFFFFFF, length, len(octets) + 5)
    return block(6, numbers + octets, order)


def opened(folder: Path, octets: bytes) -> CaptureReader:
    """A reader of a file with those octets."""
    path = folder / "a.capture"
    path.write_bytes(octets)
    return open_capture(path)


def read_all(reader: CaptureReader, packets_max: int = 256) -> Burst:
    """All packets of a reader, in one burst."""
    bursts = []
    with reader:
        while burst := reader.read_burst(packets_max):
            assert 0 < len(burst) <= packets_max
            bursts.append(burst)
        assert reader.read_burst(packets_max) is None
    return concatenate(bursts) if bursts else Burst.from_frames([])
