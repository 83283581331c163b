"""What replication does by the clock: states that lag behind, commits that were lost, flows that are to move."""

from collections.abc import Callable

from nfactor.cluster.host import Host
from nfactor.cluster.replicator import REREPLICATE_S, Replicator
from nfactor.protocols.replication import EVERY_S, RESEND_COMMITS_S, Kind, Mode


class ReplicationClock:
    """Beside a replicator. ``settle`` is called before anything is read from the engine."""

    def __init__(self, host: Host, replicator: Replicator, mode: Mode, settle: Callable[[], None]) -> None:
        self._host = host
        self._replicator = replicator
        self._settle = settle
        self._moves = False
        if mode.kind is Kind.EVERY:
            self._catch_up()
        if mode.replicates:
            self._resend()

    def _catch_up(self) -> None:
        """Under ``every``: no state lags behind for longer than this, however quiet it is."""
        self._settle()
        self._replicator.catch_up()
        self._host.after(EVERY_S, self._catch_up)

    def _resend(self) -> None:
        """What a session of the link has lost is sent again."""
        self._replicator.resend()
        self._host.after(RESEND_COMMITS_S, self._resend)

    def replicas_changed(self) -> None:
        """Flows may have to go to other replicas: little by little."""
        if not self._moves:
            self._move_on()

    def _move_on(self) -> None:
        self._settle()
        self._replicator.protect_more()
        self._moves = self._replicator.moves
        if self._moves:
            self._host.after(REREPLICATE_S, self._move_on)
