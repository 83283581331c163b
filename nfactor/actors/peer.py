"""What a node knows of another node: two lanes to it, so that what is urgent does not queue behind what is not."""

from typing import TYPE_CHECKING

import attrs

from nfactor.actors import envelope
from nfactor.actors.calls import Probe
from nfactor.actors.frame import LANE_MASK, LANES_MAX
from nfactor.actors.lane_statistics import LaneStatistics
from nfactor.actors.message import is_system
from nfactor.actors.outbox import LinkLimits
from nfactor.actors.peer_lane import LANE_NAMES, PeerLane

if TYPE_CHECKING:
    from nfactor.actors.node import Node


@attrs.frozen
class PeerStatistics:
    """Counts since the peer was first heard of."""

    name: str
    system: LaneStatistics
    user: LaneStatistics
    asks_waiting: int
    """Questions under way."""
    senders_waiting: int
    """Tasks that wait for room, or for credit."""
    late_replies: int
    """Replies that came when nobody waited for them any more."""
    questions_open: int
    """Questions of this peer that are not answered."""
    questions_withdrawn: int
    """Questions of this peer that it took back before they were begun with."""
    undecodable: int
    """Messages from this peer that were no envelopes, or held no message that this node knows."""


class Peer:
    """One other node."""

    def __init__(self, node: "Node", name: str, limits: LinkLimits) -> None:
        self.name = name
        self._node = node
        self._incarnation = 0
        """The greatest that was seen on a lane."""
        self._lanes = self.system, self.user = [
            PeerLane(node, self, number, limits) for number in range(len(LANE_NAMES))
        ]
        # By what a datagram says; the link of the first counts what is malformed.
        self._lanes_said = *self._lanes, *[self.system] * (LANES_MAX - len(self._lanes))

    def lane_for(self, message: object) -> PeerLane:
        """The lane that a message travels on."""
        return self._lanes[0 if is_system(message) else 1]

    def send_probe(self, actor_name: str, question: int, probe: Probe) -> None:
        """Pass a probe on behind a question that was sent to an actor there, on whichever lane."""
        origin = [probe.node, probe.actor, probe.call, probe.question, list(probe.path)]
        for lane in self._lanes:
            if lane.has_asked(question):
                lane.put([envelope.PROBE, *origin, question, actor_name])

    def watch(self, actor_name: str, begins: bool) -> None:
        """An actor there is watched from here, or is not any more."""
        lane = self._lanes[0]
        lane.keeps_watch = self._node.watches.watches(self.name)
        lane.link.expects_answer = lane.keeps_watch or lane.asks_waiting > 0
        lane.put([envelope.WATCH, actor_name, begins])

    def watched(self, actor_name: str, begins: bool) -> None:
        """An actor here is watched from there, or is not any more."""
        if not begins:
            self._node.watches.remove_from(self.name, actor_name)
        elif not self._node.watches.add_from(self.name, actor_name):
            self.say_gone(actor_name, "no-actor")

    def say_gone(self, actor_name: str, reason: str) -> None:
        """An actor here that is watched from there is gone."""
        self._lanes[0].put([envelope.GONE, actor_name, reason])

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram that came from this peer; what is to be sent then is marked."""
        lane = self._lanes_said[datagram[0] & LANE_MASK if datagram else 0]
        if lane.receive_at_once(datagram, now):
            return
        lane.receive(datagram, now)
        incarnation = lane.link.peer_incarnation
        if incarnation > self._incarnation:
            self._incarnation = incarnation
            for other in self._lanes:
                if other.link.peer_incarnation < incarnation:
                    other.note_incarnation(incarnation)

    def hurry(self) -> None:
        """What could have waited for something to travel with is to leave with the next flush."""
        for lane in self._lanes:
            lane.hurry()

    def statistics(self) -> PeerStatistics:
        """Counts so far."""
        system, user = self._lanes
        return PeerStatistics(
            name=self.name,
            system=system.statistics(),
            user=user.statistics(),
            asks_waiting=system.asks_waiting + user.asks_waiting,
            senders_waiting=system.senders_waiting + user.senders_waiting,
            late_replies=system.arrivals.late_replies + user.arrivals.late_replies,
            questions_open=len(system.arrivals.questions) + len(user.arrivals.questions),
            questions_withdrawn=system.arrivals.questions_withdrawn + user.arrivals.questions_withdrawn,
            undecodable=system.arrivals.undecodable + user.arrivals.undecodable,
        )
