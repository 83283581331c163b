"""The IDS: which packets, flows and streams its rules see, when it alerts, and its limits."""

from typing import Any

import pytest

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.errors import CallerError
from nfactor.functions import ids, ids_automaton, ids_match
from nfactor.functions.ids import Alert, Ids, parse_rules
from nfactor.functions.ids_rules import Rule, RuleSet
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.chain_run import run_chain
from nfactor.testing.packets import ACK, FIN, RST, SYN, burst_of, ip_packet, tcp, udp

A, B = "10.0.0.1", "10.0.0.2"


def to(payload: bytes = b"", *, seq: int = 101, flags: int = ACK, ack: int = 501) -> bytes:
    return tcp(A, 5000, B, 80, payload, seq=seq, ack=ack, flags=flags)


def back(payload: bytes = b"", *, seq: int = 501, flags: int = ACK, ack: int = 101) -> bytes:
    return tcp(B, 80, A, 5000, payload, seq=seq, ack=ack, flags=flags)


HANDSHAKE = [to(seq=100, flags=SYN, ack=0), back(seq=500, flags=SYN | ACK), to()]
CONTENT = 'content:"abc"; '


def rules_of(*rules: str) -> list[str]:
    """Rules numbered from 1: ``HEADER | OPTIONS``, the header ``tcp any any -> any any`` if there is none."""
    texts = []
    for sid, rule in enumerate(rules, 1):
        header, bar, options = rule.partition("|")
        header, options = (header, options) if bar else ("tcp any any -> any any", rule)
        texts.append(f"alert {header} ({options} sid:{sid};)")
    return texts


def alerts(rules: list[str], *frames: bytes) -> list[tuple[int, int]]:
    """``(sid, number of the packet)`` of every alert."""
    run = run_chain([Ids(parse_rules(rules))], frames)
    assert ["forward"] * len(frames) == run.verdicts
    return [(alert.sid, alert.mark) for alert in run.records]


def test_an_alert_names_rule_packet_and_direction() -> None:
    run = run_chain([Ids(parse_rules(rules_of(CONTENT)))], [to(b"ab"), back(b"abc"), to(b"c", seq=103)])
    assert [Alert(sid=1, mark=2, direction=1), Alert(sid=1, mark=3, direction=0)] == run.records


def test_a_rule_about_streams_alerts_once_per_direction_and_connection() -> None:
    again = [to(seq=900, flags=SYN, ack=0), to(b"abcabc", seq=901)]
    one = [*HANDSHAKE, to(b"abcabc"), to(b"abc", seq=107), back(b"abc")]
    assert [(1, 4), (1, 6)] == alerts(rules_of(CONTENT), *one)
    assert [(1, 4), (1, 6)] == alerts(rules_of(CONTENT), *one, *again), "a SYN amid a connection is not believed"
    assert [(1, 4), (1, 6), (1, 9)] == alerts(rules_of(CONTENT), *one, back(flags=RST), *again)
    assert [(1, 4), (1, 6), (1, 10)] == alerts(
        rules_of(CONTENT), *one, to(flags=FIN | ACK), back(flags=FIN | ACK), *again
    )


def test_a_connection_joined_in_the_middle_ends_with_a_syn() -> None:
    assert [(1, 1), (1, 3)] == alerts(rules_of(CONTENT), to(b"abc"), to(seq=900, flags=SYN, ack=0), to(b"abc", seq=901))


def test_a_syn_sent_again_changes_nothing_and_another_number_begins_anew() -> None:
    syn, data = to(b"ab", seq=100, flags=SYN, ack=0), to(b"c", seq=103)
    assert [(1, 3)] == alerts(rules_of(CONTENT), syn, syn, data)
    assert [] == alerts(rules_of(CONTENT), syn, to(seq=300, flags=SYN, ack=0), to(b"c", seq=301))


def test_established_is_after_the_handshake_for_packets_and_with_it_for_streams() -> None:
    rules = rules_of(
        f"flow:established; {CONTENT}",
        f"flow:not_established; {CONTENT}",
        f"tcp-pkt any any -> any any | flow:established; {CONTENT}",
        "flow:established,to_server;",
        f"flow:stateless; {CONTENT}",
    )
    late = [HANDSHAKE[0], HANDSHAKE[1], to(b"abc"), to(b"abc", seq=104)]
    assert [(1, 3), (5, 3), (3, 4), (4, 4)] == alerts(rules, *late)
    assert [(2, 1), (5, 1)] == alerts(rules, to(b"abc"), back(), to())


def test_data_that_came_before_the_handshake_was_complete_alerts_when_it_is() -> None:
    early = [to(b"abc", seq=100, flags=SYN, ack=0), back(seq=500, flags=SYN | ACK, ack=104), to(seq=104)]
    assert [(1, 3)] == alerts(rules_of(f"flow:established; {CONTENT}"), *early)
    refused = [to(b"abc", seq=100, flags=SYN, ack=0), back(seq=0, flags=RST | ACK, ack=104), to(seq=104)]
    assert [] == alerts(rules_of(f"flow:established; {CONTENT}"), *refused)


def test_an_acknowledgement_of_something_else_establishes_nothing() -> None:
    wrong = [*HANDSHAKE[:2], to(ack=500), to(ack=499), to(b"abc", ack=500)]
    assert [] == alerts(rules_of(f"flow:established; {CONTENT}"), *wrong)
    assert [(1, 6)] == alerts(rules_of(f"flow:established; {CONTENT}"), *wrong, to(seq=104))


def test_the_client_is_who_did_not_answer() -> None:
    rules = rules_of(f"flow:to_server; {CONTENT}", f"flow:from_server; {CONTENT}")
    assert [(1, 1), (2, 2)] == alerts(rules, to(b"abc"), back(b"abc"))
    assert [(2, 2), (1, 3)] == alerts(rules, back(seq=500, flags=SYN | ACK), back(b"abc"), to(b"abc"))
    assert [(1, 1), (2, 2)] == alerts(
        rules_of(*(f"udp any any -> any any | flow:{way}; {CONTENT}" for way in ("to_server", "to_client"))),
        *(udp(A, 5, B, 6, b"abc"), udp(B, 6, A, 5, b"abc")),
    )


def test_other_flows_are_established_when_both_sides_have_sent() -> None:
    rules = rules_of("udp any any -> any any | flow:established;", "udp any any -> any any | flow:not_established;")
    there, reply = udp(A, 5, B, 6), udp(B, 6, A, 5)
    assert [(2, 1), (2, 2), (1, 3), (1, 4)] == alerts(rules, there, there, reply, there)


def test_what_came_first_counts() -> None:
    rules = rules_of(CONTENT, 'content:"xyz"; ', 'tcp-pkt any any -> any any | content:"xyz"; ')
    assert [(3, 2), (1, 3)] == alerts(rules, to(b"ab"), to(b"xyz", seq=100), to(b"bc", seq=102))


def test_a_late_segment_is_searched_by_itself_at_its_place() -> None:
    late = [to(b"a"), to(b"yabc"[:1], seq=106), to(b"xabcx", seq=101)]
    assert [(1, 3)] == alerts(rules_of(CONTENT), *late)
    assert [(1, 3)] == alerts(rules_of(f"{CONTENT}offset:1; depth:3; "), *late)
    assert [] == alerts(rules_of(f"{CONTENT}offset:2; "), *late)
    assert [] == alerts(rules_of('content:"aabc"; ', 'content:"cxy"; '), *late), "but not together with its neighbours"
    assert [] == alerts(rules_of('content:"xabcx"; '), *late), "nor where it overlaps with what came first"
    assert [(1, 1)] == alerts(rules_of('content:"a"; '), *late), "nor again"


def test_what_lies_far_ahead_or_comes_with_a_reset_is_no_part_of_the_stream() -> None:
    far = to(b"abc", seq=103 + (1 << 30) + 1)
    assert [(1, 3)] == alerts(rules_of(CONTENT), to(b"ab"), far, to(b"c", seq=103))
    assert [] == alerts(rules_of(CONTENT), to(b"abc", flags=RST))
    assert [] == alerts(rules_of(CONTENT), to(b"x"), to(b"x", seq=109), to(b"abc", seq=103, flags=RST))


def test_http_is_a_connection_one_side_of_which_begins_so() -> None:
    rules = rules_of(f"http any any -> any any | {CONTENT}")
    assert [(1, 2)] == alerts(rules, to(b"GE"), to(b"T /abc", seq=103))
    assert [(1, 2)] == alerts(rules, to(b"abc"), back(b"HTTP/1.1 200 OK")), "with the packet that tells"
    assert [] == alerts(rules, to(b" GET /abc"), back(b"200 HTTP/1.1"))


def test_contents_that_are_not_relative_may_come_in_any_order() -> None:
    rules = rules_of('content:"two"; content:"!"; distance:0; content:"one"; ')
    assert [(1, 2)] == alerts(rules, to(b"one two"), to(b" !", seq=108))
    assert [] == alerts(rules, to(b"! one two"))


def test_dsize_is_of_each_packet() -> None:
    rules = rules_of(f"dsize:>3; {CONTENT}", "dsize:2; ", f"ip any any -> any any | dsize:3<>9; {CONTENT}")
    assert [(2, 1), (1, 3), (3, 3), (1, 4), (3, 4)] == alerts(
        rules, to(b"ab"), to(b"cde", seq=103), to(b"abcd", seq=106), to(b"abcd", seq=106)
    )


def test_rules_without_contents_alert_for_each_packet_and_those_about_addresses_once() -> None:
    rules = rules_of("", "tcp any any -> any 80 |", f"tcp !{A} any -> any any |", "flow:to_server; ")
    first = [(1, 1), (2, 1), (4, 1)]
    assert [*first, (2, 2), (1, 3), (3, 3), (3, 4)] == alerts(rules, to(), to(), back(), back())


@pytest.mark.parametrize(
    ("header", "there", "reply"),
    [
        (f"udp {A} any -> any any", True, False),
        (f"udp [10.0.0.0/8,!{A}] any -> any any", False, True),
        ("udp any [1:4,5] -> any !7:", True, False),
        (f"udp any 6 <> {A} any", True, True),
        (f"udp {A} 5 <> {B} 6", True, True),
        ("udp 2001:db8::/32 any -> any any", False, False),
        ("ip !2001:db8::/32 any -> any :6", True, True),
        ("udp any :4 -> any any", False, False),
        ("udp any !6 -> any any", True, False),
        ("tcp any any -> any any", False, False),
    ],
)
def test_headers(header: str, there: bool, reply: bool) -> None:
    expected = [(1, mark) for mark, matches in ((1, there), (2, reply)) if matches]
    assert expected == alerts(rules_of(f"{header} | {CONTENT}"), udp(A, 5, B, 6, b"abc"), udp(B, 6, A, 5, b"abc"))


def test_ipv6_icmp_and_what_is_not_ip() -> None:
    rules = rules_of(f"icmp 2001:db8::/32 any -> 2001:db8::2 any | {CONTENT}", f"ip any any -> any any | {CONTENT}")
    echo = b"\x80\0\0\0abc"
    frames = [ip_packet("2001:db8::1", "2001:db8::2", 58, echo), ip_packet(A, B, 1, echo), bytes(14) + b"abc" * 9]
    assert [(1, 1), (2, 1), (2, 2)] == alerts(rules, *frames)


def test_later_fragments_have_no_ports_and_are_searched_by_themselves() -> None:
    rules = rules_of(f"ip any any -> any any | {CONTENT}", f"ip any any -> any !9 | {CONTENT}")
    later = bytearray(ip_packet(A, B, 17, b"abc"))
    later[14 + 7] = 2
    assert [(1, 1), (1, 2)] == alerts(rules, bytes(later), bytes(later))


def test_a_tcp_header_that_was_cut_off_is_left_alone() -> None:
    burst = burst_of([to(b"abc")])
    burst.lengths[0] -= 10
    engine = ReferenceEngine(Chain.of([Ids(parse_rules(rules_of("")))]), FlowClassifier("auto"))
    engine.process(burst)
    assert ([], {}) == (engine.take_records(), engine.statistics().nf_errors)


def test_without_rules_nothing_happens() -> None:
    assert [] == alerts([], to(b"abc"), udp(A, 1, B, 2, b"abc"))


def test_rules_beyond_the_first_word_of_a_bit_set() -> None:
    rules = rules_of(*(f'content:"{number:03}x"; content:"y"; distance:0; ' for number in range(200)))
    assert [(64, 2), (65, 2), (200, 2)] == alerts(rules, to(b"063x064x1"), to(b"99xy", seq=110))


def test_the_limits_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(rules: list[str], module: Any, name: str, limit: int) -> None:
        parsed = parse_rules(rules)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, limit)
            with pytest.raises(CallerError, match=rf"\b{limit}\b are the limit"):
                Ids(parsed)

    two = rules_of('content:"abc"; content:"d"; within:9; ', CONTENT)
    build(two, ids_match, "CONTENTS_MAX", 2)
    build(two, ids_match, "PENDING_TOTAL_MAX", 1)
    build(two, ids_automaton, "AUTOMATON_STATES_MAX", 4)
    build(two, ids, "RULES_MAX", 1)
    assert len(Ids(RuleSet((Rule(1, "tcp"),) * ids.RULES_MAX)).rules) == ids.RULES_MAX
