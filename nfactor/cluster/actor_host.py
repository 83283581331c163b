"""A role's surroundings on trio: the context of the actor that it is."""

from collections.abc import Callable

import trio

from nfactor.actors import Context, Ref
from nfactor.errors import MailboxFull


class ActorHost:
    """A ``nfactor.cluster.host.Host``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.node = context.node.name
        self.actor = context.name
        self.life = context.node.incarnation
        self._refs: dict[tuple[str, str], Ref] = {}
        self.refused = 0
        """Messages for which there was no room on the way."""

    def now(self) -> float:
        """See ``Host``."""
        return trio.current_time()

    def tell(self, node: str, actor: str, message: object) -> None:
        """See ``Host``. What the link has no room for is as lost as at the end of a session: what must arrive is sent
        again by its sender."""
        ref = self._refs.get((node, actor))
        if ref is None:
            ref = self._refs[node, actor] = self._context.node.ref(node, actor)
        try:
            ref.tell_nowait(message)
        except MailboxFull:
            self.refused += 1

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """See ``Host``."""
        self._context.start_soon(self._later, seconds, call)

    async def _later(self, seconds: float, call: Callable[[], None]) -> None:
        await trio.sleep(seconds)
        call()
