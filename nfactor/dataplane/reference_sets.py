"""The reference engine's operations on sets of flows: phases, and states that come and go."""

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nfactor.dataplane import flow_row
from nfactor.dataplane.chain import Chain
from nfactor.dataplane.engine import Engine, Epochs, Keys, Records, Status, Statuses
from nfactor.dataplane.flow_row import ProcessPkt, Row
from nfactor.packet.flow_key import FlowKeys


class ReferenceSets(Engine):
    """One row per flow, by key, oldest first."""

    _chain: Chain
    _rows: dict[bytes, Row]
    _active: int
    _flows_max: int

    @abstractmethod
    def _pack(self, row: Row) -> bytes:
        """The record of a flow."""

    @abstractmethod
    def _unpack(self, row: Row, record: bytes) -> None:
        """A flow is what a record says."""

    @abstractmethod
    def _nf_error(self, process_pkt: ProcessPkt | None, error: Exception) -> int:
        """An NF has failed."""

    def pick(self, flows_max: int) -> tuple[FlowKeys, Epochs]:
        """See ``Engine.pick``."""
        picked: list[Row] = []
        for row in reversed(self._rows.values()):
            if len(picked) == flows_max:
                break
            if row.phase == flow_row.ACTIVE:
                row.leave()
                picked.append(row)
        return FlowKeys.of(row.key for row in picked), np.array([row.epoch for row in picked], np.uint32)

    def pin(self, keys: Keys) -> tuple[Epochs, Statuses]:
        """See ``Engine.pin``."""
        statuses = self._each(keys, flow_row.ACTIVE, Row.leave)
        rows = (self._rows.get(key) for key in keys)
        return np.array([0 if row is None else row.epoch for row in rows], np.uint32), statuses

    def belonging(self) -> tuple[FlowKeys, npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
        """See ``Engine.belonging``."""
        rows = [row for row in self._rows.values() if row.phase < flow_row.HELD]
        bonds = self._chain.bonds
        values = [[getattr(row.steps[bond.place][1], bond.field) for bond in bonds] for row in rows]
        free = np.array([row.phase == flow_row.ACTIVE for row in rows], bool)
        return FlowKeys.of(row.key for row in rows), np.array(values, np.uint64).reshape(len(rows), len(bonds)), free

    def unpin(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """See ``Engine.unpin``."""
        new = {} if epochs is None else dict(zip(keys, epochs.tolist(), strict=True))
        return self._each(keys, flow_row.LEAVING, lambda row: row.stay(new.get(row.key, row.epoch)))

    def depart(self, keys: Keys) -> tuple[Records, Statuses]:
        """See ``Engine.depart``."""
        records = np.zeros((len(keys), self.record_size), np.uint8)
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase != flow_row.LEAVING:
                statuses[index] = Status.UNKNOWN
                continue
            records[index] = np.frombuffer(self._pack(row), np.uint8)
            self._deallocate(row)
            row.phase, row.steps = flow_row.GONE, ()
            self._active -= 1
        return records, statuses

    def _deallocate(self, row: Row) -> None:
        for function, fs in zip(self._chain.functions, row.states(), strict=True):
            try:
                function.deallocate_fs(fs)
            except Exception as error:
                self._nf_error(function.process_pkt, error)

    def hold(self, keys: Keys, epochs: Epochs) -> Statuses:
        """See ``Engine.hold``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            row = self._rows.get(key)
            if row is None:
                if len(self._rows) >= self._flows_max:
                    statuses[index] = Status.FULL
                    continue
                self._rows[key] = Row(key, epoch, flow_row.HELD)
            elif row.phase != flow_row.GONE:
                statuses[index] = Status.EXISTS
            elif row.epoch >= epoch:
                statuses[index] = Status.STALE
            else:
                self._rows[key] = Row(self._rows.pop(key).key, epoch, flow_row.HELD)  # now the newest of all
        return statuses

    def install(self, keys: Keys, epochs: Epochs, records: Records) -> Statuses:
        """See ``Engine.install``."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, (key, epoch) in enumerate(zip(keys, epochs.tolist(), strict=True)):
            row = self._rows.get(key)
            if row is None or row.phase != flow_row.HELD:
                statuses[index] = Status.UNKNOWN
            elif epoch < row.epoch:
                statuses[index] = Status.STALE
            else:
                self._unpack(row, records[index].tobytes())
                row.epoch, row.phase = epoch, flow_row.ACTIVE
                self._active += 1
        return statuses

    def release(self, keys: Keys) -> Statuses:
        """See ``Engine.release``."""
        return self._each(keys, flow_row.HELD, self._remove)

    def forget(self, keys: Keys, epochs: Epochs | None = None) -> Statuses:
        """See ``Engine.forget``."""
        return self._each(keys, flow_row.GONE, self._remove, below=epochs)

    def _each(self, keys: Keys, phase: int, action: Callable[[Row], None], *, below: Epochs | None = None) -> Statuses:
        """Do ``action`` for every key whose row is in that phase, and of an epoch ``below``; UNKNOWN for the others."""
        statuses = np.zeros(len(keys), np.uint8)
        for index, key in enumerate(keys):
            row = self._rows.get(key)
            if row is None or row.phase != phase or (below is not None and row.epoch >= below[index]):
                statuses[index] = Status.UNKNOWN
            else:
                action(row)
        return statuses

    def _remove(self, row: Row) -> None:
        del self._rows[row.key]

    def copy(self, keys: Keys) -> tuple[Epochs, Records, Statuses]:
        """See ``Engine.copy``."""
        records, statuses = np.zeros((len(keys), self.record_size), np.uint8), np.zeros(len(keys), np.uint8)
        epochs = np.zeros(len(keys), np.uint32)
        for index, row in enumerate(map(self._rows.get, keys)):
            if row is None or row.phase >= flow_row.HELD:
                statuses[index] = Status.UNKNOWN
            else:
                epochs[index], records[index] = row.epoch, np.frombuffer(self._pack(row), np.uint8)
        return epochs, records, statuses

    def keys(self) -> FlowKeys:
        """See ``Engine.keys``."""
        return FlowKeys.of(row.key for row in self._rows.values() if row.phase <= flow_row.LEAVING)
