"""What packets have changed in an engine's flows, as octets, and copies of flows that are kept up to date by them.

A *change* of one flow is its key, its header, and the states of the NFs that changed, one behind the other::

    key 48 | chain.FlowHeader 24, in whose first spare octet stand the parts | part | part | …

The bits of ``parts`` say which NFs' states follow, in order: one bit for each of the first five, one for all others
together (``PARTS_MAX``), and ``WHOLE``: all of them, as whoever reads this may not have the flow yet. Of a byte string
only its length and the octets in use travel; what lies behind them is zero in every copy. Changes of several flows lie
one behind the other.

A row of an engine keeps the same bits: the parts that NFs have written to since its flow was last asked about,
``TOUCHED`` if any packet came, and ``WHOLE`` while its flow was never asked about here.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.buckets import Buckets
from nfactor.dataplane.chain import HEADER, Chain
from nfactor.dataplane.engine import Epochs, Keys, Records
from nfactor.dataplane.state import Octets, Schema
from nfactor.errors import ProtocolError
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.flow_key import FlowKeys

WHOLE: Final = 0x80
TOUCHED: Final = 0x40
PARTS_MAX: Final = 6
PARTS_AT: Final = 18
"""Where in the header the parts stand."""
CHANGE_OCTETS: Final = KEY_OCTETS + HEADER.size
"""A change without any part."""

Rows: TypeAlias = npt.NDArray[Any]
"""Rows of one engine, in a form of its own. They may be kept: of a row whose flow has gone nothing is said."""

NO_KEYS: Final = FlowKeys.of(())


@attrs.frozen
class Run:
    """Octets of a record that travel together; ``offset`` counts from the first NF's state. If they are ``bounded``,
    they are a byte string, of at most so many octets behind its length (two octets)."""

    offset: int
    octets: int
    bounded: bool = False


@attrs.frozen
class Part:
    """The states of an NF, or of several."""

    bit: int
    runs: tuple[Run, ...]


@attrs.frozen
class Changed:
    """Changes of some flows."""

    octets: bytes
    whole: FlowKeys
    """Those that are sent whole."""


NOTHING_CHANGED: Final = Changed(b"", NO_KEYS)


def bit_of(number: int) -> int:
    """The bit of the NF at that place in the chain."""
    return 1 << min(number, PARTS_MAX - 1)


def parts_of(chain: Chain) -> tuple[Part, ...]:
    """The parts of a chain's records, in order; NFs without state have none."""
    runs: dict[int, list[Run]] = {}
    offset = 0
    for number, schema in enumerate(chain.schemas):
        if schema is not None:
            runs.setdefault(bit_of(number), []).extend(_runs(schema, offset))
            offset += schema.size
    return tuple(Part(bit, tuple(these)) for bit, these in runs.items())


def _runs(schema: Schema, offset: int) -> list[Run]:
    """A state: what lies between byte strings travels as it is."""
    runs, start = [], 0
    for field in schema.fields:
        if isinstance(field.kind, Octets):
            if field.offset > start:
                runs.append(Run(offset + start, field.offset - start))
            runs.append(Run(offset + field.offset, field.kind.octets_max, bounded=True))
            start = field.offset + 2 + field.kind.octets_max
    if start < schema.size:
        runs.append(Run(offset + start, schema.size - start))
    return runs


class Changes(ABC):
    """What an engine says of its flows for replication. Whoever asks about flows has them, as they are now, from then
    on: until they change again, nothing more is said of them."""

    @abstractmethod
    def keys_of(self, rows: Rows) -> FlowKeys:
        """The keys of the flows in those rows; zeros where there is none."""

    @abstractmethod
    def buckets(self, rows: Rows) -> Buckets:
        """The buckets of the flows in those rows; ``NO_BUCKET`` where there is none."""

    @abstractmethod
    def of(self, rows: Rows) -> Changed:
        """What has changed in flows that process packets, in order. A row that is there twice is asked about once."""

    @abstractmethod
    def count(self, rows: Rows, packets_max: int) -> tuple[Rows, Rows]:
        """A packet came of the flow in each of these rows. Those of which it is the first since somebody asked about
        them; and those that are to be asked about now, as ``packets_max`` packets have come since. Each row is in one
        of the two at most, and once.

        Where one has so many, all of these that have half as many are to be asked about: they would be soon, one after
        the other, and each would cost a message."""

    @abstractmethod
    def whole(self, keys: Keys) -> Changed:
        """Those of these flows that process packets here, whole."""

    @abstractmethod
    def lose(self, keys: Keys) -> None:
        """Whoever asked about these flows has lost the answer: as if nobody had ever asked."""

    @abstractmethod
    def unasked(self) -> FlowKeys:
        """Flows that process packets here and that nobody has asked about since they came."""

    @abstractmethod
    def here(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which of these flows process packets here."""

    @abstractmethod
    def copies(self) -> "Copies":
        """Room for copies of the flows of another engine with this chain."""


class Copies(ABC):
    """Copies of flows, kept up to date by changes."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def apply(self, changes: bytes) -> None:
        """Take changes. Raises ``ProtocolError`` for octets that ``Changes`` did not make, for changes of a flow that
        is not here, and where there is no more room; what stood before that is taken."""

    @abstractmethod
    def drop(self, keys: Keys, epochs: Epochs | None = None) -> None:
        """Let go of flows; with ``epochs``, of those alone whose epoch is none higher."""

    @abstractmethod
    def all(self) -> tuple[FlowKeys, Epochs, Records]:
        """Every flow, with its epoch and record."""


def cut_short() -> ProtocolError:
    """The error of octets that are no changes."""
    return ProtocolError("changes of flows that are cut short, or that say what cannot be")


def not_here() -> ProtocolError:
    """The error of a change that is not whole."""
    return ProtocolError("a change of a flow of which no copy is here")


def epochs_of(records: Records) -> Epochs:
    """The epochs that records tell."""
    return _header_words(records, 8)


def packets_of(records: Records) -> npt.NDArray[np.uint32]:
    """The counts of packets that records tell."""
    return _header_words(records, 12)


def initiators_of(records: Records) -> npt.NDArray[np.uint8]:
    """Which ends' packets were the flows' first."""
    return records[:, 16] & np.uint8(1)


def _header_words(records: Records, offset: int) -> npt.NDArray[np.uint32]:
    words: npt.NDArray[np.uint32] = np.ascontiguousarray(records[:, offset : offset + 4]).view("<u4").reshape(-1)
    return words


def joined(keys: Sequence[FlowKeys]) -> FlowKeys:
    """All of them, each once."""
    every = np.concatenate([NO_KEYS.array, *(some.array for some in keys)]).view(f"S{KEY_OCTETS}")
    return FlowKeys(np.unique(every).view(np.uint8).reshape(-1, KEY_OCTETS))
