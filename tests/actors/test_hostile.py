"""What a peer sends that is no message, though its frames are right, is counted, and the node lives on."""

import msgpack  # type: ignore[import-untyped]
from hypothesis import example, given, strategies as st

from tests.actors.hostile import meet

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=24)
names = st.sampled_from(["counter", "table", "teller", "nobody"])
bodies = st.lists(st.integers(0, 12) | scalars | st.lists(scalars, max_size=3), max_size=4)
parts = scalars | names | bodies
envelopes = st.integers(0, 13).flatmap(lambda kind: st.lists(parts, max_size=8).map(lambda rest: [kind, *rest]))
numbers = st.lists(st.integers(0, 3), max_size=5)
plausible = st.one_of(
    st.tuples(st.just(0), names, st.none() | st.binary(max_size=4), bodies),
    st.tuples(st.just(1), names, st.none() | st.binary(max_size=4), st.integers(0, 5), bodies),
    st.tuples(st.just(5), st.integers(0, 5), names),
    st.tuples(st.just(6), names, st.integers(-(2**40), 2**40)),
    st.tuples(st.just(7), names, names, st.integers(), st.integers(), bodies, st.integers(0, 5), names),
    st.tuples(st.just(8), names, st.booleans()),
    st.tuples(st.just(9), names, names),
    st.tuples(st.just(10), names, st.integers(0, 12), st.lists(st.integers(0, 3) | scalars, max_size=5)),
    st.tuples(st.just(11), names, st.integers(0, 12), numbers, st.lists(st.integers(0, 3) | scalars, max_size=5)),
    st.tuples(st.just(12), st.integers(0, 12), numbers, st.lists(st.integers(0, 3) | scalars, max_size=5)),
)
payloads = (envelopes | plausible).map(lambda array: pack(array)) | st.binary(max_size=60)


def pack(array: object) -> bytes:
    """As msgpack; what it cannot hold is something shorter."""
    try:
        packed: bytes = msgpack.packb(array)
    except OverflowError:
        return b"\xc0"
    return packed


@given(st.lists(payloads, max_size=5))
@example([b"\xc1"])
@example([pack([6, "counter", -5])])
def test_a_node_answers_others_whatever_one_peer_sends(sent: list[bytes]) -> None:
    """Nothing that it raises comes out of the node, and its tasks go on."""
    meet(sent)


def test_what_is_no_message_is_counted() -> None:
    """Each part of what came; a proper message beside it is handled."""
    good = pack([0, "counter", None, [1, 5]])
    assert meet([good, good + b"\xc1", pack([99]), pack([0, "counter", None, [77, 1]]), pack(7)]) == 4
    assert (
        meet([pack([10, "counter", 1, [5, 5]]), pack([10, "counter", 77, [5]]), pack([10, "counter", 1, ["five"]])])
        == 2
    )
