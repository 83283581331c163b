"""Conversations: the packets of one flow, one after the other, with the time from each to the next.

TCP shakes hands, numbers and acknowledges its octets, and closes; HTTP is requests and answers inside it. Nothing here
knows of other flows or of the clock.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, TypeAlias

import attrs

from nfactor.testing.packets import ACK, FIN, PSH, SYN, tcp, udp

Step: TypeAlias = tuple[float, bytes]
"""Seconds since the packet before, and the frame."""

SEGMENT_OCTETS: Final = 1448
_ACK_EVERY: Final = 2
_HEADERS_TCP: Final = 54
_HEADERS_UDP: Final = 42
_ATTACKS: Final = (
    b"/etc/passwd",
    b"../../../../boot.ini",
    b"<script>alert(1)</script>",
    b"' OR '1'='1' --",
    b"() { :; }; /bin/bash -c",
    b"cmd.exe?/c+dir",
)
_HOSTS: Final = (b"www.example.org", b"img.example.net", b"api.example.com")


@attrs.frozen
class Ends:
    """Who talks to whom."""

    client: str
    client_port: int
    server: str
    server_port: int


@attrs.define
class _Tcp:
    """One connection: what each side has sent so far."""

    ends: Ends
    gap_s: float
    rng: Random
    sent: list[int]

    def segment(self, side: int, payload: bytes = b"", flags: int = ACK) -> Step:
        """One segment from the client (0) or the server (1)."""
        e, (mine, theirs) = self.ends, (self.sent[side], self.sent[1 - side])
        ends = (e.client, e.client_port, e.server, e.server_port)
        if side:
            ends = (e.server, e.server_port, e.client, e.client_port)
        acknowledged = theirs if flags & ACK else 0
        frame = tcp(*ends, payload, flags=flags, seq=mine & 0xFFFFFFFF, ack=acknowledged & 0xFFFFFFFF)
        self.sent[side] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        return self.gap_s * self.rng.expovariate(1.0), frame

    def open(self) -> Iterator[Step]:
        """Three packets."""
        yield self.segment(0, flags=SYN)
        yield self.segment(1, flags=SYN | ACK)
        yield self.segment(0)

    def send(self, side: int, octets: Iterator[bytes]) -> Iterator[Step]:
        """Segments, and an acknowledgement for every other one."""
        for number, piece in enumerate(octets, 1):
            yield self.segment(side, piece, ACK | PSH)
            if number % _ACK_EVERY == 0:
                yield self.segment(1 - side)

    def close(self) -> Iterator[Step]:
        """Both sides close."""
        yield self.segment(0, flags=FIN | ACK)
        yield self.segment(1, flags=FIN | ACK)
        yield self.segment(0)


def _connection(ends: Ends, gap_s: float, rng: Random) -> _Tcp:
    return _Tcp(ends, gap_s, rng, [rng.randrange(1 << 32), rng.randrange(1 << 32)])


def _pieces(octets: bytes) -> Iterator[bytes]:
    return (octets[start : start + SEGMENT_OCTETS] for start in range(0, len(octets), SEGMENT_OCTETS))


def bulk(ends: Ends, octets: int, gap_s: float, rng: Random, content: "Content") -> Iterator[Step]:
    """A TCP connection in which the server sends so many octets."""
    connection = _connection(ends, gap_s, rng)
    yield from connection.open()
    yield from connection.send(0, iter([b"\x16" + rng.randbytes(63)]))
    yield from connection.send(1, content.pieces(octets, rng))
    yield from connection.close()


def http(ends: Ends, octets: int, gap_s: float, rng: Random, content: "Content", attack: bool) -> Iterator[Step]:
    """A TCP connection with HTTP requests until the answers have so many octets; with an attack string in the first."""
    connection = _connection(ends, gap_s, rng)
    yield from connection.open()
    left = max(1, octets)
    while left > 0:
        target = b"/" + (rng.choice(_ATTACKS) if attack else b"item/%d" % rng.randrange(10_000))
        attack = False
        request = b"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: nfactor\r\n\r\n" % (target, rng.choice(_HOSTS))
        yield from connection.send(0, _pieces(request))
        body = min(left, max(1, octets // rng.randint(1, 4)))
        yield from connection.send(1, iter([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body]))
        yield from connection.send(1, content.pieces(body, rng))
        left -= body
    yield from connection.close()


def datagrams(ends: Ends, octets: int, gap_s: float, rng: Random, frame_octets: int | None = None) -> Iterator[Step]:
    """UDP: a question and an answer, then the server sends on until there were so many octets. ``frame_octets``: the
    size of every frame, drawn as IMIX (7 of 64, 4 of 594, 1 of 1518) unless given."""
    e, left, turn = ends, max(1, octets), 0
    while left > 0:
        frame = frame_octets or rng.choices((64, 594, 1514), (7, 4, 1))[0]
        payload = rng.randbytes(frame - _HEADERS_UDP)
        if turn == 0:
            yield gap_s * rng.expovariate(1.0), udp(e.client, e.client_port, e.server, e.server_port, payload)
        else:
            yield gap_s * rng.expovariate(1.0), udp(e.server, e.server_port, e.client, e.client_port, payload)
        left -= len(payload)
        turn += 1


def steady(ends: Ends, packets: int, gap_s: float, frame_octets: int) -> Iterator[Step]:
    """So many frames of one size, evenly, one way: what the paper loads its clusters with."""
    payload = bytes(frame_octets - _HEADERS_TCP)
    for number in range(packets):
        segment = tcp(
            ends.client, ends.client_port, ends.server, ends.server_port, payload, seq=1 + number * len(payload)
        )
        yield (gap_s if number else 0.0), segment


class Content:
    """What answers are made of. A share of the pieces comes from a small stock that repeats, whoever asks."""

    def __init__(self, duplicates: float, rng: Random) -> None:
        self._duplicates = duplicates
        self._stock = [rng.randbytes(SEGMENT_OCTETS) for _ in range(64)]

    def pieces(self, octets: int, rng: Random) -> Iterator[bytes]:
        """Segments of so many octets together."""
        for start in range(0, octets, SEGMENT_OCTETS):
            size = min(SEGMENT_OCTETS, octets - start)
            repeats = self._duplicates > 0 and rng.random() < self._duplicates
            yield rng.choice(self._stock)[:size] if repeats else rng.randbytes(size)
