"""nfactor: actors on trio, and network functions whose flows survive migration.

The names that most programs need, imported when they are first used::

    from nfactor import nf              # write a network function
    from nfactor import actors          # write actors
    from nfactor import testing         # test either, deterministically
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfactor import actors as actors, errors as errors, testing as testing
    from nfactor.dataplane import nf as nf

_LAZY = {
    "actors": "nfactor.actors",
    "errors": "nfactor.errors",
    "nf": "nfactor.dataplane.nf",
    "testing": "nfactor.testing",
}

__all__ = ["actors", "errors", "nf", "testing"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nfactor' has no attribute {name!r}")
    return import_module(_LAZY[name])


def __dir__() -> list[str]:
    return sorted(__all__)
