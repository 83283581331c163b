"""The Aho-Corasick automaton: all contents of a rule set found in one pass, with one table look-up per octet.

It is the complete automaton: failure links are resolved when it is built, so that the table alone says where an octet
leads. A state's number is the index of its row's first entry (``state * 256``), and the states in which some pattern
ends are numbered last: a step is ``at = next[at + octet]`` and the question whether anything was found is
``at >= first_output``. Patterns that ignore case have an automaton of their own, whose columns of capital letters
repeat those of small ones; a pattern that minds case could not be checked afterwards, as part of it may lie in a packet
that is gone.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from nfactor.errors import CallerError

AUTOMATON_STATES_MAX: Final = 65_536
"""States of one automaton, about the octets of all its patterns; a state takes a kilobyte."""
_OCTETS: Final = 256


class Automaton:
    """The tables: views rather than arrays, so that Python reads plain ints off them."""

    def __init__(self, patterns: Sequence[tuple[int, bytes]], *, nocase: bool = False) -> None:
        """``patterns`` are numbers in ascending order with the octets to find; an octet string may occur repeatedly.

        Raises ``CallerError`` where the patterns need more than ``AUTOMATON_STATES_MAX`` states.
        """
        children, found = _trie(patterns, nocase)
        order, fail = _breadth_first(children, found)
        quiet = [state for state in order if not found[state]]
        numbered = quiet + [state for state in order if found[state]]
        row_of = {state: row for row, state in enumerate(numbered)}
        table = np.zeros((len(numbered), _OCTETS), np.int32)
        for state in order:
            row = table[row_of[state]]
            if state:
                row[:] = table[row_of[fail[state]]]
            for octet, child in children[state].items():
                row[octet] = row_of[child] * _OCTETS
                if nocase and chr(octet).islower() and octet < 128:
                    row[octet - 32] = row[octet]
        outputs = [found[state] for state in numbered]
        self.next = table.reshape(-1).data
        """Where an octet leads: ``next[state + octet]``."""
        self.first_output = len(quiet) * _OCTETS
        """States from here on have something to say."""
        self.output_start = np.cumsum([0, *map(len, outputs)], dtype=np.int32).data
        """Where the numbers of the patterns that end in a state lie, by ``state >> 8``."""
        self.output = np.array([number for numbers in outputs for number in numbers], np.int32).data
        """Numbers of patterns, ascending within a state."""


def _trie(patterns: Sequence[tuple[int, bytes]], nocase: bool) -> tuple[list[dict[int, int]], list[list[int]]]:
    """For each state its children by octet, and the numbers of the patterns that are spelled out there."""
    children: list[dict[int, int]] = [{}]
    found: list[list[int]] = [[]]
    for number, pattern in patterns:
        assert pattern, "an empty pattern would be found everywhere"
        state = 0
        for octet in pattern.lower() if nocase else pattern:
            child = children[state].get(octet)
            if child is None:
                child = children[state][octet] = len(children)
                children.append({})
                found.append([])
            state = child
        found[state].append(number)
    if len(children) > AUTOMATON_STATES_MAX:
        raise CallerError(
            f"the rules' contents need {len(children)} automaton states, {AUTOMATON_STATES_MAX} are the limit: "
            "use fewer rules"
        )
    return children, found


def _breadth_first(children: list[dict[int, int]], found: list[list[int]]) -> tuple[list[int], list[int]]:
    """The states from the root outwards, and for each its longest proper suffix that is a state too.

    ``found`` gains what ends in those suffixes.
    """
    fail = [0] * len(children)
    order: list[int] = []
    queue = deque([0])
    while queue:
        state = queue.popleft()
        order.append(state)
        for octet, child in children[state].items():
            suffix = fail[state]
            while suffix and octet not in children[suffix]:
                suffix = fail[suffix]
            if state:
                fail[child] = children[suffix].get(octet, 0)
            found[child] = sorted({*found[child], *found[fail[child]]})
            queue.append(child)
    return order, fail
