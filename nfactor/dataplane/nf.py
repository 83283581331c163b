"""The NF interface: what an author of a network function implements, and the names that it needs.

It is the paper's Table 1 with its names kept (``allocate_new_fs``, ``deallocate_fs``, ``process_pkt``); the defaults
make the usual NF a state class and one method::

    from nfactor import nf

    @nf.state
    class Counters:
        packets: nf.u64

    class Counter(nf.NF):
        State = Counters

        def process_pkt(self, pkt, fs):
            fs.packets += 1
            return nf.FORWARD

An NF never sees another flow's state, a clock or a socket: what it may know is in ``pkt`` and ``fs``, which is why its
flows can be moved and recovered without asking it.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from nfactor.dataplane.memory import Table as Table, numbers as numbers, text as text
from nfactor.dataplane.shared import NONE_LEFT as NONE_LEFT, Counter as Counter, Pool as Pool
from nfactor.dataplane.state import (
    array as array,
    f64 as f64,
    i8 as i8,
    i16 as i16,
    i32 as i32,
    i64 as i64,
    octets as octets,
    record as record,
    schema_of as schema_of,
    state as state,
    u8 as u8,
    u16 as u16,
    u32 as u32,
    u64 as u64,
)
from nfactor.packet.fields import Packet as Packet
from nfactor.packet.flow_key import with_end as with_end

FORWARD: Final = 0
"""Verdict: hand the packet to the next NF, and out of the chain after the last."""
REPLY: Final = 1
"""Verdict: the NF made an answer out of the packet; it leaves at once, back to where it came from."""
DROP: Final = 2
"""Verdict: drop, counted under the NF's own name."""


MASK_63: Final = (1 << 63) - 1
MASK_64: Final = (1 << 64) - 1
"""For arithmetic that means to stay within so many bits: ``number * 31 & nf.MASK_64``."""


def drop(index: int) -> int:
    """Verdict: drop, counted under ``NAME_REASON`` where REASON is ``drop_reasons[index]`` of the NF."""
    return DROP + 1 + index


@record
class Alias:
    """Emitted with a packet whose addresses the NF has rewritten: what answers it belongs to the same flow.

    ``pkt.emit(nf.Alias(direction=pkt.direction))`` with each such packet until something has come back, for the word
    travels with the packet. An NF that does so names ``nf.Alias`` in its ``records``, and says the same by its method
    ``aliases``."""

    direction: u8
    """That of the packet."""


class Flow:
    """What an NF sees of a flow where there is no packet: its key, and a way to emit records."""

    __slots__ = ("initiator", "key", "records")

    def __init__(self, key: bytes, initiator: int) -> None:
        self.key = key
        """The 48 octets of the flow key."""
        self.initiator = initiator
        """0 if the flow's first packet went from ``a`` to ``b`` of the key, else 1."""
        self.records: list[Any] = []

    def emit(self, record: Any) -> None:
        """Send a record (an instance of one of the NF's ``records`` classes) out of the engine."""
        self.records.append(record)


class NF:
    """A network function. One object serves all flows of a runtime; what differs per flow is in ``fs``."""

    name: ClassVar[str] = ""
    """Counters, rules and the command line call it so; the class's name in lower case unless given."""
    State: ClassVar[type | None] = None
    """Its ``@state`` class; None for an NF without state."""
    drop_reasons: ClassVar[tuple[str, ...]] = ()
    """Names for ``drop(0)``, ``drop(1)`` …, which are counted as ``NAME_REASON``."""
    records: ClassVar[tuple[type, ...]] = ()
    """The ``@record`` classes that it emits."""
    together: ClassVar[str] = ""
    """The field of ``State``, an unsigned number, that says which flows belong together: those in which it is the same,
    and not 0, migrate as one (the subflows of an MPTCP connection by its token, FTP's data by its control
    connection)."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()

    def allocate_new_fs(self) -> Any:
        """The state of a new flow; a fresh ``State()`` unless overridden."""
        return None if self.State is None else self.State()

    def deallocate_fs(self, fs: Any) -> None:
        """The flow is gone from this runtime and ``fs`` with it: it has ended, or moved to another runtime."""

    def process_pkt(self, pkt: Packet, fs: Any) -> int:
        """Process one packet of the flow and return a verdict. Runs to completion; must not keep ``pkt``.

        An exception drops the packet as ``nf_error`` and leaves the rest of the burst alone.
        """
        raise NotImplementedError(f"{type(self).__name__} must define process_pkt(pkt, fs)")

    def aliases(self, flow: Flow, fs: Any) -> Iterable[tuple[bytes, int]]:
        """Other keys that the flow answers to, as ``with_end`` makes them: all that an ``Alias`` has told so far. Asked
        where a switch has lost its memory; it is never compiled."""
        return ()

    def flow_expires(self, flow: Flow, fs: Any) -> None:
        """The flow has ended or was idle for too long (or the system closes down); ``flow.emit`` may be used."""
