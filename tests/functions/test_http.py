"""The HTTP parser: what is a message, where it ends, which side speaks, and limits."""

import pytest

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.http import Http, HttpRequest, HttpResponse, HttpState
from nfactor.functions.http_state import (
    HEADER_OCTETS_MAX,
    HOST_CUT,
    HOST_OCTETS_MAX,
    REQUESTS_WAITING_MAX,
    URI_CUT,
    URI_OCTETS_MAX,
)
from nfactor.testing.chain_run import run_chain
from nfactor.testing.packets import ACK, FIN, SYN, burst_of, ip_packet, tcp, udp
from tests.functions.http_talk import (
    CLIENT,
    EMPTY,
    GET,
    SERVER,
    Talk,
    engine_of,
    records,
    request,
    response,
    row_of,
    rows,
)

# Messages


def test_a_request_and_its_response_are_told_with_the_frame_that_completed_them() -> None:
    talk = Talk().ask(b"", flags=SYN).answer(b"", flags=SYN | ACK).ask(b"")
    talk.ask(request(b"POST", b"/form", b"Host: a.example:80", b"Content-Length: 5", body=b"he")).ask(b"llo")
    talk.answer(response(201, b"content-length:3")).answer(b"abc")
    told = records(talk)
    assert told == [
        HttpRequest(mark=5, method=b"POST", host=b"a.example:80", uri=b"/form", cut=0, whole=1),
        HttpResponse(mark=7, status=201, whole=1),
    ]


def test_requests_may_be_pipelined_and_their_bodies_chunked() -> None:
    chunked = request(
        b"PUT", b"/x", b"Transfer-Encoding: chunked", body=b"5;a=b\r\nhello\r\n0A \r\n0123456789\r\n0\r\nT: r\r\n\r\n"
    )
    talk = Talk().ask(chunked + request() + b"\r\n" + request(b"DELETE", b"/y"))
    talk.answer(response(200, EMPTY) + response(204) + response(304, b"Content-Length: 77") + response(400, EMPTY))
    assert rows(talk) == [(b"PUT", b"", b"/x"), GET, (b"DELETE", b"", b"/y"), (200,), (204,), (304,), (400,)]


def test_bare_line_feeds_end_lines_too() -> None:
    assert rows(Talk().ask(b"GET /a HTTP/1.0\nHost:b\n\nGET /c HTTP/1.0\n\n")) == [
        (b"GET", b"b", b"/a"),
        (b"GET", b"", b"/c"),
    ]


@pytest.mark.parametrize(
    ("lines", "host"),
    [
        ([b"HOST: \ta b.example \t "], b"a b.example"),
        ([b"host:first", b"Host: second"], b"first"),
        ([b"Host:", b"Host: second"], b""),
        ([b"Hos: x", b"Hosts: x", b"X-Host: x", b"no colon", b" Host: folded", b"\tHost: folded"], b""),
        ([b"h", b"c", b"t", b"h\x0fst: a", b"Ho", b"content-len"], b""),
    ],
)
def test_the_first_host_line_counts(lines: list[bytes], host: bytes) -> None:
    assert rows(Talk().ask(request(b"GET", b"/", *lines))) == [(b"GET", host, b"/")]


@pytest.mark.parametrize(
    ("line", "body"),
    [
        (b"Content-Length: 4", 4),
        (b"Content-Length:\t4 ", 4),
        (b"Content-Length: 9\r\nContent-Length: 4", 4),
        (b"Content-Length: 99\r\nTransfer-Encoding: chunked", 0),
        (b"Content-Length: 4 4", 0),
        (b"Content-Length: 4x", 0),
        (b"Content-Length: x", 0),
        (b"Content-Length: ", 0),
        (b"Content-Length: " + b"9" * 19, 0),
        (b"Content-Type: 4", 0),
    ],
)
def test_the_length_of_a_body(line: bytes, body: int) -> None:
    rest = b"0\r\n\r\n" if b"chunked" in line else b"####"[:body]
    assert rows(Talk().ask(request(b"GET", b"/", line, body=rest) + request(b"GET", b"/2"))) == [
        GET,
        (b"GET", b"", b"/2"),
    ]


@pytest.mark.parametrize(
    ("coding", "chunked"),
    [
        (b"chunked", True),
        (b"  CHUNKED\t ", True),
        (b"gzip,chunked", True),
        (b"gzip, \t chunked", True),
        (b"identity", False),
        (b"xchunked", False),
        (b"chunked, gzip", False),
        (b"\xe3hunked", False),
    ],
)
def test_the_last_transfer_coding_says_whether_there_are_chunks(coding: bytes, chunked: bool) -> None:
    talk = Talk().ask(request(b"GET", b"/", b"Transfer-Encoding:" + coding, body=b"0\r\n\r\n") + request())
    assert rows(talk) == ([GET, GET] if chunked else [GET])


@pytest.mark.parametrize("body", [b"\r\n", b"x\r\n", b"1" * 16, b"1\r\nab", b"-1\r\n"])
def test_what_are_no_chunks_ends_the_message_and_the_segment(body: bytes) -> None:
    talk = Talk().ask(request(b"GET", b"/", b"Transfer-Encoding: chunked", body=body) + request())
    assert rows(talk.ask(request(b"GET", b"/2"))) == [(*GET, 0), (b"GET", b"", b"/2")]


def test_the_answer_to_head_has_no_body_and_interim_responses_do_not_count() -> None:
    talk = Talk().ask(request(b"HEAD")).ask(request(b"POST", b"/", b"Expect: 100-continue", b"Content-Length: 1"))
    talk.answer(response(200, b"Content-Length: 9")).answer(response(100) + response(103)).ask(b"x")
    talk.answer(response(200, b"Content-Length: 1", body=b"#"))
    assert rows(talk) == [(b"HEAD", b"", b"/"), (200,), (100,), (103,), (b"POST", b"", b"/"), (200,)]


def test_of_many_requests_the_order_is_kept() -> None:
    """Behind those whose method is remembered the next ones are only counted; no response is taken for another's."""
    talk = Talk().ask(request(b"HEAD") * REQUESTS_WAITING_MAX + request() * 3)
    talk.answer(response(200, b"Content-Length: 9") * REQUESTS_WAITING_MAX)
    talk.answer(response(201, b"Content-Length: 1", body=b"#") * 3).ask(request(b"HEAD"))
    talk.answer(response(202, b"Content-Length: 9")).answer(response(203, EMPTY))
    statuses = [row[0] for row in rows(talk) if len(row) == 1]
    assert statuses == [200] * REQUESTS_WAITING_MAX + [201] * 3 + [202, 203]


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (request(b"CONNECT", b"a.example:443"), response(200)),
        (request(b"GET", b"/", b"Upgrade: websocket"), response(101)),
    ],
)
def test_behind_connect_and_upgrade_nothing_is_parsed(ask: bytes, answer: bytes) -> None:
    talk = Talk().ask(ask).answer(answer).ask(request()).answer(response(200)).ask(request(), ahead=9)
    assert len(rows(talk.answer(b"", flags=FIN | ACK))) == 2


def test_a_refused_connect_opens_no_tunnel() -> None:
    talk = Talk().ask(request(b"CONNECT", b"a:1")).answer(response(407, EMPTY)).ask(request())
    assert rows(talk) == [(b"CONNECT", b"", b"a:1"), (407,), GET]


def test_a_body_without_length_is_completed_by_the_end_of_the_stream() -> None:
    talk = Talk().ask(request()).answer(response(200, body=b"###")).answer(response(500)).answer(b"", flags=FIN | ACK)
    assert rows(talk) == [GET, (200,)]
    assert records(talk)[1].mark == 4


@pytest.mark.parametrize(
    "line",
    [
        b"GET /\r\n",
        b"GET / SPDY/1.1\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / \xc8TTP/1.1\r\n",
        b"GET /\x01 HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"G(T / HTTP/1.1\r\n",
        b"G" * 25 + b" / HTTP/1.1\r\n",
        b"HTTP/1.12 200 OK\r\n",
        b"HTTP/3.1 200 OK\r\n",
        b"HTTP/1.1 2x0 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1\r\n",
        b"\x16\x03\x01",
    ],
)
def test_what_begins_like_no_message_is_skipped_with_its_segment(line: bytes) -> None:
    assert rows(Talk().ask(line + b"\r\n" + request()).ask(request())) == [GET]


def test_words_of_a_first_line_may_be_far_apart() -> None:
    talk = Talk().ask(b"GET   /a b\xff HTTP/1.1\r\n\r\n").answer(b"HTTP/1.0   301\r\nContent-Length: 0\r\n\r\n")
    assert rows(talk) == [(b"GET", b"", b"/a"), (301,)]


# Sides


def test_the_side_that_sends_first_may_be_the_server() -> None:
    talk = (
        Talk()
        .answer(response(200, EMPTY))
        .ask(request())
        .answer(request())
        .ask(response(200, EMPTY))
        .answer(response(201, EMPTY))
    )
    assert rows(talk) == [(200,), GET, (201,)]


def test_half_a_line_of_one_side_does_not_keep_the_other_from_speaking() -> None:
    talk = Talk().answer(b"220 ready").ask(b"GE").ask(b"T / HTTP/1.1\r\n\r\n").answer(response(200, EMPTY))
    assert rows(talk) == [GET, (200,)]


def test_a_side_that_spoke_no_http_may_still_make_requests() -> None:
    assert rows(Talk().answer(b"\x00").ask(b"\x00").ask(request(b"GET", b"/1"))) == [(b"GET", b"", b"/1")]


def test_other_protocols_and_quoted_segments_pass() -> None:
    octets = request()
    segment = tcp(*CLIENT, *SERVER, octets)
    error = ip_packet(SERVER[0], CLIENT[0], 1, b"\x03\x01" + bytes(6) + segment[14:])
    frames = [udp(*CLIENT, *SERVER, octets), error, bytes(12) + b"\x08\x06" + bytes(28)]
    run = run_chain([Http()], frames)
    assert run.verdicts == ["forward"] * 3
    assert run.records == []


# Limits


def test_what_is_longer_than_a_row_holds_is_cut_and_the_row_says_so() -> None:
    talk = Talk().ask(request(b"GET", b"/" * URI_OCTETS_MAX, b"Host: " + b"h" * HOST_OCTETS_MAX + b"  "))
    talk.ask(request(b"GET", b"/" * URI_OCTETS_MAX + b"?"))
    talk.ask(request(b"GET", b"/", b"Host: " + b"h" * HOST_OCTETS_MAX + b"t"))
    told = records(talk)
    assert [0, URI_CUT, HOST_CUT] == [row.cut for row in told]
    assert [URI_OCTETS_MAX, URI_OCTETS_MAX, 1] == [len(row.uri) for row in told]
    assert [HOST_OCTETS_MAX, 0, HOST_OCTETS_MAX] == [len(row.host) for row in told]


def test_a_header_without_end_is_given_up() -> None:
    line = b"X: " + b"y" * 1_000 + b"\r\n"
    talk = Talk().ask(request()[:-2])
    for _ in range(HEADER_OCTETS_MAX // len(line) + 1):
        talk.ask(line)
    engine = engine_of()
    engine.process(burst_of(talk.ask(b"\r\n").ask(request()).frames))
    assert [row_of(record) for record in engine.take_records()] == [GET]
    assert state_of(engine).refused == 1


def test_a_header_that_ends_just_behind_the_limit_is_not_given_up() -> None:
    line = b"X: " + b"y" * 32_000 + b"\r\n"
    assert rows(Talk().ask(request()[:-2] + line).ask(line).ask(line[:2_000] + b"\r\n")) == []
    assert rows(Talk().ask(request()[:-2] + line).ask(line).ask(b"\r\n")) == [GET]


def state_of(engine: ReferenceEngine) -> HttpState:
    (key,) = engine.keys()
    record = engine.read(key)
    assert record is not None
    state = Chain.of([Http()]).unpack(record)[1][0]
    assert isinstance(state, HttpState)
    return state
