"""Actors on trio: bounded mailboxes, supervision, reliable messages between nodes."""

from nfactor.actors.actor import Actor as Actor, Context as Context, handles as handles
from nfactor.actors.incarnation import incarnation_now as incarnation_now
from nfactor.actors.instrument import DeadLetter as DeadLetter, Instrument as Instrument
from nfactor.actors.lane_statistics import LaneStatistics as LaneStatistics
from nfactor.actors.link import Link as Link
from nfactor.actors.link_statistics import LinkStatistics as LinkStatistics
from nfactor.actors.mailbox import MailboxStatistics as MailboxStatistics, Overflow as Overflow
from nfactor.actors.message import Messages as Messages, message as message
from nfactor.actors.node import Node as Node, open_node as open_node
from nfactor.actors.node_statistics import NodeStatistics as NodeStatistics
from nfactor.actors.outbox import LinkLimits as LinkLimits
from nfactor.actors.peer import PeerStatistics as PeerStatistics
from nfactor.actors.ref import Ref as Ref
from nfactor.actors.session import Ended as Ended
from nfactor.actors.supervisor import (
    Restart as Restart,
    Strategy as Strategy,
    Supervisor as Supervisor,
    SupervisorStatistics as SupervisorStatistics,
    open_supervisor as open_supervisor,
)
from nfactor.actors.table import (
    ActorTable as ActorTable,
    handles_batch as handles_batch,
    handles_keyed as handles_keyed,
)
from nfactor.actors.timers import Timer as Timer
from nfactor.actors.tracing import TraceContext as TraceContext, current_trace as current_trace, trace as trace
from nfactor.actors.watch import Terminated as Terminated
