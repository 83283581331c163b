"""The type variable of what an actor accepts: ``Actor[Add | Read]``, ``Ref[Add | Read]``.

Contravariant: who may send either of two messages may be given where somebody sends only one. Without an argument it is
Any, so whoever does not care writes ``Actor`` and ``Ref``. That default is said to type checkers alone: at run time it
would need Python 3.13.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Accepts = TypeVar("Accepts", contravariant=True, default=Any)
else:
    from typing import TypeVar

    Accepts = TypeVar("Accepts", contravariant=True)
