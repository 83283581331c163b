"""HTTP parser: reads the requests and responses of every TCP connection, and emits a row for each as it is completed.

TCP may repeat, reorder and lose segments. There is no buffer for what comes early, as a flow's state must stay small:

- octets that were parsed already are not parsed again: the first copy counts;
- a gap inside a body is passed over, since of a body only the length matters;
- any other segment ahead of a gap is ignored, so that a late one can still fill it, unless a message begins with it:
  then what went before is given up, and parsing goes on there.

A flow without its beginning is parsed from the first segment that a message begins with. Segments that another packet
carries (tunnels, ICMP errors) are not looked at.
"""

from typing import Final

from nfactor.dataplane import nf
from nfactor.functions.http_body import body_step, end_of_stream, forget_all_but_the_newest, skip_gap
from nfactor.functions.http_header import header_step
from nfactor.functions.http_state import (
    CODING,
    HEADER_OCTETS_MAX,
    START,
    TRAILER_LINE,
    HttpRequest as HttpRequest,
    HttpResponse as HttpResponse,
    HttpState as HttpState,
    give_up,
)
from nfactor.packet.fields import TCP

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_BEHIND: Final = 1 << 31
"""A sequence number is behind another if it is less than this many octets before it, else ahead (RFC 9293, 3.4)."""
_LOST_TOUCH: Final = 1 << 30
"""No gap is as large as this: the sender is elsewhere, and we follow."""

_KNOWN, _FIRST_KNOWN = 1, 2

_BEGINNINGS: Final = (
    b"HTTP/1.",
    *(
        method + b" "
        for method in (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"TRACE")
    ),
)
_BEGINNING_START: Final = tuple(sum(map(len, _BEGINNINGS[:index])) for index in range(len(_BEGINNINGS) + 1))
_BEGINNING_OCTETS: Final = tuple(b"".join(_BEGINNINGS))
"""What a message begins with where nothing else says that one does. Stricter than in a stream without gaps, because
here it may just as well be the middle of a body."""


class Http(nf.NF):
    """Forwards everything and parses TCP, whatever the port."""

    State = HttpState
    records = (HttpRequest, HttpResponse)

    def process_pkt(self, pkt: nf.Packet, fs: HttpState) -> int:
        """Parse what is new in the segment; always FORWARD."""
        if pkt.protocol == TCP and pkt.l4 >= 0 and not pkt.foreign:
            _receive(pkt, fs)
        return nf.FORWARD


def _receive(pkt: nf.Packet, fs: HttpState) -> None:
    d, flags, data = pkt.direction, pkt.tcp_flags, pkt.data
    at, end = pkt.payload, min(pkt.payload_end, pkt.end)
    number = pkt.l4 + 4
    sequence = ((data[number] * 256 + data[number + 1]) * 256 + data[number + 2]) * 256 + data[number + 3]
    if flags & _SYN:
        sequence = (sequence + 1) & _SEQUENCE_MASK
        _synchronise(pkt, fs, d, sequence)
    elif not fs.open[d]:
        fs.open[d] = _KNOWN
        fs.expected[d] = sequence
    if at < end:
        _segment(pkt, fs, d, sequence, at, end)
    if flags & (_FIN | _RST):
        _close(pkt, fs, d, (sequence + max(0, pkt.payload_end - at)) & _SEQUENCE_MASK)


def _synchronise(pkt: nf.Packet, fs: HttpState, d: int, sequence: int) -> None:
    """A SYN: a repeated one says nothing; else the direction begins, and without ACK the whole connection does."""
    if fs.open[d] & _FIRST_KNOWN and fs.first[d] == sequence:
        return
    end_of_stream(pkt, fs, d, False)
    fs.stage[d] = START
    if not pkt.tcp_flags & _ACK:
        end_of_stream(pkt, fs, 1 - d, False)
        fs.stage[1 - d] = START
        # A SYN that comes behind the answer to it has nothing to say about the other direction.
        if not (fs.open[1 - d] & _FIRST_KNOWN and not fs.open[d]):
            fs.open[1 - d] = 0
        fs.client = fs.client_sure = 0
        fs.waiting = fs.heads = fs.connects = fs.beyond = 0
    fs.open[d] = _KNOWN | _FIRST_KNOWN
    fs.first[d] = fs.expected[d] = sequence


def _segment(pkt: nf.Packet, fs: HttpState, d: int, sequence: int, at: int, end: int) -> None:
    """Parse those octets of a segment that are new, and expect the next ones behind them."""
    ahead = (sequence - fs.expected[d]) & _SEQUENCE_MASK
    if ahead >= _BEHIND:
        at += _SEQUENCE_MASK + 1 - ahead
        if at >= end:
            return
    elif ahead and not skip_gap(fs, d, ahead):
        if not _begins_message(pkt.data, at, end):
            if ahead >= _LOST_TOUCH:
                fs.expected[d] = sequence
            return
        end_of_stream(pkt, fs, d, False)
        if fs.client == 2 - d:
            forget_all_but_the_newest(fs)
    fs.expected[d] = (sequence + end - pkt.payload) & _SEQUENCE_MASK
    _consume(pkt, fs, d, at, end)


def _begins_message(data: memoryview, at: int, end: int) -> bool:
    for index in range(len(_BEGINNING_START) - 1):
        start, stop = _BEGINNING_START[index], _BEGINNING_START[index + 1]
        if at + stop - start <= end:
            length = 0
            while start + length < stop and data[at + length] == _BEGINNING_OCTETS[start + length]:
                length += 1
            if start + length == stop:
                return True
    return False


def _consume(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> None:
    """Run the stages of direction ``d`` over the octets from ``at`` to ``end``."""
    while at < end:
        stage = fs.stage[d]
        stop = header_step(pkt, fs, d, at, end) if stage <= CODING else body_step(pkt, fs, d, at, end)
        assert stop > at or fs.stage[d] != stage, "a stage reads on or hands over"
        if stage <= TRAILER_LINE:
            fs.header_octets[d] += stop - at
            if fs.header_octets[d] > HEADER_OCTETS_MAX and START < fs.stage[d] <= TRAILER_LINE:
                stop = give_up(fs, d, end)
        at = stop


def _close(pkt: nf.Packet, fs: HttpState, d: int, sequence: int) -> None:
    """A FIN or RST: what is not complete now will never be.

    An RST must stand exactly where the stream is, or anybody who knows ports and addresses could end it (RFC 5961); a
    FIN may stand behind a gap if that is in a body, as data may.
    """
    ahead = (sequence - fs.expected[d]) & _SEQUENCE_MASK
    if pkt.tcp_flags & _RST:
        if not ahead:
            end_of_stream(pkt, fs, d, False)
            end_of_stream(pkt, fs, 1 - d, False)
    elif not ahead or (ahead < _BEHIND and skip_gap(fs, d, ahead)):
        end_of_stream(pkt, fs, d, True)
        fs.expected[d] = (sequence + 1) & _SEQUENCE_MASK
