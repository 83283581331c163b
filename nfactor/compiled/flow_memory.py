"""The memory of one table of flows: its rows, what lies apart of them, and the index, which grows.

Compiled code finds them by the context (``layout``); whoever has rows added looks after the index in between.
"""

from typing import Final

from nfactor.compiled import layout
from nfactor.compiled.memory_map import Piece, Words
from nfactor.errors import CallerError
from nfactor.packet.cluster_frame import KEY_OCTETS

SLICE: Final = 1024
"""Keys that are handed over at once: the index may have to grow in between."""
MOVES: Final = 4
"""Entries of an old index that move with each flow that is added, at least."""
_INDEX_MIN: Final = 4096
"""Places of the smallest index."""
_GROWTH: Final = 2
_LINE: Final = 64


class FlowMemory:
    """Room for ``flows_max`` flows with states of so many octets, entered into the context. ``secret``: 48 octets for
    the hash of keys. Raises ``CallerError``."""

    def __init__(self, context: Words, flows_max: int, state_size: int, secret: bytes) -> None:
        if not 0 < flows_max < layout.NO_ROW - 1:
            raise CallerError(f"flows_max {flows_max}: from 1 to {layout.NO_ROW - 2}, as rows are numbered in 32 bits")
        self._context = word = context
        stride = -(-(layout.ROW_STATES + state_size) // _LINE) * _LINE
        self.rows = Piece(stride * flows_max)
        self._cold = Piece(layout.COLD_OCTETS * flows_max)
        self.rows.use_large_pages()
        self._cold.use_large_pages()
        self.index = Piece(8 * _INDEX_MIN)
        self._old_index = self.index
        word[layout.ROWS], word[layout.STRIDE], word[layout.COLD] = self.rows.address, stride, self._cold.address
        word[layout.INDEX], word[layout.INDEX_MASK] = self.index.address, _INDEX_MIN - 1
        word[layout.GROW_AT] = _INDEX_MIN // _GROWTH
        word[layout.FLOWS_MAX], word[layout.STATE_SIZE] = flows_max, state_size
        for place, start in enumerate(range(0, KEY_OCTETS, 8)):
            word[layout.SECRETS + 8 * place] = int.from_bytes(secret[start : start + 8], "little", signed=True)
        for empty in (layout.FREE, layout.OLDEST, layout.NEWEST, layout.SCAN, layout.SCAN_END):
            word[empty] = layout.NO_ROW

    def grow(self) -> bool:
        """Let the index grow if it is half full and has done with its last growth; whether it was. To be called when
        there are more rows than ``GROW_AT`` says."""
        word = self._context
        if word[layout.ROWS_USED] <= word[layout.GROW_AT] or word[layout.OLD_INDEX]:
            return False
        places = word[layout.INDEX_MASK] + 1
        self._old_index, self.index = self.index, Piece(8 * places * _GROWTH)
        self.index.use_large_pages()
        word[layout.OLD_INDEX], word[layout.OLD_MASK] = self._old_index.address, places - 1
        word[layout.OLD_CURSOR] = 0
        word[layout.INDEX], word[layout.INDEX_MASK] = self.index.address, places * _GROWTH - 1
        word[layout.GROW_AT] = places * _GROWTH // 2
        return True
