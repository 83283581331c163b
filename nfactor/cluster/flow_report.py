"""What a runtime tells a switch that has lost its table: sets of flows, and what they also answer to."""

import numpy as np

from nfactor.cluster.messages import Member, pack_u32
from nfactor.cluster.ownership import by_owner
from nfactor.cluster.recovery_messages import AliasSet, FlowSet
from nfactor.dataplane.aliases import told_by
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.changes import packets_of
from nfactor.dataplane.engine import Epochs, Records
from nfactor.packet.flow_key import FlowKeys


class FlowReport:
    """To one of some switches, in order."""

    def __init__(self, switch: str, switches: list[str], chain: Chain) -> None:
        self._switch = switch
        self._switches = switches
        self._chain = chain
        self.sets: list[FlowSet] = []
        self.aliases: list[AliasSet] = []

    def add(self, owner: Member, keys: FlowKeys, epochs: Epochs, records: Records, *, perhaps: bool = False) -> None:
        """That runtime has these, or is about to have them; ``perhaps``: if the switch has not forgotten them."""
        mine = self._is_mine(keys)
        self.add_turned(owner, keys.where(mine), epochs[mine], records[mine], perhaps=perhaps)
        self.add_aliases(keys, records)

    def add_turned(
        self, owner: Member, keys: FlowKeys, epochs: Epochs, records: Records, *, perhaps: bool = False
    ) -> None:
        """These, all of them keys of that switch, were turned to that runtime, which goes on from those states, or from
        later ones."""
        counts = pack_u32(packets_of(records))
        self.sets.append(FlowSet(owner.name, owner.index, keys.octets(), pack_u32(epochs), counts, perhaps))

    def add_aliases(self, keys: FlowKeys, records: Records) -> None:
        """Wherever those flows are: aliases that are that switch's, and those of its flows."""
        if self._chain.has_aliases and len(keys):
            told = told_by(self._chain, keys, records)
            mine = self._is_mine(told.keys) | self._is_mine(told.aliases)
            self.aliases.append(
                AliasSet(told.keys.where(mine).octets(), told.aliases.where(mine).octets(), told.turns[mine].tobytes())
            )

    def _is_mine(self, keys: FlowKeys) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        mine = np.zeros(len(keys), bool)
        for switch, places in by_owner(keys, self._switches):
            if switch == self._switch:
                mine[places] = True
        return mine
