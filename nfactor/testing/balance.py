"""The judge of packets between nodes, after every event: what one says that it gave and got is what the wires carried.

A node's own ledger adds up whatever its neighbours say, so ledgers are compared with the wires, which the heap knows
exactly (``nfactor.testing.wires``): all that a node counts as given to another it has sent there, and all that it has
been handed it counts as got from there, or as dropped by its fence. What is on its way, and what ports lose, is the
wires' affair and in no ledger. So with the ledgers of all nodes, whose sums add up, this is the conservation of packets
at every moment and every node that lives: in each of its lives, for both sides count by life.

Of one thing it judges less. Packets also go from runtime to runtime, in commits, which may be lost and sent again: of
those nobody has got more than was given. And that only where no life of either has died, or is to be declared dead: by
name each counts what it gave to all lives, and takes back what a dead one had not released. What becomes of those
packets is seen at the end (``nfactor.testing.custody``).
"""

from nfactor.cluster.names import OUTSIDE
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime, Switch
from nfactor.testing.violation import Violation
from nfactor.testing.wires import life_of, packets_in


class Balance:
    """Of the nodes of that cluster."""

    def __init__(self, cluster: HeapCluster) -> None:
        self._cluster = cluster
        self._wires = cluster.network.wires
        self._died: set[str] = set()
        self._deaths = 0
        self._seen: dict[str, tuple[int, int]] = {}
        """Of each node, how much it had got and sent when it was last looked at."""

    def look(self, member: Runtime | Switch) -> None:
        """Something has happened at that node."""
        name, seen = member.node.name, (member.ledger.received, member.ledger.sent)
        if self._seen.get(name) == seen or not member.node.alive:
            return
        self._seen[name] = seen
        if isinstance(member, Switch):
            self._of_switch(member)
            self._outside()
        else:
            self._of_runtime(member)
            self._commits(member)

    def _of_switch(self, switch: Switch) -> None:
        """What came from inside is counted by sender, or as a receipt, or was fenced out; or it waits for a view."""
        cluster, wires, ledger, life = self._cluster, self._wires, switch.ledger, life_of(switch.node)
        inside = [*cluster.switches, *cluster.runtimes]
        for name in inside:
            self._compare(f"{life[0]} to {name}", ledger.handed[name], wires.sent[life, name])
            self._compare_most(f"{name} to {life[0]}", ledger.taken[name], wires.came[name, life])
        known = sum(ledger.taken.values()) + ledger.receipts
        known += switch.role._relay.fenced + sum(map(len, switch.role._others._early))
        self._compare(f"inside to {life[0]}, receipts among them", known, sum(wires.frames[n, life] for n in inside))
        got, sent = ledger.received - sum(ledger.taken.values()), ledger.sent - sum(ledger.handed.values())
        self._compare(f"the outside to {life[0]}", got, wires.came[OUTSIDE, life])
        self._compare(f"{life[0]} to the outside", sent, wires.sent[life, OUTSIDE])

    def _outside(self) -> None:
        """It counts as well."""
        cluster, wires, outside = self._cluster, self._wires, (OUTSIDE, 1)
        fed = sum(wires.sent[outside, name] for name in cluster.switches)
        out = sum(wires.came[name, outside] for name in cluster.switches)
        self._compare("the outside to switches", len(cluster.history.flow_of), fed)
        self._compare("switches to the outside", len(cluster.history.out), out)

    def _of_runtime(self, runtime: Runtime) -> None:
        """By its port it speaks to switches alone. It counts what it takes by switch, and else as received and fenced
        out; the rest it has not taken yet."""
        cluster, wires, ledger, life = self._cluster, self._wires, runtime.ledger, life_of(runtime.node)
        committed = sum(count for name, count in ledger.taken.items() if name not in cluster.switches)
        waits = sum(map(packets_in, runtime.waiting))
        came = sum(wires.came[name, life] for name in cluster.switches)
        for name in cluster.switches:
            self._compare_most(f"{name} to {life[0]}", ledger.taken[name], wires.came[name, life])
        self._compare(f"switches to {life[0]}", ledger.received - committed + waits, came)
        sent = ledger.sent - sum(ledger.handed.values())
        self._compare(f"{life[0]} to switches", sent, sum(wires.sent[life, name] for name in cluster.switches))

    def _commits(self, runtime: Runtime) -> None:
        """What went from runtime to runtime."""
        history = self._cluster.history
        if len(history.deaths) != self._deaths:
            self._deaths = len(history.deaths)
            self._died = {death.node for death in history.deaths}
        if runtime.node.name not in self._died:
            for name, other in self._cluster.runtimes.items():
                if name not in self._died:
                    _took_no_more(runtime, other)
                    _took_no_more(other, runtime)

    def _compare_most(self, way: str, counted: int, carried: int) -> None:
        """Of some of what was carried nodes do not say from whom it came."""
        self._compare(way, counted, min(counted, carried))

    @staticmethod
    def _compare(way: str, counted: int, carried: int) -> None:
        if counted != carried:
            raise Violation(
                f"(a) conservation: nodes say that {counted} packets went from {way}, and the wires carried {carried}"
            )


def _took_no_more(giver: Runtime, taker: Runtime) -> None:
    gave, got = giver.ledger.handed[taker.node.name], taker.ledger.taken[giver.node.name]
    if gave < got:
        raise Violation(
            f"(a) conservation: {giver.node.name} gave {gave} packets to {taker.node.name}, which has got {got}"
        )
