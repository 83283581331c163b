"""Asks for runtimes where those that live are too few to be each other's replicas."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from nfactor.cluster.host import Host
from nfactor.cluster.messages import Member
from nfactor.cluster.names import COLLECTOR, OUTSIDE, runtime_name
from nfactor.cluster.recovery_messages import LaunchRuntime, RuntimeLaunched

NEEDED = 2
"""Runtimes of which each can replicate to another."""
LAUNCH_AGAIN_S = 10.0
"""One that was asked for and has not come for so long will not; then it is another one's turn."""


class Launching:
    """``ask`` as in ``Role``; ``look`` is to be called again when something that was asked for has not come."""

    def __init__(self, ask: Callable[..., None], host: Host, again: Callable[[], None]) -> None:
        self._ask = ask
        self._host = host
        self._again = again
        self._waiting: set[str] = set()
        """Runtimes that were asked for and have not come."""
        self._last = -1
        """The highest number of a runtime so far."""

    def look(self, living: Sequence[Member], domains: Mapping[str, str]) -> None:
        """These live; ``domains`` are the failure domains of all runtimes that ever were in the cluster, by name. A new
        one is to be in a domain where none lives, if such a domain is known."""
        self._last = max([self._last, *(int(name.partition("-")[2]) for name in domains)])
        self._waiting -= domains.keys()
        for _ in range(NEEDED - len(living) - len(self._waiting)):
            self._last += 1
            free = {*domains.values()} - {member.domain for member in living}
            name, order = runtime_name(self._last), LaunchRuntime(self._last, min(free, default=""))
            self._waiting.add(name)
            self._ask(OUTSIDE, COLLECTOR, order, RuntimeLaunched, partial(self._answered, name))
            self._host.after(LAUNCH_AGAIN_S, partial(self._look_for, name))

    def _answered(self, name: str, answer: RuntimeLaunched) -> None:
        if not answer.is_coming:
            self._look_for(name)

    def _look_for(self, name: str) -> None:
        if name in self._waiting:
            self._waiting.discard(name)
            self._again()
