"""Which runtimes of a cluster on the event heap have died, or will be declared dead, and what they had promised."""

from collections import Counter
from typing import TYPE_CHECKING

from nfactor.cluster.addresses import Kind, address
from nfactor.cluster.names import COORDINATOR
from nfactor.cluster.view import View
from nfactor.testing.heap_members import Runtime
from nfactor.testing.judged import death_of
from nfactor.testing.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from nfactor.testing.heap_cluster import HeapCluster
    from nfactor.testing.lineage import Death

SILENT_US = 900_000
"""Whose last sign of life is so old may be dead: a second (DESIGN section 7), less what it takes to ask about it."""
TOLD_US = 50_000
"""A switch's word of it is heard so soon."""


class Deaths:
    """Writes them into the history of that cluster, each life once."""

    def __init__(self, cluster: "HeapCluster") -> None:
        self._cluster = cluster
        self.when_noted: Callable[[str], None] = lambda name: None
        """Called with the name of each, before anything happens to it."""
        self._noted: set[tuple[str, int]] = set()
        self._lingering: list[Death] = []
        """Those of runtimes that may live, of which the coordinator has not said that they are made good for."""
        self._seen = View()
        """The coordinator's view when it was last looked at, and its term."""
        self._term = 0
        self._members: set[tuple[str, int]] = set()
        """Lives of runtimes that were in it."""

    def note(self, name: str, *, lives: bool) -> None:
        """This life of a runtime ends now, or (``lives``) nobody will hear of it until it is declared dead. Of what it
        does after that nothing is promised."""
        runtime = self._cluster.runtimes[name]
        if runtime.node.alive and (name, runtime.node.life) not in self._noted:
            self._noted.add((name, runtime.node.life))
            self.when_noted(name)
            death = death_of(self._cluster, runtime, self._cluster.network.now_us, overlaps=self._overlaps(runtime))
            self._cluster.history.deaths.append(death)
            if lives:
                self._lingering.append(death)

    def silence(self, name: str) -> None:
        """It will be declared dead, for nobody will hear of it for so long; who is not in the cluster yet will not."""
        view, runtime = self._cluster.membership.view, self._cluster.runtimes[name]
        if not view.term or self._is_member(name, runtime.node.life):
            self.note(name, lives=True)

    def note_recovered(self, name: str) -> None:
        """The death of that runtime is made good for: by now nobody takes anything from who lives on."""
        for death in self._lingering:
            if death.node == name:
                death.until_us = self._cluster.network.now_us
        self._lingering = [death for death in self._lingering if death.node != name]

    def note_declared(self) -> None:
        """Runtimes that have just been declared dead, and that live: short faults that come together may silence one
        for too long, which nobody has planned."""
        view = self._cluster.membership.view
        if not view.term or (view is self._seen and view.term == self._term):
            return
        begun_again = view is not self._seen
        self._seen, self._term = view, view.term
        lives = [(name, runtime.node.life) for name, runtime in self._cluster.runtimes.items()]
        members = {life for life in lives if self._is_member(*life)}
        for name, life in [life for life in lives if life in self._members - members]:
            if begun_again and not self._is_known(name, life):
                continue  # the coordinator that had let it in has told nobody: it has yet to join
            if self._cluster.network.nodes[name].alive:
                self._was_silent(name)
            self.note(name, lives=True)
        self._members = members

    def _was_silent(self, name: str) -> None:
        """(i) Who lives is declared dead only if neither the coordinator has heard of it lately, nor a switch whose
        word the coordinator has heard since."""
        heard_us, now_us = self._cluster.network.heard_us, self._cluster.network.now_us
        for other in (COORDINATOR, *self._cluster.switches):
            asked_us = max(heard_us[COORDINATOR, other, "Witness"], default=0)
            told_us = max(heard_us[other, COORDINATOR, "LastHeard"], default=0)
            has_told = asked_us < told_us and now_us - told_us < TOLD_US
            until_us = now_us if other == COORDINATOR else asked_us if has_told else 0
            at_us = max((time for time in heard_us[name, other, "Heartbeat"] if time < until_us), default=-SILENT_US)
            if now_us - at_us < SILENT_US:
                raise Violation(
                    f"(i) liveness: {name} lives and was declared dead, though {other} had heard of it "
                    f"{(now_us - at_us) / 1000:g} ms before"
                )

    def _is_member(self, name: str, life: int) -> bool:
        number = self._cluster.runtimes[name].number
        return self._cluster.membership.view.is_life(name, address(Kind.RUNTIME, number, life))

    def _is_known(self, name: str, life: int) -> bool:
        """Whether anybody but the coordinator has heard that this life is in the cluster."""
        where = address(Kind.RUNTIME, self._cluster.runtimes[name].number, life)
        everybody = self._cluster.runtimes, self._cluster.switches
        views = [node.view.known for nodes in everybody for node in nodes.values()]
        return any(name in known and known[name].address == where for known in views)

    @property
    def are_seen(self) -> bool:
        """Whether the coordinator knows the cluster, and of all of them."""
        known = self._cluster.membership.view.term > 0
        return known and not any(self._is_member(*life) for life in self._noted)

    @property
    def living(self) -> int:
        """How many were declared dead, or were to be, and live."""
        nodes = self._cluster.network.nodes
        return sum((nodes[name].life, nodes[name].alive) == (life, True) for name, life in self._noted)

    def _overlaps(self, dying: Runtime) -> bool:
        """Whether an earlier death is not made good for: its recovery is not over, or flows have not another replica
        yet, or who is dying has none now, and alone tells of flows that have ended. Those in the failure domain of who
        is dying now are one with this one, unless one elsewhere has died before: from then on a replica may be in its
        owner's domain, as nobody else was there to be it."""
        cluster = self._cluster
        own, deaths, noted = cluster.domains[dying.number], cluster.history.deaths, self._noted
        elsewhere = {name for name, other in cluster.runtimes.items() if cluster.domains[other.number] != own}
        if not deaths or (elsewhere and elsewhere.isdisjoint(death.node for death in deaths)):
            return False
        # The coordinator may have begun again, and know of nobody yet.
        lives = [one for name, one in cluster.runtimes.items() if one.node.alive and (name, one.node.life) not in noted]
        alone = cluster.mode.replicates and not dying.flows.replicator._deal.replicas
        unprotected = any(runtime.flows.replicator.unprotected_flows() for runtime in (dying, *lives))
        recovered = Counter(event.node for event in cluster.recovered)
        return alone or unprotected or Counter(death.node for death in deaths) != recovered
