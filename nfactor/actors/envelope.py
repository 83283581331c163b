"""What travels in the messages of a link: envelopes, as msgpack arrays whose first element says which kind it is.

::

    [0, actor, key, message]                            tell
    [1, actor, key, number, message]                    ask
    [2, number, message or nil]                         reply
    [3, number, kind, text]                             the handler raised
    [4, number, reason, actor or text]                  bounce: full or dead; number 0 for a tell
    [5, number, actor]                                  the question is taken back
    [6, actor, messages]                                credit: so many messages more may be sent to that actor
    [7, node, actor, call, number, path, number, actor] a probe for circles of asks (see actors.calls)
    [8, actor, begins]                                  an actor is watched, or is not any more
    [9, actor, reason]                                  a watched actor is gone
    [10, actor, tag, [field, field, …]]                 a run of tells of one class (see actors.flat)
    [11, actor, tag, [number, …], [field, field, …]]    a run of asks of one class
    [12, tag, [number, …], [field, field, …]]           a run of replies of one class

A tell has its trace as a fifth element if it belongs to one; an ask has ``[actor, call]`` of the handler that asks (or
nil) and its trace as a sixth and seventh. A message is an array in turn, so an envelope is packed once; several of them
are sent one behind the other as one message of the link, for msgpack needs nothing between them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from nfactor.errors import ProtocolError

TELL, ASK, REPLY, ERROR, BOUNCE, WITHDRAW, CREDIT, PROBE, WATCH, GONE, RUN, ASK_RUN, REPLY_RUN = range(13)
BOUNCE_FULL, BOUNCE_DEAD = "bounced", "no-remote-actor"

_KEY = (bytes, type(None))
_TRACE_OCTETS = 24
_FOUR: Final = b"\x94"
"""msgpack: an array of four."""
_SHAPES: Final[dict[int, tuple[tuple[type, ...] | type, ...]]] = {
    TELL: (int, str, _KEY, list, bytes),
    ASK: (int, str, _KEY, int, list, (list, type(None)), _KEY),
    REPLY: (int, int, (list, type(None))),
    ERROR: (int, int, str, str),
    BOUNCE: (int, int, str, str),
    WITHDRAW: (int, int, str),
    CREDIT: (int, str, int),
    PROBE: (int, str, str, int, int, list, int, str),
    WATCH: (int, str, bool),
    GONE: (int, str, str),
    RUN: (int, str, int, list),
    ASK_RUN: (int, str, int, list, list),
    REPLY_RUN: (int, int, list, list),
}
_SIZES: Final = {TELL: (4, 5), ASK: (5, 7)}


def checked(array: object) -> list[Any]:
    """An envelope whose elements have the types of its kind; raises ProtocolError."""
    if type(array) is not list or not array or type(array[0]) is not int or array[0] not in _SHAPES:
        raise ProtocolError("a message that is no envelope")
    kind = array[0]
    shape = _SHAPES[kind]
    if len(array) not in _SIZES.get(kind, (len(shape),)) or not all(map(isinstance, array, shape)):
        raise ProtocolError(f"an envelope of kind {kind} with wrong elements")
    trace = array[4] if kind == TELL and len(array) > 4 else array[6] if kind == ASK and len(array) > 6 else None
    if trace is not None and len(trace) != _TRACE_OCTETS:
        raise ProtocolError("a trace that is none")
    if kind == ASK and len(array) > 5 and array[5] is not None and list(map(type, array[5])) != [str, int]:
        raise ProtocolError("an ask of a handler that is none")
    if kind == PROBE and not all(type(place) is str for place in array[5]):
        raise ProtocolError("a probe whose path is none")
    if kind in (ASK_RUN, REPLY_RUN) and not all_whole(array[-2]):
        raise ProtocolError("a run whose numbers are none")
    return array


def is_ask_run(array: object) -> bool:
    """A run of questions, or what says that it is one."""
    return type(array) is list and array[:1] == [ASK_RUN]


def all_whole(numbers: list[Any]) -> bool:
    """Every one of them is an int, and none a bool."""
    return list(map(type, numbers)).count(int) == len(numbers)


unpack: Callable[[bytes], Any] = partial(msgpack.unpackb, raw=False, strict_map_key=False)
"""The array of a message of the link that has but one, as most have; raises exceptions of many kinds for others."""


def each(data: bytes) -> tuple[list[Any], bool]:
    """The arrays of a message of the link, and whether that was all there is; False: what follows is no msgpack."""
    try:
        return [unpack(data)], True
    except msgpack.ExtraData:
        pass
    except Exception:  # FormatError, StackError, UnicodeDecodeError, …
        return [], False
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    arrays: list[Any] = []
    try:
        arrays.extend(unpacker)
    except Exception:
        return arrays, False
    return arrays, unpacker.tell() == len(data)


def tell_prefix(actor_name: str, key: bytes | None) -> bytes:
    """What an envelope of a tell has in front of its message."""
    prefix: bytes = _FOUR + msgpack.packb(TELL) + msgpack.packb(actor_name) + msgpack.packb(key, use_bin_type=True)
    return prefix
