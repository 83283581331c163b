"""Flow monitor: counts packets and octets of every flow in both directions, and emits a row when the flow ends."""

from typing import Annotated

from nfactor.dataplane import nf


@nf.state
class MonitorState:
    """Counts since the flow's first packet; ``ab`` is the direction of that packet."""

    packets_ab: nf.u64
    packets_ba: nf.u64
    octets_ab: nf.u64
    octets_ba: nf.u64
    first_mark: nf.u64
    """Mark of the first packet (in a replay, its frame number; 0 where packets have no marks)."""


@nf.record
class FlowRow:
    """One flow as the monitor saw it."""

    key: Annotated[bytes, nf.octets(48)]
    packets_ab: nf.u64
    packets_ba: nf.u64
    octets_ab: nf.u64
    octets_ba: nf.u64
    first_mark: nf.u64
    initiator: nf.u8
    """0 if the first packet went from ``a`` to ``b`` of the key, else 1."""


class Monitor(nf.NF):
    """Forwards everything. Octets are those that the frame had on the wire, not what a snapped capture kept."""

    State = MonitorState
    records = (FlowRow,)

    def process_pkt(self, pkt: nf.Packet, fs: MonitorState) -> int:
        """Count the packet; always FORWARD."""
        if not fs.first_mark:
            fs.first_mark = pkt.mark
        if pkt.direction == 0:
            fs.packets_ab += 1
            fs.octets_ab += pkt.length
        else:
            fs.packets_ba += 1
            fs.octets_ba += pkt.length
        return nf.FORWARD

    def flow_expires(self, flow: nf.Flow, fs: MonitorState) -> None:
        """Emit the flow's row, unless an NF before this one dropped all its packets."""
        if fs.packets_ab + fs.packets_ba:
            flow.emit(
                FlowRow(
                    key=flow.key,
                    packets_ab=fs.packets_ab,
                    packets_ba=fs.packets_ba,
                    octets_ab=fs.octets_ab,
                    octets_ba=fs.octets_ba,
                    first_mark=fs.first_mark,
                    initiator=flow.initiator,
                )
            )
