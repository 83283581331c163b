"""Octets of a message that has long byte strings, each of which is copied once.

msgpack writes into a buffer of its own, and copies that: twice the octets, and a prefix in front makes it three times.
For the states and packets of a burst that is more than all else that is done for their message.
"""

from collections.abc import Callable
from typing import Any, Final

LONG_OCTETS: Final = 4096
"""Shorter ones are msgpack's affair."""
_SHORT_ARRAY, _SHORT_ARRAY_MAX, _ARRAY, _OCTETS_16, _OCTETS_32 = 0x90, 15, b"\xdc", b"\xc5", b"\xc6"


def is_bulky(array: list[Any]) -> bool:
    """Whether one of its items is a long byte string."""
    return any(type(item) is bytes and len(item) >= LONG_OCTETS for item in array)


def packed(array: list[Any], pack: Callable[[Any], bytes], prefix: bytes = b"") -> bytes:
    """The array as msgpack has it, behind a prefix; ``pack`` is msgpack's, and raises what it raises."""
    count = len(array)
    head = bytes((_SHORT_ARRAY | count,)) if count <= _SHORT_ARRAY_MAX else _ARRAY + count.to_bytes(2, "big")
    parts = [prefix, head]
    for item in array:
        if type(item) is bytes and len(item) >= LONG_OCTETS:
            octets = len(item)
            head = (
                _OCTETS_16 + octets.to_bytes(2, "big") if octets <= 0xFFFF else _OCTETS_32 + octets.to_bytes(4, "big")
            )
            parts += (head, item)
        else:
            parts.append(pack(item))
    return b"".join(parts)
