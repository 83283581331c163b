"""Which flows of a runtime set out: as many as are wanted, and those that belong together as one."""

from nfactor.cluster.holding import Holding
from nfactor.dataplane import together
from nfactor.dataplane.engine import Engine, Epochs
from nfactor.dataplane.together import Groups
from nfactor.packet.flow_key import FlowKeys


class Picking:
    """Beside the engine of a runtime. ``holding`` knows which flows have just come, and may not set out yet."""

    def __init__(self, engine: Engine, holding: Holding) -> None:
        self._engine = engine
        self._holding = holding
        self._passed_over = 0
        """Flows that were not picked, as too many belong together (the counter of ``GROUP_FLOWS_MAX``)."""

    def pick(self, flows_max: int) -> tuple[FlowKeys, Epochs, Groups | None]:
        """Pin flows; which of them belong together, if any may."""
        if self._engine.chain.bonds:
            picked = together.pick(self._engine, flows_max, self._holding.has_just_come)
            self._passed_over += picked.passed_over
            return picked.keys, picked.epochs, picked.groups
        keys, epochs = self._engine.pick(flows_max)
        early = self._holding.has_just_come(keys)
        if early.any():
            self._engine.unpin(keys.where(early))
            keys, epochs = keys.where(~early), epochs[~early]
        return keys, epochs, None

    def counters(self) -> dict[str, int]:
        """What was refused."""
        return {"together.passed_over": self._passed_over} if self._engine.chain.bonds else {}
