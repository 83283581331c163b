"""Two links side by side, for tests."""

from nfactor.actors import Link, LinkLimits
from nfactor.actors.quick_link import QuickLink

LIMITS = LinkLimits(give_up_s=1.0)


def exchange(a: Link, b: Link, now: float = 0.0, rounds: int = 10) -> None:
    """Carry everything between two links, at one instant, acknowledgements that could wait included."""
    for _ in range(rounds):
        for one, other in ((a, b), (b, a)):
            one.hurry()
            for datagram in one.poll(now):
                other.receive(datagram, now)


def open_pair(mtu: int = 200, limits: LinkLimits = LIMITS) -> tuple[QuickLink, QuickLink]:
    """Two links in a session, with nothing under way."""
    a, b = QuickLink(1, mtu, limits=limits), QuickLink(1, mtu, limits=limits)
    a.send(b"first", 0.0)
    exchange(a, b)
    assert [b"first"] == b.take()
    return a, b
