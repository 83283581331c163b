"""Flows that a dead runtime was to send to this one, and whose state nobody has: those that it had turned begin anew.

The switch has them as ours, in the epoch that they were to come with. Were they just let go of, the next packet would
begin a flow of the first epoch, which nobody could move or claim, as every order for it would be older than what the
switch knows; and where no packet came, the switch would have them for ever.

What it had not turned is not ours, and just let go of. But the switches let go of it at the same time, and what they
had kept for it may begin anew here as well, as a flow of the first epoch, while it is still held. If packets were there
before their switch was asked, its answer is certain: either it has the flow as ours, and they begin it; or they came
from a switch that has begun again since, and are not to be processed. If they came while it was being asked, it is
asked once more.
"""

from collections.abc import Callable

import attrs
import numpy as np

from nfactor.cluster.holding import Holding
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
            _Question(switch, keys.at(places), epochs[places])
            for switch, places in by_owner(keys, self._view.names("switch"))
        ]
        self._ask_next(node, source, questions)

    def _ask_next(self, node: str, source: str, questions: "list[_Question]") -> None:
        if not questions:
            self._nothing_comes(source)
            return
        question = questions.pop()
        keys, epochs = question.keys, question.epochs

        def found(answer: FlowStatuses | None) -> None:
            assert answer is not None, "switches do not leave"
            statuses = unpack_statuses(answer.statuses)
            self._settle()
            ours, waited_for = are(statuses, Status.OK), self._holding.have_packets(keys)
            unclear = waited_for & are(statuses, Status.UNKNOWN)
            if question.again:
                self._holding.lose(keys.where(unclear))
            elif unclear.any():
                questions.append(_Question(question.switch, keys.where(unclear), epochs[unclear], again=True))
            self._holding.let_go(keys.where(~ours & ~unclear))
            self._begin(keys.where(ours), epochs[ours])
            self._ask_next(node, source, questions)

        words = FindTurned(node, keys.octets(), pack_u32(epochs))
        self._ask(question.switch, LIAISON, words, FlowStatuses, found)

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
        statuses = self._engine.install(keys, epochs, records)
        assert not statuses.any(), "what is to come is held"
        self._holding.came(keys)
        self._adopted(keys)
        self._drain()


@attrs.frozen(eq=False)
class _Question:
    """Flows of which a switch is to say whether they are ours, in these epochs."""

    switch: str
    keys: FlowKeys
    epochs: Epochs
    again: bool = False
    """It was asked, and packets for them had come by the time that it had answered."""


_NEW = FlowHeader(last_ns=0, epoch=0, packets=0, initiator=NOBODY, closing=0)
