"""What the HTTP parser keeps of one TCP connection: where each direction stands, and the request that is being read.

All of it is numbers of fixed width, so that a flow can leave between any two packets, in the middle of a line or of a
number, and go on elsewhere. Text is kept as words of eight octets, the first octet lowest: a byte string would be a new
object per packet, and a list of single octets eight times as large as the record. Only requests have text, and only one
side of a connection makes requests, so there is one set of it.
"""

from typing import Annotated, Final

from nfactor.dataplane import nf

METHOD_OCTETS_MAX: Final = 24
"""A longer first word is no method."""
HOST_OCTETS_MAX: Final = 256
"""A longer host is cut; a DNS name has 253, a port 6."""
URI_OCTETS_MAX: Final = 2048
"""A longer URI is cut. The longest in the captures that we judge by has 1,486."""
HEADER_OCTETS_MAX: Final = 65_536
"""First line, header lines and trailers of one message; a message with more is given up."""
REQUESTS_WAITING_MAX: Final = 64
"""Requests without a response of which we know whether they were HEAD or CONNECT; of more we only keep the number."""

URI_CUT: Final = 1
HOST_CUT: Final = 2
HOST_SEEN: Final = 4
CUT: Final = URI_CUT | HOST_CUT

HAS_LENGTH: Final = 1
CHUNKED: Final = 2
HAS_SLASH: Final = 4

(
    START,
    WORD,
    TARGET,
    VERSION,
    STATUS,
    REASON,
    LINE,
    NAME,
    VALUE,
    HOST,
    LENGTH,
    LENGTH_END,
    CODING,
    TRAILER,
    TRAILER_LINE,
    SIZE,
    EXTENSION,
    CHUNK,
    CHUNK_END,
    BODY,
    CLOSE,
    TUNNEL,
) = range(22)
"""Where a direction stands. Up to CODING the header is not at its end; from TRAILER to CLOSE the body is not."""


@nf.state
class HttpState:
    """One connection. Pairs are indexed by ``pkt.direction``."""

    method: Annotated[list[int], nf.array(nf.u64, METHOD_OCTETS_MAX // 8)]
    host: Annotated[list[int], nf.array(nf.u64, HOST_OCTETS_MAX // 8)]
    uri: Annotated[list[int], nf.array(nf.u64, URI_OCTETS_MAX // 8)]
    method_octets: nf.u8
    host_octets: nf.u16
    uri_octets: nf.u16
    request_flags: nf.u8
    """URI_CUT, HOST_CUT, HOST_SEEN."""
    status: nf.u16
    """Of the response that is being read."""

    client: nf.u8
    """0 nobody, 1 + direction of the side that makes requests, or that last sent what may be the start of one."""
    client_sure: nf.u8
    """1 as soon as a whole request or status line was seen."""

    waiting: nf.u8
    """Requests in ``heads`` and ``connects``, the oldest in bit 0."""
    heads: nf.u64
    connects: nf.u64
    beyond: nf.u32
    """Requests behind those, of which only the number is known."""

    open: Annotated[list[int], nf.array(nf.u8, 2)]
    """1 if ``expected`` is known, 3 if ``first`` is too."""
    first: Annotated[list[int], nf.array(nf.u32, 2)]
    """Sequence number behind the SYN."""
    expected: Annotated[list[int], nf.array(nf.u32, 2)]
    """Sequence number of the next octet to parse."""

    stage: Annotated[list[int], nf.array(nf.u8, 2)]
    header: Annotated[list[int], nf.array(nf.u8, 2)]
    """Which of the header names that matter this may be, 0 if none."""
    framing: Annotated[list[int], nf.array(nf.u8, 2)]
    """HAS_LENGTH, CHUNKED, HAS_SLASH."""
    count: Annotated[list[int], nf.array(nf.u32, 2)]
    """Octets of the current word, name or number so far."""
    header_octets: Annotated[list[int], nf.array(nf.u32, 2)]
    word: Annotated[list[int], nf.array(nf.i64, 2)]
    """The last eight octets of the current word, the newest lowest; ASCII, so the sign bit is free."""
    left: Annotated[list[int], nf.array(nf.i64, 2)]
    """Octets of the body or chunk that are still to come."""

    refused: nf.u32
    """Messages of which no row can tell: headers too long, or torn by a gap, a reset or the end of the stream."""


@nf.record
class HttpRequest:
    """One request, emitted by the packet that completed it (``mark``), body included."""

    mark: nf.u64
    method: Annotated[bytes, nf.octets(METHOD_OCTETS_MAX)]
    host: Annotated[bytes, nf.octets(HOST_OCTETS_MAX)]
    """Of the first Host line; b"" if there is none."""
    uri: Annotated[bytes, nf.octets(URI_OCTETS_MAX)]
    cut: nf.u8
    """Bit 1 if the URI was longer than the record holds, bit 2 if the host was."""
    whole: nf.u8
    """0 if the body was never completed: the stream ended in it, or went on behind a gap."""


@nf.record
class HttpResponse:
    """One response, likewise. A body without a length is completed by the end of the stream."""

    mark: nf.u64
    status: nf.u16
    whole: nf.u8


def put(words: list[int], at: int, octet: int) -> None:
    """Write octet number ``at``; they are written in order, so the first of a word clears what was there before."""
    if at & 7:
        words[at >> 3] |= octet << ((at & 7) << 3)
    else:
        words[at >> 3] = octet


def complete(pkt: nf.Packet, fs: HttpState, d: int, whole: int) -> None:
    """The message of direction ``d`` has ended with this packet: emit its row."""
    fs.stage[d] = START
    if fs.client == 1 + d:
        pkt.emit(
            HttpRequest(
                mark=pkt.mark,
                method=nf.text(fs.method, fs.method_octets),
                host=nf.text(fs.host, fs.host_octets),
                uri=nf.text(fs.uri, fs.uri_octets),
                cut=fs.request_flags & CUT,
                whole=whole,
            )
        )
    else:
        pkt.emit(HttpResponse(mark=pkt.mark, status=fs.status, whole=whole))


def give_up(fs: HttpState, d: int, end: int) -> int:
    """This is no message that we can read: pass over the rest of the segment."""
    if fs.stage[d] >= LINE:
        fs.refused += 1
    elif not fs.client_sure and fs.client == 1 + d:
        fs.client = 0
    fs.stage[d] = START
    return end


def skip_line(fs: HttpState, d: int, data: memoryview, at: int, end: int, stage: int) -> int:
    """Pass over the rest of the line, and go on with ``stage`` behind it."""
    while at < end:
        at += 1
        if data[at - 1] == 10:
            fs.stage[d] = stage
            break
    return at
