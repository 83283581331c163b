"""Two other ways to move flows between the same runtimes: by a central controller, and by stop and copy.

*Central*: as OpenNF's loss-free move (Gember-Jacobson et al., SIGCOMM 2014, section 5.1). The source gives up the flows
and raises an event with each packet that still comes for them; states go to the controller and from there to the
target, in chunks of so many flows (OpenNF's are of one), each of which is answered; then the controller sends on the
packets that it has kept, has the switch turn the flows, and sends on what events still come until the switch's last
packet is known to have been. Nothing is lost; order is not kept.

*Stop and copy*: the source stops the flows, sends their states to the target, and has the switch turn them when the
target has them. Packets that come to the source meanwhile are lost.

Both use the same engines, tables, switch and messages as the real thing, sets of flows in arrays included, wherever
their protocol lets them.
"""

from functools import partial
from typing import Any

import numpy as np

from benchmarks import roles
from benchmarks.roles import SOURCE, SWITCH, TARGET, Cluster
from nfactor.actors import Messages, handles, message
from nfactor.cluster import codec, role
from nfactor.cluster.messages import (
    Done,
    FlowsInstalled,
    FlowStatuses,
    InstallFlows,
    RedirectFlows,
    pack_u32,
    unpack_records,
    unpack_u32,
)
from nfactor.cluster.names import COORDINATOR, LIAISON
from nfactor.cluster.role import Role
from nfactor.cluster.view import View
from nfactor.dataplane.engine import Status
from nfactor.packet.burst import Burst
from nfactor.packet.burst_codec import pack_burst, unpack_burst
from nfactor.packet.flow_key import FlowKeys

AGENT = "agent"
CENTRE = "centre"
NUMBER = 7


@message(tag=200)
class GetFlows:
    """Controller → source: give up so many flows, and send their states in chunks of so many. Reply: ``Done``, behind
    the last."""

    flows: int
    chunk: int


@message(tag=201)
class Packets:
    """Packets of flows that are moving: from the source to the controller, and from there to the target."""

    packed: bytes


@message(tag=202)
class Drained:
    """Source → controller: the switch's last packet for the flows has been."""


@message(tag=203)
class StopFlows:
    """Controller → source: stop so many flows and copy them to the target, in chunks of so many. Reply: ``Done``, when
    the switch has turned them."""

    flows: int
    chunk: int


roles.MESSAGES = Messages(*codec.CLASSES, GetFlows, Packets, Drained, StopFlows)
role.MESSAGES = roles.MESSAGES  # type: ignore[attr-defined]


class Agent(Role):
    """What a controller talks to, beside the flow table of a runtime."""

    def __init__(self, cluster: Cluster, node: str, view: View) -> None:
        self._flows, self.view = cluster.flows[node], view
        self._engine = self._flows._engine

    def _give_up(self, flows: int) -> tuple[FlowKeys, Any, Any]:
        keys, epochs, _ = self._flows.pick(flows)
        self._flows._leaving -= len(keys)
        records, _ = self._engine.depart(keys)
        return keys, epochs + np.uint32(1), records

    # ---------------------------------------------------------------- central

    @handles(GetFlows)
    def get(self, order: GetFlows) -> Done:
        """Chunks are questions of their own to the controller, all at once."""
        keys, epochs, records = self._give_up(order.flows)
        self._engine.forget(keys)
        self._engine.hold(keys, epochs)  # their packets are handed back
        self._flows._holding.keep = self._raise_event  # type: ignore[method-assign]
        self._flows.when_marked = lambda migration, switch: self.host.tell(COORDINATOR, CENTRE, Drained())
        for start in range(0, len(keys), order.chunk):
            some = slice(start, start + order.chunk)
            octets = (keys[some].octets(), pack_u32(epochs[some]), records[some].tobytes())
            self.ask(COORDINATOR, CENTRE, InstallFlows(NUMBER, SOURCE, *octets), FlowsInstalled, lambda _: None)
        self._moved = keys
        return Done()

    def _raise_event(self, burst: Burst) -> None:
        self._flows._ledger.hand(COORDINATOR, len(burst))
        self.host.tell(COORDINATOR, CENTRE, Packets(pack_burst(burst)))

    @handles(InstallFlows)
    def put(self, chunk: InstallFlows) -> FlowsInstalled:
        """States for the target."""
        keys, epochs = FlowKeys.of_octets(chunk.keys), unpack_u32(chunk.epochs)
        self._engine.hold(keys, epochs)
        statuses = self._engine.install(keys, epochs, unpack_records(chunk.records, self._engine.record_size))
        return FlowsInstalled(statuses.tobytes(), 0)

    @handles(Packets)
    def process(self, message: Packets) -> None:
        """Packets that the controller sends on."""
        burst = unpack_burst(message.packed)
        self._flows._ledger.take(COORDINATOR, len(burst))
        self._flows._processed(burst, self._engine.process(burst))

    # ---------------------------------------------------------------- stop and copy

    @handles(StopFlows)
    def stop(self, order: StopFlows) -> Done:
        """From source to target and from source to switch, chunk by chunk, all at once."""
        keys, epochs, records = self._give_up(order.flows)
        for start in range(0, len(keys), order.chunk):
            some = slice(start, start + order.chunk)
            octets = (keys[some].octets(), pack_u32(epochs[some]))
            states = InstallFlows(NUMBER, SOURCE, *octets, records[some].tobytes())
            self.ask(TARGET, AGENT, states, FlowsInstalled, partial(self._copied, *octets))
        return Done()

    def _copied(self, keys: bytes, epochs: bytes, answer: FlowsInstalled | None) -> None:
        order = RedirectFlows(NUMBER, SOURCE, TARGET, keys, epochs)
        self.ask(SWITCH, LIAISON, order, FlowStatuses, lambda _: None)


class Centre(Role):
    """The controller. ``moved`` is how many flows have arrived and are turned."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.moved = 0
        self._begin()

    def _begin(self) -> None:
        self._chunks = 0
        self._keys: list[bytes] = []
        self._epochs: list[bytes] = []
        self._kept: list[Packets] = []
        self._flushed = self._got = False

    def move(self, flows: int, chunk: int) -> None:
        """Have them moved."""
        self._begin()
        self.ask(SOURCE, AGENT, GetFlows(flows, chunk), Done, self._all_came)

    def _all_came(self, answer: Done | None) -> None:
        self._got = True
        self._turn()

    @handles(InstallFlows)
    def chunk(self, chunk: InstallFlows) -> FlowsInstalled:
        """On to the target."""
        self._chunks += 1
        self._keys.append(chunk.keys)
        self._epochs.append(chunk.epochs)
        self.ask(TARGET, AGENT, chunk, FlowsInstalled, self._put)
        return FlowsInstalled(b"", 0)

    def _put(self, answer: FlowsInstalled | None) -> None:
        self._chunks -= 1
        self._turn()

    def _turn(self) -> None:
        if not self._got or self._chunks:
            return
        for kept in self._kept:
            self.host.tell(TARGET, AGENT, kept)
        self._flushed = True
        order = RedirectFlows(NUMBER, SOURCE, TARGET, b"".join(self._keys), b"".join(self._epochs))
        self.ask(SWITCH, LIAISON, order, FlowStatuses, self._turned)

    def _turned(self, answer: FlowStatuses | None) -> None:
        assert answer is not None
        self.moved += answer.statuses.count(Status.OK)

    @handles(Packets)
    def event(self, packets: Packets) -> None:
        """A packet of a flow that is moving: kept until its state has arrived."""
        if self._flushed:
            self.host.tell(TARGET, AGENT, packets)
        else:
            self._kept.append(packets)

    @handles(Drained)
    def drained(self, message: Drained) -> None:
        """Nothing more will come."""

    def stop(self, flows: int, chunk: int) -> None:
        """Have them stopped and copied."""
        self.ask(SOURCE, AGENT, StopFlows(flows, chunk), Done, lambda _: None)


def centre_of(cluster: Cluster) -> Centre:
    """A controller, and agents on both runtimes."""
    centre = Centre(cluster.control.view)
    cluster.join(COORDINATOR, **{CENTRE: centre})
    for node in (SOURCE, TARGET):
        cluster.join(node, **{AGENT: Agent(cluster, node, cluster.flows[node].view)})
    return centre
