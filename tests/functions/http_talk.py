"""An HTTP conversation for tests: its segments, and the rows that the parser makes of them."""

from typing import Any, TypeAlias

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import TimeOuts
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.http import Http, HttpRequest
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.chain_run import run_chain
from nfactor.testing.packets import ACK, FIN, SYN, tcp

CLIENT, SERVER = ("10.0.0.1", 40_000), ("10.0.0.2", 8_081)

Row: TypeAlias = tuple[Any, ...]
"""A request as (method, host, uri), a response as (status,), each with a 0 behind it if its body was not completed."""


class Talk:
    """A TCP connection whose segments are written down as they would be sent."""

    def __init__(self, first: int = 1_000) -> None:
        self.frames: list[bytes] = []
        self.next = [first, first + 5_000]

    def say(self, side: int, octets: bytes = b"", *, flags: int = ACK, ahead: int = 0) -> "Talk":
        """A segment from the client (0) or the server (1); ``ahead`` octets before it are lost."""
        source, target = (CLIENT, SERVER) if side == 0 else (SERVER, CLIENT)
        sequence = (self.next[side] + ahead) % (1 << 32)
        self.frames.append(tcp(*source, *target, octets, flags=flags, seq=sequence))
        self.next[side] = sequence + len(octets) + bool(flags & SYN) + bool(flags & FIN)
        return self

    def ask(self, octets: bytes, **more: int) -> "Talk":
        return self.say(0, octets, **more)

    def answer(self, octets: bytes, **more: int) -> "Talk":
        return self.say(1, octets, **more)

    def back(self, side: int, octets: int) -> "Talk":
        """The next segment of that side begins so many octets earlier."""
        self.next[side] -= octets
        return self


def row_of(record: Any) -> Row:
    row: Row = (record.method, record.host, record.uri) if isinstance(record, HttpRequest) else (record.status,)
    return row if record.whole else (*row, 0)


def rows(talk: Talk) -> list[Row]:
    run = run_chain([Http()], talk.frames)
    assert {"forward"} >= set(run.verdicts)
    return [row_of(record) for record in run.records]


def records(talk: Talk) -> list[Any]:
    return run_chain([Http()], talk.frames).records


def request(method: bytes = b"GET", uri: bytes = b"/", *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([method + b" " + uri + b" HTTP/1.1", *lines, b"", body])


def response(status: int, *lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Reason" % status, *lines, b"", body])


GET: Row = (b"GET", b"", b"/")
EMPTY = b"Content-Length: 0"


def engine_of() -> ReferenceEngine:
    return ReferenceEngine(Chain.of([Http()]), FlowClassifier("five-tuple"), time_outs=TimeOuts(never=True))
