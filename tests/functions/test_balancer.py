"""The load balancer: one backend for a connection, evenly spread, the same wherever the flow runs."""

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from nfactor.errors import RuleError
from nfactor.functions.balancer import Balancer, Service, parse_services
from nfactor.testing import run_chain
from nfactor.testing.packets import ETHERNET, ip_packet, tcp, udp

TEXT = """
# two services
service 10.0.0.100 tcp 80
  backend 02:00:00:00:00:0a
  backend 02:00:00:00:00:0b
  backend 02:00:00:00:00:0c
service 2001:db8::100 udp 53
  backend 02:00:00:00:00:ff
"""
WEB = tuple(bytes((2, 0, 0, 0, 0, last)) for last in (10, 11, 12))
DNS = bytes((2, 0, 0, 0, 0, 255))


def balanced(*frames: bytes, text: str = TEXT) -> list[bytes]:
    """The Ethernet targets of what comes out; nothing else may have changed."""
    out = run_chain([Balancer(parse_services(text.splitlines()))], frames).frames
    assert [frame[6:] for frame in frames] == [frame[6:] for frame in out]
    return [frame[:6] for frame in out]


def request(client: str, port: int) -> bytes:
    return tcp(client, port, "10.0.0.100", 80)


def test_a_connection_keeps_its_backend_and_replies_keep_their_target() -> None:
    reply = tcp("10.0.0.100", 80, "10.1.0.1", 4000)
    first, back, again = balanced(request("10.1.0.1", 4000), reply, request("10.1.0.1", 4000))
    assert first in WEB
    assert (ETHERNET[:6], first) == (back, again)


def test_a_reply_that_is_seen_first_does_not_confuse_it() -> None:
    reply = tcp("10.0.0.100", 80, "10.1.0.1", 4000)
    assert balanced(reply, request("10.1.0.1", 4000))[1] in WEB


def test_what_is_for_no_service_passes_as_it_is() -> None:
    frames = [tcp("10.1.0.1", 1, "10.0.0.100", 81), udp("10.1.0.1", 1, "10.0.0.100", 80), request("10.1.0.1", 2)]
    assert [ETHERNET[:6]] * 2 == balanced(*frames)[:2]
    assert [ETHERNET[:6]] == balanced(frames[2], text="")
    assert [DNS] == balanced(udp("2001:db8::1", 9, "2001:db8::100", 53))


def test_an_icmp_error_is_not_taken_for_a_request() -> None:
    quoted = tcp("10.0.0.100", 80, "10.1.0.1", 4000)[14:]
    error = ip_packet("10.1.0.1", "10.0.0.100", 1, b"\x03\x03" + bytes(6) + quoted)
    assert [ETHERNET[:6]] == balanced(error)


def test_clients_are_spread_evenly() -> None:
    frames = [request(f"10.1.{number // 200}.{number % 200}", 1000 + number) for number in range(900)]
    counts = Counter(balanced(*frames))
    assert set(WEB) == set(counts)
    assert all(240 < count < 360 for count in counts.values())


def test_without_a_backend_only_its_own_connections_go_elsewhere() -> None:
    frames = [request("10.1.0.1", 1000 + number) for number in range(300)]
    before = balanced(*frames)
    after = balanced(*frames, text=TEXT.replace("  backend 02:00:00:00:00:0b\n", ""))
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {WEB[1]}
    assert before.count(WEB[1]) == len(moved)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("backend 02:00:00:00:00:0a", 1, "a backend before any service"),
        ("\nserver 10.0.0.1", 2, "'server'"),
        ("service 10.0.0.1 tcp", 1, "a service is"),
        ("service 10.0.0 tcp 80", 1, "does not appear to be an IPv4 or IPv6 address"),
        ("service 10.0.0.1 icmp 80", 1, "protocol icmp has no ports"),
        ("service 10.0.0.1 tcp http", 1, "'http' is no port"),
        ("service 10.0.0.1 tcp 65536", 1, "not within 0-65535"),
        ("service 10.0.0.1 tcp 80", 1, "this service has no backend"),
        ("service 10.0.0.1 tcp 80\nbackend", 2, "a backend is"),
        ("service 10.0.0.1 tcp 80\nbackend 02:00:00:00:00", 2, "is no MAC address"),
        ("service 10.0.0.1 tcp 80\nbackend 02:00:00:00:00:zz", 2, "is no MAC address"),
        ("service 10.0.0.1 tcp 80\nbackend 02:00:00:00:00:0a\nbackend 02:00:00:00:00:0A", 3, "stands twice"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_problem(text: str, line: int, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_services(text.splitlines(), "services.txt")
    assert str(caught.value).startswith(f"services.txt:{line}: ")
    assert problem in str(caught.value)


@given(st.lists(st.text(st.sampled_from("servicbakndtp 0123456789.:-#"), max_size=40), max_size=5))
def test_no_text_raises_anything_but_a_rule_error(lines: list[str]) -> None:
    with suppress(RuleError):
        assert all(isinstance(service, Service) for service in parse_services(lines))
