"""What replication does at an order and by the clock: other replicas, lagging states, commits that were lost."""

from collections.abc import Callable

from nfactor.cluster.host import Host
from nfactor.cluster.lag import STEPS_PER_TIME
from nfactor.cluster.recovery_messages import SetReplicas
from nfactor.cluster.replicator import Replicator
from nfactor.cluster.view import watermarks
from nfactor.protocols.replication import RESEND_COMMITS_S, Kind, Mode

REREPLICATE_S = 0.01
"""When replicas have changed, states go to the new ones little by little, so often, so that packets are not held up."""
REREPLICATION_FLOWS_MAX = 2000
"""So many at once: a million flows have a replica again within five seconds (DESIGN section 7)."""


class ReplicationClock:
    """Beside a replicator. ``settle`` is called before anything is read from the engine."""

    def __init__(self, host: Host, replicator: Replicator, mode: Mode, settle: Callable[[], None]) -> None:
        self._host = host
        self._replicator = replicator
        self._settle = settle
        self._step_s = mode.every_ms / 1000 / STEPS_PER_TIME
        self._moves = False
        self.has_replicas = False
        """Whether there is anybody to replicate to, as far as the coordinator has said."""
        self._term = 0
        """Of the view with which the last order was given."""
        if mode.kind is Kind.EVERY:
            self._next_step_s = host.now()
            self._step()
        if mode.replicates:
            self._resend()

    def _step(self) -> None:
        """Under ``every``: no state lags behind for longer than that, however quiet it is. Steps are due by the clock;
        who wakes late makes up for those that it has missed, up to what empties the list."""
        self._settle()
        missed = int((self._host.now() - self._next_step_s) / self._step_s)
        for _ in range(1 + min(missed, STEPS_PER_TIME)):
            self._replicator.step()
        self._next_step_s += (1 + missed) * self._step_s
        self._host.after(max(0.0, self._next_step_s - self._host.now()), self._step)  # it may have taken long

    def _resend(self) -> None:
        """What a session of the link has lost is sent again."""
        self._replicator.resend()
        self._host.after(RESEND_COMMITS_S, self._resend)

    def set_replicas(self, message: SetReplicas, address: bytes) -> None:
        """The coordinator's order to the runtime at this address; flows that have to go to other replicas do so little
        by little. Orders are given one after the other, so each counts that does not come behind a later one: even if
        the view has gone on meanwhile, the next one relies on it. It may be quicker than the view in which a switch
        has begun again."""
        if message.term < self._term:
            return
        self._term, self.has_replicas = message.term, len(message.replicas) > 0
        self._replicator.doubt([told.switch for told in message.packets if not told.replica])
        self._replicator.set_replicas(message.replicas, watermarks(message, address), apart=message.apart)
        if not self._moves:
            self._move_on()

    def _move_on(self) -> None:
        self._settle()
        self._replicator.protect_more(REREPLICATION_FLOWS_MAX)
        self._moves = self._replicator.moves
        if self._moves:
            self._host.after(REREPLICATE_S, self._move_on)
