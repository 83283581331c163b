"""What LLVM is told of the memory that an address points into."""

import ast

import pytest

from nfactor.compiled import native
from nfactor.compiled.codegen import Library
from nfactor.compiled.pieces import piece_of

PROGRAM = """
@entry
def twice(cx, pk, row) -> int:
    before = ld_u8(pk + 16)
    st_64({where}, before)
    return before + ld_u8(pk + 16)
"""


@pytest.mark.parametrize(
    ("address", "piece"),
    [
        ("cx + 8", "cx"),
        ("pk", "pk"),
        ("((row + 64) + 8 * n) + 0", "row"),
        ("frames(cx) + at", "frames"),
        ("ld_i64(cx + 8) + at", None),
        ("8 + row", None),
        ("key + 16", None),
    ],
)
def test_an_address_points_into_what_it_is_built_on(address: str, piece: str | None) -> None:
    assert piece == piece_of(ast.parse(address, mode="eval").body)


@pytest.mark.parametrize(("where", "loads"), [("row + 8", 1), ("pk + 8", 2), ("ld_fixed(cx)", 2)])
def test_a_store_makes_read_again_only_what_it_may_have_changed(where: str, loads: int) -> None:
    assert loads == loads_of(PROGRAM.format(where=where))


def loads_of(program: str) -> int:
    """How often an octet is read when LLVM is done with it."""
    library = Library()
    library.add_text(program)
    return str(native.optimised(library)).count("load i8")
