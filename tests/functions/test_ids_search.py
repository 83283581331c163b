"""The IDS against a brute-force search of the whole stream, however it is cut into packets, and moved between them."""

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from nfactor.dataplane.chain import Chain
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.functions.ids import Ids, parse_rules
from nfactor.functions.ids_automaton import Automaton
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing.chain_run import run_chain
from nfactor.testing.packets import burst_of, tcp, udp

A, B = "10.0.0.1", "10.0.0.2"
ALPHABET = b"abAB"
HOLE = None


@attrs.frozen
class Spec:
    """A content as its rule spells it."""

    pattern: bytes
    nocase: bool = False
    offset: int | None = None
    depth: int | None = None
    distance: int | None = None
    within: int | None = None
    endswith: bool = False

    def relative(self) -> bool:
        return self.distance is not None or self.within is not None

    def text(self) -> str:
        words = [f'content:"{self.pattern.decode()}"']
        words += [flag for flag in ("nocase", "endswith") if getattr(self, flag)]
        values = {name: getattr(self, name) for name in ("offset", "depth", "distance", "within")}
        words += [f"{name}:{value}" for name, value in values.items() if value is not None]
        return "; ".join(words) + "; "


def rule_text(number: int, specs: Sequence[Spec], protocol: str) -> str:
    return f"alert {protocol} any any -> any any ({''.join(spec.text() for spec in specs)}sid:{number};)"


def is_found(specs: Sequence[Spec], stream: Sequence[int | None], ends: set[int]) -> bool:
    """Whether there is a choice of matches for all contents. ``ends``: where segments end, for ``endswith``."""
    reached: set[int] = set()
    for index, spec in enumerate(specs):
        if spec.relative():
            befores = reached if index else {0}
            reached = {
                end
                for end in ends_of(spec, stream, ends)
                for before in befores
                if end - len(spec.pattern) >= before + (spec.distance or 0)
                and (spec.within is None or end <= before + (spec.distance or 0) + spec.within)
            }
        else:
            offset = spec.offset or 0
            reached = {
                end
                for end in ends_of(spec, stream, ends)
                if end - len(spec.pattern) >= offset and (spec.depth is None or end <= offset + spec.depth)
            }
        if not reached:
            return False
    return True


def ends_of(spec: Spec, stream: Sequence[int | None], ends: set[int]) -> list[int]:
    octets = len(spec.pattern)
    wanted = spec.pattern.lower() if spec.nocase else spec.pattern
    found = []
    for end in range(octets, len(stream) + 1):
        part = stream[end - octets : end]
        if HOLE not in part and (not spec.endswith or end in ends):
            here = bytes(octet for octet in part if octet is not None)
            if (here.lower() if spec.nocase else here) == wanted:
                found.append(end)
    return found


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    pattern = bytes(draw(st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=3)))
    octets, kind = len(pattern), draw(st.sampled_from(["free", "absolute", "relative", "relative"]))
    some = {}
    if kind == "absolute":
        some = {
            "offset": draw(st.none() | st.integers(0, 6)),
            "depth": draw(st.none() | st.integers(octets, octets + 8)),
        }
    elif kind == "relative":
        some = {
            "distance": draw(st.none() | st.integers(-octets, 6)),
            "within": draw(st.none() | st.integers(octets, octets + 6)),
        }
    return Spec(pattern, draw(st.booleans()), endswith=draw(st.integers(0, 9)) == 0, **some)


RULES = st.lists(st.lists(specs(), min_size=1, max_size=4), min_size=1, max_size=4)
STREAM = st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=40).map(bytes)


@st.composite
def segments(draw: st.DrawFn) -> list[tuple[int, bytes, int]]:
    """Parts of a stream in order, as (position, octets, octets that were sent before and now are others)."""
    stream, at, parts = draw(STREAM), 0, []
    while at < len(stream):
        end = min(len(stream), at + draw(st.integers(1, 8)))
        again = draw(st.integers(0, 3)) if at and draw(st.booleans()) else 0
        again = min(at, again)
        parts.append((at - again, bytes(again) + stream[at:end], again))
        at = end
    return parts


def frames_of(parts: Sequence[tuple[int, bytes, int]], first: int) -> list[bytes]:
    return [tcp(A, 5, B, 80, octets, seq=(first + at) & 0xFFFF_FFFF) for at, octets, _ in parts]


def alerts_of(rules: Sequence[str], frames: Sequence[bytes]) -> list[tuple[int, int]]:
    return [(alert.sid, alert.mark) for alert in run_chain([Ids(parse_rules(rules))], frames).records]


def expected_alerts(rules: Sequence[Sequence[Spec]], parts: Sequence[tuple[int, bytes, int]]) -> list[tuple[int, int]]:
    """For each packet the rules that the stream up to its end fulfils for the first time."""
    stream: list[int | None] = []
    ends: set[int] = set()
    told: list[tuple[int, int]] = []
    for mark, (at, octets, again) in enumerate(parts, 1):
        stream += [HOLE] * (at + again - len(stream))
        stream += octets[again:]
        ends.add(len(stream))
        for sid, contents in enumerate(rules, 1):
            if sid not in {known for known, _ in told} and is_found(contents, stream, ends):
                told.append((sid, mark))
    return told


@pytest.mark.slow
@given(RULES, segments(), st.sampled_from([0, 1000, 0xFFFF_FFF0]))
@settings(max_examples=200)
@example([[Spec(b"a"), Spec(b"b", distance=0, within=1)]], [(0, b"aaaa", 0), (4, b"b", 0)], 0)
@example([[Spec(b"AB", nocase=True), Spec(b"b", distance=-1)]], [(0, b"a", 0), (1, b"b", 0)], 0)
def test_streams_are_searched_as_if_they_were_whole(
    rules: list[list[Spec]], parts: list[tuple[int, bytes, int]], first: int
) -> None:
    """The same rules, found with the same packets, whatever is sent again."""
    texts = [rule_text(sid, contents, "tcp") for sid, contents in enumerate(rules, 1)]
    assert expected_alerts(rules, parts) == alerts_of(texts, frames_of(parts, first))


@pytest.mark.slow
@given(RULES, segments(), st.data())
@settings(max_examples=100)
def test_what_is_lost_is_a_hole_that_no_content_spans(
    rules: list[list[Spec]], parts: list[tuple[int, bytes, int]], data: st.DataObject
) -> None:
    """Positions go on counting behind a hole, and contents on either side still belong together."""
    kept = [(at + again, octets[again:], 0) for at, octets, again in parts]
    kept = [part for part in kept if part[0] == 0 or data.draw(st.booleans())]
    texts = [rule_text(sid, contents, "tcp") for sid, contents in enumerate(rules, 1)]
    assert expected_alerts(rules, kept) == alerts_of(texts, frames_of(kept, 7))


GRID = [
    [Spec(before), Spec(behind, distance=distance, within=len(behind) + room)]
    for before in (b"a", b"b")
    for behind in (b"b", b"cb")
    for distance in range(-len(behind), 5)
    for room in range(4)
]
"""Every reach of a second content that so short a stream can tell from another."""


@pytest.mark.slow
@given(st.lists(st.sampled_from("acaccb"), min_size=4, max_size=14).map("".join))
@settings(max_examples=100)
@example("aaaacb")
@example("aacaaacacb")
@example("bcbccb")
@example("bccbcb")
def test_of_all_matches_those_are_remembered_that_still_matter(text: str) -> None:
    """Many matches of the first content, few of the second: which of the first ones counts hangs on the reach."""
    texts = [rule_text(sid, contents, "tcp") for sid, contents in enumerate(GRID, 1)]
    parts = [(at, text[at : at + 1].encode(), 0) for at in range(len(text))]
    assert expected_alerts(GRID, parts) == alerts_of(texts, frames_of(parts, 0))


@pytest.mark.slow
@given(RULES, st.lists(STREAM, min_size=1, max_size=4), st.sampled_from(["udp", "ip", "tcp-pkt"]))
@settings(max_examples=100)
def test_packets_without_a_stream_are_searched_one_by_one(
    rules: list[list[Spec]], payloads: list[bytes], protocol: str
) -> None:
    """Nothing of one packet is known in the next."""
    texts = [rule_text(sid, contents, protocol) for sid, contents in enumerate(rules, 1)]
    make = tcp if protocol == "tcp-pkt" else udp
    expected = [
        (sid, mark)
        for mark, payload in enumerate(payloads, 1)
        for sid, contents in enumerate(rules, 1)
        if is_found(contents, list(payload), {len(payload)})
    ]
    assert expected == alerts_of(texts, [make(A, 5, B, 80, payload) for payload in payloads])


@pytest.mark.slow
@given(RULES, segments(), st.data())
@settings(max_examples=40)
def test_a_flow_may_move_between_any_two_packets(
    rules: list[list[Spec]], parts: list[tuple[int, bytes, int]], data: st.DataObject
) -> None:
    """Alerts of a flow that moves to a new engine after every packet are those of one that stays; in any order of
    packets, so holes and late segments move too."""
    texts = [rule_text(sid, contents, "ip") for sid, contents in enumerate(rules, 1)]
    frames = data.draw(st.permutations(frames_of(parts, 0xFFFF_FFFA)))
    assert alerts_of(texts, frames) == [(alert.sid, alert.mark) for alert in alerts_with_moves(texts, frames)]


def alerts_with_moves(texts: Sequence[str], frames: Sequence[bytes]) -> list[Any]:
    engine, alerts = engine_of(texts), []
    for mark, frame in enumerate(frames, 1):
        engine.process(burst_of([frame], first_mark=mark))
        alerts += engine.take_records()
        assert {} == engine.statistics().nf_errors, engine.statistics().nf_error_sample
        following = engine_of(texts)
        keys, epochs = engine.pick(100)
        following.hold(keys, epochs + 1)
        records, statuses = engine.depart(keys)
        assert not statuses.any()
        assert not following.install(keys, epochs + 1, records).any()
        engine = following
    return alerts


def engine_of(texts: Sequence[str]) -> ReferenceEngine:
    return ReferenceEngine(Chain.of([Ids(parse_rules(texts))]), FlowClassifier("auto"))


@given(
    st.lists(st.text("abAB", min_size=1, max_size=4).map(str.encode), max_size=6),
    st.text("abABc", max_size=20).map(str.encode),
    st.booleans(),
)
def test_the_automaton_finds_every_pattern_at_every_place(patterns: list[bytes], text: bytes, nocase: bool) -> None:
    """Ends and numbers of all matches."""
    automaton = Automaton(list(enumerate(patterns)), nocase=nocase)
    fold = bytes.lower if nocase else bytes
    at, found = 0, []
    for end, octet in enumerate(text, 1):
        at = automaton.next[at + octet]
        if at >= automaton.first_output:
            state = at >> 8
            found += [
                (end, automaton.output[index])
                for index in range(automaton.output_start[state], automaton.output_start[state + 1])
            ]
    expected = [
        (end, number)
        for end in range(1, len(text) + 1)
        for number, pattern in enumerate(patterns)
        if fold(text[:end]).endswith(fold(pattern))
    ]
    assert expected == found


@pytest.mark.parametrize("distance", [0, 30])
def test_as_many_matches_are_pending_as_the_rule_can_need(distance: int) -> None:
    """Every octet begins a match, and only one of them is the right one."""
    rule = f'alert tcp any any -> any any (content:"a"; content:"xb"; distance:{distance}; within:2; sid:1;)'
    for right in (True, False):
        stream = b"a" * 100 + b"c" * (distance + (0 if right else 1)) + b"xb"
        frames = [tcp(A, 5, B, 80, stream[at : at + 1], seq=at) for at in range(len(stream))]
        assert ([(1, len(stream))] if right else []) == alerts_of([rule], frames)
