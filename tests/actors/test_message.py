"""Messages: what travels, what does not, and that nothing but the right error comes out of wrong octets."""

import contextlib
from typing import Any

import attrs
import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, strategies as st

from nfactor.actors import Messages, Ref, message
from nfactor.actors.message import is_system, tag_of
from nfactor.errors import CallerError, CodecError, ProtocolError


@message(tag=1)
class Leaf:
    number: int
    text: str = ""


@message(tag=2)
class Twig:
    flag: bool


@message(tag=300)
class Tree:
    rate: float
    octets: bytes
    nothing: None
    maybe: int | None
    leaf: Leaf
    either: Leaf | Twig | None
    many: tuple[Leaf, ...]
    pair: tuple[int, str]
    rows: list[float]
    table: dict[str, tuple[int, ...]]
    by_key: dict[bytes, int]
    ref: Ref
    branch: "Tree | None" = None
    label: str = attrs.field(default="x", kw_only=True)


CODEC = Messages(Leaf, Twig, Tree)


def tree(**changes: Any) -> Tree:
    """A message with a field of every kind."""
    fields: dict[str, Any] = {
        "rate": 0.5,
        "octets": b"\x00\xff",
        "nothing": None,
        "maybe": 3,
        "leaf": Leaf(1, "a"),
        "either": Twig(True),
        "many": (Leaf(2), Leaf(3)),
        "pair": (4, "b"),
        "rows": [1.0, 2.0],
        "table": {"x": (1, 2), "y": ()},
        "by_key": {b"k": 5},
        "ref": Ref("node", "actor", b"key"),
        "branch": None,
        "label": "named",
    }
    return Tree(**(fields | changes))


leaves = st.builds(Leaf, st.integers(-(2**63), 2**64 - 1), st.text(st.characters(exclude_categories=["Cs"])))
trees = st.builds(
    tree,
    rate=st.floats(allow_nan=False),
    octets=st.binary(),
    maybe=st.none() | st.integers(0, 10),
    either=st.none() | leaves | st.builds(Twig, st.booleans()),
    many=st.lists(leaves, max_size=3).map(tuple),
    table=st.dictionaries(st.text("abc"), st.lists(st.integers(0, 9)).map(tuple), max_size=3),
    branch=st.none() | st.builds(tree, rate=st.floats(0, 1)),
    ref=st.builds(Ref, st.text("ab"), st.text("cd"), st.none() | st.binary()),
)


@given(trees)
def test_a_message_is_decoded_as_it_was_encoded(sent: Tree) -> None:
    """Every kind of field."""
    received = CODEC.decode(CODEC.encode(sent))
    assert sent == received
    assert isinstance(received, Tree)
    assert type(received.many) is tuple


def test_on_the_wire_a_message_is_an_array_that_begins_with_its_tag() -> None:
    """This is the format: a change of it is a change of protocol."""
    assert [1, 5, "a"] == msgpack.unpackb(CODEC.encode(Leaf(5, "a")))
    assert bytes([0x93, 1, 5, 0xA1, ord("a")]) == CODEC.encode(Leaf(5, "a"))


def test_a_message_is_a_frozen_value() -> None:
    """Comparable, hashable, without a dictionary."""
    assert Leaf(1) == Leaf(1)
    assert hash(Leaf(1)) == hash(Leaf(1))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Leaf(1).number = 2  # type: ignore[misc]
    assert not hasattr(Leaf(1), "__dict__")


def test_an_int_in_a_float_field_arrives_as_a_float() -> None:
    """As annotations allow it."""
    received = CODEC.decode(CODEC.encode(tree(rate=2)))
    assert isinstance(received, Tree)
    assert type(received.rate) is float


WRONG: list[tuple[str, Any]] = [
    ("rate", "fast"),
    ("rate", True),
    ("octets", bytearray(b"x")),
    ("nothing", 0),
    ("maybe", "3"),
    ("leaf", Twig(True)),
    ("either", tree()),
    ("many", [Leaf(1)]),
    ("many", (1,)),
    ("pair", (1, "b", 2)),
    ("pair", ("b", 1)),
    ("rows", (1.0,)),
    ("table", {1: ()}),
    ("table", {"x": [1]}),
    ("by_key", [1]),
    ("ref", "node/actor"),
    ("label", b"bytes"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrongly_typed_field_is_a_codec_error_of_the_sender(field: str, value: object) -> None:
    """It surfaces where the mistake was made, not at the other end."""
    with pytest.raises(CodecError, match="Tree"):
        CODEC.encode(tree(**{field: value}))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_an_int_that_msgpack_cannot_hold_is_a_codec_error(value: int) -> None:
    """And the codec works afterwards."""
    with pytest.raises(CodecError):
        CODEC.encode(Leaf(value))
    assert Leaf(1) == CODEC.decode(CODEC.encode(Leaf(1)))


def test_a_lone_surrogate_is_a_codec_error() -> None:
    """It is no text."""
    with pytest.raises(CodecError):
        CODEC.encode(Leaf(1, "\ud800"))


def test_a_class_that_is_not_registered_is_a_codec_error() -> None:
    """Whether or not it is a message class; also a subclass of one."""

    class Sub(Leaf):
        pass

    for value in (Sub(1), 5, None):
        with pytest.raises(CodecError, match="Messages"):
            CODEC.encode(value)


ARRAYS: list[Any] = [
    5,
    [],
    ["1", 2],
    [True, 1, ""],
    [99],
    [1],
    [1, 2],
    [1, 2, "a", 3],
    [1, "2", "a"],
    [1, True, "a"],
    [1, 2, b"a"],
    [2, 1],
    {"tag": 1},
    [[1], 2],
]


@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_that_is_no_message_is_a_protocol_error(array: object) -> None:
    """Unknown tags, missing and surplus fields, wrong types."""
    with pytest.raises(ProtocolError):
        CODEC.decode(msgpack.packb(array))


@pytest.mark.parametrize("index", range(1, 15))
def test_a_field_of_a_wrong_type_is_a_protocol_error(index: int) -> None:
    """Each field of the large message."""
    array = CODEC.to_array(tree(maybe=1, branch=tree()))
    array[index] = {0.5: []}
    with pytest.raises(ProtocolError, match="Tree"):
        CODEC.from_array(array)


@pytest.mark.parametrize("ref", [5, ["n"], [1, "a", None], ["n", 1, None], ["n", "a", "key"]])
def test_a_ref_of_a_wrong_form_is_a_protocol_error(ref: object) -> None:
    """It must be two names and an optional key."""
    array = CODEC.to_array(tree())
    array[12] = ref
    with pytest.raises(ProtocolError):
        CODEC.from_array(array)


def test_a_table_that_is_none_is_a_protocol_error() -> None:
    """A list is no dictionary."""
    array = CODEC.to_array(tree())
    array[10] = []
    with pytest.raises(ProtocolError):
        CODEC.from_array(array)


def test_none_may_stand_inside_another_type() -> None:
    """It is a type like others."""

    @message(tag=1)
    class Odd:
        pair: tuple[None, int]

    codec = Messages(Odd)
    assert Odd((None, 1)) == codec.decode(codec.encode(Odd((None, 1))))


@given(st.binary(max_size=60))
def test_any_octets_give_a_message_or_a_protocol_error(octets: bytes) -> None:
    """Nothing else comes out."""
    try:
        decoded = CODEC.decode(octets)
    except ProtocolError:
        return
    assert type(decoded) in CODEC.classes


@given(trees, st.data())
def test_a_damaged_message_gives_a_message_or_a_protocol_error(sent: Tree, data: st.DataObject) -> None:
    """One octet changed, somewhere."""
    octets = bytearray(CODEC.encode(sent))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        CODEC.decode(bytes(octets))


def test_a_very_deep_message_is_a_protocol_error() -> None:
    """Not a RecursionError."""
    array: list[Any] = CODEC.to_array(tree())
    for _ in range(3000):
        array = [*CODEC.to_array(tree())[:13], array, "x"]
    with pytest.raises(ProtocolError):
        CODEC.from_array(array)
    with pytest.raises(ProtocolError):
        CODEC.decode(b"\x91" * 100_000)


def test_what_a_validator_raises_is_a_protocol_error() -> None:
    """An author may say more about a field than its type."""

    def check(self: object, attribute: object, value: int) -> None:
        if value % 2:
            raise ZeroDivisionError

    @message(tag=1)
    class Even:
        number: int = attrs.field(validator=check)

    codec = Messages(Even)
    assert Even(2) == codec.decode(codec.encode(Even(2)))
    with pytest.raises(ProtocolError):
        codec.from_array([1, 3])


def test_refs_are_bound_when_they_are_decoded() -> None:
    """By whoever decodes."""
    made: list[tuple[str, str, bytes | None]] = []

    def bind(node: str, actor: str, key: bytes | None) -> Ref:
        made.append((node, actor, key))
        return Ref(node, actor, key)

    CODEC.decode(CODEC.encode(tree()), bind)
    assert [("node", "actor", b"key")] == made


def test_two_classes_with_one_tag_clash() -> None:
    """At creation, with both names."""

    @message(tag=1)
    class Other:
        pass

    with pytest.raises(CallerError, match="Leaf and Other"):
        Messages(Leaf, Other)


def test_sets_of_messages_may_overlap() -> None:
    """The same class twice is no clash."""
    assert (Leaf, Twig) == Messages(*Messages(Leaf).classes, *Messages(Leaf, Twig).classes).classes


def test_a_nested_class_must_be_registered_too() -> None:
    """Its tag is on the wire."""
    with pytest.raises(CallerError, match=r"Tree, field leaf.*Leaf is not among"):
        Messages(Tree, Twig)


@pytest.mark.parametrize("annotation", [object, set[int], int | str, dict[float, int], list, tuple, Any, Leaf | int])
def test_a_field_that_cannot_travel_is_the_callers_error(annotation: Any) -> None:
    """At creation, with class and field."""
    made: Any = message(tag=5)(type("Bad", (), {"__annotations__": {"field": annotation}}))
    with pytest.raises(CallerError, match="Bad, field field"):
        Messages(Leaf, made)


def test_an_annotation_of_something_unknown_is_the_callers_error() -> None:
    """A class inside a function cannot be named by a string."""
    made: Any = message(tag=5)(type("Bad", (), {"__annotations__": {"field": "Nowhere"}}))
    with pytest.raises(CallerError, match=r"Bad.*Nowhere"):
        Messages(made)


def test_a_field_that_init_does_not_take_is_the_callers_error() -> None:
    """It could not be decoded."""

    @message(tag=5)
    class Bad:
        field: int = attrs.field(init=False, default=1)

    with pytest.raises(CallerError, match="init=False"):
        Messages(Bad)


def test_a_class_that_is_no_message_is_the_callers_error() -> None:
    """Also one that merely inherits from a message."""

    class Sub(Leaf):
        pass

    for cls in (int, Sub):
        with pytest.raises(CallerError, match="@message"):
            Messages(cls)


@pytest.mark.parametrize("tag", [-1, 0x10000])
def test_a_tag_has_16_bits(tag: int) -> None:
    """More would be a mistake."""
    with pytest.raises(CallerError, match="tag"):
        message(tag=tag)


def test_a_message_says_its_tag_and_lane() -> None:
    """The user lane unless it says otherwise."""

    @message(tag=9, system=True)
    class Beat:
        pass

    assert 9 == tag_of(Beat)
    assert is_system(Beat())
    assert not is_system(Leaf(1))
    assert not is_system("no message")
