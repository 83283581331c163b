"""Capture files: open one to read whatever it is, or make one like it.

``open_capture`` looks at the first octets and returns the reader for them; ``CaptureWriter.like(reader, path)`` writes
what comes out of a cluster in the format that went in.
"""

import os
from pathlib import Path

from nfactor.errors import CaptureError
from nfactor.packet.capture_reader import CaptureReader
from nfactor.packet.capture_writer import CaptureWriter
from nfactor.packet.pcap import PcapReader, is_pcap
from nfactor.packet.pcapng import PcapngReader, is_pcapng

__all__ = ["CaptureReader", "CaptureWriter", "open_capture"]

_OTHERS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


def open_capture(path: str | os.PathLike[str]) -> CaptureReader:
    """A reader of a pcap or pcapng file; raises ``CaptureError`` if nothing of it can be read."""
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the reader closes it
    except OSError as error:
        raise CaptureError(f"{os.fspath(path)}: cannot be opened: {error.strerror}") from None
    try:
        start = file.read(4)
        if is_pcap(start):
            return PcapReader(path, file, start)
        if is_pcapng(start):
            return PcapngReader(path, file, start)
        raise CaptureError(f"{os.fspath(path)}: {_what_it_is(start)}")
    except OSError as error:
        file.close()
        raise CaptureError(f"{os.fspath(path)}: cannot be read: {error.strerror}") from None
    except CaptureError:
        file.close()
        raise


def _what_it_is(start: bytes) -> str:
    if not start:
        return "is empty, not a capture"
    for magic, name in _OTHERS.items():
        if start.startswith(magic[:4]):
            return f"is compressed ({name}); unpack it first"
    return "is neither pcap nor pcapng"
