"""The recorder: AF_PACKET sockets on some interfaces, one pcap file in order of time.

``recorder.py OUT.pcap INTERFACE...`` prints ``ready`` once it listens and writes the file when its input is closed. The
times are the kernel's own (nanoseconds). A frame that the kernel had to leave out would make the capture a lie, so that
is a failure.
"""

import select
import socket
import struct
import sys
import time
from pathlib import Path

ETH_P_ALL = 0x0003
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
BUFFER_OCTETS = 64 << 20
FRAME_OCTETS_MAX = 65_535
SECONDS_MAX = 55.0
MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_ETHERNET = 1

Frame = tuple[int, bytes]


def listen(interface: str) -> socket.socket:
    """A socket that sees every frame of the interface, both directions, stamped by the kernel."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_OCTETS)
    tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    tap.bind((interface, ETH_P_ALL))
    tap.setblocking(False)
    return tap


def drain(tap: socket.socket, frames: list[Frame]) -> None:
    """Take what is there."""
    while True:
        try:
            frame, ancillary, _, _ = tap.recvmsg(FRAME_OCTETS_MAX, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
        frames.append((seconds * 10**9 + nanoseconds, frame))


def lost(tap: socket.socket) -> int:
    """Frames that the kernel could not hand over since the socket was opened."""
    _, drops = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    return int(drops)


def write(path: Path, frames: list[Frame]) -> None:
    """A nanosecond pcap file of whole Ethernet frames, sorted by time."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, FRAME_OCTETS_MAX, LINKTYPE_ETHERNET))
        for stamp, frame in sorted(frames, key=lambda pair: pair[0]):
            file.write(struct.pack("<IIII", *divmod(stamp, 10**9), len(frame), len(frame)))
            file.write(frame)


def main() -> None:
    """Listen until the input is closed, then write."""
    path, interfaces = Path(sys.argv[1]), sys.argv[2:]
    taps = [listen(interface) for interface in interfaces]
    frames: list[Frame] = []
    print("ready", flush=True)
    deadline = time.monotonic() + SECONDS_MAX
    stop = False
    while not stop and time.monotonic() < deadline:
        readable, _, _ = select.select([*taps, sys.stdin], [], [], 0.5)
        stop = sys.stdin in readable
        for tap in taps:
            drain(tap, frames)
    dropped = sum(lost(tap) for tap in taps)
    if dropped:
        raise SystemExit(f"recorder: the kernel left {dropped} frames out; record again")
    write(path, frames)


if __name__ == "__main__":
    main()
