"""Changes of flows, and copies that follow them: octets from one engine make the same records in another's copies."""

import ctypes
import mmap
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.compiled.engine import CompiledEngine
from nfactor.dataplane import nf
from nfactor.dataplane.chain import HEADER, Chain
from nfactor.dataplane.changes import CHANGE_OCTETS, PARTS_AT, WHOLE, Copies, epochs_of, joined, packets_of, parts_of
from nfactor.dataplane.engine import Engine
from nfactor.dataplane.reference import ReferenceEngine
from nfactor.dataplane.state import schema_of
from nfactor.errors import ProtocolError
from nfactor.functions.firewall import Firewall
from nfactor.functions.http import Http
from nfactor.functions.monitor import Monitor
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.flow_key import FlowKeys
from nfactor.testing.packets import burst_of, tcp, udp
from tests.dataplane.test_engines import A, B, engine_of, move, process


@nf.state
class Named:
    before: nf.u16
    name: Annotated[bytes, nf.octets(37)]
    after: nf.u32
    other: Annotated[bytes, nf.octets(300)]


@nf.state
class Text:
    """Nothing but byte strings, up to the last octet."""

    one: Annotated[bytes, nf.octets(14)]
    two: Annotated[bytes, nf.octets(6)]


class Texts(nf.NF):
    State = Text
    name = "texts"

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.one = pkt.data[pkt.payload : pkt.payload_end]
        return nf.FORWARD


class Namer(nf.NF):
    """Keeps what packets say; what it kept of a longer one before must not come through."""

    State = Named
    name = "namer"

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        fs.before += 1
        fs.name = pkt.data[pkt.payload : pkt.payload_end]
        if pkt.direction:
            fs.other = pkt.data[pkt.start : pkt.end]
        return nf.FORWARD


class Counted(Namer):
    name = "counted"


class Stateless(nf.NF):
    def process_pkt(self, pkt: nf.Packet, fs: None) -> int:
        return nf.FORWARD


class Rarely(Monitor):
    """Writes for the first packet alone."""

    name = "rarely"

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        if not fs.packets_ab:
            fs.packets_ab = 1
        return nf.FORWARD


def seven() -> list[nf.NF]:
    """More NFs than there are bits."""
    named = [type(f"Extra{number}", (Namer,), {"name": f"extra{number}"})() for number in range(4)]
    return [Rarely(), Stateless(), Texts(), *named, Counted()]


def both(*functions: nf.NF, flows_max: int = 1000) -> tuple[Engine, Engine]:
    """The reference engine and the compiled one, in which times travel as they are."""
    made: list[Engine] = []
    for kind in (ReferenceEngine, CompiledEngine):
        chain, classifier = Chain.of(functions), FlowClassifier("auto")
        made.append(kind(chain, classifier, flows_max=flows_max, common_clock=True))
    return made[0], made[1]


def content(copies: Copies) -> dict[bytes, tuple[int, bytes]]:
    keys, epochs, records = copies.all()
    assert len(copies) == len(keys)
    return {key: (epoch, record.tobytes()) for key, epoch, record in zip(keys, epochs.tolist(), records, strict=True)}


def flows_of(engine: Engine) -> dict[bytes, tuple[int, bytes]]:
    epochs, records, _ = engine.copy(keys := engine.keys())
    return {key: (epoch, record.tobytes()) for key, epoch, record in zip(keys, epochs.tolist(), records, strict=True)}


FRAMES = st.lists(
    st.builds(
        lambda flow, back, payload: udp(B, flow, A, 1, payload) if back else udp(A, 1, B, flow, payload),
        st.integers(1, 5),
        st.booleans(),
        st.binary(max_size=60),
    ),
    max_size=12,
)
STEPS = st.lists(st.one_of(FRAMES, st.sampled_from(["move", "end", "forget", "all"])), max_size=12)


@given(STEPS)
def test_copies_that_are_told_of_every_change_are_the_flows_whichever_engines_they_are_of(steps: list[Any]) -> None:
    """Bursts of packets, flows that leave and come back, that end, and that are sent whole again."""
    engines = both(*seven())
    copies = [(engine, home.changes.copies()) for engine in engines for home in engines]

    def tell(engine: Engine, octets: bytes) -> None:
        for of, copy in copies:
            if of is engine:
                copy.apply(octets)

    for step in steps:
        for engine in engines:
            keys = engine.keys()
            if step == "all":
                tell(engine, engine.changes.whole(keys).octets)
            elif step == "end":
                engine.expire(keys[:2])
                for of, copy in copies:
                    if of is engine:
                        copy.drop(keys[:2])
            elif step == "forget":
                for of, copy in copies:
                    if of is engine:
                        copy.drop(keys, np.zeros(len(keys), np.uint32))
            elif step == "move":
                gone, epochs = engine.pick(2)
                records, _ = engine.depart(gone)
                engine.hold(gone, epochs + 1)
                engine.install(gone, epochs + 1, records)
                tell(engine, engine.changes.whole(gone).octets)
            else:
                engine.process(burst_of(step))
                tell(engine, engine.changes.of(engine.touched).octets)
                assert engine.changes.of(engine.touched).octets == b"", "all is said"
    for engine, copy in copies:
        assert content(copy) == flows_of(engine)
    assert flows_of(engines[0]) == flows_of(engines[1])


@given(FRAMES, FRAMES, st.data())
def test_octets_that_are_no_changes_are_refused_by_both_alike(first: Any, second: Any, data: st.DataObject) -> None:
    engines = both(Monitor(), Namer())
    engine = engines[data.draw(st.integers(0, 1))]
    engine.process(burst_of(first))
    known = engine.changes.of(engine.touched).octets
    engine.process(burst_of(second))
    octets = bytearray(engine.changes.of(engine.touched).octets)
    for _ in range(data.draw(st.integers(0, 3))):
        if octets:
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    outcomes = []
    for home in engines:
        copies = home.changes.copies()
        copies.apply(known)
        try:
            copies.apply(cut)
            outcomes.append(content(copies))
        except ProtocolError as error:
            outcomes.append({str(error).encode(): (0, b"")})
    assert outcomes[0] == outcomes[1]


@pytest.fixture
def one_flow() -> tuple[Engine, bytes, bytes]:
    """The compiled engine with a flow: it whole, and a change of it."""
    _, engine = both(Monitor(), Namer())
    engine.process(burst_of([udp(A, 1, B, 2, b"abc")]))
    whole = engine.changes.of(engine.touched).octets
    engine.process(burst_of([udp(A, 1, B, 2, b"defg")]))
    return engine, whole, engine.changes.of(engine.touched).octets


@pytest.mark.parametrize("kind", [0, 1])
def test_what_lies_about_its_parts_or_its_lengths_is_refused_by_name(kind: int, one_flow: Any) -> None:
    _, whole, change = one_flow
    home = both(Monitor(), Namer())[kind]
    with pytest.raises(ProtocolError, match="a change of a flow of which no copy is here"):
        home.changes.copies().apply(change)
    parts = 48 + PARTS_AT
    used = whole.index(b"\3\0abc")
    lies = [
        whole[:-1],
        whole[:used],
        whole[: used + 1],
        whole[: CHANGE_OCTETS - 1],
        whole[:parts] + bytes((WHOLE | 1,)) + whole[parts + 1 :],
        whole[:parts] + bytes((WHOLE | 7,)) + whole[parts + 1 :],
        whole[:used] + b"\46\0" + whole[used + 2 :],
        whole[:used] + b"\xff\xff" + whole[used + 2 :] + bytes(1 << 16),
        whole + b"\0",
    ]
    for lie in lies:
        with pytest.raises(ProtocolError, match="cut short, or that say what cannot be"):
            home.changes.copies().apply(lie)


def test_copies_have_a_limit(one_flow: Any) -> None:
    _, home = both(Monitor(), flows_max=1)
    _, engine = both(Monitor())
    engine.process(burst_of([udp(A, port, B, 2) for port in range(1, 4)]))
    with pytest.raises(ProtocolError, match="copies of more than 2 flows of one runtime"):
        home.changes.copies().apply(engine.changes.of(engine.touched).octets)


def test_many_flows_in_one_message_are_taken_while_the_index_grows() -> None:
    _, engine = both(Monitor(), flows_max=20_000)
    for start in range(0, 12_000, 1000):
        engine.process(burst_of([tcp("10.0.0.1", 1024 + start + port, B, 80) for port in range(1000)]))
    copies = engine.changes.copies()
    octets = engine.changes.whole(engine.keys()).octets
    copies.apply(octets)
    assert content(copies) == flows_of(engine)
    copies.apply(octets)
    assert len(copies) == 12_000


def test_only_what_was_written_to_travels_and_of_byte_strings_what_is_in_use() -> None:
    _, engine = both(Rarely(), Namer())
    engine.process(burst_of([udp(A, 1, B, 2, b"abc")]))
    first = engine.changes.of(engine.touched)
    assert list(first.whole) == list(engine.keys())
    engine.process(burst_of([udp(A, 1, B, 2, b"a")]))
    second = engine.changes.of(engine.touched)
    assert len(second.whole) == 0
    named = schema_of(Named).size - 37 - 300
    assert len(first.octets) == CHANGE_OCTETS + schema_of(Rarely.State).size + named + 3
    assert len(second.octets) == CHANGE_OCTETS + named + 1, "the first NF has not written; of 337 octets one is in use"
    assert len(Chain.of(seven()).schemas) == 8 > len(parts_of(Chain.of(seven())))


def test_more_flows_than_ever_before_at_once_are_sent_whole_and_changed() -> None:
    _, engine = both(Monitor(), flows_max=4000)
    for _ in range(2):
        engine.process(burst_of([udp(A, port, B, 2) for port in range(1, 3001)]))
        many = engine.changes.of(engine.touched), engine.changes.whole(engine.keys())
        for changed in many:
            copies = engine.changes.copies()
            if len(changed.whole):
                copies.apply(changed.octets)
                assert content(copies) == flows_of(engine)
    _, other = both(Monitor(), flows_max=4000)
    for start in (1, 1501):
        other.process(burst_of([udp(A, port, B, 2) for port in range(start, start + 1000)]))
    assert len(other.changes.whole(other.keys()).whole) == 2000


def test_interpreted_functions_among_compiled_ones_may_have_written() -> None:
    class Plain(Namer):
        name = "plain"

        def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
            fs.before += len({1, 2, 3})  # no set is compiled
            return nf.FORWARD

    engine = CompiledEngine(Chain.of([Monitor(), Plain()]), FlowClassifier("auto"), refusals={}, common_clock=True)
    copies = engine.changes.copies()
    for _ in range(2):
        engine.process(burst_of([udp(A, 1, B, 2)]))
        copies.apply(engine.changes.of(engine.touched).octets)
    assert content(copies) == flows_of(engine)


@pytest.mark.usefixtures("kind_of_engine")
def test_rows_that_were_kept_say_nothing_of_flows_that_have_gone() -> None:
    engine, other = engine_of(), engine_of()
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4), udp(A, 5, B, 6)])
    kept = engine.touched
    first, second, third = engine.keys()
    engine.expire([second])
    process(engine, [udp(A, 7, B, 8)])  # where a row is free
    (fourth,) = set(engine.keys()) - {first, third}
    assert move(engine, other, 1) == [fourth]
    octets = engine.changes.of(kept).octets
    copies = other.changes.copies()
    copies.apply(octets)
    assert set(content(copies)) == {first, third}


@pytest.mark.usefixtures("kind_of_engine")
def test_flows_that_nobody_has_asked_about_are_known() -> None:
    engine = engine_of(Firewall(), Http(), Monitor())
    process(engine, [udp(A, 1, B, 2), udp(A, 3, B, 4)])
    first, second = engine.keys()
    assert list(engine.changes.unasked()) == [first, second]
    engine.changes.whole([second, bytes(48)])
    assert list(engine.changes.unasked()) == [first]
    engine.changes.of(engine.touched)
    assert list(engine.changes.unasked()) == []
    assert engine.changes.here([first, bytes(48), second]).tolist() == [True, False, True]
    engine.pick(1)
    engine.depart(engine.keys()[1:])
    assert engine.changes.here([first, second]).tolist() == [True, False]
    process(engine, [udp(A, 1, B, 2)])
    engine.follows = False
    process(engine, [udp(A, 1, B, 2)])
    assert len(engine.touched) == 0


def test_what_records_tell_is_read_for_all_at_once() -> None:
    engine = engine_of(Monitor())
    process(engine, [udp(A, 1, B, 2), udp(A, 1, B, 2), udp(A, 3, B, 4)])
    _, records, _ = engine.copy(engine.keys())
    assert packets_of(records).tolist() == [2, 1]
    assert epochs_of(records).tolist() == [1, 1]
    assert HEADER.unpack(records[0].tobytes()).packets == 2


def test_keys_are_joined_each_once() -> None:
    a, b = bytes(48), b"\1" + bytes(47)
    assert list(joined([FlowKeys.of([a, b]), FlowKeys.of([b])])) == [a, b]
    assert len(joined([])) == 0


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
def test_compiled_copies_read_nothing_behind_the_octets_whatever_those_say(
    payloads: list[bytes], data: st.DataObject
) -> None:
    """They end where a page begins that may not be read: who goes on reading is ended by the kernel, not refused."""
    _, engine = both(Monitor(), Namer())
    engine.process(burst_of([udp(A, 1 + place % 3, B, 2, payload) for place, payload in enumerate(payloads)]))
    octets = bytearray(engine.changes.of(engine.touched).octets)
    for _ in range(data.draw(st.integers(0, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = octets[: data.draw(st.integers(1, len(octets)))]
    pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(address + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    pages[mmap.PAGESIZE - len(cut) : mmap.PAGESIZE] = bytes(cut)
    guarded = np.frombuffer(pages, np.uint8)[mmap.PAGESIZE - len(cut) : mmap.PAGESIZE]
    copies = engine.changes.copies()
    with suppress(ProtocolError):
        copies.apply(guarded.data)  # type: ignore[arg-type]  # as good as bytes to it
    assert len(copies) <= 3 + 4
