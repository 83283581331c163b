"""The same link, with shorter ways for what most datagrams are: one whole message, in a session, without a gap.

Each way does in one step what several calls do, in the same octets; where it cannot, it says so, has done nothing, and
the calls of ``Link`` are there. Somebody waits for such a message, here or there. So what is to be noted of it (the
segment that is under way now, the acknowledgement that came along) is noted later: by ``settle``, which is for when the
next message has left, and which everything calls that depends on it.
"""

from nfactor.actors.frame import build_lone, parse_lone
from nfactor.actors.link import Link
from nfactor.actors.session import OPEN


class QuickLink(Link):
    """See the module's docstring."""

    def send_at_once(self, payload: bytes, now: float) -> bytes | None:
        """Take a message as ``send`` does, and give the datagram that ``poll`` would: what most messages need, in one
        step. None: it was not taken, use both."""
        outbox, inbox = self._outbox, self._inbox
        if self._sent is not None:
            self.settle()
        if self._state is not OPEN or not self._peer_knows or inbox.early:
            return None
        if len(payload) > self._limits.message_octets_max or not outbox.may_launch(payload, now):
            return None
        self._sent = payload, now
        self._owes_frame, self._ack_at = False, None
        return build_lone(self._head_out, outbox.next_seq, inbox.expected, payload)

    def receive_at_once(self, datagram: bytes, now: float) -> bytes | None:
        """Take a datagram as ``receive`` does, and give the message that ``take`` would: what most datagrams are, in
        one step. None: it was not taken, use both."""
        lone = parse_lone(self._head_in, datagram) if self._state is OPEN and not self._arrived else None
        if lone is None:
            return None
        seq, ack, octets = lone
        if not self._inbox.receive_next(seq, octets):
            return None
        if self._ack_in is not None or self._sent is not None:
            self.settle()
        self._peer_knows, self._heard_at, self._ack_in = True, now, ack
        self._owe_acknowledgement(now)
        self._counts["delivered"] += 1
        return octets
