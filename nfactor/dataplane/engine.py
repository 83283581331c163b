"""The engine interface: what a runtime asks of whatever runs its chain.

An engine owns the flow actors of a runtime, as rows of one table, and nothing else: no clock (time is that of the
packets), no socket, no message. Everything comes in and goes out in sets: bursts of packets, arrays of keys, arrays of
records, so that the compiled engine can work at the speed of memory and the reference engine stays its readable equal.

A flow is in one *phase* at a time, and the phase alone decides what happens to its packets::

                      hold                 install
      (unknown) ───────────────▶ HELD ─────────────────▶ ACTIVE ◀──── first packet of an unknown flow
                                  │ release                │ ▲
                                  ▼                    pin │ │ unpin
                              (unknown)                    ▼ │
      (unknown) ◀──── forget ──── GONE ◀──── depart ──── LEAVING

ACTIVE and LEAVING flows process packets (a LEAVING one does not expire and joins no second migration); packets of HELD
flows are handed back to the caller, who keeps them for later; packets of GONE flows are dropped as ``late``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.chain import Chain
from nfactor.packet.burst import Burst
from nfactor.packet.fields import MALFORMED_REASONS
from nfactor.packet.flow_key import FlowKeys

if TYPE_CHECKING:
    from nfactor.dataplane.changes import Changes, Rows

FLOWS_MAX = 1_000_000
"""Rows of a flow table, in every phase together, unless said otherwise."""

FORWARD, REPLY, HELD, LATE, TABLE_FULL, NF_ERROR = range(6)
"""What ``process`` says of a packet; codes from 3 on are drops, ``reasons[code]`` says why. A packet that is LATE or
finds the TABLE_FULL has changed no state."""


FIRST_EPOCH = 1
"""The ownership epoch of a flow that has never moved."""


class Status(IntEnum):
    """The answer of a set operation for one key."""

    OK = 0
    UNKNOWN = 1
    """No such flow here, or not in a phase that allows this."""
    EXISTS = 2
    """The flow is here already."""
    STALE = 3
    """A higher ownership epoch is known."""
    FULL = 4
    """The table is at ``flows_max``."""
    BUSY = 5
    """Something is under way for this flow: a migration, or packets that have not been seen yet."""


Keys = Sequence[bytes]
Statuses = npt.NDArray[np.uint8]
Epochs = npt.NDArray[np.uint32]
Records = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.uint32]


def are(statuses: Statuses, status: Status) -> npt.NDArray[np.bool_]:
    """Which of them are that one. (To compare with a member of an enumeration takes numpy twenty times as long.)"""
    found: npt.NDArray[np.bool_] = statuses == int(status)
    return found


@attrs.frozen
class TimeOuts:
    """After how many seconds without a packet a flow expires. ``never`` for replays that count like other tools."""

    tcp_idle_s: float = 300.0
    tcp_closed_s: float = 10.0
    """After a RST, or a FIN in both directions."""
    udp_idle_s: float = 60.0
    other_idle_s: float = 60.0
    never: bool = False


@attrs.frozen
class EngineStatistics:
    """Counts of an engine; ``flows`` is now, the rest since the start."""

    packets: int
    flows: int
    """Rows that process packets now (ACTIVE and LEAVING)."""
    rows: int
    """Rows in every phase."""
    created: int
    expired: int
    refused: int
    """Packets of new flows that found the table full (the counter of ``flows_max``)."""
    nf_errors: dict[str, int]
    """Exceptions by NF name."""
    nf_error_sample: str
    """Traceback of the first of them, or ""."""


def reasons_of(chain: Chain) -> tuple[tuple[str, ...], dict[str, int], int]:
    """The names of all codes; the codes of malformed packets by reason; and the first code of the first NF's drops.

    Fixed ones come first, then each NF's in chain order, so that a verdict plus an NF's base is its code."""
    names = ["forward", "reply", "held", "late", "flow_table_full", "nf_error"]
    malformed = {reason: len(names) + index for index, reason in enumerate(MALFORMED_REASONS)}
    names += [f"malformed_{reason}" for reason in malformed]
    first = len(names)
    names += [name for reasons in chain.reasons for name in reasons]
    assert len(names) <= 256, "codes are one octet"
    return tuple(names), malformed, first


class Engine(ABC):
    """One chain, one table of flows. Every method is synchronous and runs to completion.

    Set operations take keys of 48 octets (``nfactor.packet.flow_key``; ``FlowKeys`` are the cheapest) and answer with a
    ``uint8[n]`` of ``Status`` in the same order.
    """

    chain: Chain
    """What it runs."""
    reasons: tuple[str, ...]
    """Names of the codes that ``process`` answers; the first three are the verdicts that are no drops."""
    record_size: int
    """Octets of one flow's record."""
    follows: bool = True
    """Whether ``touched`` is wanted; it is empty otherwise."""
    changes: "Changes"
    """What flows have changed: for replication."""

    touched: "Rows"
    """For each packet of the burst that was processed last, the row of its flow, or that it has none (it is
    malformed, or of a new flow for which there was no room): for ``changes`` to read."""

    stopping: bool = False
    """May be set while another thread is in ``process``, which may then end early: with the codes of some packets from
    the front, at least one."""

    @abstractmethod
    def process(self, burst: Burst) -> npt.NDArray[np.uint8]:
        """Run the packets through their flows' chains, in order, rewriting frames in place; ``uint8[n]`` of codes."""

    @abstractmethod
    def pick(self, flows_max: int) -> tuple[FlowKeys, Epochs]:
        """Up to that many ACTIVE flows for a migration, youngest first, and their epochs; pins them (LEAVING)."""

    @abstractmethod
    def pin(self, keys: Keys) -> tuple[Epochs, Statuses]:
        """Pin these. UNKNOWN: not ACTIVE."""

    @abstractmethod
    def belonging(self) -> tuple[FlowKeys, npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """Of all flows that process packets, oldest first: their keys; what each ``Bond`` of the chain says of them,
        ``uint64[n, bonds]``; and whether they are ACTIVE."""

    @abstractmethod
    def unpin(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """LEAVING flows stay after all, with these epochs if any are given."""

    @abstractmethod
    def depart(self, keys: Keys) -> tuple[Records, Statuses]:
        """Take LEAVING flows out: their records, ``uint8[n, record_size]`` (zeros where the status is not OK).

        They are GONE from now on.
        """

    @abstractmethod
    def hold(self, keys: Keys, epochs: Epochs) -> Statuses:
        """Expect flows of these epochs from elsewhere: their packets come back as HELD until install or release."""

    @abstractmethod
    def install(self, keys: Keys, epochs: Epochs, records: Records) -> Statuses:
        """Put records of HELD flows in place; they are ACTIVE from now on, with these epochs."""

    @abstractmethod
    def release(self, keys: Keys) -> Statuses:
        """Stop holding: the flows did not come."""

    @abstractmethod
    def forget(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """Remove GONE rows: the tombstones have stood long enough. With ``epochs``, those alone that are of lower ones;
        UNKNOWN for the others."""

    @abstractmethod
    def idle(self, scan_max: int) -> tuple[FlowKeys, Counts]:
        """Look at the next ``scan_max`` rows: ACTIVE flows whose time-out has passed, and how many packets each has had
        (modulo 2^32). Nothing is removed: the switch that owns the key has to agree first. Until then they are pinned
        (LEAVING): a flow that the switch forgets must not set out for another runtime at the same time."""

    @abstractmethod
    def expire(self, keys: Keys, packets: Counts | None = None) -> Statuses:
        """Remove ACTIVE and LEAVING flows, after the NFs' ``flow_expires`` and ``deallocate_fs``. ``packets`` are the
        counts that ``idle`` gave: a flow that has had more since is BUSY and stays, ACTIVE. It is the key's next life,
        which began while the switch's word that the last one may end was under way; its packets count from there."""

    @abstractmethod
    def farewell(self, keys: Keys, records: Records) -> None:
        """Flows that ended elsewhere before their NFs could say so: run ``flow_expires`` and ``deallocate_fs`` on their
        records. The rows of this table have no part in it."""

    @abstractmethod
    def copy(self, keys: Keys) -> tuple[Epochs, Records, Statuses]:
        """Epochs and copies of the records of ACTIVE and LEAVING flows, which stay where they are; zeros where the
        status is not OK. For replication."""

    def read(self, key: bytes) -> bytes | None:
        """A copy of one flow's record, which stays where it is; None if it does not process packets here."""
        _, records, statuses = self.copy([key])
        return records[0].tobytes() if statuses[0] == Status.OK else None

    @abstractmethod
    def keys(self) -> FlowKeys:
        """Keys of the flows that process packets now, oldest first."""

    @abstractmethod
    def take_emitted(self) -> list[tuple[bytes, Any]]:
        """What NFs emitted since the last call, in order: the key of the flow, and the record."""

    def take_records(self) -> list[Any]:
        """The same without the keys."""
        return [record for _, record in self.take_emitted()]

    @abstractmethod
    def poison(self) -> None:
        """Overwrite all state with rubbish, as a crash does: nothing that is read from here later can pass for right.
        For tests and ``--kill-runtime-at``."""

    @abstractmethod
    def statistics(self) -> EngineStatistics:
        """Counts so far."""
