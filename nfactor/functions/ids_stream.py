"""TCP as the IDS follows it: where a connection begins, when it is established, and which octets of a segment are new.

- *Established*: both sides' SYN was seen and acknowledged, in whatever order (split handshakes too). A flow that was
  joined in the middle is searched, but is never established.
- *New octets*: what comes first counts; retransmitted and overlapping octets are skipped, whatever they hold now.
- *Holes*: at a segment that comes too early the search goes on behind the hole; positions go on counting, and no
  content is found across it. A late segment that fits into the last hole is searched by itself. Nothing is buffered:
  a flow's state stays small and of fixed size. What lies further than ``HOLE_OCTETS_MAX`` ahead is no part of the
  stream.
- *A new connection* on the same addresses and ports: a SYN with another number after the old one has ended (FIN both
  ways, or RST), was never established, or was joined in the middle. All that is known of the flow is forgotten.
"""

from typing import Final, Protocol

from nfactor.dataplane import nf
from nfactor.functions.ids_match import Progress

HOLE_OCTETS_MAX: Final = 1 << 30
"""The largest window that TCP has."""
TCP: Final = 6

_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_BOTH: Final = 3
_ENDED_RESET: Final = 4
_U32: Final = 0xFFFF_FFFF
_HALF: Final = 1 << 31


class Connection(Progress, Protocol):
    """What is kept of a flow. Bit sets have a bit for each direction, as arrays have an element for each."""

    seen: int
    """Bit set: packets were seen."""
    client: int
    """The direction in which the client sends: that of the first packet, unless it was a SYN with ACK."""
    syn: int
    """Bit set: a SYN was seen."""
    acked: int
    """Bit set: the SYN of this direction was acknowledged by the other."""
    established: int
    ended: int
    """Bit set: a FIN was seen; bit 2: a RST."""
    synced: int
    """Bit set: ``next_seq`` is known."""
    first_seq: list[int]
    """Sequence number of the SYN."""
    next_seq: list[int]
    """Sequence number of the next new octet."""
    position: list[int]
    """Its position in the stream."""
    hole_at: list[int]
    """Position of the last hole."""
    hole_octets: list[int]


def begins_anew(pkt: nf.Packet, fs: Connection, d: int) -> bool:
    """Whether the packet begins another connection than the one that ``fs`` is about."""
    if pkt.tcp_flags & (_SYN | _ACK) != _SYN:
        return False
    ended = fs.ended >= _ENDED_RESET or fs.ended == _BOTH
    if fs.syn >> d & 1:
        return _u32(pkt, pkt.l4 + 4) != fs.first_seq[d] and (ended or not fs.established)
    return ended or (fs.syn == 0 and fs.synced != 0)


def shake_hands(pkt: nf.Packet, fs: Connection, d: int) -> None:
    """Follow SYN, ACK, FIN and RST."""
    flags, sequence, other = pkt.tcp_flags, _u32(pkt, pkt.l4 + 4), 1 - d
    if not fs.seen:
        fs.client = other if flags & (_SYN | _ACK) == _SYN | _ACK else d
    fs.seen |= 1 << d
    if flags & _RST:
        fs.ended |= _ENDED_RESET
        return
    if flags & _SYN and not fs.established and (not fs.syn >> d & 1 or fs.first_seq[d] != sequence):
        fs.syn |= 1 << d
        fs.acked &= ~(1 << d)
        fs.first_seq[d] = sequence
        fs.next_seq[d] = (sequence + 1) & _U32
        fs.synced |= 1 << d
        fs.exact[d] = fs.folded[d] = 0
    if flags & _ACK and fs.syn >> other & 1:
        acknowledged = (_u32(pkt, pkt.l4 + 8) - fs.first_seq[other]) & _U32
        if 0 < acknowledged < _HALF:
            fs.acked |= 1 << other
    if fs.syn == _BOTH and fs.acked == _BOTH:
        fs.established = 1
    if flags & _FIN:
        fs.ended |= 1 << d


def new_octets(pkt: nf.Packet, fs: Connection, d: int) -> int:
    """How many octets of the payload's end are new to the stream (the position then is that of the first of them).

    The caller has the late octets searched first, if there are any: ``late_octets``.
    """
    octets = pkt.payload_end - pkt.payload
    if octets <= 0 or pkt.tcp_flags & _RST:
        return 0
    sequence = _payload_sequence(pkt)
    if not fs.synced >> d & 1:
        fs.synced |= 1 << d
        fs.next_seq[d] = sequence
    ahead = _ahead(sequence, fs.next_seq[d])
    if ahead > HOLE_OCTETS_MAX:
        return 0
    if ahead > 0:
        fs.hole_at[d], fs.hole_octets[d] = fs.position[d], ahead
        fs.position[d] += ahead
        fs.next_seq[d] = sequence
        fs.exact[d] = fs.folded[d] = 0
        return octets
    return max(0, octets + ahead)


def advance(fs: Connection, d: int, octets: int) -> None:
    """So many new octets were searched."""
    fs.position[d] += octets
    fs.next_seq[d] = (fs.next_seq[d] + octets) & _U32


def late_octets(pkt: nf.Packet, fs: Connection, d: int) -> tuple[int, int]:
    """The positions from and to which the payload lies in the last hole; equal (or descending) if it does not."""
    if not fs.hole_octets[d] or pkt.tcp_flags & _RST:
        return 0, 0
    start = payload_position(pkt, fs, d)
    end = start + pkt.payload_end - pkt.payload
    return max(start, fs.hole_at[d]), min(end, fs.hole_at[d] + fs.hole_octets[d])


def payload_position(pkt: nf.Packet, fs: Connection, d: int) -> int:
    """The position of the payload's first octet."""
    return fs.position[d] + _ahead(_payload_sequence(pkt), fs.next_seq[d])


def _payload_sequence(pkt: nf.Packet) -> int:
    return (_u32(pkt, pkt.l4 + 4) + (1 if pkt.tcp_flags & _SYN else 0)) & _U32


def _ahead(sequence: int, expected: int) -> int:
    """The distance of two sequence numbers, negative if the first is the older."""
    distance = (sequence - expected) & _U32
    return distance - (_U32 + 1) if distance >= _HALF else distance


def _u32(pkt: nf.Packet, at: int) -> int:
    return pkt.u16(at) << 16 | pkt.u16(at + 2)
