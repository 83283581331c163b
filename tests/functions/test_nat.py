"""Source NAT: what goes out, what comes back to whom, and who never gets what is another's."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from nfactor.dataplane import nf
from nfactor.dataplane.aliases import teach, told_by
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import TimeOuts
from nfactor.errors import RuleError
from nfactor.functions.monitor import FlowRow, Monitor
from nfactor.functions.nat import Nat, NatRules, Outside, parse_rules
from nfactor.packet import cluster_frame
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing import check_nf, run_chain
from nfactor.testing.packets import ACK, FIN, SYN, burst_of, internet_checksum, ip_packet, tcp, udp
from nfactor.testing.twins import Twins

HOST, OTHER, SERVER, ROUTER = "10.0.0.1", "10.0.0.2", "198.51.100.7", "198.51.100.8"
NAT, NAT_2 = "203.0.113.1", "203.0.113.2"
RULES = parse_rules(["inside 10.0.0.0/8", f"outside {NAT} ports 5000-5001", f"outside {NAT_2} ports 7-7 # one more"])


def run(*frames: bytes) -> tuple[list[str], list[bytes]]:
    done = run_chain([Nat(RULES)], frames)
    return done.verdicts, done.frames


def test_a_flow_goes_out_from_a_port_outside_and_its_answers_come_back() -> None:
    """TCP and UDP, with checksums that are right."""
    for make in (tcp, udp):
        verdicts, frames = run(
            make(HOST, 4000, SERVER, 80, b"question"),
            make(SERVER, 80, NAT, 5000, b"answer"),
            make(HOST, 4000, SERVER, 80, b"again"),
        )
        assert ["forward"] * 3 == verdicts
        assert [
            make(NAT, 5000, SERVER, 80, b"question"),
            make(SERVER, 80, HOST, 4000, b"answer"),
            make(NAT, 5000, SERVER, 80, b"again"),
        ] == frames


def test_flows_have_ports_of_their_own_until_there_are_none() -> None:
    verdicts, frames = run(*(udp(HOST, port, SERVER, 53) for port in (1, 2, 3, 4)))
    assert ["forward"] * 3 + ["nat_no_port"] == verdicts
    assert [udp(NAT, 5000, SERVER, 53), udp(NAT, 5001, SERVER, 53), udp(NAT_2, 7, SERVER, 53)] == frames


def test_nobody_but_the_flows_own_peer_can_answer() -> None:
    verdicts, _ = run(
        udp(SERVER, 53, NAT, 5000), udp(HOST, 1, SERVER, 53), udp(ROUTER, 53, NAT, 5000), udp(SERVER, 54, NAT, 5000)
    )
    assert ["nat_unsolicited", "forward", "nat_unsolicited", "nat_unsolicited"] == verdicts


def test_an_answer_finds_its_flow_although_something_came_to_that_port_before() -> None:
    """In full bursts too, where the switch goes by what it knows of plain packets."""
    early = udp(SERVER, 53, NAT, 5000)
    verdicts, frames = run(early, early, udp(HOST, 1, SERVER, 53), early)
    assert ["nat_unsolicited", "nat_unsolicited", "forward", "forward"] == verdicts
    assert udp(SERVER, 53, HOST, 1) == frames[-1]


def test_what_the_server_sends_to_the_host_itself_was_never_asked_for() -> None:
    verdicts, _ = run(udp(HOST, 1, SERVER, 53), udp(SERVER, 53, HOST, 1))
    assert ["forward", "nat_unsolicited"] == verdicts


def test_what_is_not_to_be_translated_passes_as_it_is() -> None:
    frames = [udp(HOST, 1, OTHER, 53), udp(SERVER, 1, ROUTER, 53), udp("2001:db8::1", 1, "2001:db8::2", 53)]
    assert (["forward"] * 3, frames) == run(*frames)


def test_what_cannot_be_translated_does_not_leave_with_an_address_from_inside() -> None:
    ping = ip_packet(HOST, SERVER, 1, b"\x08\x00\xf7\xff\x00\x00\x00\x00")
    question = udp(HOST, 1, SERVER, 53)
    error = ip_packet(HOST, SERVER, 1, b"\x03\x03\x00\x00\x00\x00\x00\x00" + question[14:])
    assert ["nat_untranslatable", "forward", "nat_untranslatable"] == run(ping, question, error)[0]


def test_a_datagram_without_checksum_stays_without() -> None:
    bare = bytearray(udp(HOST, 1, SERVER, 53, b"x"))
    bare[40:42] = bytes(2)
    assert bytes(2) == run(bytes(bare))[1][0][40:42]


def test_a_checksum_that_becomes_zero_is_sent_as_all_ones() -> None:
    """As RFC 768 says: zero would mean that there is none."""
    plain = udp(NAT, 5000, SERVER, 53, bytes(2))
    payload = int.from_bytes(plain[40:42], "big").to_bytes(2, "big")
    out = run(udp(HOST, 1, SERVER, 53, payload))[1][0]
    assert (b"\xff\xff", udp(NAT, 5000, SERVER, 53, payload)) == (out[40:42], out)


def test_later_fragments_have_their_address_translated() -> None:
    """In both directions."""

    def fragments(frame: bytes) -> list[bytes]:
        payload = frame[34:]
        pieces = []
        for at, piece in ((0, payload[:16]), (16, payload[16:])):
            header = bytearray(frame[14:34])
            header[2:4] = (20 + len(piece)).to_bytes(2, "big")
            header[4:8] = b"\x00\x07" + (at // 8 | (0x2000 if at == 0 else 0)).to_bytes(2, "big")
            header[10:12] = bytes(2)
            header[10:12] = internet_checksum(bytes(header)).to_bytes(2, "big")
            pieces.append(frame[:14] + bytes(header) + piece)
        return pieces

    out, back = udp(HOST, 1, SERVER, 53, bytes(range(20))), udp(SERVER, 53, NAT, 5000, bytes(range(20)))
    verdicts, frames = run(*fragments(out), *fragments(back))
    assert ["forward"] * 4 == verdicts
    expected = [udp(NAT, 5000, SERVER, 53, bytes(range(20))), udp(SERVER, 53, HOST, 1, bytes(range(20)))]
    assert [*fragments(expected[0]), *fragments(expected[1])] == frames


def test_the_next_functions_see_one_flow() -> None:
    done = run_chain([Nat(RULES), Monitor()], [tcp(HOST, 1, SERVER, 80), tcp(SERVER, 80, NAT, 5000)])
    (row,) = [record for record in done.records if isinstance(record, FlowRow)]
    assert (1, 1) == (row.packets_ab, row.packets_ba)


# ---------------------------------------------------------------- both engines


class Street:
    """A switch in front of both engines, which are given the same."""

    def __init__(self, rules: NatRules = RULES, **options: Any) -> None:
        self.twins = Twins(lambda: [Nat(rules)], **options)
        self.switch = Dispatcher(FlowClassifier("auto"))
        self.switch.set_runtimes([0])
        self.marks = 0

    def feed(self, frames: list[bytes], time_s: float = 0.0) -> tuple[list[str], list[bytes]]:
        burst = burst_of(frames, first_mark=self.marks + 1, start_s=time_s)
        self.marks += len(frames)
        _, burst = self.switch.assign(burst)
        names = self.twins.process(burst)
        taught = []
        for engine in (self.twins.reference, self.twins.compiled):
            codes = cluster_codes(engine.reasons, names)
            taught.append(teach(engine, burst, codes, engine.take_emitted())[0])
        assert taught[0].frames() == taught[1].frames(), "both engines tell the same of aliases"
        self.switch.learn(taught[0])
        return names, [
            frame_of(frame) for frame, name in zip(taught[0].frames(), names, strict=True) if name == "forward"
        ]


def cluster_codes(reasons: tuple[str, ...], names: list[str]) -> Any:
    import numpy as np

    return np.array([reasons.index(name) for name in names], np.uint8)


def frame_of(frame: bytes) -> bytes:
    start, _, _ = cluster_frame.unwrap(memoryview(frame), 0, len(frame))
    return frame[start:]


def test_answers_are_translated_in_compiled_code_and_by_the_reference_alike() -> None:
    street = Street()
    questions = [tcp(HOST, port, SERVER, 80, flags=SYN) for port in (1, 2)]
    street.feed(questions)
    answers = [tcp(SERVER, 80, NAT, port, b"yes", flags=ACK) for port in (5001, 5000)]
    assert (["forward"] * 2, [tcp(SERVER, 80, HOST, port, b"yes") for port in (2, 1)]) == street.feed(answers)
    street.twins.check_all()
    assert (2, 2) == (street.switch.statistics().flows, street.switch.statistics().aliases)
    assert 4 == street.twins.compiled.chain.counters()["nat.translated"]


def test_a_port_is_not_in_two_flows_at_once() -> None:
    """Also where a flow ends by the clock of its packets: its key begins anew, with another port."""
    street = Street(time_outs=TimeOuts(udp_idle_s=5))
    street.feed([udp(HOST, 1, SERVER, 53)])
    _, frames = street.feed([udp(HOST, 1, SERVER, 53), udp(HOST, 2, SERVER, 53), udp(HOST, 3, SERVER, 53)], 10.0)
    assert [(NAT, 5001), (NAT_2, 7), (NAT, 5000)] == [source_of(frame) for frame in frames]
    _, back = street.feed([udp(SERVER, 53, NAT, 5000), udp(SERVER, 53, NAT, 5001)], 10.0)
    assert [udp(SERVER, 53, HOST, 3), udp(SERVER, 53, HOST, 1)] == back


def source_of(frame: bytes) -> tuple[str, int]:
    return ".".join(map(str, frame[26:30])), int.from_bytes(frame[34:36], "big")


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([HOST, OTHER]), st.sampled_from([53, 54]), st.integers(0, 4)),
        max_size=40,
    )
)
def test_no_two_live_flows_ever_have_the_same_port_and_answers_go_to_who_asked(
    steps: list[tuple[int, str, int, int]],
) -> None:
    """Drawn flows begin, are answered, fall silent and begin again, in both engines."""
    street, now = Street(time_outs=TimeOuts(udp_idle_s=3)), 0.0
    has: dict[tuple[str, int, int], tuple[str, int]] = {}
    until: dict[tuple[str, int, int], float] = {}
    for port, host, target, gap in steps:
        now += gap
        flow = (host, port, target)
        names, frames = street.feed([udp(host, port, SERVER, target)], now)
        until[flow] = now
        if names != ["forward"]:
            has.pop(flow, None)
            continue
        has[flow] = source_of(frames[0])
        alive = [other for other in has if now - until[other] <= 3]
        assert len(alive) == len({has[other] for other in alive}), "one port in two flows that live"
        assert [udp(SERVER, target, host, port)] == street.feed([udp(SERVER, target, *has[flow])], now)[1]


def test_it_means_the_same_in_both_engines_and_survives_any_move() -> None:
    rules = NatRules(((0x0A000000, 0xFF000000),), (Outside(0xCB007101, 5000, 5100), Outside(0xCB007102)))
    check_nf(lambda: Nat(rules))
    flow = [tcp(HOST, 1, SERVER, 80, flags=SYN), tcp(HOST, 1, SERVER, 80), tcp(HOST, 1, SERVER, 80, flags=FIN | ACK)]
    check_nf(lambda: Nat(rules), frames=flow + [udp(HOST, 1 + n, SERVER, 53, bytes(n)) for n in range(9)])


# ---------------------------------------------------------------- rules


def test_rules_are_prefixes_inside_and_addresses_outside() -> None:
    rules = parse_rules(["", "inside 10.0.0.0/8", "inside 192.168.0.0/16 # home", "outside 203.0.113.1"])
    assert ((0x0A000000, 0xFF000000), (0xC0A80000, 0xFFFF0000)) == rules.inside
    assert (Outside(0xCB007101, 1024, 65535),) == rules.outside
    assert 64512 == Nat(rules).ports.size


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("inside", "inside PREFIX"),
        ("inside 10.0.0.1/8", "host bits"),
        ("outside 10.0.0.300", "10.0.0.300"),
        ("outside 1.2.3.4 ports", "outside ADDRESS ports"),
        ("outside 1.2.3.4 from 1-2", "outside ADDRESS ports"),
        ("outside 1.2.3.4 ports 9-3", "the lower one first"),
        ("outside 1.2.3.4 ports 0-3", "from 1 on"),
        ("outside 1.2.3.4 ports 7", "no port"),
        ("outside 203.0.113.1", "stands twice"),
        ("allow all", "a line is"),
    ],
)
def test_a_bad_line_is_named_with_its_number(line: str, problem: str) -> None:
    with pytest.raises(RuleError, match=f"rules:3: .*{problem}"):
        parse_rules(["inside 10.0.0.0/8", "outside 203.0.113.1", line], "rules")


@pytest.mark.parametrize("line", ["inside 10.0.0.0/8", "outside 203.0.113.1"])
def test_rules_that_miss_half_are_refused(line: str) -> None:
    with pytest.raises(RuleError, match="no line says"):
        parse_rules([line])


def test_counters_are_named_after_it() -> None:
    assert isinstance(Nat(RULES).flows, nf.Counter)


@given(
    host=st.integers(1, 250), port=st.integers(1, 65535), server=st.sampled_from([SERVER, "9.9.9.9", "250.0.0.1"]),
    server_port=st.integers(1, 65535),
)  # fmt: skip
def test_what_states_say_of_aliases_is_what_packets_have_taught(
    host: int, port: int, server: str, server_port: int
) -> None:
    twins = Twins(lambda: [Monitor(), Nat(RULES)])
    frame = udp(f"10.0.0.{host}", port, server, server_port)
    for engine in (twins.reference, twins.compiled):
        burst = burst_of([frame])
        codes = engine.process(burst)
        labelled, _ = teach(engine, burst, codes, engine.take_emitted())
        switch = Dispatcher(FlowClassifier("auto"))
        switch.set_runtimes([0])
        switch.assign(burst_of([frame]))
        switch.learn(labelled)
        keys = engine.keys()
        _, records, _ = engine.copy(keys)
        told = told_by(engine.chain, keys, records)
        [alias] = told.aliases
        known = switch._aliases.get(alias)
        assert known is not None
        assert (known.key, known.turn) == (told.keys[0], told.turns[0])


def test_a_flow_that_is_not_translated_has_no_alias() -> None:
    engine = Twins(lambda: [Nat(RULES)]).compiled
    engine.process(burst_of([udp(HOST, 1, OTHER, 2)]))
    _, records, _ = engine.copy(engine.keys())
    assert 0 == len(told_by(engine.chain, engine.keys(), records).keys)
