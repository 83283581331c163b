"""The flow table of a virtual switch in rows of machine code: the same promises as ``dataplane.dispatch``.

What Python does here, it does once per burst or per set of flows; and for packets that are not plain, that come
labelled or that are for an alias, whose keys it finds one by one.
"""

import math
import os
from typing import Any, Final

import numpy as np

from nfactor.compiled import layout, native, owners as words, python_calls
from nfactor.compiled.flow_memory import MOVES, SLICE, FlowMemory
from nfactor.compiled.memory_map import Piece, Words
from nfactor.dataplane.aliases import Aliases, without
from nfactor.dataplane.ends import Ends
from nfactor.dataplane.engine import FLOWS_MAX, Counts, Epochs, Keys, Status, Statuses, are
from nfactor.dataplane.owners import SETTLE_S, DispatchStatistics, OwnerNumbers, Owners
from nfactor.errors import CallerError
from nfactor.packet import cluster_frame
from nfactor.packet.burst import BURST_PACKETS_MAX, Burst
from nfactor.packet.classifier import FlowClassifier
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.fields import Packet
from nfactor.packet.flow_key import FlowKeys, keys_array

_ROOM: Final = 2
"""Rows are so many times ``flows_max``: a table that is put together again may have flows that have ended meanwhile."""


class _Named:
    """A flow that answers to other keys."""

    __slots__ = ("aliases",)

    def __init__(self) -> None:
        self.aliases: tuple[bytes, ...] = ()


class CompiledDispatcher(Owners):
    """See ``Owners``."""

    def __init__(self, classifier: FlowClassifier, *, flows_max: int = FLOWS_MAX, secret: bytes | None = None) -> None:
        """``secret`` as in ``CompiledEngine``."""
        super().__init__(classifier)
        self._flows_max = flows_max
        self._secret = secret or os.urandom(KEY_OCTETS)
        self._context = word = Words(layout.CONTEXT_OCTETS)
        self._cx = word.address
        self._block = Piece(layout.PK_OCTETS * layout.BLOCK_PACKETS)
        self._guesses, self._columns = Piece(8 * layout.BLOCK_PACKETS), Piece(8 * layout.BLOCK_PACKETS)
        word[layout.BLOCK], word[layout.GUESSES] = self._block.address, self._guesses.address
        word[layout.COLUMNS] = self._columns.address
        word[layout.FIVE_TUPLE] = classifier.mode == "five-tuple"
        word[words.NEW_FLOWS_MAX], word[words.SWITCHES] = flows_max, 1
        self._seconds = word.array.view(np.float64)
        self._seconds[[words.SETTLE >> 3, words.LONG_AGO >> 3, words.NEVER >> 3]] = SETTLE_S, -np.inf, np.inf
        self._code: Any = native.load("", native.SWITCH)
        self._assign = python_calls.bind(self._code.address("assign"), word)
        self._ends = Ends()
        self._forgotten = 0
        self._make_room(BURST_PACKETS_MAX)
        self.clear()

    def clear(self) -> None:
        """See ``Owners.clear``."""
        word = self._context
        for count in (layout.ROWS_USED, layout.ROWS_TOUCHED, layout.OLD_INDEX):
            word[count] = 0
        self._memory = FlowMemory(word, _ROOM * self._flows_max, words.STATE_OCTETS, self._secret)
        self._aliases: Aliases[_Named] = Aliases(self._flows_max, self._note_gone)
        self._named: dict[bytes, _Named] = {}
        """Flows that have aliases, by key."""
        self._alias_keys: _KeySet | None = None
        word[words.ALIASES] = 0

    def _make_room(self, packets: int) -> None:
        """For notes of flows that begin."""
        self._fresh = np.zeros((packets, words.FRESH_OCTETS), np.uint8)
        self._context[words.FRESH] = _at(self._fresh)

    def _share_with(self, count: int, own: int) -> None:
        self._context[words.SWITCHES], self._context[words.OWN] = count, own

    def _spread_over(self, runtimes: list[int]) -> None:
        self._runtimes = np.array(runtimes, np.int64)
        self._context[words.RUNTIMES], self._context[words.RUNTIMES_COUNT] = _at(self._runtimes), len(runtimes)
        self._context[words.NEXT] = 0

    # ---------------------------------------------------------------- packets

    def assign(self, burst: Burst) -> tuple[OwnerNumbers, Burst]:
        """See ``Owners.assign``. Raises ``CallerError`` for a burst that is not as ``Burst`` says."""
        count = len(burst)
        if count > len(self._fresh):
            self._make_room(count)
        self._context[words.ENDS] = len(self._ends)
        owners = np.empty(count, np.int32)
        done = self._assign(burst, owners)
        if done != count:
            burst = self._go_on(burst, owners, done)
        if self._context[words.FRESH_COUNT]:
            self._note_fresh()
        return owners, burst

    def _go_on(self, burst: Burst, owners: OwnerNumbers, at: int) -> Burst:
        """It stopped at a packet whose key it does not find, or for the index to grow. The burst, with labels."""
        if at < 0:
            raise CallerError("a burst whose columns are not contiguous, or whose frames cannot be written")
        pkt, labels = Packet(burst.octets()), dict[int, tuple[bytes, int]]()
        while at < len(burst):
            if not self._memory.grow():
                owners[at] = self._look_up(pkt, burst, at)
                if pkt.label is not None:
                    labels[at] = pkt.label
                at += 1
                if self._context[layout.OLD_INDEX]:
                    self._code.grow(self._cx, MOVES)
            at = self._code.go_on_assigning(self._cx, _at(owners), at, len(burst))
        return cluster_frame.with_labels(burst, labels) if labels else burst

    def _look_up(self, pkt: Packet, burst: Burst, index: int) -> int:
        offset, length = int(burst.offsets[index]), int(burst.lengths[index])
        if offset < 0 or offset + length > len(pkt.data):
            raise CallerError(f"frame {index} of a burst lies outside its data: {length} octets at {offset}")
        key = self._key_of(pkt, offset, offset + length, int(burst.wire_lengths[index]))
        if isinstance(key, int):
            return key
        octets = np.frombuffer(key, np.uint8)
        owner: int = self._code.take_one(self._cx, _at(octets))
        return owner

    def _note_fresh(self) -> None:
        """Flows have begun while some are known to have ended."""
        for note in self._fresh[: self._context[words.FRESH_COUNT]]:
            self._ends.owns_again(note[:KEY_OCTETS].tobytes(), int(note[KEY_OCTETS:].view(np.int64)[0]))
        self._context[words.FRESH_COUNT] = 0

    def _has(self, key: bytes) -> bool:
        return bool(self._owners_of(FlowKeys.of_octets(key))[0] != words.NOBODY)

    def _owners_of(self, keys: Keys) -> OwnerNumbers:
        every, found = keys_array(keys), np.empty(len(keys), np.int32)
        self._code.owners_of(self._cx, _at(every), _at(found), len(keys))
        return found

    def _learn(self, alias: bytes, key: bytes, turn: int) -> None:
        if self._alias_keys is None:
            self._alias_keys = _KeySet(self._code, _ROOM * self._flows_max, self._secret)
            self._context[words.ALIASES] = self._alias_keys.address
        named = self._named.setdefault(key, _Named())
        before = named.aliases
        self._aliases.learn(alias, named, key, turn)
        if self._aliases.get(alias) is not None:
            self._alias_keys.add(alias)
        self._let_go(before)

    def unlearn(self, alias: bytes, key: bytes) -> None:
        """See ``Owners.unlearn``."""
        self._aliases.drop(alias, key)
        self._let_go((alias,))
        named = self._named.get(key)
        if named is not None:
            named.aliases = without(named.aliases, alias)  # it may be another flow's by now
            if not named.aliases:
                del self._named[key]

    def _let_go(self, aliases: tuple[bytes, ...]) -> None:
        """Those of them that are none any more are looked up as other keys are."""
        for alias in aliases:
            if self._alias_keys is not None and self._aliases.get(alias) is None:
                self._alias_keys.drop(alias)

    def _forget_aliases(self, keys: FlowKeys) -> None:
        for key in keys if self._named else ():
            named = self._named.pop(key, None)
            if named is not None:
                before = named.aliases
                self._aliases.forget(named)
                self._let_go(before)

    # ---------------------------------------------------------------- sets of flows

    def restore(self, keys: Keys, epochs: Epochs, packets: Counts, owner: int, *, now: float) -> None:
        """See ``Owners.restore``."""
        self._seconds[words.NOW >> 3] = now
        every, numbers, counts = keys_array(keys), _u32(epochs), _u32(packets)
        for start in range(0, len(keys), SLICE):
            self._memory.grow()
            count = min(SLICE, len(keys) - start)
            addresses = (_at(array[start:]) for array in (every, numbers, counts))
            self._code.restore(self._cx, *addresses, owner, count)
            if self._context[layout.OLD_INDEX]:
                self._code.grow(self._cx, MOVES * count)

    def redirect(self, keys: Keys, epochs: Epochs, *, source: int, target: int, now: float) -> Statuses:
        """See ``Owners.redirect``."""
        every, numbers = keys_array(keys), _u32(epochs)
        statuses, given = np.zeros(len(keys), np.uint8), np.zeros(len(keys), np.bool_)
        self._seconds[words.NOW >> 3] = now
        self._code.redirect(self._cx, _at(every), _at(numbers), source, target, _at(statuses), _at(given), len(keys))
        self._note_given(every[given] if self._ends else every[:0], target)
        return statuses

    def _note_given(self, keys: Any, owner: int) -> None:
        for key in FlowKeys(keys):
            self._ends.owns_again(key, owner)

    def turned(self, keys: Keys, epochs: Epochs, target: int) -> Statuses:
        """See ``Owners.turned``."""
        every, numbers, statuses = keys_array(keys), _u32(epochs), np.zeros(len(keys), np.uint8)
        self._code.turned(self._cx, _at(every), _at(numbers), target, _at(statuses), len(keys))
        return statuses

    def claim(
        self, keys: Keys, epochs: Epochs, packets: Counts | None, *, dead: int, claimer: int, now: float
    ) -> tuple[Statuses, list[int]]:
        """See ``Owners.claim``."""
        every, numbers, counts = keys_array(keys), _u32(epochs), None if packets is None else _u32(packets)
        statuses, owners = np.zeros(len(keys), np.uint8), np.empty(len(keys), np.int32)
        self._seconds[words.NOW >> 3] = now
        arrays = (_at(every), _at(numbers), 0 if counts is None else _at(counts))
        self._code.claim(self._cx, *arrays, dead, claimer, _at(statuses), _at(owners), len(keys))
        if self._ends:
            self._note_given(every[are(statuses, Status.OK)], claimer)
            for place in np.flatnonzero(owners != dead).tolist():
                if (every[place].tobytes(), dead) in self._ends:
                    statuses[place] = Status.UNKNOWN
        return statuses, owners[are(statuses, Status.EXISTS)].tolist()

    def heard(self, owner: int, now: float) -> None:
        """See ``Owners.heard``."""
        self._ends.heard(owner, now)

    def abandon(self, owner: int) -> int:
        """See ``Owners.abandon``."""
        self._ends.over(owner)
        keys = np.empty((self._context[layout.ROWS_USED], KEY_OCTETS), np.uint8)
        count: int = self._code.abandon(self._cx, owner, _at(keys))
        self._forgotten += count
        self._forget_aliases(FlowKeys(keys[:count]))
        return count

    def forget(
        self,
        keys: Keys,
        packets: Counts,
        *,
        owner: int,
        now: float,
        moved_before: float = math.inf,
        taking_s: float = 0.0,
    ) -> Statuses:
        """See ``Owners.forget``."""
        every, counts, statuses = keys_array(keys), _u32(packets), np.zeros(len(keys), np.uint8)
        self._seconds[[words.TAKING >> 3, words.MOVED_BEFORE >> 3]] = taking_s, moved_before
        self._code.forget(self._cx, _at(every), _at(counts), owner, _at(statuses), len(keys))
        gone = FlowKeys(every[are(statuses, Status.OK)])
        self._forgotten += len(gone)
        self._forget_aliases(gone)
        for key in gone:
            self._ends.remember(key, owner, now)
        return statuses

    def statistics(self) -> DispatchStatistics:
        """See ``Owners.statistics``."""
        word = self._context
        return DispatchStatistics(
            flows=word[layout.ROWS_USED],
            created=word[layout.CREATED],
            redirected=word[words.REDIRECTED],
            forgotten=self._forgotten,
            refused=word[layout.REFUSED],
            aliases=len(self._aliases),
            aliases_refused=self._aliases.refused,
        )


class _KeySet:
    """Keys that compiled code looks for; with the secret of another table, whose hashes it shares."""

    def __init__(self, code: Any, keys_max: int, secret: bytes) -> None:
        self._code = code
        self._context = Words(layout.CONTEXT_OCTETS)
        self.address = self._context.address
        self._memory = FlowMemory(self._context, keys_max, 0, secret)

    def add(self, key: bytes) -> None:
        """It is in from now on."""
        self._memory.grow()
        octets = np.frombuffer(key, np.uint8)
        self._code.add_key(self.address, _at(octets))
        if self._context[layout.OLD_INDEX]:
            self._code.grow(self.address, MOVES)

    def drop(self, key: bytes) -> None:
        """It is not."""
        octets = np.frombuffer(key, np.uint8)
        self._code.drop_key(self.address, _at(octets))


def _at(array: Any) -> int:
    """The address of a numpy array's first octet."""
    address: int = array.ctypes.data
    return address


def _u32(numbers: Any) -> Any:
    return np.ascontiguousarray(numbers, np.uint32)
