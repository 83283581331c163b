"""The firewall: its rules, what a bad line gets, and Linux nftables as a judge."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import RuleError
from nfactor.functions.firewall import Firewall, parse_rules
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.packets import ACK, FIN, RST, SYN, burst_of, ip_packet, tcp, udp


def judge(rules: str, *frames: bytes) -> list[str]:
    engine = ReferenceEngine(Chain.of([Firewall(parse_rules(rules.splitlines()))]), FlowClassifier("auto"))
    return [engine.reasons[code] for code in engine.process(burst_of(frames)).tolist()]


def test_without_rules_everything_passes() -> None:
    assert judge("", tcp("10.0.0.1", 1, "10.0.0.2", 2)) == ["forward"]


def test_the_first_rule_that_matches_wins() -> None:
    rules = """
        allow tcp from 10.0.0.0/24 to any port 80   # web
        deny  any from 10.0.0.0/8 to any
    """
    frames = [tcp("10.0.0.9", 1, "9.9.9.9", 80), tcp("10.0.0.9", 1, "9.9.9.9", 81), tcp("11.0.0.9", 1, "9.9.9.9", 81)]
    assert judge(rules, *frames) == ["forward", "firewall_rule", "forward"]


def test_the_two_directions_of_a_flow_are_judged_apart_whichever_came_first() -> None:
    rules = "deny tcp from 10.0.0.2 port 80 to any"
    to, back = tcp("10.0.0.1", 5, "10.0.0.2", 80), tcp("10.0.0.2", 80, "10.0.0.1", 5)
    assert judge(rules, to, back, to, back) == ["forward", "firewall_rule", "forward", "firewall_rule"]
    assert judge(rules, back, to, back, to) == ["firewall_rule", "forward", "firewall_rule", "forward"]


def test_default_deny_is_counted_as_policy() -> None:
    assert judge("allow udp from any to any port 53-54\ndefault deny", udp("1.1.1.1", 9, "2.2.2.2", 54)) == ["forward"]
    assert judge("default deny", udp("1.1.1.1", 9, "2.2.2.2", 54)) == ["firewall_policy"]


def test_what_is_not_ip_passes() -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    assert judge("default deny", arp) == ["forward"]


def test_ipv6_prefixes_and_protocols() -> None:
    rules = "deny icmpv6 from 2001:db8::/32 to any\ndeny 47 from any to any"
    frames = [ip_packet("2001:db8::1", "::2", 58, bytes(8)), ip_packet("2001:db9::1", "::2", 58, bytes(8))]
    assert judge(rules, *frames, ip_packet("1.1.1.1", "2.2.2.2", 47, bytes(4))) == [
        "firewall_rule",
        "forward",
        "firewall_rule",
    ]


def test_an_icmp_error_is_judged_by_its_own_header_though_it_belongs_to_the_flow_it_quotes() -> None:
    quoted = udp("10.0.0.1", 9, "10.0.0.2", 53)[14:]
    error = ip_packet("10.0.0.2", "10.0.0.1", 1, b"\x03\x03" + bytes(6) + quoted)
    rules = "allow udp from any to any\ndefault deny"
    request = udp("10.0.0.1", 9, "10.0.0.2", 53)
    assert judge(rules, request, error, request) == ["forward", "firewall_policy", "forward"]


STATEFUL = """
deny  any from any to any state invalid
allow any from any to any state established
allow tcp from 10.0.0.1 to any state new
default deny
"""
IN, OUT = ("10.0.0.1", 5, "10.0.0.2", 80), ("10.0.0.2", 80, "10.0.0.1", 5)
DROP, PASS = "firewall_rule", "forward"


def test_only_who_may_begin_a_connection_begins_one() -> None:
    handshake = [tcp(*IN, flags=SYN), tcp(*OUT, flags=SYN | ACK), tcp(*IN, flags=ACK), tcp(*OUT, b"data")]
    assert judge(STATEFUL, *handshake) == [PASS] * 4
    backwards = [tcp(*OUT, flags=SYN), tcp(*IN, flags=SYN | ACK)]
    assert judge(STATEFUL, *backwards) == ["firewall_policy", DROP]


def test_what_does_not_follow_from_what_was_seen_is_invalid() -> None:
    frames = [tcp(*IN), tcp(*IN, flags=SYN), tcp(*IN), tcp(*OUT, flags=SYN | FIN), tcp(*OUT, flags=0)]
    assert judge(STATEFUL, *frames) == [DROP, PASS, DROP, DROP, DROP]


def test_a_connection_that_was_refused_needs_a_new_beginning() -> None:
    frames = [tcp(*IN, flags=SYN), tcp(*OUT, flags=RST | ACK), tcp(*OUT, flags=SYN | ACK), tcp(*IN, flags=SYN)]
    assert judge(STATEFUL, *frames) == [PASS, PASS, DROP, PASS]


def test_a_closed_connection_lets_its_last_segments_pass_and_may_begin_again() -> None:
    opened = [tcp(*IN, flags=SYN), tcp(*OUT, flags=SYN | ACK), tcp(*IN)]
    closed = [tcp(*IN, flags=FIN | ACK), tcp(*IN, flags=FIN | ACK), tcp(*OUT, flags=FIN | ACK), tcp(*IN)]
    again = [tcp(*IN, flags=SYN), tcp(*IN), tcp(*OUT, flags=SYN | ACK)]
    assert judge(STATEFUL, *opened, *closed, *again) == [PASS] * 7 + [PASS, DROP, PASS]


def test_an_icmp_error_about_a_connection_is_established_and_about_none_is_not() -> None:
    request = tcp(*IN, flags=SYN)
    error = ip_packet("10.0.0.2", "10.0.0.1", 1, b"\x03\x03" + bytes(6) + request[14:])
    assert judge(STATEFUL, error, request, error) == ["firewall_policy", PASS, PASS]


def test_udp_is_established_when_both_sides_have_spoken() -> None:
    rules = "allow udp from 10.0.0.1 to any state new\nallow any from any to any state established\ndefault deny"
    query, answer = udp("10.0.0.1", 9, "10.0.0.2", 53), udp("10.0.0.2", 53, "10.0.0.1", 9)
    assert judge(rules, answer, query, answer) == ["firewall_policy", "forward", "forward"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("permit tcp from any to any", "'permit' is no action"),
        ("allow tcp any to any", "a rule is ACTION"),
        ("allow tpc from any to any", "'tpc' is no protocol"),
        ("allow tcp udp from any to any", "one protocol is expected"),
        ("allow 256 from any to any", "'256' is no protocol"),
        ("allow tcp from to any", "an address (or any) is missing after `from`"),
        ("allow tcp from any port 80 443 to any", "write port P or port P-Q"),
        ("allow tcp from any port 80-79 to any", "not a range"),
        ("allow tcp from any port 65536 to any", "port 65536 is not within 0-65535"),
        ("allow tcp from any port http to any", "is no port"),
        ("allow icmp from any to any port 80", "has no ports"),
        ("allow tcp from 10.0.0.0/33 to any", "does not appear to be an IPv4 or IPv6 network"),
        ("allow tcp from 10.0.0.1/8 to any", "has host bits set"),
        ("allow tcp from 10.0.0.0/8 to ::/0", "one address is IPv4 and the other IPv6"),
        ("allow tcp from any to any state fresh", "'fresh' is no connection state"),
        ("default", "takes one word"),
        ("default maybe", "'maybe' is no action"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_problem(line: str, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse_rules(["# a comment", line], "rules.txt")
    assert str(caught.value).startswith("rules.txt:2: ")
    assert problem in str(caught.value)


def test_a_second_default_is_refused() -> None:
    with pytest.raises(RuleError, match="a second `default`"):
        parse_rules(["default deny", "default allow"])


@given(st.lists(st.text(st.sampled_from("alowdeny tcpfrmo/0123456789.:-#"), max_size=40), max_size=5))
def test_no_text_raises_anything_but_a_rule_error(lines: list[str]) -> None:
    with suppress(RuleError):
        parse_rules(lines)
