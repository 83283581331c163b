"""Pieces of memory that never overlap, and how LLVM is told: a store into one changes no word of another.

What an address is built on says where it points: in the dialect ``cx`` is the context, ``pk`` a packet record, ``row``
a flow's row, and ``frames(cx)`` the octets of the burst. Otherwise every store might be into everything, and what was
read of a packet or the context is read again behind each: a twelfth of the loop's loads and stores. An address that is
built on anything else may be anywhere. (LLVM's name for it is type-based alias analysis.)
"""

import ast
from typing import Any, Final

from llvmlite import ir

_NAMED: Final = ("cx", "pk", "row")
_FRAMES: Final = "frames"
_WORD: Final = ir.IntType(64)


def piece_of(address: ast.expr) -> str | None:
    """The piece that an address points into, as far as its text says."""
    while isinstance(address, ast.BinOp):
        address = address.left
    match address:
        case ast.Name(name) if name in _NAMED:
            return name
        case ast.Call(ast.Name(name)) if name == _FRAMES:
            return name
    return None


def mark(builder: Any, access: Any, piece: str | None) -> Any:
    """Say of a load or a store which piece it touches, if that is known; gives it back."""
    if piece is not None:
        module = builder.module
        kind = module.add_metadata([piece, module.add_metadata(["nfactor"]), _WORD(0)])
        access.set_metadata("tbaa", module.add_metadata([kind, kind, _WORD(0)]))
    return access
