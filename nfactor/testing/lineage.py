"""A network function that makes every state tell its whole past, and the history of a run that it writes.

Each flow's state is a number and a digest over the marks of all packets that made it, and so is what each packet
carries when it leaves: two states are equal only if they come of the same packets in the same order. Everything that a
judge needs to know of a run is in its ``History``: what went in, what was processed where, what came out.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from nfactor.cluster.messages import MigrationEnded
from nfactor.dataplane import nf

MULTIPLIER, MODULUS = 1_103_515_245, 2_147_483_647
TAIL_OCTETS = 16
"""So much of the end of each payload is overwritten."""
EMIT_EVERY = 3
"""A record is emitted for each third packet of a flow."""
DROP_EVERY = 11
"""A packet whose mark is a multiple of this is dropped, after it has changed the state."""

CHOSEN = "lineage_chosen"
"""The reason that is told of those."""


def is_sent(mark: int) -> bool:
    """Whether that packet goes on; else it is dropped."""
    return mark % DROP_EVERY != 0


def following(digest: int, mark: int) -> int:
    """The digest after one more packet."""
    return (digest * MULTIPLIER + mark) % MODULUS


@nf.state
class LineageState:
    """What made it."""

    born: nf.u64
    """Mark of the flow's first packet."""
    count: nf.u32
    digest: nf.u32


@nf.record
class Step:
    """A flow's state after one of its packets."""

    mark: nf.u64
    born: nf.u64
    count: nf.u32
    digest: nf.u32


@nf.record
class Ended:
    """The end of a flow: its last state."""

    born: nf.u64
    count: nf.u32
    digest: nf.u32


@attrs.frozen
class Processed:
    """One packet that a runtime processed: the flow's state after it."""

    node: str
    life: int
    mark: int
    born: int
    count: int
    digest: int
    time_us: int = 0


@attrs.frozen
class Came:
    """One packet that came out."""

    time_us: int
    mark: int
    born: int
    count: int
    digest: int


@attrs.frozen
class End:
    """What a flow said at its end, and where."""

    node: str
    ended: Ended
    last_mark: int
    """The last mark that had gone in when it was told."""
    time_us: int


@attrs.define
class Death:
    """A runtime that died, and what was known at that moment."""

    node: str
    time_us: int
    protected: dict[int, tuple[int, int, int]]
    """Flows that it called protected, by flow number: birth, number of packets and digest of the state it had."""
    released: dict[int, int]
    """Packets of each birth that had come out by then: the highest number."""
    overlaps: bool
    """An earlier one had not been made good for."""
    until_us: int = 0
    """Of one that was only cut off, and declared dead for that: so long it may have gone on."""


@attrs.define
class History:
    """Everything that happened, as seen from outside and from each owner's log."""

    flow_of: dict[int, int] = attrs.Factory(dict)
    """By mark of a packet that went in: its flow."""
    way_of: dict[int, int] = attrs.Factory(dict)
    """Of packets that went in by another way than the first of their flow: which one."""
    processed: list[Processed] = attrs.Factory(list)
    last_at: dict[int, str] = attrs.Factory(dict)
    """By birth, where a flow was when somebody last looked, where flows end."""
    out: list[Came] = attrs.Factory(list)
    records: list[tuple[str, Step]] = attrs.Factory(list)
    ends: list[End] = attrs.Factory(list)
    dropped: list[tuple[str, int]] = attrs.Factory(list)
    """Reasons and marks, as the outside was told."""
    told_by: Counter[str] = attrs.Factory(Counter)
    """How many of them, by the node that said so."""
    ended: list[MigrationEnded] = attrs.Factory(list)
    """What the coordinator was told of migrations."""
    deaths: list[Death] = attrs.Factory(list)
    switch_deaths: list[str] = attrs.Factory(list)
    restarts: list[str] = attrs.Factory(list)


class Lineage(nf.NF):
    """See the module. ``log`` is called with mark, birth, number and digest after each packet."""

    State = LineageState
    records = (Step, Ended)
    drop_reasons = ("chosen",)

    def __init__(self, log: Callable[[int, int, int, int], None]) -> None:
        self.log = log

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        """Count the packet, and write into it what it made of the state."""
        if fs.born == 0:
            fs.born = pkt.mark
        fs.count += 1
        fs.digest = following(fs.digest, pkt.mark)
        self.log(pkt.mark, fs.born, fs.count, fs.digest)
        end = pkt.payload_end
        pkt.data[end - 16 : end - 8] = fs.born.to_bytes(8, "big")
        pkt.data[end - 8 : end - 4] = fs.count.to_bytes(4, "big")
        pkt.data[end - 4 : end] = fs.digest.to_bytes(4, "big")
        if fs.count % EMIT_EVERY == 0:
            pkt.emit(Step(mark=pkt.mark, born=fs.born, count=fs.count, digest=fs.digest))
        return nf.drop(0) if pkt.mark % DROP_EVERY == 0 else nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: Any) -> None:
        """Say what the last state was, if any packet came so far."""
        if fs.count:
            flow.emit(Ended(born=fs.born, count=fs.count, digest=fs.digest))


class PlainLineage(Lineage):
    """The same in what both engines take: who looks at the frames that an engine has processed has the log."""

    name = Lineage.name

    def __init__(self) -> None:
        """It tells nobody."""

    def process_pkt(self, pkt: nf.Packet, fs: Any) -> int:
        """See ``Lineage``."""
        if fs.born == 0:
            fs.born = pkt.mark
        fs.count += 1
        fs.digest = (fs.digest * MULTIPLIER + pkt.mark) % MODULUS
        at = pkt.payload_end - TAIL_OCTETS
        for octet in range(8):
            pkt.data[at + octet] = (fs.born >> (56 - 8 * octet)) & 255
        for octet in range(4):
            pkt.data[at + 8 + octet] = (fs.count >> (24 - 8 * octet)) & 255
            pkt.data[at + 12 + octet] = (fs.digest >> (24 - 8 * octet)) & 255
        if fs.count % EMIT_EVERY == 0:
            pkt.emit(Step(mark=pkt.mark, born=fs.born, count=fs.count, digest=fs.digest))
        return nf.drop(0) if pkt.mark % DROP_EVERY == 0 else nf.FORWARD


def read_tail(frame: bytes) -> tuple[int, int, int]:
    """Birth, number and digest that a packet carries."""
    tail = frame[-TAIL_OCTETS:]
    return int.from_bytes(tail[:8], "big"), int.from_bytes(tail[8:12], "big"), int.from_bytes(tail[12:], "big")
