"""State classes and the records that follow from them."""

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from nfactor.dataplane import nf
from nfactor.dataplane.state import schema_of
from nfactor.errors import CallerError


@nf.state
class Everything:
    """One field of each kind, in an order that needs padding."""

    flag: nf.u8
    wide: nf.u64
    small: nf.i16
    ratio: nf.f64
    ports: Annotated[list[int], nf.array(nf.u16, 3)]
    name: Annotated[bytes, nf.octets(5)]
    signed: nf.i64


def everything(**fields: Any) -> Everything:
    """Fields that are not named are zero, which a type checker cannot know of a class."""
    return Everything(**fields)


def test_fields_are_zero_unless_given() -> None:
    value = everything(wide=7)
    assert (0, 7, 0, 0.0, [0, 0, 0], b"", 0) == (
        value.flag, value.wide, value.small, value.ratio, value.ports, value.name, value.signed,
    )  # fmt: skip


def test_two_states_never_share_an_array() -> None:
    first, second = everything(), everything()
    first.ports[0] = 9
    assert second.ports == [0, 0, 0]


@given(
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.floats(allow_nan=False),
    st.lists(st.integers(0, 65535), min_size=3, max_size=3),
    st.binary(max_size=5),
    st.integers(-(2**63), 2**63 - 1),
)
def test_a_record_gives_back_what_was_packed(
    flag: int, wide: int, small: int, ratio: float, ports: list[int], name: bytes, signed: int
) -> None:
    schema = schema_of(Everything)
    value = Everything(flag, wide, small, ratio, ports, name, signed)
    record = schema.pack(value)
    assert len(record) == schema.size
    assert schema.unpack(record) == value


@given(st.integers(-(2**70), 2**70))
def test_integers_are_taken_modulo_their_width(number: int) -> None:
    schema = schema_of(Everything)
    value = schema.unpack(schema.pack(everything(flag=number, small=number)))
    assert value.flag == number % 256
    assert value.small == (number + 2**15) % 2**16 - 2**15


def test_numpy_reads_the_record_that_python_packs() -> None:
    schema = schema_of(Everything)
    record = schema.pack(Everything(1, 2, -3, 0.5, [4, 5, 6], b"abc", -7))
    row = np.frombuffer(record, schema.dtype)[0]
    assert (1, 2, -3, 0.5, [4, 5, 6], 3, -7) == (
        row["flag"], row["wide"], row["small"], row["ratio"], row["ports"].tolist(), row["name"]["used"], row["signed"],
    )  # fmt: skip


def test_fields_lie_at_their_natural_alignment() -> None:
    schema = schema_of(Everything)
    assert [0, 8, 16, 24, 32, 38, 48] == [field.offset for field in schema.fields]
    assert schema.size == 56


def test_the_version_changes_with_the_layout() -> None:
    @nf.state
    class One:
        a: nf.u8

    @nf.state
    class Two:
        a: nf.u16

    assert schema_of(One).version != schema_of(Two).version


def test_a_field_without_a_width_is_refused_by_name() -> None:
    class Bad:
        count: int

    with pytest.raises(CallerError, match=r"Bad\.count"):
        nf.state(Bad)


def test_a_class_that_is_no_state_is_refused() -> None:
    with pytest.raises(CallerError, match=r"decorate it with @nf\.state"):
        schema_of(int)


def test_an_array_of_another_length_is_refused() -> None:
    with pytest.raises(CallerError, match="array of 3 holds 2"):
        schema_of(Everything).pack(everything(ports=[1, 2]))
