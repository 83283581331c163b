"""Runs: tells of one class to one actor travel as bare values, and nobody can tell the difference but by the clock."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings, strategies as st

from nfactor.actors import Actor, LinkLimits, Messages, Ref, handles, message
from nfactor.actors.convert import Mismatch
from nfactor.actors.flat import STRING_OCTETS_MAX
from nfactor.errors import CallerError, CodecError, MailboxFull, ProtocolError
from tests.actors.network import Network
from tests.actors.samples import MESSAGES as SAMPLES, Add, Looker, virtual_time
from tests.actors.worlds import peer, two_nodes


@message(tag=11)
class Flat:
    """Of every type that travels as it is."""

    number: int
    part: float
    is_set: bool
    nothing: None
    octets: bytes
    text: str


@message(tag=12)
class One:
    """The most frequent form."""

    number: int


@message(tag=13)
class Names:
    """May be changed while it waits, so it is packed at once."""

    names: list[str]


@message(tag=14)
class To:
    """A ref has to be bound where it arrives."""

    ref: Ref


@message(tag=15)
class Even:
    """Its ``__init__`` does more than fill slots."""

    number: int

    def __attrs_post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


@message(tag=16)
class Empty:
    """Nothing to pack."""


MESSAGES = Messages(Flat, One, Names, To, Even, Empty)
FLAT = MESSAGES.flats[Flat]

short = st.text(st.characters(max_codepoint=127), max_size=STRING_OCTETS_MAX)
flats = st.builds(
    Flat,
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.binary(max_size=STRING_OCTETS_MAX),
    short,
)


@given(st.lists(flats))
def test_values_that_were_noted_are_the_same_messages_again(told: list[Flat]) -> None:
    """And come to no more octets than was said."""
    values: list[Any] = []
    assert all(FLAT.note(one, values) for one in told)
    assert told == FLAT.take(values)
    assert len(MESSAGES.pack(values)) <= 5 + FLAT.octets_max * len(told)
    assert [one.number for one in told] == [tell[3][1] for tell in MESSAGES.singly([10, "actor", 11, values])]


@pytest.mark.parametrize(
    "unfit",
    [
        Flat(2**64, 0.0, True, None, b"", ""),
        Flat(-(2**63) - 1, 0.0, True, None, b"", ""),
        Flat(True, 0.0, True, None, b"", ""),
        Flat(0, 1, True, None, b"", ""),
        Flat(0, 0.0, 1, None, b"", ""),  # type: ignore[arg-type]
        Flat(0, 0.0, True, 0, b"", ""),  # type: ignore[arg-type]
        Flat(0, 0.0, True, None, bytes(STRING_OCTETS_MAX + 1), ""),
        Flat(0, 0.0, True, None, "", ""),  # type: ignore[arg-type]
        Flat(0, 0.0, True, None, b"", "x" * (STRING_OCTETS_MAX + 1)),
        Flat(0, 0.0, True, None, b"", "ä"),
        Flat(0, 0.0, True, None, b"", b""),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_not_noted(unfit: Flat) -> None:
    values: list[Any] = ["before"]
    assert not FLAT.note(unfit, values)
    assert ["before"] == values


@pytest.mark.parametrize("values", [[1], [1, 0.0, True, None, b"", 7], [1, 0, True, None, b"", ""], [True] * 6])
def test_values_of_another_form_are_a_mismatch(values: list[Any]) -> None:
    with pytest.raises(Mismatch):
        FLAT.take(values)


def test_only_classes_of_plain_fields_travel_in_runs() -> None:
    assert {Flat, One} == set(MESSAGES.flats)


@pytest.mark.parametrize("array", [[10, "actor", 99, [1]], [10, "actor", 11, [1, 2]]])
def test_a_run_of_an_unknown_class_or_form_is_a_protocol_error(array: list[Any]) -> None:
    with pytest.raises(ProtocolError, match="run"):
        MESSAGES.singly(array)


class Diary(Actor):
    """Writes down what it handles."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @handles(Flat)
    def flat(self, message: Flat) -> None:
        self.seen.append(message)

    @handles(One)
    def one(self, message: One) -> None:
        self.seen.append(message)

    @handles(Names)
    def names(self, message: Names) -> None:
        self.seen.append(message)

    @handles(Empty)
    def empty(self, message: Empty) -> None:
        self.seen.append(message)


tellables = st.one_of(
    st.integers(0, 3).map(One),
    st.just(One(2**64 - 1)),
    st.just(Flat(1, 2.0, False, None, b"three", "four")),
    st.just(Flat(1, 2.0, False, None, b"three", "fünf")),
    st.just(Names(["six"])),
    st.just(Empty()),
)


@given(
    st.lists(st.tuples(st.sampled_from(["left", "right"]), tellables, st.booleans()), min_size=1, max_size=60),
    st.sampled_from([150, 1400]),
)
@settings(max_examples=60, deadline=None)
def test_each_actor_gets_what_it_was_told_in_order(told: list[tuple[str, object, bool]], mtu: int) -> None:
    """Whatever is told in between, to whom, by ``tell`` or ``tell_nowait``, and however small the datagrams are."""

    async def main() -> None:
        network = Network()
        async with two_nodes(network, messages=MESSAGES, mtu=mtu) as world:
            diaries = {name: Diary() for name in ("left", "right")}
            for name, diary in diaries.items():
                await world.supervisor.start(lambda diary=diary: diary, name=name)  # type: ignore[misc]
            refs = {name: world.a.ref("b", name) for name in diaries}
            for name, one, waits in told:
                if waits:
                    await refs[name].tell(one)
                else:
                    refs[name].tell_nowait(one)
            await trio.sleep(1)
            for name, diary in diaries.items():
                assert [one for to, one, _ in told if to == name] == diary.seen
            assert max(network.sizes, default=0) <= mtu
            statistics = peer(world.a, "b").user
            assert (len(told), 0) == (statistics.sent, statistics.queued)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@virtual_time
async def test_a_message_of_a_run_costs_no_more_than_its_values() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref, sizes = world.a.ref("b", "diary"), world.network.sizes
        await ref.tell(One(0))
        await trio.sleep(1)
        before = len(sizes)
        for _ in range(400):
            ref.tell_nowait(One(1))
        await trio.sleep(1)
        assert 401 == len(diary.seen)
        assert sum(sizes[before:]) <= 400 * 1 + 6 * 60


@virtual_time
async def test_a_value_that_cannot_be_encoded_is_an_error_where_it_is_told() -> None:
    """The run before it and after it arrives."""
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        for number in range(6):
            if number == 3:
                with pytest.raises(CodecError):
                    ref.tell_nowait(One(2**64))
            ref.tell_nowait(One(number))
        await trio.sleep(1)
        assert [One(number) for number in range(6)] == diary.seen


@virtual_time
async def test_a_run_spends_the_credit_of_its_actor_and_no_more() -> None:
    async with two_nodes(limits=LinkLimits(credit_max=16), messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        for turn in range(3):
            for _ in range(16):
                ref.tell_nowait(One(turn))
            with pytest.raises(MailboxFull, match="16 messages"):
                ref.tell_nowait(One(turn))
            await trio.sleep(1)
        assert [One(0)] * 16 + [One(1)] * 16 + [One(2)] * 16 == diary.seen
        assert 3 == peer(world.a, "b").user.refused


@virtual_time
async def test_the_bound_of_the_queue_counts_the_messages_of_runs() -> None:
    """While the other node cannot be reached."""
    limits = LinkLimits(queue_max=20, credit_max=100, in_flight_max=1, give_up_s=30)
    async with two_nodes(limits=limits, messages=MESSAGES) as world:
        world.network.cut["b"] = None
        left, right = world.a.ref("b", "left"), world.a.ref("b", "right")
        left.tell_nowait(Names(["first"]))
        await trio.sleep(0.1)  # the link has that one, and its window is full
        for told in range(20):
            (left if told < 10 else right).tell_nowait(One(told))
        with pytest.raises(MailboxFull, match="20 messages"):
            right.tell_nowait(One(20))
        assert 20 == peer(world.a, "b").user.queued


@virtual_time
async def test_a_run_to_nobody_is_a_dead_letter_for_each_message() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        ref = world.a.ref("b", "nobody")
        for _ in range(20):
            ref.tell_nowait(One(1))
        await trio.sleep(1)
        assert {"no-remote-actor": 20} == world.a.statistics().dead_letters


@virtual_time
async def test_a_run_in_doubt_is_reported_message_by_message() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        await ref.tell(One(0))
        await trio.sleep(1)
        world.network.cut["b"] = None
        for number in range(20):
            ref.tell_nowait(One(number))
        await trio.sleep(5)
        letters = [letter.message for letter in world.watcher.letters if letter.reason == "in-doubt"]
        assert [One(number) for number in range(20)] == letters
        assert [("b", "user", "silent", 20)] == world.watcher.downs


@virtual_time
async def test_a_run_that_overflows_a_mailbox_bounces_what_has_no_room() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary", mailbox_size_max=5)
        ref = world.a.ref("b", "diary")
        for number in range(20):
            ref.tell_nowait(One(number))
        await trio.sleep(1)
        assert len(diary.seen) + world.a.statistics().dead_letters["bounced"] == 20
        assert [One(number) for number in range(len(diary.seen))] == diary.seen


@virtual_time
async def test_who_looks_on_sees_the_messages_of_a_run_one_by_one() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        looker, diary = Looker(), Diary()
        world.b.add_instrument(looker)
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        for number in range(20):
            ref.tell_nowait(One(number))
        await trio.sleep(1)
        assert [One(number) for number in range(20)] == looker.messages == diary.seen


@virtual_time
async def test_the_keyed_actors_of_a_table_get_no_runs() -> None:
    """A run has no key: their tells have envelopes of their own."""
    async with two_nodes() as world:
        ref = world.a.ref("b", "table").at(b"key")
        for _ in range(3):
            ref.tell_nowait(Add(1))
        assert 3 == peer(world.a, "b").user.queued
        assert SAMPLES.flats[Add].tag == 1
        await trio.sleep(1)
        assert {"no-remote-actor": 3} == world.a.statistics().dead_letters


@virtual_time
async def test_a_message_that_does_not_fit_into_the_run_that_it_would_begin_goes_by_itself() -> None:
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        told = [Flat(number, 0.5, True, None, b"", text) for number, text in enumerate(("one", "fünf", "two", "three"))]
        for one in told:
            ref.tell_nowait(one)
        await trio.sleep(1)
        assert told == diary.seen


@virtual_time
async def test_what_is_longer_than_a_message_may_be_is_refused_whichever_way_it_goes() -> None:
    """And what is not arrives, one by one if need be."""
    limits = LinkLimits(message_octets_max=40)
    async with two_nodes(limits=limits, messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        for _ in range(2):
            with pytest.raises(CallerError, match="message_octets_max=40"):
                ref.tell_nowait(Names(["x" * 50]))
            with pytest.raises(CallerError, match="message_octets_max=40"):
                await ref.tell(Names(["x" * 50]))
            with pytest.raises(CallerError, match="message_octets_max=40"):
                await ref.ask(Names(["x" * 50]))
        with pytest.raises(CodecError):
            await ref.ask(One(2**64))
        for number in range(20):
            ref.tell_nowait(One(number))
        await trio.sleep(1)
        assert [One(number) for number in range(20)] == diary.seen


@virtual_time
async def test_messages_with_envelopes_of_their_own_leave_before_the_pass_ends_too() -> None:
    """So that the other node works on them meanwhile."""
    async with two_nodes(messages=MESSAGES) as world:
        diary = Diary()
        await world.supervisor.start(lambda: diary, name="diary")
        ref = world.a.ref("b", "diary")
        await ref.tell(Names(["first"]))
        await trio.sleep(1)
        before = world.network.datagrams
        for number in range(300):
            ref.tell_nowait(Names([str(number)]))
        assert world.network.datagrams > before
        await trio.sleep(1)
        assert [Names(["first"]), *[Names([str(number)]) for number in range(300)]] == diary.seen
