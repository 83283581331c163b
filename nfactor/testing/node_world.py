"""The wires of whole nodes under ``simulate``: a memory network on which datagrams are mistreated and links fail."""

from collections import Counter
from random import Random
from typing import TypeAlias

import attrs

from nfactor.backends.base import Port, Transport
from nfactor.backends.faulty import FaultyPort, FaultyTransport, LinkRule
from nfactor.backends.memory import MemoryNetwork
from nfactor.testing.node_draws import Mistreated, Trouble, What

Failure: TypeAlias = list[LinkRule]
CONTROL_LATENCY_S = 30e-6
"""A control message takes so long, and up to so much more."""
CONTROL_US_MAX = round(2e6 * CONTROL_LATENCY_S)
"""So long a message is under way at most, where none is lost and no node is slow: it is sent when it is told, none
overtakes another, and to handle one takes no time. Whoever dies has told what it was told before that."""


class NodeWorld:
    """A ``nfactor.cluster.plan.World``. Each transport and port mistreats what is sent through it, as ``mistreated``
    says, until ``heal``."""

    def __init__(self, network: MemoryNetwork, mistreated: Mistreated, rng: Random) -> None:
        self._network = network
        self._mistreated = mistreated
        self._rng = rng
        self._lives: Counter[str] = Counter()
        self._transports: list[FaultyTransport] = []
        self._ports: list[FaultyPort] = []

    def transport(self, node: str) -> Transport:
        """See ``World``."""
        how = attrs.asdict(self._mistreated)
        del how["port_loss"]
        transport = FaultyTransport(self._network.transport(node), rng=self._rng, **how)
        self._transports.append(transport)
        return transport

    def port(self, node: str, address: bytes) -> Port:
        """See ``World``."""
        port = FaultyPort(self._network.port(address, node=node), rng=self._rng, loss=self._mistreated.port_loss)
        self._ports.append(port)
        return port

    def incarnation(self, node: str) -> int:
        """See ``World``: counted."""
        self._lives[node] += 1
        return self._lives[node]

    def cut(self, node: str) -> None:
        """See ``World``."""
        self._network.cut(node)

    def heal(self) -> None:
        """From now on nothing is mistreated. (Links that fail are healed one by one.)"""
        self._mistreated = Mistreated()
        for transport in self._transports:
            transport.heal()
        for port in self._ports:
            port.heal()

    def fail(self, trouble: Trouble, everybody: list[str]) -> Failure:
        """A cut, a partition or slowness begins; the rules of which it is made."""
        rules = list(_rules(trouble, everybody))
        for rule in rules:
            self._network.add_rule(rule)
        return rules

    def mend(self, rules: Failure) -> None:
        """It is over."""
        for rule in rules:
            self._network.remove_rule(rule)

    def counts(self) -> Counter[str]:
        """What was done so far: to datagrams, and to packets that were lost on links or with whom they were sent to."""
        counts: Counter[str] = Counter()
        for transport in self._transports:
            counts += Counter(
                lost=transport.faults.lost,
                duplicated=transport.faults.duplicated,
                corrupted=transport.faults.corrupted,
                reordered=transport.faults.held,
            )
        sums = self._network.statistics()
        counts["datagrams_cut"] += sums.datagrams.lost.get("link", 0)
        counts["packets_cut"] += sums.packets.lost.get("link", 0)
        counts["packets_lost"] += sum(port.statistics().lost for port in self._ports)
        return counts


def _rules(trouble: Trouble, everybody: list[str]) -> list[LinkRule]:
    match trouble.what:
        case What.CUT:
            source, target = trouble.who
            return [LinkRule(source=source, target=target, cut=True)]
        case What.PART:
            others = [name for name in everybody if name not in trouble.who]
            ways = [(one, other) for one in trouble.who for other in others]
            return [LinkRule(source=a, target=b, cut=True) for way in ways for a, b in (way, way[::-1])]
        case What.SLOW:
            delay_s = trouble.delay_us * 1e-6
            return [LinkRule(target=trouble.who[0], delay_s=delay_s, jitter_s=delay_s / 2)]
        case What.DIE:
            return []
