"""The messages of replication and recovery: what a primary, its replicas, the switch and the coordinator say.

``nfactor.cluster.messages`` has the rest, and says how keys, epochs and records travel.
"""

from nfactor.actors import message
from nfactor.cluster.messages import Member, Released
from nfactor.cluster.outcome_messages import EmittedRecords

# ---------------------------------------------------------------- replication


@message(tag=80, system=True)
class SetReplicas:
    """Coordinator → runtime: replicate flows to these runtimes, in turn. Reply: ``Done``."""

    term: int
    replicas: tuple[str, ...]
    """In the order in which they are to be taken; empty: there is no other runtime."""
    apart: tuple[str, ...]
    """Those of them that are in other failure domains than it: whatever has no replica gets one of these, where there
    are any."""
    packets: tuple[Released, ...] = ()
    """Of replicas that died: the commits whose packets the switches have seen."""
    outcomes: tuple[Released, ...] = ()
    """The same for what the outside has been told."""


@message(tag=81)
class StoreCommit:
    """Primary → replica: store the states, then release the rest. It is answered with ``CommitsStored``."""

    primary: str
    address: bytes
    """The primary's MAC address, by which the switch knows whose packets a receipt speaks of."""
    sequence: int
    changes: bytes
    """Of flows' states (``nfactor.dataplane.changes``)."""
    ended: bytes
    """Keys of flows that are no more."""
    packets: bytes
    """A packed burst: packets that go on."""
    reasons: tuple[str, ...]
    counts: tuple[int, ...]
    marks: bytes
    """Packets that were dropped, as in ``Outcomes``."""
    emitted: tuple[EmittedRecords, ...]
    to: bytes = b""
    """The replica's MAC address. A link may have kept the commit while it could not reach that life of the replica, and
    reach the next one: to that it means nothing."""


@message(tag=82, system=True)
class CommitsStored:
    """Replica → primary: every commit up to this one is stored, and what it held is released."""

    replica: str
    sequence: int
    to: bytes
    """The primary's MAC address, as of the commits."""


@message(tag=83)
class ForgetReplicas:
    """Primary → replica: these flows have moved away. They had these epochs; what has come back has a higher one.
    Reply: ``Done``."""

    primary: str
    keys: bytes
    epochs: bytes


# ---------------------------------------------------------------- failure


@message(tag=84, system=True)
class Heartbeat:
    """Runtime → coordinator and switch: it lives."""

    node: str
    address: bytes
    """Which life of it."""
    begun: int
    """How many migrations it has begun."""
    standing: int
    """The first of them of which it has not let go of everything; one more than that if there is none."""
    said_s: float
    """When it says so, by its own clock."""


@message(tag=115, system=True)
class SignHeard:
    """Coordinator or switch → runtime: its sign of life of then was heard."""

    address: bytes
    """Which life of it."""
    said_s: float


@message(tag=85, system=True)
class Witness:
    """Coordinator → switch: when was that runtime last heard of? Reply: ``LastHeard``."""

    runtime: bytes
    """Which life of which: its address."""
    dead_after_s: float
    """Who is silent for longer is taken for dead."""


@message(tag=116)
class AwaitLetGo:
    """Target → source: answer when you have let go of everything of that migration of yours, and of all before it.
    Reply: ``Done``."""

    migration: int


@message(tag=86)
class LastHeard:
    """So many seconds ago, or longer ago than the switch began."""

    seconds: float


# ---------------------------------------------------------------- recovery


@message(tag=87, system=True)
class Recover:
    """Coordinator → runtime: take over the flows of that dead runtime whose replicas are here. Reply: ``StepTaken``."""

    recovery: int
    node: str


@message(tag=88, system=True)
class TakeBack:
    """Coordinator → runtime: flows that were on their way to that dead runtime, and that no replica has claimed, come
    back. Reply: ``StepTaken``."""

    recovery: int
    node: str


@message(tag=89, system=True)
class RecoveryOver:
    """Coordinator → switches and runtimes: who has not claimed a flow of that runtime by now will not. Reply:
    ``StepTaken``."""

    recovery: int
    node: str


@message(tag=90, system=True)
class StepTaken:
    """A node's part of a step of a recovery is done."""

    flows: int = 0
    """Flows that this node took over in the step."""


@message(tag=91, system=True)
class ClaimFlows:
    """Runtime → switch: these flows of a dead runtime are mine now. Reply: ``FlowsClaimed``."""

    runtime: str
    dead: str
    keys: bytes
    epochs: bytes
    packets: bytes
    """How many packets of each flow the claimer's state includes, ``uint32``."""


@message(tag=92)
class FlowsClaimed:
    """OK: the claimer's. EXISTS: it belongs to a runtime that lives. UNKNOWN: it has ended. STALE: the claim is older
    than what the switch knows."""

    statuses: bytes
    owners: tuple[str, ...]
    """Where the status is EXISTS, in order, the runtime that owns the flow."""


@message(tag=97)
class FinishFlows:
    """Replicas → flow table of another runtime: the states that a dead runtime was about to send there. Reply:
    ``FlowStatuses``; those that are there already, or are not to come from that one, are refused."""

    dead: str
    keys: bytes
    epochs: bytes
    records: bytes


@message(tag=93)
class FindTurned:
    """Runtime → switch: whether that runtime, itself or one that is dead, has these flows in these epochs. Reply:
    ``FlowStatuses``, OK for those of which it is so, EXISTS where it has the flow in another epoch."""

    runtime: str
    keys: bytes
    epochs: bytes


@message(tag=98, system=True)
class ForgoFlows:
    """Runtime → switch: it has the states of these flows of a dead runtime and no room for them; who claims them in
    such an epoch, or a lower one, comes too late. Reply: ``FlowStatuses``, OK for those that end by that."""

    runtime: str
    dead: str
    keys: bytes
    epochs: bytes


# ---------------------------------------------------------------- nodes that come back


@message(tag=100, system=True)
class Join:
    """A node that has begun, or begun again → membership: it wants to be in the cluster. Reply: ``Done``, when all
    know."""

    member: Member


@message(tag=101, system=True)
class ReadState:
    """A coordinator that has begun again → any node: what does it know of the cluster? Reply: ``KnownState``."""


@message(tag=102)
class KnownState:
    """What a node knows of the cluster."""

    term: int
    members: tuple[Member, ...]
    unfinished: tuple[str, ...]
    """Nodes that are dead, and whose recovery is not over as far as the node knows."""
    gone: tuple[Member, ...]
    """The last lives of nodes that were in it and are not."""


@message(tag=103, system=True)
class ReportFlows:
    """A switch that has begun again → runtime: which flows have you, of keys that are mine? To be answered by who has
    a view of that term, or a later one. Reply: ``FlowsReported``."""

    switch: str
    term: int
    start: int
    """0, or ``following`` of the answer before."""


@message(tag=99, system=True)
class AwaitTable:
    """Runtime → switch, which may have begun again. Reply: ``Done``, when it knows again which flow is where."""


@message(tag=104)
class FlowSet:
    """Flows of one owner."""

    owner: str
    index: int
    """The owner's number among runtimes."""
    keys: bytes
    epochs: bytes
    packets: bytes
    """How many packets of each the owner has had, ``uint32``."""
    perhaps: bool
    """They may have ended, or moved, and their keys may have begun anew elsewhere."""


@message(tag=107)
class AliasSet:
    """Aliases of flows (``dataplane.aliases.Told``)."""

    keys: bytes
    aliases: bytes
    turns: bytes


@message(tag=108)
class ForgetAliases:
    """Switch → switch: flows with those keys do not answer to those of yours any more. Reply: ``Done``."""

    aliases: bytes
    keys: bytes


@message(tag=105)
class FlowsReported:
    """Flows that a runtime has, that it has turned to others, and that it keeps for runtimes that are dead."""

    sets: tuple[FlowSet, ...]
    aliases: tuple[AliasSet, ...]
    """Of flows here or of those copies: all that are the switch's, whosever the flows are, or whose flows are."""
    following: int
    """Where the next answer is to begin; 0: this is the last."""


@message(tag=106, system=True)
class LaunchRuntime:
    """Membership → outside, which has the means: start the runtime of that number, in that failure domain, unless it
    has been started. It will ask to ``Join``. Reply: ``RuntimeLaunched``, at once."""

    index: int
    domain: str


@message(tag=117)
class RuntimeLaunched:
    """Outside → membership."""

    is_coming: bool
    """Not if that one has been in the cluster already: another number is needed."""


@message(tag=94, system=True)
class NodeRecovered:
    """Coordinator → outside: a runtime was lost, and its flows are served again. Reply: ``Done``."""

    node: str
    flows: int
    """Flows that were taken over from replicas."""
    seconds: float
    """From the last sign of life until now."""


@message(tag=95, system=True)
class ReadFalseAlarms:
    """Anyone → membership. Reply: ``FalseAlarms``."""


@message(tag=96)
class FalseAlarms:
    """How often a runtime was suspected, and a switch had heard of it."""

    count: int


@message(tag=109)
class LearnAliases:
    """Switch → switch: flows of this one answer to these keys of yours again, which were said to have ended. Reply:
    ``Done``."""

    keys: bytes
    aliases: bytes
    turns: bytes
