"""The judge of packets between nodes, after every event: what one says that it gave, the other has got or will get.

A node's own ledger adds up whatever its neighbours say, so neighbours are compared: nobody has got more from another
than that one gave, and the rest is on its way, as the network of the heap knows exactly. With the ledgers of all nodes,
whose sums add up, and with what is on its way between runtimes in commits, that is the conservation of packets in the
whole cluster. (A commit may be lost and sent again, so of those only the first half is judged.)

Nodes that have ever died, or were to be declared dead, are left out: what is counted as lost with them is judged at
the end (``neighbours_agree``). What ports lose nobody counts, so with the first such packet only the first half is
judged of what goes by ports, too.
"""

import numpy as np

from nfactor.cluster.names import OUTSIDE
from nfactor.testing.checkers import Violation
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime, Switch


class Balance:
    """Of the nodes of that cluster."""

    def __init__(self, cluster: HeapCluster) -> None:
        self._cluster = cluster
        self._died: set[str] = set()
        self._deaths = 0
        self._seen: dict[str, tuple[int, int]] = {}
        """Of each node, how much it had got and sent when it was last looked at."""

    def look(self, member: Runtime | Switch) -> None:
        """Something has happened at that node."""
        name, seen = member.node.name, (member.ledger.received, member.ledger.sent)
        if self._seen.get(name) == seen:
            return
        self._seen[name] = seen
        history, cluster = self._cluster.history, self._cluster
        deaths = len(history.deaths) + len(history.switch_deaths)
        if deaths != self._deaths:
            self._deaths = deaths
            self._died = {*(death.node for death in history.deaths), *history.switch_deaths}
        if name in self._died:
            return
        runtimes = [one for other, one in cluster.runtimes.items() if other not in self._died]
        switches = [one for other, one in cluster.switches.items() if other not in self._died]
        others: list[Runtime | Switch] = [*runtimes, *switches]
        for other in others:
            _took_no_more(member, other)
            _took_no_more(other, member)
        if len(switches) == len(cluster.switches):
            for runtime in runtimes if isinstance(member, Switch) else [member]:
                self._went_there(runtime)
                self._came_back(runtime)
            if isinstance(member, Switch):
                self._passed_on(member)
                self._went_in_and_out(switches)

    def _went_there(self, runtime: Runtime) -> None:
        """What switches sent to a runtime."""
        cluster, name = self._cluster, runtime.node.name
        given = sum(switch.ledger.handed[name] for switch in cluster.switches.values())
        taken = sum(runtime.ledger.taken[switch] for switch in cluster.switches)
        there = sum(cluster.network.in_flight[switch, name] for switch in cluster.switches)
        there += sum(int(np.count_nonzero(burst.marks)) for burst in runtime.waiting)
        self._compare(f"switches to {name}", given, taken, there)

    def _came_back(self, runtime: Runtime) -> None:
        """What a runtime sends by its port goes to switches: they have it, or it is on its way."""
        cluster, name, ledger = self._cluster, runtime.node.name, runtime.ledger
        sent = ledger.sent - sum(ledger.handed.values())
        taken = sum(switch.ledger.taken[name] for switch in cluster.switches.values())
        there = sum(cluster.network.in_flight[name, switch] for switch in cluster.switches)
        self._compare(f"{name} to switches", sent, taken, there)

    def _passed_on(self, switch: Switch) -> None:
        """What other switches sent to one."""
        cluster, name = self._cluster, switch.node.name
        given = sum(other.ledger.handed[name] for other in cluster.switches.values())
        taken = sum(switch.ledger.taken[other] for other in cluster.switches)
        there = sum(cluster.network.in_flight[other, name] for other in cluster.switches)
        self._compare(f"switches to {name}", given, taken, there)

    def _went_in_and_out(self, switches: list[Switch]) -> None:
        cluster, network = self._cluster, self._cluster.network
        fed, out = len(cluster.history.flow_of), len(cluster.history.out)
        came = sum(switch.ledger.received - sum(switch.ledger.taken.values()) for switch in switches)
        went = sum(switch.ledger.sent - sum(switch.ledger.handed.values()) for switch in switches)
        coming = sum(network.in_flight[OUTSIDE, switch.node.name] for switch in switches)
        going = sum(network.in_flight[switch.node.name, OUTSIDE] for switch in switches)
        self._compare("the outside to switches", fed, came, coming)
        self._compare("switches to the outside", went, out, going)

    def _compare(self, way: str, given: int, taken: int, there: int) -> None:
        """``there``: packets that are on their way, as the network knows."""
        if given < taken or (given != taken + there and not self._cluster.network.lost_packets):
            raise Violation(
                f"(a) conservation: {given} packets went from {way}, {taken} have got there; {there} are on their way"
            )


def _took_no_more(giver: Runtime | Switch, taker: Runtime | Switch) -> None:
    if isinstance(giver, Runtime) and isinstance(taker, Switch):
        return  # what goes back by the port a runtime does not count by switch
    gave, got = giver.ledger.handed[taker.node.name], taker.ledger.taken[giver.node.name]
    if gave < got:
        raise Violation(
            f"(a) conservation: {giver.node.name} gave {gave} packets to {taker.node.name}, which has got {got}"
        )
