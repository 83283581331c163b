"""Connection tracking: whether a packet is new, established or invalid, from what its flow has seen so far.

TCP is followed through its states as a box in the middle sees them (RFC 9293 section 3.3.2; the two ends are the flow's
first sender, direction 0, and the other, direction 1). A connection begins with a SYN: what is picked up in the middle
is invalid. Sequence numbers are not checked: a segment out of the window is not known as such. Of all other protocols
a flow is established when both sides have spoken."""

from typing import Final

NEW, ESTABLISHED, INVALID = 0, 1, 2

_FIN, _SYN, _RST, _ACK, _URG = 0x01, 0x02, 0x04, 0x10, 0x20
_LOOKED_AT = _FIN | _SYN | _RST | _ACK | _URG

# What a segment asks for. Other combinations of flags are never sent by a TCP that keeps to the standard.
_K_SYN, _K_SYNACK, _K_FIN, _K_ACK, _K_RST = range(5)
_KINDS: Final = tuple(
    {
        _SYN: _K_SYN,
        _SYN | _URG: _K_SYN,
        _SYN | _ACK: _K_SYNACK,
        _FIN | _ACK: _K_FIN,
        _FIN | _ACK | _URG: _K_FIN,
        _ACK: _K_ACK,
        _ACK | _URG: _K_ACK,
        _RST: _K_RST,
        _RST | _ACK: _K_RST,
    }.get(flags, -1)
    for flags in range(0x40)
)

UNSEEN, ASKED, CROSSED, ANSWERED, OPEN, CLOSING, CLOSED, REFUSED = range(8)
"""Nothing yet; SYN; SYN from both; SYN/ACK; both synchronised; FIN from one; FIN from both, or RST; RST before that."""

_STAY, _BAD = -1, -2
# By state: what each kind of segment (SYN, SYN/ACK, FIN, ACK, RST) leads to, from the first sender and from the other.
_NEXT: Final = (
    ((ASKED, _BAD, _BAD, _BAD, _BAD), (_BAD, _BAD, _BAD, _BAD, _BAD)),  # UNSEEN: a connection begins with a SYN
    ((_STAY, _BAD, _BAD, _BAD, REFUSED), (CROSSED, ANSWERED, _BAD, _STAY, REFUSED)),  # ASKED
    ((_STAY, ANSWERED, _BAD, _BAD, REFUSED), (_STAY, ANSWERED, _BAD, _BAD, REFUSED)),  # CROSSED: simultaneous open
    ((_STAY, _BAD, CLOSING, OPEN, CLOSED), (_STAY, _STAY, CLOSING, _STAY, CLOSED)),  # ANSWERED
    ((_STAY, _BAD, CLOSING, _STAY, CLOSED), (_STAY, _STAY, CLOSING, _STAY, CLOSED)),  # OPEN
    ((_STAY, _BAD, CLOSED, _STAY, CLOSED), (_STAY, _STAY, CLOSED, _STAY, CLOSED)),  # CLOSING: see ``follow``
    ((ASKED, _BAD, _STAY, _STAY, _STAY), (_BAD, _STAY, _STAY, _STAY, _STAY)),  # CLOSED: may begin again
    ((ASKED, _BAD, _BAD, _BAD, _BAD), (_BAD, _BAD, _BAD, _BAD, _BAD)),  # REFUSED: nothing but a new beginning
)


def follow(state: int, flags: int, direction: int, finished: int) -> int:
    """The TCP state after a segment with these flags, or a negative number if the segment is invalid.

    ``finished`` is the direction that sent the first FIN (as bits 1 and 2; 0 if none): its FIN again closes nothing.
    """
    kind = _KINDS[flags & _LOOKED_AT]
    if kind < 0:
        return _BAD
    following = _NEXT[state][direction][kind]
    if state == CLOSING and kind == _K_FIN and finished == 1 << direction:
        return state
    return state if following == _STAY else following


def is_fin(flags: int) -> bool:
    """Whether the segment is a FIN that TCP may send."""
    return _KINDS[flags & _LOOKED_AT] == _K_FIN
