"""The compiled flow table of a switch, beside the one in plain Python: the same operations, the same answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nfactor.compiled import layout, owners as words
from nfactor.compiled.dispatcher import CompiledDispatcher
from nfactor.dataplane.aliases import Told
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.owners import SETTLE_S
from nfactor.errors import CallerError
from nfactor.packet import cluster_frame
from nfactor.packet.burst import Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import ALIAS, TEACH
from nfactor.packet.fields import Packet
from nfactor.packet.flow_key import FlowKeys
from nfactor.packet.headers import parse
from nfactor.testing.packets import burst_of, udp

HOST, SERVER, NAT = "10.0.0.1", "198.51.100.7", "203.0.113.1"
FLOWS, ALIASES, FLOWS_MAX = 12, 4, 9


def later_fragment(frame: bytes, *, first: bool) -> bytes:
    """The frame as a fragment of a datagram: its first, or a later one."""
    made = bytearray(frame)
    made[18:22] = b"\x00\x07\x20\x00" if first else b"\x00\x07\x00\x02"
    return bytes(made)


def malformed(frame: bytes) -> bytes:
    """The frame with a header that is none."""
    made = bytearray(frame)
    made[14] = 0x41
    return bytes(made)


PLAIN = [udp(HOST, 1 + number, SERVER, 53) for number in range(FLOWS)]
SENT = [udp(NAT, 5000 + number, SERVER, 53) for number in range(ALIASES)]
ANSWERS = [udp(SERVER, 53, NAT, 5000 + number) for number in range(ALIASES)]
FRAMES = [
    *PLAIN,
    *ANSWERS,
    udp(SERVER, 53, HOST, 1),
    malformed(PLAIN[0]),
    later_fragment(PLAIN[1], first=True),
    later_fragment(PLAIN[1], first=False),
    b"",
    PLAIN[2][:20],
]


def key_of(frame: bytes) -> bytes:
    burst = burst_of([frame])
    packet = Packet(burst.octets())
    parse(packet, 0, len(burst.data), len(frame))
    return FlowClassifier("auto").classify(packet)[0]


KEYS = [key_of(frame) for frame in (*PLAIN, *ANSWERS)]
some_keys = st.lists(st.sampled_from(KEYS), unique=True, max_size=8)
numbers = st.integers(0, 3)
runtimes = st.lists(numbers, unique=True, max_size=3)


def u32(values: Sequence[int]) -> Any:
    return np.array(values, np.uint32)


class Twins(RuleBasedStateMachine):
    """One of each."""

    @initialize(secret=st.binary(min_size=48, max_size=48))
    def make(self, secret: bytes) -> None:
        """With room for fewer flows than there are."""
        self.plain = Dispatcher(FlowClassifier("auto"), flows_max=FLOWS_MAX)
        self.compiled = CompiledDispatcher(FlowClassifier("auto"), flows_max=FLOWS_MAX, secret=secret)
        self.now = 0.0
        self.do("set_runtimes", [0, 1, 2])

    def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The same of both."""
        answers = [getattr(table, name)(*arguments, **options) for table in (self.plain, self.compiled)]
        assert _plain(answers[0]) == _plain(answers[1])
        return answers[0]

    @rule(frames=st.lists(st.sampled_from(FRAMES), max_size=12))
    def assign(self, frames: list[bytes]) -> None:
        """A burst comes in."""
        answers = [table.assign(burst_of(frames)) for table in (self.plain, self.compiled)]
        assert answers[0][0].tolist() == answers[1][0].tolist()
        assert answers[0][1].frames() == answers[1][1].frames()

    @rule(flow=st.sampled_from(PLAIN), sent=st.sampled_from(SENT), direction=st.integers(0, 1))
    def learn(self, flow: bytes, sent: bytes, direction: int) -> None:
        """A packet of a flow goes out with another header."""
        label = key_of(flow), direction | TEACH
        self.do("learn", cluster_frame.with_labels(burst_of([sent]), {0: label}))

    @rule(flow=st.sampled_from(PLAIN), sent=st.sampled_from(SENT), direction=st.integers(0, 1))
    def labelled(self, flow: bytes, sent: bytes, direction: int) -> None:
        """A packet for an alias comes from another switch."""
        label = key_of(flow), direction | ALIAS
        bursts = [cluster_frame.with_labels(burst_of([sent]), {0: label}) for _ in range(2)]
        answers = [table.assign(burst) for table, burst in zip((self.plain, self.compiled), bursts, strict=True)]
        assert answers[0][0].tolist() == answers[1][0].tolist()

    @rule(flow=st.sampled_from(PLAIN), sent=st.sampled_from(SENT), turn=st.integers(0, 1))
    def learn_again(self, flow: bytes, sent: bytes, turn: int) -> None:
        """A runtime says what a flow also answers to."""
        told = Told(FlowKeys.of([key_of(flow)]), FlowKeys.of([key_of(sent)]), np.array([turn], np.uint8))
        self.do("learn_again", told)

    @rule(flow=st.sampled_from(PLAIN), sent=st.sampled_from(SENT))
    def unlearn(self, flow: bytes, sent: bytes) -> None:
        """Another switch says that a flow does not any more."""
        self.do("unlearn", key_of(sent), key_of(flow))

    @rule()
    def take_gone(self) -> None:
        """What other switches are to be told."""
        self.do("take_gone")

    @rule(chosen=runtimes)
    def spread(self, chosen: list[int]) -> None:
        """The view has changed."""
        self.do("set_runtimes", chosen)

    @rule(count=st.integers(1, 3))
    def share(self, count: int) -> None:
        """So has the number of switches."""
        self.do("set_switches", count, count - 1)

    @rule(keys=some_keys, epochs=st.lists(st.integers(0, 5), min_size=8, max_size=8), source=numbers, to=numbers)
    def redirect(self, keys: list[bytes], epochs: list[int], source: int, to: int) -> None:
        """A migration."""
        some = u32(epochs[: len(keys)])
        self.do("redirect", FlowKeys.of(keys), some, source=source, target=to, now=self.now)
        self.do("turned", keys, some, to)

    @rule(
        keys=some_keys,
        epochs=st.lists(st.integers(0, 6), min_size=8, max_size=8),
        packets=st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=8, max_size=8)),
        dead=numbers,
        claimer=numbers,
    )
    def claim(self, keys: list[bytes], epochs: list[int], packets: list[int] | None, dead: int, claimer: int) -> None:
        """A recovery."""
        counts = None if packets is None else u32(packets[: len(keys)])
        self.do("claim", keys, u32(epochs[: len(keys)]), counts, dead=dead, claimer=claimer, now=self.now)

    @rule(
        keys=some_keys,
        packets=st.lists(st.integers(0, 4), min_size=8, max_size=8),
        owner=numbers,
        age=st.sampled_from([0.0, 0.1, 2.0]),
        again=st.integers(0, 2),
    )
    def forget(self, keys: list[bytes], packets: list[int], owner: int, age: float, again: int) -> None:
        """Flows end, or are asked about again when their runtime has taken packets for a while."""
        counts, before = u32(packets[: len(keys)]), self.now - age
        for _ in range(again + 1):
            taking_s = self.now / 2
            self.do("forget", keys, counts, owner=owner, now=self.now, moved_before=before, taking_s=taking_s)
            self.now += SETTLE_S

    @rule(owner=numbers)
    def abandon(self, owner: int) -> None:
        """Nobody claims what a dead runtime had."""
        self.do("abandon", owner)

    @rule(
        keys=some_keys,
        epochs=st.lists(st.integers(0, 6), min_size=8, max_size=8),
        packets=st.lists(st.integers(0, 4), min_size=8, max_size=8),
        owner=numbers,
    )
    def restore(self, keys: list[bytes], epochs: list[int], packets: list[int], owner: int) -> None:
        """A runtime reports."""
        self.do("restore", keys, u32(epochs[: len(keys)]), u32(packets[: len(keys)]), owner, now=self.now)

    @rule()
    def clear(self) -> None:
        """The table is lost."""
        self.do("clear")

    @rule(seconds=st.sampled_from([0.1, SETTLE_S, 2.0, 20.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @invariant()
    def both_count_the_same(self) -> None:
        """And have the same flows, with the same owners."""
        if hasattr(self, "plain"):
            self.do("statistics")
            found = self.compiled._owners_of(KEYS).tolist()
            entries = self.plain._entries
            assert found == [entries[key].owner if key in entries else words.NOBODY for key in KEYS]


def _plain(answer: Any) -> Any:
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    return tuple(map(_plain, answer)) if isinstance(answer, tuple) else answer


Twins.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_both_tables_give_the_same_answers = Twins.TestCase


def frames_of(first: int, count: int) -> list[bytes]:
    """A packet each of so many flows."""
    template = bytearray(udp("10.0.0.0", 1, "192.0.2.1", 2))
    frames = []
    for number in range(first, first + count):
        template[26:30] = (0x0A000000 + number).to_bytes(4, "big")
        frames.append(bytes(template))
    return frames


def flows(first: int, count: int) -> Burst:
    """The same as a burst."""
    return burst_of(frames_of(first, count))


@pytest.mark.slow
def test_a_table_that_grows_keeps_its_flows() -> None:
    """The index grows in the middle of bursts, and while a table is put together again."""
    plain, compiled = Dispatcher(FlowClassifier("auto")), CompiledDispatcher(FlowClassifier("auto"))
    for table in (plain, compiled):
        table.set_runtimes([4, 0, 7])
    for first, count in ((0, 5000), (3000, 9000), (0, 64), (12_000, 10_000)):
        burst = flows(first, count)
        assert plain.assign(burst)[0].tolist() == compiled.assign(burst)[0].tolist()
    assert compiled._context[layout.INDEX_MASK] + 1 > 16_384
    keys = FlowKeys.of(plain._entries)
    epochs, counts = u32([2] * len(keys)), u32(range(len(keys)))
    for table in (plain, compiled):
        table.clear()
        table.restore(keys, epochs, counts, 3, now=0.0)
    assert [3] * len(keys) == compiled._owners_of(keys).tolist()
    statuses = compiled.forget(keys, counts, owner=3, now=2.0)
    assert not statuses.any()
    assert compiled.statistics().flows == 0


@pytest.mark.slow
def test_a_table_grows_though_no_packet_is_plain() -> None:
    """Python finds their keys one by one, and the index has done with one growth before the next begins."""
    plain, compiled = Dispatcher(FlowClassifier("auto")), CompiledDispatcher(FlowClassifier("auto"))
    burst = burst_of([later_fragment(frame, first=True) for frame in frames_of(0, 9000)])
    for table in (plain, compiled):
        table.set_runtimes([1])
    assert plain.assign(burst)[0].tolist() == compiled.assign(burst)[0].tolist()
    assert compiled.statistics().flows == 9000
    assert compiled._context[layout.INDEX_MASK] + 1 == 32_768


@pytest.mark.slow
def test_any_number_of_aliases_is_found() -> None:
    """The set of keys that compiled code looks aliases up in grows as tables do."""
    plain, compiled = Dispatcher(FlowClassifier("auto")), CompiledDispatcher(FlowClassifier("auto"))
    keys = [key_of(frame) for frame in frames_of(0, 1000)]
    answers = [udp("198.51.100.7", 1 + number, NAT, 5000) for number in range(3000)]
    for table in (plain, compiled):
        table.set_runtimes([0, 1, 2])
        table.assign(flows(0, 1000))
        for number, answer in enumerate(answers):
            table._learn(key_of(answer), keys[number % 1000], number % 2)
    expected, found = plain.assign(burst_of(answers)), compiled.assign(burst_of(answers))
    assert expected[0].tolist() == found[0].tolist() == [number % 1000 % 3 for number in range(3000)]
    assert expected[1].frames() == found[1].frames()
    assert 3000 == compiled.statistics().aliases


def test_a_burst_that_is_none_is_refused() -> None:
    table = CompiledDispatcher(FlowClassifier("auto"))
    burst = flows(0, 8)
    with pytest.raises(CallerError, match="not contiguous"):
        table.assign(burst.select(slice(0, 8, 2)))
    outside = Burst(burst.data, burst.offsets + 1_000_000, burst.lengths, burst.wire_lengths, burst.times, burst.marks)
    with pytest.raises(CallerError, match="outside its data"):
        table.assign(outside)
