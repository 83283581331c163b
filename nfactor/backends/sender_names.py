"""Who has sent a datagram, where the network below does not say: its name (ASCII) goes in front, behind one octet of
length."""

NAME_OCTETS_MAX = 255
"""The longest name of a node."""
_KNOWN_MAX = 4096
"""Names that are kept as they came; when there are more, all are read anew."""


def prefix_of(name: str) -> bytes:
    """What goes in front of a datagram."""
    return bytes([len(name)]) + name.encode("ascii")


def is_name(name: str) -> bool:
    """A node of that name can be told from others."""
    return name.isascii() and 0 < len(name) <= NAME_OCTETS_MAX


class SenderNames:
    """The names that packets began with so far: who is heard of again and again is looked up, not read."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, str] = {}
        """By what is in front of a datagram."""

    def learn(self, prefix: bytes) -> str | None:
        """The name in a prefix that is not known; None: it is no prefix, or not all of one."""
        if len(prefix) < 2 or len(prefix) != 1 + prefix[0] or not prefix[1:].isascii():
            return None
        if len(self.known) >= _KNOWN_MAX:
            self.known.clear()
        name = self.known[prefix] = prefix[1:].decode("ascii")
        return name
