"""The header of an HTTP message, from its first line to the empty line, read octet by octet.

Each stage reads as far as it can in a loop of its own and says where it stopped, so an octet costs one turn of a small
loop. What a stage must remember when the segment ends is in the state: the last eight octets of a word, how many there
were, and the text of a request.

Which side makes requests is found out by what it says, on any port: a line that ends in HTTP/0.x or HTTP/1.x is a
request whatever the method, one that begins with it is a response. HTTP/0.9 without a version is not recognised.
"""

from typing import Final

from nfactor.dataplane import nf
from nfactor.functions.http_body import end_of_header
from nfactor.functions.http_state import (
    CHUNKED,
    CODING,
    HAS_LENGTH,
    HAS_SLASH,
    HOST,
    HOST_CUT,
    HOST_OCTETS_MAX,
    HOST_SEEN,
    LENGTH,
    LENGTH_END,
    LINE,
    METHOD_OCTETS_MAX,
    NAME,
    REASON,
    START,
    STATUS,
    TARGET,
    URI_CUT,
    URI_OCTETS_MAX,
    VALUE,
    VERSION,
    WORD,
    HttpState,
    give_up,
    put,
    skip_line,
)

_TAB, _LF, _CR, _SPACE, _COMMA, _SLASH, _COLON, _LETTERS, _DELETE = 9, 10, 13, 32, 44, 47, 58, 64, 127
_LOWER: Final = 0x20
"""The bit that makes a letter small."""

_TOKEN: Final = tuple(int(chr(c).isalnum() or chr(c) in "!#$%&'*+-.^_`|~") if c < 128 else 0 for c in range(256))
"""1 for the octets of which a method is made (RFC 9110, section 5.6.2)."""

_HTTP_SLASH: Final = int.from_bytes(b"HTTP/", "big")
_HTTP: Final = int.from_bytes(b"HTTP", "big")
_CODING_CHUNKED: Final = int.from_bytes(b"chunked", "big")
_WORD_MASK: Final = (1 << 63) - 1
"""Words are compared with ASCII, so the sign bit is free."""
_ASCII: Final = 0x80
"""Octets from here on are none of ASCII."""
_SEVEN: Final = (1 << 56) - 1

# The header names that matter lie one behind the other; a candidate is chosen by its first letter and then compared.
_NAMES: Final = tuple(b"hostcontent-lengthtransfer-encoding")
_NAME_START: Final = (0, 0, 4, 18)
_NAME_LENGTH: Final = (0, 4, 14, 17)
_NAME_HOST, _NAME_LENGTH_OF_BODY, _NAME_CODING = 1, 2, 3

_LENGTH_DIGITS_MAX: Final = 18


def header_step(pkt: nf.Packet, fs: HttpState, d: int, at: int, end: int) -> int:
    """Go on in the first line or a header line, and say where the stage stopped."""
    data, stage = pkt.data, fs.stage[d]
    if stage in (VALUE, REASON):
        return skip_line(fs, d, data, at, end, LINE)
    if stage == NAME:
        return _name(fs, d, data, at, end)
    if stage == LINE:
        return _line(pkt, fs, d, at)
    if stage == START:
        return _start(fs, d, data, at)
    if stage == WORD:
        return _word(fs, d, data, at, end)
    if stage == TARGET:
        return _target(fs, d, data, at, end)
    if stage == VERSION:
        return _version(fs, d, data, at, end)
    if stage == STATUS:
        return _status(fs, d, data, at, end)
    if stage == HOST:
        return _host(fs, d, data, at, end)
    if stage == LENGTH:
        return _length(fs, d, data, at, end)
    if stage == LENGTH_END:
        return _length_end(fs, d, data, at)
    return _coding(fs, d, data, at, end)


def is_version(word: int) -> bool:
    """Whether the last eight octets are HTTP/0.x or HTTP/1.x."""
    major, dot, minor = (word >> 16) & 0xFF, (word >> 8) & 0xFF, word & 0xFF
    return word >> 24 == _HTTP_SLASH and 48 <= major <= 49 and dot == 46 and 48 <= minor <= 57


def _start(fs: HttpState, d: int, data: memoryview, at: int) -> int:
    octet = data[at]
    if octet in (_LF, _CR):  # empty lines before a message (RFC 9112, section 2.2)
        return at + 1
    fs.stage[d] = WORD
    fs.word[d] = fs.count[d] = fs.left[d] = fs.header_octets[d] = fs.framing[d] = 0
    if not fs.client_sure and fs.client != 1 + d:
        # Both sides have sent half a first line. There is one place for the text of a request: the later one has it.
        if fs.client and fs.stage[1 - d] in (WORD, TARGET, VERSION, STATUS):
            fs.stage[1 - d] = START
        fs.client = 1 + d
    if fs.client == 1 + d:
        fs.method_octets = fs.host_octets = fs.uri_octets = fs.request_flags = 0
    return at


def _word(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """The method, or the version that a status line begins with."""
    requests = fs.client == 1 + d
    word, count = fs.word[d], fs.count[d]
    while at < end:
        octet = data[at]
        at += 1
        if octet == _SPACE:
            return _behind_word(fs, d, word, count, at, end)
        if octet == _SLASH and count == 4 and word == _HTTP:
            fs.framing[d] |= HAS_SLASH
        elif not _TOKEN[octet] or count == METHOD_OCTETS_MAX:
            return give_up(fs, d, end)
        word = ((word << 8) | octet) & _WORD_MASK
        if requests:
            put(fs.method, count, octet)
        count += 1
    fs.word[d], fs.count[d] = word, count
    return end


def _behind_word(fs: HttpState, d: int, word: int, count: int, at: int, end: int) -> int:
    fs.count[d] = 0
    requests = fs.client == 1 + d
    if fs.framing[d] & HAS_SLASH:
        if count != 8 or not is_version(word) or (fs.client_sure and requests):
            return give_up(fs, d, end)
        fs.stage[d] = STATUS
        fs.status = 0
        return at
    if not count or not requests:
        return give_up(fs, d, end)
    fs.method_octets = count
    fs.stage[d] = TARGET
    return at


def _target(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """The URI; a blank ends it, and what follows may be anything that ends in a version."""
    used = fs.uri_octets
    while at < end:
        octet = data[at]
        at += 1
        if octet == _SPACE:
            if used:
                fs.stage[d] = VERSION
                fs.word[d] = 0
                break
        elif octet < _SPACE or octet == _DELETE:
            return give_up(fs, d, end)
        elif used < URI_OCTETS_MAX:
            put(fs.uri, used, octet)
            used += 1
        else:
            fs.request_flags |= URI_CUT
    fs.uri_octets = used
    return at


def _version(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    word = fs.word[d]
    while at < end:
        octet = data[at]
        at += 1
        if octet == _LF:
            if not is_version(word):
                return give_up(fs, d, end)
            fs.client_sure = 1
            fs.stage[d] = LINE
            return at
        if octet != _CR:
            word = ((word << 8) | (octet if octet < _ASCII else 0)) & _WORD_MASK
    fs.word[d] = word
    return at


def _status(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """Three digits, and a blank or the end of the line behind them."""
    while at < end:
        octet = data[at]
        if fs.count[d] == 3:
            if octet not in (_SPACE, _CR, _LF):
                return give_up(fs, d, end)
            fs.client, fs.client_sure = 2 - d, 1
            fs.stage[d] = REASON
            return at
        if 48 <= octet <= 57:
            fs.status = fs.status * 10 + octet - 48
            fs.count[d] += 1
        elif octet != _SPACE or fs.count[d]:
            return give_up(fs, d, end)
        at += 1
    return at


def _line(pkt: nf.Packet, fs: HttpState, d: int, at: int) -> int:
    """At the beginning of a header line: an empty one ends the header, a blank continues the line before it."""
    octet = pkt.data[at]
    if octet == _LF:
        end_of_header(pkt, fs, d)
        return at + 1
    if octet == _CR:
        return at + 1
    if octet in (_SPACE, _TAB):
        fs.stage[d] = VALUE
        return at + 1
    fs.stage[d] = NAME
    fs.count[d] = 0
    letter = octet | _LOWER
    if letter == _NAMES[_NAME_START[_NAME_HOST]]:
        fs.header[d] = _NAME_HOST
    elif letter == _NAMES[_NAME_START[_NAME_LENGTH_OF_BODY]]:
        fs.header[d] = _NAME_LENGTH_OF_BODY
    elif letter == _NAMES[_NAME_START[_NAME_CODING]]:
        fs.header[d] = _NAME_CODING
    else:
        fs.header[d] = 0
    return at


def _name(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """A header's name, compared with the candidate letter by letter; what is none of ours is skipped with its value."""
    header, count = fs.header[d], fs.count[d]
    if not header:
        return skip_line(fs, d, data, at, end, LINE)
    first, length = _NAME_START[header], _NAME_LENGTH[header]
    while at < end:
        octet = data[at]
        if octet == _COLON and count == length:
            _begin_value(fs, d, header)
            return at + 1
        if count == length or _NAMES[first + count] != (octet | _LOWER if octet >= _LETTERS else octet):
            fs.stage[d] = VALUE
            return at
        count += 1
        at += 1
    fs.count[d] = count
    return at


def _begin_value(fs: HttpState, d: int, header: int) -> None:
    fs.count[d] = fs.word[d] = 0
    if header == _NAME_LENGTH_OF_BODY:
        fs.stage[d] = LENGTH
        fs.left[d] = 0
        fs.framing[d] &= ~HAS_LENGTH
    elif header == _NAME_CODING:
        fs.stage[d] = CODING
    elif fs.client == 1 + d and not fs.request_flags & HOST_SEEN:
        fs.stage[d] = HOST
        fs.request_flags |= HOST_SEEN
    else:  # a second host, or one in a response
        fs.stage[d] = VALUE


def _host(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """Everything up to the end of the line, without blanks around it."""
    used = fs.host_octets
    while at < end:
        octet = data[at]
        at += 1
        if octet == _LF:
            while used and (fs.host[(used - 1) >> 3] >> (((used - 1) & 7) << 3)) & 0xFF in (_SPACE, _TAB):
                used -= 1
            fs.stage[d] = LINE
            break
        if octet == _CR or (not used and octet in (_SPACE, _TAB)):
            continue
        if used < HOST_OCTETS_MAX:
            put(fs.host, used, octet)
            used += 1
        elif octet not in (_SPACE, _TAB):
            fs.request_flags |= HOST_CUT
    fs.host_octets = used
    return at


def _length(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """A decimal number; what is none, or too large to be one, is as if it were not there. The last line counts."""
    while at < end:
        octet = data[at]
        if 48 <= octet <= 57 and fs.count[d] < _LENGTH_DIGITS_MAX:
            fs.left[d] = fs.left[d] * 10 + octet - 48
            fs.count[d] += 1
            at += 1
        elif fs.count[d] and octet in (_LF, _CR, _SPACE, _TAB):
            fs.framing[d] |= HAS_LENGTH
            fs.stage[d] = LENGTH_END
            return at
        elif octet in (_SPACE, _TAB):
            at += 1
        else:
            fs.stage[d] = VALUE
            return at
    return at


def _length_end(fs: HttpState, d: int, data: memoryview, at: int) -> int:
    octet = data[at]
    if octet == _LF:
        fs.stage[d] = LINE
    elif octet not in (_CR, _SPACE, _TAB):
        fs.framing[d] &= ~HAS_LENGTH
        fs.stage[d] = VALUE
        return at
    return at + 1


def _coding(fs: HttpState, d: int, data: memoryview, at: int, end: int) -> int:
    """Transfer-Encoding; what matters is whether the last coding is ``chunked``. Runs of blanks count as one."""
    word = fs.word[d]
    while at < end:
        octet = data[at]
        at += 1
        if octet == _LF:
            if word & 0xFF == _SPACE:
                word >>= 8
            if word & _SEVEN == _CODING_CHUNKED and word >> 56 in (0, _SPACE, _COMMA):
                fs.framing[d] |= CHUNKED
            fs.stage[d] = LINE
            break
        if octet == _TAB:
            octet = _SPACE
        if octet == _CR or (octet == _SPACE and word & 0xFF == _SPACE):
            continue
        if 65 <= octet <= 90:
            octet |= _LOWER
        word = ((word << 8) | (octet if octet < _ASCII else 0)) & _WORD_MASK
    fs.word[d] = word
    return at
