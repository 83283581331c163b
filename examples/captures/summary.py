"""The summary of a capture of this folder: packets, flows, attack strings, Multipath TCP sub-flows.

It reads what ``recorder.py`` writes (nanosecond pcap, Ethernet) with the standard library alone, so that it can be
trusted to say whether nfactor read the same. ``python3 summary.py CAPTURE`` prints the table.
"""

import collections
import hashlib
import ipaddress
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

ETHERTYPES = {0x0800: 4, 0x86DD: 6}
NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
HOP_BY_HOP, FRAGMENT_HEADER = 0, 44
MPTCP_OPTION, MP_CAPABLE, MP_JOIN, DSS = 30, 0, 1, 2
ATTACKS = (b"/etc/passwd", b"cmd.exe", b"%3Cscript%3E", b"' OR 1=1")

Flow = tuple[str, str, int, str, int]


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Time in nanoseconds and octets of each frame."""
    data = path.read_bytes()
    magic, _, _, _, _, _, linktype = struct.unpack_from("<IHHiIII", data)
    assert (magic, linktype) == (0xA1B23C4D, 1), "not a capture of recorder.py"
    position = 24
    while position < len(data):
        seconds, nanoseconds, kept, length = struct.unpack_from("<IIII", data, position)
        assert kept == length
        yield seconds * 10**9 + nanoseconds, data[position + 16 : position + 16 + kept]
        position += 16 + kept


def network(frame: bytes) -> tuple[int, str, str, bytes, bool] | None:
    """Protocol, addresses, payload of an IP packet, and whether it is a fragment; None for anything else."""
    version = ETHERTYPES.get(int.from_bytes(frame[12:14]))
    packet = frame[14:]
    if version == 4:
        ends = str(ipaddress.IPv4Address(packet[12:16])), str(ipaddress.IPv4Address(packet[16:20]))
        fragment = bool(int.from_bytes(packet[6:8]) & 0x3FFF)
        return packet[9], *ends, packet[(packet[0] & 15) * 4 : int.from_bytes(packet[2:4])], fragment
    if version == 6:
        ends = str(ipaddress.IPv6Address(packet[8:24])), str(ipaddress.IPv6Address(packet[24:40]))
        if packet[6] == FRAGMENT_HEADER:
            return packet[40], *ends, packet[48:], True
        if packet[6] == HOP_BY_HOP:
            return packet[40], *ends, packet[48:], False
        return packet[6], *ends, packet[40:], False
    return None


def flow_of(frame: bytes) -> tuple[Flow, bytes] | None:
    """The bidirectional 5-tuple and the transport's octets; fragments and ICMP have ports 0."""
    found = network(frame)
    if found is None:
        return None
    protocol, source, target, payload, fragment = found
    ports = struct.unpack_from(">HH", payload) if protocol in (6, 17) and not fragment else (0, 0)
    (a, a_port), (b, b_port) = sorted([(source, ports[0]), (target, ports[1])])
    return (NAMES.get(protocol, str(protocol)), a, a_port, b, b_port), payload


def options(segment: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a TCP segment."""
    position, end = 20, (segment[12] >> 4) * 4
    while position < end and segment[position] != 0:
        length = 1 if segment[position] == 1 else segment[position + 1]
        yield segment[position], segment[position + 2 : position + length]
        position += length


class Tally:
    """What was counted over the frames of one capture."""

    def __init__(self) -> None:
        self.packets: collections.Counter[Flow] = collections.Counter()
        self.octets: collections.Counter[Flow] = collections.Counter()
        self.other = self.fragments = 0
        self.mptcp: dict[Flow, collections.Counter[str]] = {}
        self.connections: dict[bytes, list[Flow]] = {}  # by the token of the server's key, as MP_JOIN names them
        self.joined: dict[Flow, Flow] = {}
        self.attacks: collections.Counter[bytes] = collections.Counter()
        self.first: dict[Flow, int] = {}
        self.last: dict[Flow, int] = {}

    def add(self, stamp: int, frame: bytes) -> None:
        """Count one frame."""
        found = flow_of(frame)
        if found is None:
            self.other += 1
            return
        flow, payload = found
        self.packets[flow] += 1
        self.octets[flow] += len(frame)
        self.first.setdefault(flow, stamp)
        self.last[flow] = stamp
        self.fragments += network(frame)[4]  # type: ignore[index]
        for attack in ATTACKS:
            self.attacks[attack] += attack in payload
        if flow[0] == "tcp":
            self.add_mptcp(flow, payload)

    def add_mptcp(self, flow: Flow, segment: bytes) -> None:
        """Count the Multipath TCP options of a segment, by sub-flow."""
        carries = len(segment) > (segment[12] >> 4) * 4
        for kind, content in options(segment):
            if kind == MPTCP_OPTION:
                counts = self.mptcp.setdefault(flow, collections.Counter())
                subtype = content[0] >> 4
                counts["mp_capable"] += subtype == MP_CAPABLE
                counts["mp_join"] += subtype == MP_JOIN
                counts["data"] += subtype == DSS and carries
                if subtype == MP_CAPABLE and len(content) >= 18:  # both keys: the third packet of the handshake
                    token = hashlib.sha256(content[10:18]).digest()[:4]
                    self.connections.setdefault(token, []).append(flow)
                if subtype == MP_JOIN and len(content) == 10 and flow not in self.joined:  # the SYN: whose token?
                    self.joined[flow] = self.connections[content[2:6]][0]

    def alive_at_once(self) -> int:
        """The most flows between their first and last packet at one moment."""
        events = sorted([(t, 1) for t in self.first.values()] + [(t, -1) for t in self.last.values()])
        alive = most = 0
        for _, step in events:
            alive += step
            most = max(most, alive)
        return most


def ends_of(flow: Flow) -> str:
    """The two ends of a flow."""
    return f"{flow[1]}:{flow[2]} - {flow[3]}:{flow[4]}"


def describe(path: Path) -> str:
    """The table that README.md shows."""
    tally = Tally()
    stamps = []
    largest = 0
    for stamp, frame in frames(path):
        stamps.append(stamp)
        largest = max(largest, len(frame))
        tally.add(stamp, frame)
    assert stamps == sorted(stamps)
    kinds = collections.Counter(flow[0] for flow in tally.packets)
    seconds = (stamps[-1] - stamps[0]) / 1e9
    long = sum(count >= 100 for count in tally.packets.values())
    lines = [
        f"packets            {len(stamps)} in {seconds:.1f} s, {path.stat().st_size} octets of file",
        f"largest frame      {largest} octets",
        f"flows              {len(tally.packets)}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        f"IPv6 flows         {sum(':' in flow[1] for flow in tally.packets)}",
        f"flows alive        up to {tally.alive_at_once()} at once; {long} of 100 packets and more",
        f"fragments          {tally.fragments}; not IP: {tally.other}",
        "attack strings     " + ", ".join(f"{text.decode()}: {n}" for text, n in tally.attacks.items()),
    ]
    for flow, counts in tally.mptcp.items():
        role = f"joins {ends_of(tally.joined[flow])}" if flow in tally.joined else "opens a connection"
        lines.append(f"MPTCP sub-flow     {ends_of(flow)} {role}; {counts['data']} packets of data")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe(Path(sys.argv[1])))
