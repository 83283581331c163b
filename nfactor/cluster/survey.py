"""Asks the nodes what they know of their cluster, for a coordinator that has begun again.

The view of the highest term is the cluster's: whoever has it was told so, and who has been told of no death has done
nothing that a death asks for. Switches and the outside are waited for (nothing can be fenced without them), and
runtimes for as long as it takes to call one dead.
"""

from collections.abc import Callable, Collection
from functools import partial

from nfactor.cluster.addresses import life_of
from nfactor.cluster.host import Host
from nfactor.cluster.messages import Member
from nfactor.cluster.names import COLLECTOR, LIAISON, OUTSIDE
from nfactor.cluster.recovery_messages import KnownState, ReadState


class Survey:
    """Asks at once; ``ask`` as in ``Role``. ``then`` is called once with a term, members, who is dead and not
    recovered, and the last lives of all who are dead."""

    def __init__(
        self,
        ask: Callable[..., None],
        members: tuple[Member, ...],
        patience_s: float,
        host: Host,
        *,
        observed: bool,
        then: Callable[[int, tuple[Member, ...], Collection[str], dict[str, Member]], None],
    ) -> None:
        self._first = members
        self._then = then
        self._states: dict[str, KnownState] = {}
        self._needed = {member.name for member in members if member.kind == "switch"} | (
            {OUTSIDE} if observed else set()
        )
        self._wanted = self._needed | {member.name for member in members}
        self._is_patient = True
        self._over = False
        for name in sorted(self._wanted):
            role = COLLECTOR if name == OUTSIDE else LIAISON
            ask(name, role, ReadState(), KnownState, partial(self._answered, name))
        host.after(patience_s, self._lose_patience)

    def _answered(self, name: str, answer: KnownState | None) -> None:
        if answer is not None:
            self._states[name] = answer
        self._needed.discard(name)
        self._wanted.discard(name)
        self._look()

    def _lose_patience(self) -> None:
        self._is_patient = False
        self._look()

    def _look(self) -> None:
        if self._over or self._needed or (self._wanted and self._is_patient):
            return
        self._over = True
        latest = max(self._states.values(), key=lambda state: state.term, default=KnownState(0, (), (), ()))
        members = latest.members or self._first
        names = {member.name for member in members}
        # A runtime that was declared dead, and lives, knows of no recovery's end, nor of its own.
        believed = [state for name, state in self._states.items() if name in names or name == OUTSIDE]
        unfinished = {name for state in believed for name in state.unfinished if name not in names}
        unfinished |= {member.name for state in believed for member in state.members if member.name not in names}
        gone = [member for state in believed for member in state.gone if member.name not in names]
        gone.sort(key=lambda member: life_of(member.address))
        self._then(latest.term, members, unfinished, {member.name: member for member in gone})
