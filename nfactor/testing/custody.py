"""The judge of packets of which nobody has heard, when a run is over: each was last with a life that is dead.

Packets are counted as lost with the dead by subtraction, and a node that lives might hide behind them what it lost
itself. So each packet that is missing is looked for where it was last, as the wires know: it neither came out, nor is a
word told of it, nor did a port lose it. That holds for switches that die, for ports that lose, and for all later lives.
"""

from collections import Counter
from collections.abc import Iterator

from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.names import FLOWS, LIAISON
from nfactor.cluster.recovery_messages import CommitsStored, StoreCommit
from nfactor.cluster.switch import VirtualSwitch
from nfactor.packet.burst_codec import unpack_burst
from nfactor.testing.heap import Delivery
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_node import HeapNode
from nfactor.testing.judged import finals_of
from nfactor.testing.lineage import is_sent
from nfactor.testing.pasts import Chain
from nfactor.testing.violation import Violation
from nfactor.testing.wires import Life, life_of


class Custody:
    """Watches that cluster from now on."""

    def __init__(self, cluster: HeapCluster) -> None:
        self._cluster = cluster
        self._network = network = cluster.network
        self._commits: dict[tuple[bytes, bytes], dict[int, list[int]]] = {}
        """Marks in commits that have come and are not confirmed: by replica and primary (their addresses), by
        number."""
        self._stored_by: dict[int, Life] = {}
        """By mark: the replica that has confirmed last that it has released the packet."""
        self._before, network.before = network.before, self._comes
        network.told = self._told

    # ---------------------------------------------------------------- commits

    def _comes(self, delivery: Delivery) -> None:
        """A commit has come to its replica. Whether that takes it, it says itself."""
        self._before(delivery)
        message = delivery.message
        if isinstance(message, StoreCommit):
            marks = [mark for mark in unpack_burst(message.packets).marks.tolist() if mark]
            self._commits.setdefault((message.to, message.address), {})[message.sequence] = marks

    def _told(self, sender: HeapNode, message: object) -> None:
        """A replica says what it has released: all up to a commit."""
        if isinstance(message, CommitsStored):
            number = self._cluster.runtimes[sender.name].number
            commits = self._commits.get((address(Kind.RUNTIME, number, sender.life), message.to), {})
            for sequence in [sequence for sequence in commits if sequence <= message.sequence]:
                self._stored_by.update(dict.fromkeys(commits.pop(sequence), life_of(sender)))

    # ---------------------------------------------------------------- judgement

    def check(self) -> None:
        """(a) Raises ``Violation`` for a packet that a node lost which lives. Call it when all is quiet, and nothing
        is to wait for a replica.

        Who is dead, or to be declared dead, answers for nothing. Who lives has an excuse for as many packets as it has
        counted, and for no others:

        - a switch: frames that came from a life that is dead by now, which it fences out. Nobody is told of those, as
          they count as never sent: the same packets may have come out by another way.
        - a runtime: packets of commits to a replica that is dead, of which it can not know whether they came out, as
          the switch died that would (``in_doubt``). They were last with that runtime if they did not.

        A packet in a commit is its primary's, until its replica confirms that it has let it out: from then on it is no
        excuse that the primary is dead, if the replica lives."""
        doubtful, fenced = Counter[Life](), Counter[Life]()
        for mark in self._missing():
            crossing = self._network.wires.last.get(mark)
            if crossing is None:
                raise Violation(f"(a) conservation: packet {mark} never came to any node, and no port lost it")
            holder, is_runtime = crossing.receiver, crossing.receiver[0] in self._cluster.runtimes
            if self._is_dead(holder):
                replica = self._stored_by.get(mark) if is_runtime else None
                if replica is None or self._is_dead(replica):
                    continue
                holder = replica
            elif is_runtime:
                doubtful[holder] += 1
                if doubtful[holder] <= self._in_doubt(holder):
                    continue
            elif self._is_dead(crossing.sender):
                fenced[holder] += 1
                if fenced[holder] <= self._fenced(holder):
                    continue
            raise Violation(f"(a) conservation: packet {mark} was last at {holder[0]}, which lives, and is nowhere")
        self._check_doubts()

    def _missing(self) -> Iterator[int]:
        history = self._cluster.history
        seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped}
        seen.update(self._network.lost_packets)
        return (mark for mark in sorted(history.flow_of) if mark not in seen)

    def _check_doubts(self) -> None:
        """There is none where switches know what has come out."""
        for life in self._network.lives:
            if life[0] in self._cluster.runtimes and not self._cluster.history.switch_deaths and self._in_doubt(life):
                raise Violation(
                    f"(a) conservation: {life[0]} does not know of {self._in_doubt(life)} packets whether they came "
                    "out, and no switch has died"
                )

    def check_included(self) -> None:
        """(e) What a surviving state includes has left runtimes: it came out, or was dropped; or it was lost by a port
        or with a switch. For runs in which whoever has a state has let out its packets, or they are in doubt. It is
        ``included_came_out`` where ports lose, and more may be lost than what runtimes have. (What a runtime dropped
        while it had no replica it told alone, and the word may have died with it, though the state has one by then.)"""
        cluster, log = self._cluster, Chain(self._cluster.history.processed)
        missing = {mark for mark in self._missing() if self._network.wires.last[mark].receiver[0] in cluster.runtimes}
        dropped = {
            entry.mark: (entry.node, entry.life) for entry in cluster.history.processed if not is_sent(entry.mark)
        }
        missing -= {mark for mark, life in dropped.items() if self._is_dead(life)}
        left = sum(self._in_doubt(life) for life in self._network.lives if life[0] in cluster.runtimes)
        for flow, final in finals_of(cluster).items():
            lost = missing.intersection(log.of(final.born, final.count, final.digest) or [])
            left -= len(lost)
            if left < 0:
                raise Violation(
                    f"(e) output commit: the state of flow {flow} includes packet {min(lost)}, which no runtime let out"
                )

    # ---------------------------------------------------------------- lives

    def _is_dead(self, life: Life) -> bool:
        """Or is to be declared dead."""
        node = self._network.lives[life]
        return not node.alive or node is not self._network.nodes[life[0]] or life in self._cluster.deaths._noted

    def _in_doubt(self, life: Life) -> int:
        flows = self._network.lives[life].roles[FLOWS]
        assert isinstance(flows, FlowTable)
        return flows.replicator.in_doubt

    def _fenced(self, life: Life) -> int:
        switch = self._network.lives[life].roles[LIAISON]
        assert isinstance(switch, VirtualSwitch)
        return switch._relay.fenced
