"""Flows that a dead runtime had turned to this one, and whose state nobody has: they begin anew here.

The switch has them as ours, in the epoch that they were to come with. Were they just let go of, the next packet would
begin a flow of the first epoch, which nobody could move or claim, as every order for it would be older than what the
switch knows; and where no packet came, the switch would have them for ever. (A switch that has begun again since may
have them elsewhere: then what waits for them here is not to be processed.)
"""

from collections.abc import Callable

import numpy as np

from nfactor.cluster.holding import Holding, where_ok
from nfactor.cluster.messages import FlowStatuses, pack_u32, unpack_statuses
from nfactor.cluster.names import LIAISON
from nfactor.cluster.ownership import by_owner
from nfactor.cluster.recovery_messages import FindTurned
from nfactor.cluster.view import View
from nfactor.dataplane.chain import NOBODY, FlowHeader
from nfactor.dataplane.engine import Engine, Epochs, Status, are
from nfactor.packet.flow_key import FlowKeys


class Bereft:
    """``ask`` as in ``Role``; ``settle`` is called before the engine is touched, ``adopted`` with flows that began, and
    then ``drain``."""

    def __init__(
        self,
        engine: Engine,
        holding: Holding,
        view: View,
        ask: Callable[..., None],
        settle: Callable[[], None],
        drain: Callable[[], object],
        adopted: Callable[[FlowKeys], None],
    ) -> None:
        self._engine = engine
        self._holding = holding
        self._view = view
        self._ask = ask
        self._settle = settle
        self._drain = drain
        self._adopted = adopted
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        """By dead source, who waits until nothing of it is expected."""

    def begin_anew(self, node: str, source: str, then: Callable[[], None]) -> None:
        """Of the flows that this ``node`` holds for that source, those that the switches have as its own; the others
        are let go of, its recovery is over here, and ``then`` is called. Who asks anew meanwhile waits for the same: a
        coordinator that has begun again may let the source's next life in when both are answered."""
        self._waiting.setdefault(source, []).append(then)
        if len(self._waiting[source]) > 1:
            return
        keys, epochs = self._holding.held_from(source)
        questions = [
            (switch, keys.at(places), epochs[places]) for switch, places in by_owner(keys, self._view.names("switch"))
        ]
        self._ask_next(node, source, questions)

    def _ask_next(self, node: str, source: str, questions: list[tuple[str, FlowKeys, Epochs]]) -> None:
        if not questions:
            self._nothing_comes(source)
            return
        switch, keys, epochs = questions.pop()

        def found(answer: FlowStatuses | None) -> None:
            assert answer is not None, "switches do not leave"
            ours = are(unpack_statuses(answer.statuses), Status.OK)
            self._settle()
            self._holding.lose(keys.where(~ours))
            self._begin(keys.where(ours), epochs[ours])
            self._ask_next(node, source, questions)

        self._ask(switch, LIAISON, FindTurned(node, keys.octets(), pack_u32(epochs)), FlowStatuses, found)

    def _nothing_comes(self, source: str) -> None:
        self._settle()
        self._holding.give_up_from(source)
        self._drain()
        self._view.finish(source)
        for then in self._waiting.pop(source):
            then()

    def _begin(self, keys: FlowKeys, epochs: Epochs) -> None:
        chain = self._engine.chain
        fresh = b"".join(chain.pack(_NEW, chain.new_states()) for _ in range(len(keys)))
        records = np.frombuffer(fresh, np.uint8).reshape(len(keys), chain.record_size)
        here = where_ok(keys, self._engine.install(keys, epochs, records))
        self._holding.came(here)
        self._adopted(here)
        self._drain()


_NEW = FlowHeader(last_ns=0, epoch=0, packets=0, initiator=NOBODY, closing=0)
