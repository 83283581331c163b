"""Schedules of faults: what there may be in one.

Random faults at random moments seldom hit anything: a migration takes a millisecond, and so does a commit. So traffic
comes in gatherings of a few milliseconds around orders to migrate, and most faults are *deeds*: they wait for a step of
a protocol, known by the kind of its message, and strike there, some of them together.
"""

from enum import Enum

import attrs

from nfactor.testing.heap import Clock
from nfactor.testing.limits import Limits

SENDER, RECEIVER = "sender", "receiver"
DEADLY_US = 1_000_000
"""Who is silent for longer than this may be declared dead."""
TRAFFIC_US = 30_000
LONG_TRAFFIC_US = 2_500_000
GATHERING_US = 2_500
"""Packets that come together do within so long."""
ROUND_US = 1_700_000
"""A death is seen and made good for within so long; then there may be another one."""


MOVING = ("PrepareFlows", "RedirectFlows", "InstallFlows", "FlowsInstalled", "FlowStatuses")
STORING = ("StoreCommit", "StoreCommit", "CommitsStored", "Outcomes", "ForgetReplicas")
MENDING = ("NotifyClusterCfg", "SetReplicas", "Recover", "ClaimFlows", "FlowsClaimed", "FinishFlows", "TakeBack",
           "StepTaken", "RecoveryOver", "Witness", "ViewTaken")  # fmt: skip
BEGINNING = ("Join", "ReportFlows", "FlowsReported", "ReadState", "KnownState", "NotifyClusterCfg")
ENDING = ("ExpireFlows", "FlowStatuses")
"""Messages at which it matters most what happens: before another hears of a step, or before it does itself."""


class What(Enum):
    """What happens at a step."""

    DIE = "a node dies before the message is handled"
    DIE_BEHIND = "it dies when the message has been handled"
    LOSE = "the session between the two ends, which loses the message and what else is on its way"
    CUT = "nothing more comes from the sender to the receiver for a while"
    MUTE = "the same the other way: the message is handled, and whoever sent it does not hear of it"
    FADE = "nothing more comes from the sender to the receiver, and after a while the sender dies"
    SPLIT = (
        "the nodes are in two groups, the sender in one and the receiver in the other, which do not hear of each other"
    )
    ISOLATE = "a node hears of nobody for a while, and nobody of it; packets come and go"
    SLEEP = "a node does nothing for a while, and hears everything later"
    STIR = "packets come, and flows set out from the sender, perhaps to the receiver"


@attrs.frozen
class Deed:
    """A fault at a step of a protocol: at the message of that kind before which there were so many."""

    kind: str
    """The class of the message; of a question or an answer, the class of what is inside."""
    before: int
    what: What
    who: str = SENDER
    """SENDER, RECEIVER or the name of a node."""
    length_us: int = 0
    """Of a cut, a partition or a sleep."""
    round: int = 0
    """Messages are counted from the beginning of that round on."""
    again_us: int = 0
    """So long after its death the node begins again (0: a runtime never does)."""


@attrs.define
class Schedule:
    """What a run is made of. Times are from the beginning of the traffic, in microseconds."""

    scenario: str
    seed: int
    runtimes: int = 3
    switches: int = 1
    mode: str = "strict"
    flows: int = 4
    bursts: int = 40
    migrations: int = 4
    traffic_us: int = TRAFFIC_US
    """For so long there is traffic: shorter than it takes to see that somebody is dead, or longer than all that follows
    from it."""
    rounds: int = 1
    """So often traffic begins, ``ROUND_US`` apart."""
    gatherings: int = 0
    """Around so many moments packets come, and flows set out; 0: at any time."""
    keep_messages: bool = True
    keep_packets: bool = True
    """Whether what a node had sent when it died arrives."""
    flows_end: bool = False
    reluctant: float = 0.0
    """The part of flows that a target of a migration refuses to hold."""
    kill_at: list[tuple[int, str]] = attrs.Factory(list)
    """Deliveries of messages (counted from the beginning of the traffic) before which a node dies."""
    deeds: list[Deed] = attrs.Factory(list)
    pauses: list[tuple[int, str, int]] = attrs.Factory(list)
    """When, who, for how long."""
    broken: list[tuple[int, str, str]] = attrs.Factory(list)
    """When a session between two nodes ends."""
    cuts: list[tuple[int, str, str, int]] = attrs.Factory(list)
    """When nothing from one node reaches another, and for how long."""
    splits: list[tuple[int, tuple[str, ...], int]] = attrs.Factory(list)
    """When no message passes between these nodes and all others, and for how long. A single runtime that is so for
    longer than ``DEADLY_US`` is declared dead, and lives."""
    slow_us: dict[str, int] = attrs.Factory(dict)
    """Nodes from and to which all messages take so much longer while there is traffic."""
    restart_after_us: dict[str, int] = attrs.Factory(dict)
    """Who of those that are killed begins again, and how long after."""
    domains: tuple[str, ...] = ()
    """Failure domains of the runtimes, in order."""
    launches: bool = False
    """Runtimes are started where too few are left."""
    ports: int = 0
    """Of a NAT through which flows go, if any; and how many a runtime is leased at once."""
    block: int = 1
    limits: Limits = attrs.Factory(Limits)
    port_loss: float = 0.0
    marker_loss: float = 0.0
    """Of frames that nodes send to each other: markers, and receipts."""
    links_keep: bool = False
    """What links could not deliver to a node that has died is for its next life."""
    clocks: dict[str, Clock] = attrs.Factory(dict)
    """Of nodes whose clocks show another time, in all of their lives, or go at another rate."""
