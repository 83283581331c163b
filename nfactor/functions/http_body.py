"""Where an HTTP message ends: its framing, the requests that wait for a response, and what stands behind the header.

Whether a response has a body depends on the request that it answers, so the methods of requests under way are kept as
bits, oldest first. A body is skipped by arithmetic and may have holes: of octets that were lost in it only their number
matters.
"""

from typing import Final

from nfactor.dataplane import nf
from nfactor.functions.http_state import (
    BODY,
    CHUNK,
    CHUNK_END,
    CHUNKED,
    CLOSE,
    EXTENSION,
    HAS_LENGTH,
    REQUESTS_WAITING_MAX,
    SIZE,
    START,
    TRAILER,
    TRAILER_LINE,
    TUNNEL,
    HttpState,
    complete,
    skip_line,
)

_TAB, _LF, _CR, _SPACE, _SEMICOLON = 9, 10, 13, 32, 59

_HEX: Final = tuple(int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else 16 for c in range(256))
"""The value of a hexadecimal digit; 16 for what is none."""
_CHUNK_DIGITS_MAX: Final = 15

_HEAD: Final = int.from_bytes(b"HEAD", "little")
_CONNECT: Final = int.from_bytes(b"CONNECT", "little")
_PLAIN, _IS_HEAD, _IS_CONNECT = 0, 1, 2


def end_of_header(pkt: nf.Packet, fs: HttpState, d: int) -> None:
    """The empty line is read: decide what follows (RFC 9112, section 6.3). Chunks win over a length."""
    responds, status, kind = fs.client != 1 + d, fs.status, _PLAIN
    if not responds:
        _push(fs)
    elif status >= 200:
        kind = _pop(fs)
    if responds and (status == 101 or (kind == _IS_CONNECT and 200 <= status < 300)):
        complete(pkt, fs, d, 1)
        fs.stage[0] = fs.stage[1] = TUNNEL
    elif responds and (status < 200 or kind == _IS_HEAD or status in (204, 304)):
        complete(pkt, fs, d, 1)
    elif fs.framing[d] & CHUNKED:
        _next_chunk(fs, d)
    elif fs.framing[d] & HAS_LENGTH and fs.left[d]:
        fs.stage[d] = BODY
    elif responds and not fs.framing[d] & HAS_LENGTH:
        fs.stage[d] = CLOSE
    else:
        complete(pkt, fs, d, 1)


def _push(fs: HttpState) -> None:
    """A request waits for its response. Behind the last bit there is only a number, so that the order stays right."""
    if fs.beyond or fs.waiting == REQUESTS_WAITING_MAX:
        fs.beyond += 1
        return
    if fs.method_octets == 4 and fs.method[0] == _HEAD:
        fs.heads |= 1 << fs.waiting
    elif fs.method_octets == 7 and fs.method[0] == _CONNECT:
        fs.connects |= 1 << fs.waiting
    fs.waiting += 1


def _pop(fs: HttpState) -> int:
    """What the oldest request was that still waits; a request that we have not seen was neither HEAD nor CONNECT."""
    if not fs.waiting:
        if fs.beyond:
            fs.beyond -= 1
        return _PLAIN
    kind = _IS_HEAD if fs.heads & 1 else _IS_CONNECT if fs.connects & 1 else _PLAIN
    fs.heads >>= 1
    fs.connects >>= 1
    fs.waiting -= 1
    return kind


def forget_all_but_the_newest(fs: HttpState) -> None:
    """Responses were lost, nobody knows how many: without pipelining the next one answers the newest request."""
    if fs.beyond:
        fs.waiting = fs.heads = fs.connects = 0
        fs.beyond = 1
    elif fs.waiting:
        fs.heads >>= fs.waiting - 1
        fs.connects >>= fs.waiting - 1
        fs.waiting = 1


def skip_gap(fs: HttpState, d: int, octets: int) -> bool:
    """Whether so many octets, which were lost, lie wholly in a body; if so they are passed over."""
    stage = fs.stage[d]
    if stage in (CLOSE, TUNNEL):
        return True
    if stage in (BODY, CHUNK) and octets < fs.left[d]:
        fs.left[d] -= octets
        return True
    return False


def body_step(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> int:
    """Go on behind the header, and say where the stage stopped."""
    data, stage = pkt.data, fs.stage[d]
    if stage in (BODY, CHUNK):
        return _octets(pkt, fs, d, at, end)
    if stage == SIZE:
        return _size(pkt, fs, d, at, end)
    if stage == EXTENSION:
        return skip_line(fs, d, data, at, end, CHUNK if fs.left[d] else TRAILER)
    if stage == CHUNK_END:
        return _chunk_end(pkt, fs, d, at, end)
    if stage == TRAILER:
        return _trailer(pkt, fs, d, at)
    if stage == TRAILER_LINE:
        return skip_line(fs, d, data, at, end, TRAILER)
    return end  # CLOSE and TUNNEL: whatever comes


def _octets(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> int:
    taken = min(fs.left[d], end - at)
    fs.left[d] -= taken
    if not fs.left[d]:
        if fs.stage[d] == BODY:
            complete(pkt, fs, d, 1)
        else:
            fs.stage[d] = CHUNK_END
    return at + taken


def _next_chunk(fs: HttpState, d: int) -> None:
    fs.stage[d] = SIZE
    fs.left[d] = fs.count[d] = 0


def _break_off(pkt: nf.Packet, fs: HttpState, d: int, end: int) -> int:
    """These are no chunks. The message was one, though: it gets its row, and the rest of the segment is passed over."""
    complete(pkt, fs, d, 0)
    return end


def _size(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> int:
    """The hexadecimal size of a chunk; an extension is skipped up to the end of the line."""
    data = pkt.data
    while at < end:
        octet = data[at]
        digit = _HEX[octet]
        if digit < 16:
            if fs.count[d] == _CHUNK_DIGITS_MAX:
                return _break_off(pkt, fs, d, end)
            fs.left[d] = fs.left[d] * 16 + digit
            fs.count[d] += 1
            at += 1
        elif fs.count[d] and octet in (_LF, _CR, _SPACE, _TAB, _SEMICOLON):
            fs.stage[d] = EXTENSION
            return at
        else:
            return _break_off(pkt, fs, d, end)
    return at


def _chunk_end(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> int:
    octet = pkt.data[at]
    if octet == _LF:
        _next_chunk(fs, d)
    elif octet != _CR:
        return _break_off(pkt, fs, d, end)
    return at + 1


def _trailer(pkt: nf.Packet, fs: HttpState, d: int, at: int) -> int:
    """At the beginning of a line behind the last chunk: an empty one ends the message."""
    octet = pkt.data[at]
    if octet == _LF:
        complete(pkt, fs, d, 1)
    elif octet != _CR:
        fs.stage[d] = TRAILER_LINE
    return at + 1


def end_of_stream(pkt: nf.Packet, fs: HttpState, d: int, closed: bool) -> None:
    """No octet of the message of direction ``d`` will follow. ``closed`` says that the sender ended it in order."""
    stage = fs.stage[d]
    if stage == TUNNEL:
        return
    if stage >= TRAILER:
        complete(pkt, fs, d, int(closed and stage == CLOSE))
    elif stage != START:
        fs.refused += 1
    fs.stage[d] = START
