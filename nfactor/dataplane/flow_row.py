"""A row of the reference engine's table: one flow actor, with its phase, its states and when it has ended."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from nfactor.dataplane.chain import FlowHeader
from nfactor.dataplane.changes import WHOLE
from nfactor.dataplane.engine import TimeOuts
from nfactor.packet.fields import TCP, UDP, Packet
from nfactor.packet.flow_key import KEY_PROTOCOL

ProcessPkt: TypeAlias = Callable[[Packet, Any], int]

ACTIVE, LEAVING, HELD, GONE = range(4)
"""The phases of ``engine``."""

FIN: Final = 0x01
RST: Final = 0x04
_CLOSED_BOTH: Final = 3
_CLOSED_RESET: Final = 4
_NEVER_NS: Final = 1 << 63
COUNT_MASK: Final = 0xFFFF_FFFF
"""Packets of a flow are counted modulo 2^32."""


class Row:
    """A flow actor: its key, its phase, and the states of the chain."""

    __slots__ = (
        "closing", "dirty", "epoch", "initiator", "key", "lag", "last_ns", "packets", "phase", "steps", "time_out_ns",
    )  # fmt: skip

    def __init__(self, key: bytes, epoch: int, phase: int) -> None:
        self.key = key
        self.epoch = epoch
        self.phase = phase
        self.initiator = 0
        self.closing = 0
        self.dirty = 0
        """What has changed since somebody asked: bits of ``dataplane.changes``."""
        self.lag = 0
        """Packets since then."""
        self.last_ns = 0
        self.packets = 0
        self.time_out_ns = 0
        """Longer than this without a packet, and the flow has ended; follows from the protocol and ``closing``."""
        self.steps: tuple[tuple[ProcessPkt, Any], ...] = ()
        """For each NF of the chain, what processes a packet and this flow's state for it."""

    def states(self) -> list[Any]:
        """The NFs' states, in chain order."""
        return [fs for _, fs in self.steps]

    def header(self, age_ns: int) -> FlowHeader:
        """What travels with the states."""
        return FlowHeader(age_ns, self.epoch, self.packets & COUNT_MASK, self.initiator, self.closing)

    def take(self, header: FlowHeader, last_ns: int) -> None:
        """Be what came with states from elsewhere; the epoch is the caller's affair."""
        self.last_ns, self.packets, self.initiator = last_ns, header.packets, header.initiator
        self.closing, self.dirty, self.lag = header.closing, WHOLE, 0

    def leave(self) -> None:
        """The flow is to leave."""
        self.phase = LEAVING

    def stay(self, epoch: int) -> None:
        """The flow does not leave after all."""
        self.phase, self.epoch = ACTIVE, epoch

    def tcp_closes(self, flags: int, direction: int, time_outs: TimeOuts) -> None:
        """A segment with FIN or RST came by."""
        self.closing |= _CLOSED_RESET if flags & RST else 1 << direction
        self.set_time_out(time_outs)

    def set_time_out(self, time_outs: TimeOuts) -> None:
        """Work out ``time_out_ns`` anew."""
        protocol = self.key[KEY_PROTOCOL]
        if time_outs.never:
            self.time_out_ns = _NEVER_NS
            return
        if protocol == TCP:
            closed = self.closing >= _CLOSED_RESET or self.closing == _CLOSED_BOTH
            seconds = time_outs.tcp_closed_s if closed else time_outs.tcp_idle_s
        else:
            seconds = time_outs.udp_idle_s if protocol == UDP else time_outs.other_idle_s
        self.time_out_ns = int(seconds * 1e9)
