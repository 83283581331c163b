"""A cluster on the event heap whose flows go out through a source NAT, to a server that answers.

What comes out says which port each life of a flow had, and to whom answers went; what runtimes hold says which number
is with which flow, after every event.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.leases import Leases
from nfactor.cluster.names import COORDINATOR, LEASES, POOLS
from nfactor.cluster.pools import Pools
from nfactor.dataplane.chain import HEADER
from nfactor.dataplane.nf import NF
from nfactor.dataplane.state import schema_of
from nfactor.functions.nat import Nat, NatRules, NatState, Outside
from nfactor.packet.burst import Burst
from nfactor.packet.cluster_frame import unwrap
from nfactor.protocols.leasing import Holder
from nfactor.protocols.replication import Kind as Replication
from nfactor.testing import packets
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.heap_members import Runtime
from nfactor.testing.lineage import Lineage
from nfactor.testing.violation import Violation
from nfactor.testing.whereabouts import Whereabouts

if TYPE_CHECKING:
    from nfactor.dataplane.engine import EngineStatistics

HOST, SERVER, NAT = "10.0.0.1", "10.9.0.2", "203.0.113.1"
FIRST_PORT = 5000
ANSWER_US = (50, 3_000)
"""An answer takes this long, at least and at most."""
_STATE = schema_of(NatState)
_SOURCE, _PORTS = slice(26, 30), slice(34, 38)


@attrs.frozen
class Went:
    """A packet that left through the NAT, from that port."""

    port: int
    flow: int
    born: int
    mark: int


class NatCluster(HeapCluster):
    """``ports`` of an address outside, leased ``block`` at a time."""

    def __init__(self, *args: Any, ports: int, block: int, **options: Any) -> None:
        self._rules = NatRules(((0x0A000000, 0xFFFF0000),), (Outside(0xCB007101, FIRST_PORT, FIRST_PORT + ports - 1),))
        self._ports, self._block = ports, block
        self.went: list[Went] = []
        """In the order in which they came out."""
        self.answers: dict[int, Went] = {}
        """By mark of an answer: what it answers."""
        self._counts: list[tuple[str, EngineStatistics]] = []
        super().__init__(*args, **options)

    def functions(self, log: Callable[[int, int, int, int], None]) -> list[NF]:
        """See ``HeapCluster``."""
        return [Nat(self._rules, self._block), Lineage(log)]

    def _begin(self) -> None:
        self._whereabouts = Whereabouts(self._is_member)
        self._lease_journal = self._whereabouts
        self._last_with: dict[int, tuple[int, int]] = {}
        """By number: the flow that had it last, and when that was."""
        super()._begin()

    def _is_member(self, life: Holder) -> bool:
        runtime = self.runtimes[life.node]
        return self.membership.view.is_life(life.node, address(Kind.RUNTIME, runtime.number, life.life))

    def kill(self, name: str) -> None:
        """See ``HeapCluster``. What has just come to it has gone with it."""
        self._look_where_numbers_are()
        super().kill(name)

    # ---------------------------------------------------------------- the server

    def _packets_out(self, burst: Burst) -> None:
        before = len(self.history.out)
        super()._packets_out(burst)
        for came, octets in zip(self.history.out[before:], burst.frames(), strict=True):
            start, _, _ = unwrap(memoryview(octets), 0, len(octets))
            frame = octets[start:]
            source, ports = ".".join(map(str, frame[_SOURCE])), frame[_PORTS]
            source_port, target_port = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
            if source == NAT:
                went = Went(source_port, self.history.flow_of[came.born], came.born, came.mark)
                self.went.append(went)
                if self.network.rng.random() < 0.5:
                    when = self.network.now_us + self.network.rng.randint(*ANSWER_US)
                    self.network.at(when, partial(self._answer, went))
            else:
                self._check_answer(came.mark, came.born, target_port)

    def _answer(self, went: Went) -> None:
        mark = self._last_mark = self._last_mark + 1
        self.answers[mark], self.history.flow_of[mark] = went, went.flow
        if len(self.switches) > 1:  # else questions and answers are one queue
            self.history.way_of[mark] = 1
        burst = packets.burst_of([packets.udp(SERVER, 53, NAT, went.port, bytes(16))], first_mark=mark)
        self._put_in(went.flow, attrs.evolve(burst, times=np.array([mark], np.int64) * self._step_ns), way=1)

    # ---------------------------------------------------------------- judgement

    def _check_answer(self, mark: int, born: int, port: int) -> None:
        """To the flow that had sent from there; or, where flows end, to one whose port it has been since."""
        went = self.answers[mark]
        lives = [other.born for other in self.went if other.port == went.port]
        if not self._time_outs.never and went.born in lives:
            since = lives[len(lives) - lives[::-1].index(went.born) :]
            if born in since and 1000 + self.history.flow_of[born] == port:
                return
        if (went.born, 1000 + went.flow) != (born, port):
            raise Violation(
                f"(k) ports: the answer {mark} to port {went.port} of flow {went.flow} (born {went.born}) came to port "
                f"{port}, to the flow that was born {born}"
            )

    def check_event(self) -> None:
        """(k) No number is with two flows, wherever they are."""
        living = self.living()
        counts = [(runtime.node.name, runtime.engine.statistics()) for runtime in living]
        if counts == self._counts:
            return  # no flow has come, gone or had a packet since
        self._counts = counts
        self._look_where_numbers_are()

    def _look_where_numbers_are(self) -> None:
        holders: dict[int, str] = {}
        for runtime in self.living():
            for number, key in self._with_flows(runtime):
                what = f"flow {self.flow_of_key.get(key)} at {runtime.node.name}"
                if number in holders:
                    raise Violation(f"(k) ports: number {number} is with {holders[number]} and {what}")
                holders[number] = what
                self._whereabouts.seen(number, Holder(runtime.node.name, runtime.node.life))
                self._last_with[number] = self.flow_of_key.get(key, -1), self.network.now_us

    def _with_flows(self, runtime: Runtime) -> Iterator[tuple[int, bytes]]:
        keys = runtime.engine.keys()
        for key, record in zip(keys, runtime.engine.copy(keys)[1], strict=True):
            state = _STATE.unpack(record.tobytes(), HEADER.size)
            if state.number:
                yield state.number - 1, key

    def _in_order(self) -> list[Went]:
        """Packets that went out, in the order in which runtimes processed them. With one switch that is the order
        outside; what leaves by several may be overtaken there."""
        if len(self.switches) == 1:
            return self.went
        last = {entry.mark: place for place, entry in enumerate(self.history.processed)}
        return sorted(self.went, key=lambda went: last[went.mark])

    def check_over(self, *, flows_end: bool) -> None:
        """(k) A port that came out with one life of a flow never came out with an earlier one again; where nothing
        could be lost, every answer found who had asked; and no number is free twice, or lost if nobody died."""
        lives: dict[int, list[int]] = {}
        for went in self._in_order():
            seen = lives.setdefault(went.port, [])
            if not seen or seen[-1] != went.born:
                seen.append(went.born)
        for port, seen in lives.items():
            if len(set(seen)) != len(seen) or (len(seen) > 1 and not flows_end):
                raise Violation(f"(k) ports: port {port} was with flows born {seen}, in that order")
        self._check_numbers()
        history = self.history
        safe = (self.mode.strict and len(history.deaths) < 2) or not history.deaths
        if safe and not flows_end:
            astray = [mark for reason, mark in history.dropped if mark in self.answers and reason.startswith("nat_")]
            if astray:
                went = self.answers[astray[0]]
                raise Violation(f"(k) ports: answer {astray[0]} to port {went.port} did not find flow {went.flow}")

    def _check_numbers(self) -> None:
        """Each is with a flow, or free, or on its way home; or it was last with a life that has died. (Where nothing
        may leave without a replica, and there is none, what was given back rests until there is one.)"""
        there: list[int] = []
        living = self.living()
        for runtime in living:
            there += [number for number, _ in self._with_flows(runtime)]
            pools = runtime.node.roles[POOLS]
            assert isinstance(pools, Pools)
            for stock in pools.stocks.values():
                there += [*stock.pool.free_numbers().tolist(), *stock.to_return.tolist()]
        leases = self.network.nodes[COORDINATOR].roles[LEASES]
        assert isinstance(leases, Leases)
        held = set[int]().union(*map(leases.book.held, leases.book._pools))
        there += set(range(self._ports)) - held
        twice = [number for number, count in Counter(there).items() if count > 1]
        if twice:
            raise Violation(f"(k) ports: number {twice[0]} is free, and somewhere else besides")
        if self.mode.kind is Replication.STRICT_HOLD and len(living) < 2:
            return
        lives = {Holder(runtime.node.name, runtime.node.life) for runtime in living}
        for number in sorted(set(range(self._ports)) - set(there)):
            last = self._whereabouts.last(number)
            if last is None or (last in lives and not self._may_have_ended_with_the_dead(number)):
                where = "the leaser" if last is None else last.node
                raise Violation(f"(k) ports: number {number} is lost, and was last with {where}, which lives")

    def _may_have_ended_with_the_dead(self, number: int) -> bool:
        """Whether the flow that had it has had packets, or told its end, at a runtime which has died since: flows that
        have been idle for long come to a target and end there in one event, and nobody has seen them there."""
        if number not in self._last_with:
            return False
        flow, since_us = self._last_with[number]
        dead, history = {death.node for death in self.history.deaths}, self.history
        later = [(entry.node, entry.time_us, entry.born) for entry in history.processed]
        later += [(end.node, end.time_us, end.ended.born) for end in history.ends]
        return any(node in dead and at >= since_us and history.flow_of[born] == flow for node, at, born in later)
