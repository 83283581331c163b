"""Words that rule files have in common: addresses, protocols and ports, with one clear error for each.

All functions raise ``ValueError`` with a message for the user; who reads a file adds its name and the line.
"""

import ipaddress
from typing import Final

PORTS_MAX: Final = 0xFFFF
PROTOCOLS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132}
WITH_PORTS: Final = (6, 17, 132)
_PROTOCOLS_END: Final = 256
_LOW_64: Final = (1 << 64) - 1


def halves(number: int) -> tuple[int, int]:
    """An address as a number, as its upper and lower 64 bits; an IPv4 address lies in the lower 32 bits."""
    return number >> 64, number & _LOW_64


def address_words(word: str) -> tuple[int, int, int]:
    """``(version, high, low)`` of one address."""
    address = ipaddress.ip_address(word)
    return address.version, *halves(int(address))


def protocol_number(word: str, *, with_ports: bool = False) -> int:
    """The IP protocol of a name or number; ``with_ports``: one that has ports."""
    if word in PROTOCOLS:
        number = PROTOCOLS[word]
    elif word.isascii() and word.isdigit() and int(word) < _PROTOCOLS_END:
        number = int(word)
    else:
        raise ValueError(f"{word!r} is no protocol; write any, {', '.join(PROTOCOLS)} or a number below 256")
    if with_ports and number not in WITH_PORTS:
        raise ValueError(f"protocol {word} has no ports")
    return number


def port_number(word: str) -> int:
    """A port, 0 to 65535."""
    if not (word.isascii() and word.isdecimal()):
        raise ValueError(f"{word!r} is no port or range of ports")
    if int(word) > PORTS_MAX:
        raise ValueError(f"port {word} is not within 0-{PORTS_MAX}")
    return int(word)
