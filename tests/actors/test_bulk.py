"""Messages with long byte strings are the same octets as msgpack makes of them."""

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given, strategies as st

from nfactor.actors import Messages, message
from nfactor.actors.bulk import LONG_OCTETS, is_bulky, packed
from nfactor.errors import CodecError

LENGTHS = (0, 1, LONG_OCTETS - 1, LONG_OCTETS, 0xFFFF, 0x10000, 200_000)
ITEMS = (
    st.none() | st.integers(0, 1 << 64) | st.text(max_size=9) | st.sampled_from(LENGTHS).map(bytes) | st.just([b"x"])
)


@message(tag=1)
class Bulk:
    number: int
    octets: bytes
    name: str = "name"


@given(st.lists(ITEMS, max_size=20), st.binary(max_size=9))
def test_they_are_the_octets_of_msgpack(array: list[Any], prefix: bytes) -> None:
    pack = msgpack.Packer(use_bin_type=True).pack
    try:
        expected = prefix + pack(array)
    except OverflowError:
        with pytest.raises(OverflowError):
            packed(array, pack, prefix)
        return
    assert packed(array, pack, prefix) == expected
    assert is_bulky(array) == any(isinstance(item, bytes) and len(item) >= LONG_OCTETS for item in array)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_with_them_comes_back(length: int) -> None:
    codec = Messages(Bulk)
    bulk = Bulk(7, bytes(length))
    octets = codec.encode(bulk)
    assert octets == msgpack.packb([1, 7, bytes(length), "name"])
    assert codec.decode(octets) == bulk


def test_what_cannot_be_packed_is_told_by_name() -> None:
    with pytest.raises(CodecError, match="cannot be encoded"):
        Messages(Bulk).encode(Bulk(1 << 64, bytes(LONG_OCTETS)))
