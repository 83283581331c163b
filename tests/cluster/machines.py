"""The same as ``tests.protocols.machines`` for what takes a cluster: machines of the switch and of the coordinator."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np

from nfactor.cluster.messages import ExpireFlows, NotifyClusterCfg, RedirectFlows, pack_u32
from nfactor.cluster.names import COORDINATOR, runtime_name, switch_name
from nfactor.cluster.plan import runtime_member, switch_member
from nfactor.cluster.recovery_messages import (
    ClaimFlows,
    FlowsReported,
    ForgoFlows,
    Heartbeat,
    Join,
    LastHeard,
    RecoveryOver,
)
from nfactor.dataplane.ends import ENDED_REMEMBER_S
from nfactor.dataplane.engine import Status
from nfactor.packet.flow_key import FlowKeys
from nfactor.protocols.replication import Mode
from nfactor.testing.heap_cluster import HeapCluster
from nfactor.testing.packets import burst_of, udp
from tests.protocols.machines import Table, tabled

OWNER, OTHER, SWITCH = runtime_name(0), runtime_name(1), switch_name(0)
MEMBERS = (switch_member(0, 1), runtime_member(0, 1, ""), runtime_member(1, 1, ""))
NOTHING = FlowsReported((), (), 0)


def cluster() -> HeapCluster:
    """Two runtimes, whose flows are replicated, and nothing under way."""
    return HeapCluster(Random(1), runtimes=2, mode=Mode.parse("strict"))


class KeyAtSwitch:
    """One key, whose flow begins at ``OWNER``, at a switch to which everything is said by hand."""

    def __init__(self) -> None:
        made = cluster()
        self.switch, self.dispatcher = made.switches[SWITCH].role, made.switches[SWITCH].dispatcher
        self.burst, self.count, self.now = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 9, b"")]), 0, 0.0
        self.owner, self.epoch = OWNER, 1
        self.packet()
        self.key = FlowKeys.of(self.dispatcher._entries)
        for member in MEMBERS[1:]:
            self.switch.heard(Heartbeat(member.name, member.address, 0, 1, 0.0))

    def packet(self) -> None:
        """One of that key."""
        self.switch.packets_in(self.burst)
        self.count += 1

    def _higher(self) -> bytes:
        self.epoch += 1
        return pack_u32(np.array([self.epoch], np.uint32))

    def do(self, event: str) -> bool:
        """Whether it was accepted."""
        keys = self.key.octets()
        answer: Any = None
        match event:
            case "a packet":
                self.packet()
            case "a view without the owner":
                self.switch.configure(NotifyClusterCfg(9, (MEMBERS[0], MEMBERS[2])))
            case "RedirectFlows":
                answer = self.switch.redirect(RedirectFlows(1, OWNER, OTHER, keys, self._higher()))
            case "ClaimFlows":
                answer = self.switch.claim(ClaimFlows(OTHER, OWNER, keys, self._higher(), b""))
            case "ForgoFlows":
                answer = self.switch.forgo(ForgoFlows(OTHER, OWNER, keys, self._higher()))
            case "ExpireFlows":
                answer = self.switch.expire(ExpireFlows(OWNER, keys, pack_u32(np.array([self.count], np.uint32)), 0.0))
            case "RecoveryOver":
                self.switch.recovery_over(RecoveryOver(1, OWNER))
            case "other ends, 10 s later":
                later = self.switch.host.now() + ENDED_REMEMBER_S + 10.0
                self.dispatcher.heard(0, later)
                self.dispatcher._ends.remember(b"another", 0, later)
        return answer is not None and answer.statuses[0] == Status.OK

    @property
    def state(self) -> str:
        """Where the key is."""
        entry = self.dispatcher._entries.get(self.key[0])
        if entry is not None:
            return "orphaned" if entry.owner in self.switch._dead else "owned"
        return "ended" if (self.key[0], 0) in self.dispatcher._ends else "unknown"


KEY_EVENTS = (
    "a packet", "a view without the owner", "RedirectFlows", "ClaimFlows", "ForgoFlows", "ExpireFlows", "RecoveryOver",
    "other ends, 10 s later",
)  # fmt: skip
WAYS_TO_KEY = {
    "unknown": ("ExpireFlows", "other ends, 10 s later"),
    "owned": (),
    "orphaned": ("a view without the owner",),
    "ended": ("ExpireFlows",),
}


def key_at_switch() -> Table:
    """An entry of the table of owners."""

    def do(state: str, event: str) -> tuple[str, bool]:
        key = KeyAtSwitch()
        for way in WAYS_TO_KEY[state]:
            key.do(way)
        assert state == key.state
        accepted = key.do(event)
        return key.state, accepted

    return tabled(WAYS_TO_KEY, KEY_EVENTS, do)


def switch_again() -> Table:
    """A switch that has lost its table."""
    renewed = switch_member(0, 2)

    def do(state: str, event: str) -> tuple[str, bool]:
        made = cluster()
        made.kill(SWITCH)
        made.restart(SWITCH)
        switch = made.switches[SWITCH].role
        rebuild = switch._rebuild
        assert rebuild is not None

        def view(term: int, *members: Any) -> None:
            switch.configure(NotifyClusterCfg(term, members))

        if state != "joining":
            view(10, renewed, *MEMBERS[1:])
        if state == "serving":
            for name in (OWNER, OTHER):
                switch._reported(rebuild, rebuild.term, name, NOTHING)
        early, term, told = len(switch._earlier._early), rebuild.term, dict(rebuild.told) if rebuild.term else {}
        match event:
            case "a view with its earlier life" if state == "joining":  # later views have its present one
                view(11, *MEMBERS)
            case "a view that it is in" if state == "joining":
                view(11, renewed, *MEMBERS[1:])
            case "another view" if state != "joining":
                view(11, renewed, *MEMBERS[1:])
            case "a part of a report" if rebuild.term:
                switch._reported(rebuild, rebuild.term, OWNER, FlowsReported((), (), 7))
            case "the last part of the last report" if rebuild.term:
                for name in (OWNER, OTHER):
                    switch._reported(rebuild, rebuild.term, name, NOTHING)
        following = "serving" if switch._rebuild is None else "asking" if rebuild.term else "joining"
        more = following == "asking" and told != rebuild.told
        return following, len(switch._earlier._early) > early or more or rebuild.term > term

    events = ("a view with its earlier life", "a view that it is in", "a part of a report", "another view")
    return tabled(("joining", "asking", "serving"), (*events, "the last part of the last report"), do)


def runtime_at_coordinator() -> Table:
    """Whether a runtime lives, as far as the coordinator can say."""

    def do(state: str, event: str) -> tuple[str, bool]:
        made = cluster()
        role, member = made.membership, MEMBERS[1]
        if state == "suspected":
            _fall_silent(made)
        if state in ("dead", "unknown"):
            role._declare_dead(OWNER)
        if state == "unknown":
            role._open.discard(OWNER)
        match event:
            case "silent for 1 s":
                _fall_silent(made)
            case "one of them has within 1 s" | "none has" if OWNER in role._suspicions.inquiries:
                made.membership._witnessed(OWNER, LastHeard(1.5 if event == "none has" else 0.5))
            case "it is heard again" if OWNER in role._suspicions.inquiries:
                role.heard(Heartbeat(OWNER, member.address, 0, 1, 0.0))
                role._witnessed(OWNER, LastHeard(1.5))
            case "OVER":
                role._open.discard(OWNER)
            case "Join" if state in ("dead", "unknown"):
                role.wants_in(Join(runtime_member(0, 2, "")))
        if OWNER in role.view:
            return "suspected" if OWNER in role._suspicions.inquiries else "living", False
        return "dead" if OWNER in role._open else "unknown", False

    events = ("silent for 1 s", "one of them has within 1 s", "it is heard again", "none has", "OVER", "Join")
    return tabled(("living", "suspected", "dead", "unknown"), events, do)


def _fall_silent(made: HeapCluster) -> None:
    role, now = made.membership, made.membership.host.now()
    role._suspicions.heard(OWNER, now - 1.01)
    for name in role._suspicions.to_ask_about(role._names("runtime"), now):
        role._inquire(name)


def watched(made: HeapCluster, state: Callable[[], str]) -> list[str]:
    """The states in which something is in the next seconds, in order."""
    states = [state()]

    def look(_: object) -> None:
        if state() != states[-1]:
            states.append(state())

    made.network.after = look
    made.network.run(made.network.now_us + 4_000_000)
    return states


def runtime_that_joins() -> list[str]:
    """Of a runtime that begins again at once, from its question on."""
    made = cluster()
    made.kill(OWNER)
    made.restart(OWNER)
    role, renewed = made.membership, runtime_member(0, 2, "")

    def state() -> str:
        if any(member == renewed for member, _ in role._joining):
            return "waiting"
        if renewed not in role._members:
            return ""
        if renewed.address in role._unknown:
            return "admitted"
        return "known" if any(member == renewed for member, _ in role._admissions.values()) else "member"

    return watched(made, state)[1:]


def coordinator_again() -> list[str]:
    """Of a coordinator that begins again."""
    made = cluster()
    made.kill(COORDINATOR)
    made.restart(COORDINATOR)
    role = made.membership
    return watched(made, lambda: "leading" if role._begun else "beginning" if role.view.term else "asking")


MACHINES: Final[dict[str, Callable[[], Table]]] = {
    "key, at its switch": key_at_switch,
    "runtime, to the coordinator": runtime_at_coordinator,
    "switch that begins again": switch_again,
}
WATCHED: Final[dict[str, Callable[[], list[str]]]] = {
    "runtime that joins, at the coordinator": runtime_that_joins,
    "coordinator that begins again": coordinator_again,
}
"""Machines of which each state has one that follows: the states through which a cluster went."""
