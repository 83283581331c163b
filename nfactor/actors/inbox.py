"""The receiving half of a link session: order restored, duplicates dropped, segments joined to messages."""

from nfactor.actors.frame import SACK_SEGMENTS, Segment


class Inbox:
    """What came in, in one session.

    Segments that come before their turn are kept, at most ``ahead_max`` of them; later ones are dropped, and the peer
    sends them again.
    """

    __slots__ = (
        "_ahead_max", "_message_octets_max", "_parts", "_parts_octets", "duplicates", "early", "expected", "refused",
    )  # fmt: skip

    def __init__(self, ahead_max: int, message_octets_max: int) -> None:
        self._ahead_max = ahead_max
        self._message_octets_max = message_octets_max
        self.early: dict[int, Segment] = {}
        """What came before its turn, by its number."""
        self._parts: list[bytes] = []
        self._parts_octets = 0
        self.expected = 0
        self.duplicates = 0
        self.refused = 0

    def is_next(self, seq: int) -> bool:
        """It is the segment that is waited for, and nothing that comes after it is here already."""
        return seq == self.expected and not self.early

    def receive_next(self, low: int, octets: bytes) -> bool:
        """Take a whole message if nothing is missing before it; False: ``receive`` has to look at it. ``low``: its
        number's low 32 bits."""
        if low != self.expected & 0xFFFFFFFF or self.early or self._parts or not octets:
            return False
        if len(octets) > self._message_octets_max:
            return False
        self.expected += 1
        return True

    def receive(self, seq: int, segments: list[Segment]) -> list[bytes] | None:
        """Take the segments of a datagram; the messages that are now complete.

        None: a message grew over the limit, and the session cannot go on.
        """
        messages: list[bytes] = []
        for number, segment in enumerate(segments, seq):
            if number < self.expected or number in self.early:
                self.duplicates += 1
            elif number >= self.expected + self._ahead_max:
                self.refused += 1
            elif number > self.expected:
                self.early[number] = segment
            elif not self._accept(segment, messages):
                return None
        while self.early and (early := self.early.pop(self.expected, None)) is not None:
            if not self._accept(early, messages):
                return None
        return messages

    def _accept(self, segment: Segment, messages: list[bytes]) -> bool:
        self.expected += 1
        more, octets = segment
        self._parts_octets += len(octets)
        if self._parts_octets > self._message_octets_max:
            return False
        self._parts.append(octets)
        if not more:
            message = octets if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._parts_octets = 0
            if message:  # an empty one is a probe
                messages.append(message)
        return True

    def sack(self) -> int:
        """Bit *i*: segment ``expected + 1 + i`` is here already."""
        bitmap = 0
        for number in self.early:
            offset = number - self.expected - 1
            if offset < SACK_SEGMENTS:
                bitmap |= 1 << offset
        return bitmap
