"""The HTTP parser on TCP: any segments, lost and repeated octets, the end of the stream, and moves at any octet."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import example, given, strategies as st

from nfactor.dataplane.chain import Chain
from nfactor.functions.http import Http
from nfactor.functions.http_state import REQUESTS_WAITING_MAX
from nfactor.testing.packets import ACK, FIN, RST, SYN, burst_of, tcp
from tests.functions.http_talk import CLIENT, EMPTY, GET, SERVER, Talk, engine_of, request, response, row_of, rows

# Sequence numbers


def test_repeated_octets_are_parsed_once_and_the_first_copy_counts() -> None:
    talk = (
        Talk(0xFFFFFFF0).ask(b"GET /good HT").back(0, 12).ask(b"GET /evil HTTP/1.1\r\n").back(0, 4).ask(b"##\r\n\r\n")
    )
    assert rows(talk.back(0, 22).ask(b"GET /evil HTTP/1.1\r\n\r\n")) == [(b"GET", b"", b"/good")]


def test_what_comes_too_early_is_ignored_until_the_gap_is_filled() -> None:
    octets = request(b"GET", b"/", b"Host: a")
    talk = Talk().ask(b"").ask(octets[10:], ahead=10).back(0, len(octets)).ask(octets[:10]).ask(octets[10:])
    assert rows(talk) == [(b"GET", b"a", b"/")]


def test_a_gap_in_a_body_is_passed_over() -> None:
    talk = (
        Talk().ask(request()).answer(response(200, b"Content-Length: 30", body=b"#" * 10)).answer(b"#" * 10, ahead=10)
    )
    talk.ask(request()).answer(response(201, b"Transfer-Encoding: chunked", body=b"1e\r\n#"))
    talk.answer(b"#" * 19 + b"\r\n0\r\n\r\n", ahead=10).ask(request()).answer(response(202)).answer(b"#", ahead=7)
    assert rows(talk.answer(b"", flags=FIN | ACK, ahead=9)) == [GET, (200,), GET, (201,), GET, (202,)]


def test_behind_any_other_gap_parsing_goes_on_where_a_message_begins() -> None:
    talk = Talk().ask(request(b"HEAD") + request() + request(b"GET", b"/x")[:9])
    talk.answer(response(200, b"Content-Length: 9", body=b"")).answer(response(202, b"Content-Length: 4", body=b"##"))
    talk.answer(b"neither this", ahead=50).answer(response(203, b"Content-Length: 1", body=b"#"), ahead=50)
    talk.ask(b"GET", ahead=70).ask(request(b"POST", b"/y"), ahead=70)
    assert rows(talk) == [(b"HEAD", b"", b"/"), GET, (200,), (202, 0), (203,), (b"POST", b"", b"/y")]


def test_after_lost_responses_the_next_one_answers_the_newest_request() -> None:
    talk = Talk().ask(request(b"HEAD") + request(b"HEAD") + request()).answer(response(199)[:8])
    talk.answer(response(200, b"Content-Length: 1", body=b"#") + response(201, EMPTY), ahead=30)
    assert rows(talk)[3:] == [(200,), (201,)]
    many = Talk().ask(request(b"HEAD") * (REQUESTS_WAITING_MAX + 1)).answer(response(199))
    many.answer(response(200, b"Content-Length: 1", body=b"#") + response(201, EMPTY), ahead=30)
    assert rows(many)[-2:] == [(200,), (201,)]
    unasked = Talk().answer(response(200, EMPTY)).answer(response(201, EMPTY), ahead=30)
    assert rows(unasked) == [(200,), (201,)]


def test_a_gap_too_large_to_be_one_is_followed() -> None:
    octets = request()
    talk = Talk().ask(request()).ask(b"#####", ahead=1 << 30).ask(octets[:5]).ask(octets[5:])
    assert rows(talk) == [GET, GET]


def test_octets_that_a_snapped_capture_lacks_are_a_gap() -> None:
    talk = (
        Talk().ask(request()).answer(response(200, b"Content-Length: 90", body=b"#" * 90)).answer(response(201, EMPTY))
    )
    burst = burst_of([frame[:110] if number == 1 else frame for number, frame in enumerate(talk.frames)])
    burst.wire_lengths[1] = len(talk.frames[1])
    engine = engine_of()
    engine.process(burst)
    assert [row_of(record) for record in engine.take_records()] == [GET, (200, 0), (201,)]


# The end


def test_a_message_that_the_end_of_the_stream_cuts_off_is_told_as_such() -> None:
    talk = Talk().ask(request(b"POST", b"/", b"Content-Length: 9", body=b"#")).ask(b"", flags=FIN | ACK)
    assert rows(talk.answer(response(200)[:20]).answer(b"", flags=FIN | ACK)) == [(b"POST", b"", b"/", 0)]


def test_a_reset_ends_both_directions_if_it_stands_where_the_stream_is() -> None:
    talk = Talk().ask(request(b"POST", b"/", b"Content-Length: 9")).answer(response(200))
    blind = Talk()
    blind.frames = [*talk.frames, tcp(*SERVER, *CLIENT, flags=RST, seq=7)]
    assert rows(blind) == []
    assert rows(talk.answer(b"", flags=RST)) == [(200, 0), (b"POST", b"", b"/", 0)]


def test_a_fin_behind_a_gap_outside_a_body_is_not_believed() -> None:
    talk = Talk().ask(b"GET / HT").ask(b"", flags=FIN, ahead=20).back(0, 21).ask(b"TP/1.1\r\n\r\n"[2:])
    old = Talk().ask(b"").back(0, 10).ask(b"", flags=FIN).ask(b"", ahead=9).ask(request())
    assert rows(talk) == []
    assert rows(old) == [GET]


def test_a_connection_may_be_opened_again_and_a_repeated_syn_says_nothing() -> None:
    talk = Talk().ask(b"", flags=SYN).back(0, 1).ask(b"", flags=SYN).answer(b"", flags=SYN | ACK).ask(request())
    talk.back(1, 1).answer(b"", flags=SYN | ACK).answer(response(101)).ask(b"#")
    talk.next = [90_000, 5]
    talk.answer(request(), flags=SYN).ask(b"", flags=SYN | ACK).ask(response(200, EMPTY))
    assert rows(talk) == [GET, (101,), GET, (200,)]


def test_a_new_connection_ends_what_the_old_one_left_open() -> None:
    talk = Talk().ask(request()).answer(response(200)).ask(b"GET")
    talk.next = [77_000, 88_000]
    talk.ask(b"", flags=SYN).answer(b"", flags=SYN | ACK).ask(request())
    assert rows(talk) == [GET, (200, 0), GET]


def test_a_syn_that_comes_behind_its_answer_leaves_the_other_direction_alone() -> None:
    talk = Talk().answer(b"", flags=SYN | ACK).answer(response(200, EMPTY)[:10]).ask(b"", flags=SYN)
    talk.ask(request()).answer(response(200, EMPTY))
    assert rows(talk) == [GET, (200,)]


# Splits and moves


CLIENT_OCTETS = (
    request(b"POST", b"/a", b"Host: a.example", b"Content-Length: 11", body=b"hello world")
    + request(b"HEAD", b"/b", b"host:  b.example ")
    + request(b"PUT", b"/c", b"Transfer-Encoding: gzip, chunked", body=b"b;x=y\r\nhello world\r\n0\r\nA: b\r\n\r\n")
    + request(b"OPTIONS", b"*")
)
SERVER_OCTETS = (
    response(100)
    + response(200, b"Transfer-Encoding: chunked", body=b"4\r\nGET \r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")
    + response(200, b"Content-Length: 1000")
    + response(404, b"Content-Length: 9", b"Host: c", body=b"HTTP/1.1 ")
    + response(200, body=b"until the end HTTP/1.1 200 OK\r\n\r\n")
)
EXPECTED = [
    (b"POST", b"a.example", b"/a"),
    (b"HEAD", b"b.example", b"/b"),
    (b"PUT", b"", b"/c"),
    (b"OPTIONS", b"", b"*"),
    (100,),
    (200,),
    (200,),
    (404,),
    (200,),
]


def pieces(octets: bytes, cuts: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(cuts), len(octets)]
    return [octets[start:stop] for start, stop in pairwise(bounds)]


def conversation(client: Sequence[bytes], server: Sequence[bytes]) -> Talk:
    talk = Talk().ask(b"", flags=SYN).answer(b"", flags=SYN | ACK)
    for piece in client:
        talk.ask(piece)
    for piece in server:
        talk.answer(piece)
    return talk.answer(b"", flags=FIN | ACK)


def cuts(octets: bytes) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(octets)), max_size=12)


@given(cuts(CLIENT_OCTETS), cuts(SERVER_OCTETS))
def test_rows_do_not_depend_on_how_the_stream_is_cut_into_segments(client: list[int], server: list[int]) -> None:
    assert rows(conversation(pieces(CLIENT_OCTETS, client), pieces(SERVER_OCTETS, server))) == EXPECTED


def test_a_flow_may_move_at_every_octet() -> None:
    """Every segment has one octet, and behind each of them the flow changes the engine."""
    talk = conversation(
        pieces(CLIENT_OCTETS, range(1, len(CLIENT_OCTETS))), pieces(SERVER_OCTETS, range(1, len(SERVER_OCTETS)))
    )
    engine, other = engine_of(), engine_of()
    told: list[Any] = []
    for frame in talk.frames:
        engine.process(burst_of([frame]))
        told += engine.take_records()
        keys, epochs = engine.pick(1)
        other.hold(keys, epochs + 1)
        state, statuses = engine.depart(keys)
        assert not statuses.any()
        assert not other.install(keys, epochs + 1, state).any()
        engine.forget(keys)
        engine, other = other, engine
    assert [row_of(record) for record in told] == EXPECTED


FRAGMENTS = [
    b"GET /",
    b" HTTP/1.1",
    b"HTTP/1.1 200",
    b"\r\n",
    b"\n",
    b"Host: ",
    b"Content-Length: ",
    b"9",
    b" ",
    b"Transfer-Encoding: chunked",
    b"1f",
    b"\x00",
    b"\xff",
    b"HEAD / HTTP/1.0\r\n\r\n",
    b"HTTP/1.1 204 \r\n\r\n",
    b"#" * 40,
]
SEGMENT = st.tuples(
    st.integers(0, 1),
    st.lists(st.sampled_from(FRAGMENTS), max_size=6).map(b"".join) | st.binary(max_size=60),
    st.integers(0, 0x1F),
    st.sampled_from([0, 0, 0, 0, 1, 30, -1, -30, 1 << 30, -(1 << 30)]),
)


@given(st.lists(SEGMENT, max_size=12))
@example([(0, b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", FIN | RST, 0)])
def test_no_traffic_makes_it_raise(segments: list[tuple[int, bytes, int, int]]) -> None:
    """Whatever comes in whatever order, every packet passes, rows fit their records, and the state fits its own."""
    talk = Talk()
    for side, octets, flags, ahead in segments:
        talk.say(side, octets, flags=flags, ahead=ahead)
    engine = engine_of()
    codes = engine.process(burst_of(talk.frames)).tolist() if talk.frames else []
    assert not engine.statistics().nf_errors, engine.statistics().nf_error_sample
    assert {engine.reasons[code] for code in codes} <= {"forward"}
    chain = Chain.of([Http()])
    for key in list(engine.keys()):
        record = engine.read(key)
        assert record is not None
        assert chain.pack(*chain.unpack(record)) == record
