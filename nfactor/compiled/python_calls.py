"""Compiled code as a C function of Python: a call costs what a builtin costs.

``ctypes`` converts each argument and takes a microsecond or two; a burst of 64 takes two. So ``process`` is made a
builtin function (``PyCFunction``, ``METH_FASTCALL``): it is given objects as they are and reads what it needs where
Python and numpy keep it. These places are part of numpy's binary interface, and of objects with slots; both are checked
here, once, against what Python itself says.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import attrs
import numpy as np

from nfactor.compiled import layout
from nfactor.compiled.memory_map import Words
from nfactor.errors import CallerError
from nfactor.packet.burst import Burst

_METH_FASTCALL: Final = 0x0080
_SLOTS_SEARCHED: Final = 32


class _MethodDefinition(ctypes.Structure):
    """``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


_KEPT: Final[dict[int, Any]] = {}
"""Definitions by the address of their function: Python keeps only their address."""


def bind(address: int, context: Words) -> Callable[..., int]:
    """The function at that address for that context, whose first argument is a burst, and the others arrays.

    Raises ``CallerError`` where numpy or Python keep things elsewhere than expected.
    """
    for place, slot in enumerate(_burst_slots()):
        context[layout.BURST_SLOTS + layout.WORD * place] = slot
    return bind_arrays(address, context)


def bind_arrays(address: int, context: Words) -> Callable[..., int]:
    """The function at that address for that context, whose arguments are arrays (and objects that it knows)."""
    _check_arrays()
    for word, name in (
        (layout.MAKE_INTEGER, "PyLong_FromLongLong"),
        (layout.SAVE_THREAD, "PyEval_SaveThread"),
        (layout.RESTORE_THREAD, "PyEval_RestoreThread"),
    ):
        context[word] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    if address not in _KEPT:
        _KEPT[address] = _MethodDefinition(b"compiled", address, _METH_FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    function: Callable[..., int] = make(ctypes.addressof(_KEPT[address]), context.array, None)
    return function


def _word_at(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


@cache
def _check_arrays() -> None:
    """An array object says where its data is, how long it is, how far its elements are apart, and its flags."""
    array = np.zeros(7, np.uint32)
    frozen = np.zeros(7, np.uint32)
    frozen.flags.writeable = False
    found = (
        _word_at(id(array) + layout.ARRAY_DATA),
        _word_at(_word_at(id(array) + layout.ARRAY_DIMENSIONS)),
        _word_at(_word_at(id(array) + layout.ARRAY_STRIDES)),
        bool(_word_at(id(array) + layout.ARRAY_FLAGS) & layout.ARRAY_WRITEABLE),
        bool(_word_at(id(frozen) + layout.ARRAY_FLAGS) & layout.ARRAY_WRITEABLE),
    )
    if found != (array.ctypes.data, 7, 4, True, False):
        raise CallerError(f"numpy {np.__version__} keeps its arrays otherwise than the compiled engine expects")


@cache
def _burst_slots() -> tuple[int, ...]:
    """Where in a ``Burst`` object its columns are."""
    burst = Burst.from_frames([b"x"])
    columns = [getattr(burst, field.name) for field in attrs.fields(Burst)]
    words = [_word_at(id(burst) + 8 * place) for place in range(_SLOTS_SEARCHED) if 8 * place < burst.__sizeof__()]
    if any(words.count(id(column)) != 1 for column in columns):
        raise CallerError("this Python keeps the slots of an object otherwise than the compiled engine expects")
    return tuple(8 * words.index(id(column)) for column in columns)
