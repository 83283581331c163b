"""The search: octets go in one after the other, and the rules come out whose contents have all been found.

A rule's contents are a conjunction of *chains*: a content that is not relative begins one, and each relative content
behind it goes on with it. A chain is found if there is some choice of matches, one per content, each within the reach
of the one before; so the first match is not always the right one, and the ends of all matches that may still be of use
are remembered. What is remembered (``Progress``) is numbers in arrays of fixed size, as large as the rules can ever
need and no larger: nothing is lost however the octets are cut into packets, which is what makes the result that of a
search of the whole stream.

Positions are those of the stream, from 0; an end is the position behind the last octet.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np

from nfactor.dataplane import nf
from nfactor.errors import CallerError
from nfactor.functions.ids_automaton import Automaton
from nfactor.functions.ids_rules import Content, Rule, pending_of

CONTENTS_MAX: Final = 8192
"""Contents of all rules together."""
PENDING_TOTAL_MAX: Final = 8192
"""Match ends that all rules together may have to remember, per flow and direction; eight octets each."""
WORD_BITS: Final = 64
_NO_REACH: Final = 1 << 62


class Progress(Protocol):
    """What is remembered between two packets. All arrays hold direction 0 and, behind it, direction 1."""

    exact: list[int]
    """State of the automaton of contents that mind case."""
    folded: list[int]
    """State of the automaton of contents that do not."""
    wanted: list[int]
    """Bit set of rules that are searched for; a rule that is found is no longer wanted, but ``complete``."""
    complete: list[int]
    chains: list[int]
    """Bit set of chains that were found."""
    used: list[int]
    """For each content, how many ends of its matches are pending."""
    pending: list[int]
    """Those ends, ascending; ``first_pending`` of a content says where its own begin."""


class Scratch:
    """A ``Progress`` of one direction that lasts for one packet."""

    def __init__(self, search: "Search") -> None:
        self.exact, self.folded = nf.numbers(nf.u32, 1), nf.numbers(nf.u32, 1)
        self.wanted = nf.numbers(nf.u64, search.words)
        self.complete = nf.numbers(nf.u64, search.words)
        self.chains = nf.numbers(nf.u64, search.chain_words)
        self.used = nf.numbers(nf.u16, search.contents)
        self.pending = nf.numbers(nf.i64, search.pending)

    def clear(self) -> None:
        """Forget everything but what is wanted. Pending ends need no clearing: ``used`` says what counts."""
        self.exact[0] = self.folded[0] = 0
        for array in (self.complete, self.chains, self.used):
            for index in range(len(array)):
                array[index] = 0


def view(values: Sequence[int], dtype: Any) -> memoryview:
    """A table of numbers: a view of an array, so that Python reads plain ints off it."""
    return np.array(values, dtype).data


def words_of(bits: int) -> int:
    return max(1, -(-bits // WORD_BITS))


class Search:
    """Tables for some rules. ``rules`` keep their own numbers, so that bit sets over rules fit several searches.

    Raises ``CallerError`` where the rules need more than a named limit.
    """

    def __init__(self, rules: Sequence[tuple[int, Rule]], rules_all: int) -> None:
        parts = [(number, content) for number, rule in rules for content in rule.contents]
        if len(parts) > CONTENTS_MAX:
            raise CallerError(f"{len(parts)} contents in the rules, {CONTENTS_MAX} are the limit: use fewer rules")
        self.words = words_of(rules_all)
        self.contents = max(1, len(parts))
        self.exact = Automaton([(k, c.pattern) for k, (_, c) in enumerate(parts) if not c.nocase])
        self.folded = Automaton([(k, c.pattern) for k, (_, c) in enumerate(parts) if c.nocase], nocase=True)
        self._place(parts)
        self._chain(parts, rules_all)

    def _place(self, parts: Sequence[tuple[int, Content]]) -> None:
        """Where each content may lie, and how much of its matches has to be remembered for the one behind it."""
        contents = [content for _, content in parts]
        self.rule_of = view([number for number, _ in parts], np.int32)
        self.octets = view([len(content.pattern) for content in contents], np.int64)
        self.relative = view([content.relative for content in contents], np.uint8)
        self.low = view([content.low for content in contents], np.int64)
        self.reach = view([_NO_REACH if c.reach is None else c.reach for c in contents], np.int64)
        self.ends = view([content.ends for content in contents], np.uint8)
        needs = [pending_of(a, b) if b.relative else 0 for a, b in pairwise(contents)] + [0]
        self.last = view([need == 0 for need in needs], np.uint8)
        """Whether the content is the last of its chain: nothing of it has to be remembered."""
        self.first_pending = view([sum(needs[:k]) for k in range(len(needs))], np.int32)
        self.pending_max = view(needs, np.int32)
        self.pending = max(1, sum(needs))
        if self.pending > PENDING_TOTAL_MAX:
            raise CallerError(
                f"the rules may have to remember {self.pending} matches at once, {PENDING_TOTAL_MAX} are the limit: "
                "use fewer rules with distance and within"
            )

    def _chain(self, parts: Sequence[tuple[int, Content]], rules_all: int) -> None:
        """Number the chains; those of a rule lie behind one another."""
        chain_of: list[int] = []
        chain_start = [0] * (rules_all + 1)
        chains = 0
        for number, content in parts:
            chains += not content.relative
            chain_of.append(chains - 1)
            chain_start[number + 1] = chains
        for number in range(rules_all):
            chain_start[number + 1] = max(chain_start[number], chain_start[number + 1])
        self.chain_of, self.chain_start = view(chain_of, np.int32), view(chain_start, np.int32)
        self.chain_words = words_of(chains)


def scan(search: Search, progress: Progress, d: int, data: memoryview, start: int, end: int, position: int) -> None:
    """Search ``data[start:end]``, which begins at ``position`` of direction ``d``'s stream."""
    exact, folded = search.exact.next, search.folded.next
    exact_first, folded_first = search.exact.first_output, search.folded.first_output
    at, at_folded = progress.exact[d], progress.folded[d]
    past = position - start + 1
    stop = position + end - start
    for index in range(start, end):
        octet = data[index]
        at = exact[at + octet]
        at_folded = folded[at_folded + octet]
        if at >= exact_first or at_folded >= folded_first:
            _found(search, progress, d, at, at_folded, past + index, stop)
    progress.exact[d], progress.folded[d] = at, at_folded


def _found(search: Search, progress: Progress, d: int, at: int, at_folded: int, end: int, stop: int) -> None:
    """Contents end here. Taken in ascending order from both automata: of two contents of a chain that end at the same
    place (``distance`` may be negative) the second must see the first."""
    exact, folded = search.exact, search.folded
    one, one_stop = exact.output_start[at >> 8], exact.output_start[(at >> 8) + 1]
    two, two_stop = folded.output_start[at_folded >> 8], folded.output_start[(at_folded >> 8) + 1]
    while one < one_stop or two < two_stop:
        if two == two_stop or (one < one_stop and exact.output[one] < folded.output[two]):
            content = exact.output[one]
            one += 1
        else:
            content = folded.output[two]
            two += 1
        _content_ends(search, progress, d, content, end, stop)


def _content_ends(search: Search, progress: Progress, d: int, content: int, end: int, stop: int) -> None:
    """A content of some rule ends at ``end``, in octets that end at ``stop``."""
    rule = search.rule_of[content]
    word = d * search.words + rule // WORD_BITS
    if not progress.wanted[word] >> rule % WORD_BITS & 1 or (search.ends[content] and end != stop):
        return
    low, reach = search.low[content], search.reach[content]
    start = end - search.octets[content]
    if search.relative[content]:
        if not _in_reach(search, progress, d, content - 1, end - reach, start - low):
            return
    elif start < low or end > reach:
        return
    if search.last[content]:
        _chain_found(search, progress, d, rule, search.chain_of[content])
    else:
        _remember(search, progress, d, content, end)


def _in_reach(search: Search, progress: Progress, d: int, content: int, earliest: int, latest: int) -> bool:
    """Whether some match of ``content`` ended from ``earliest`` to ``latest``."""
    first = d * search.pending + search.first_pending[content]
    for index in range(first, first + progress.used[d * search.contents + content]):
        if earliest <= progress.pending[index] <= latest:
            return True
    return False


def _remember(search: Search, progress: Progress, d: int, content: int, end: int) -> None:
    """Keep the end of a match for the content behind it; see ``pending_of`` for why there is always room."""
    slot = d * search.contents + content
    first = d * search.pending + search.first_pending[content]
    used, pending = progress.used[slot], progress.pending
    reach = search.reach[content + 1]
    if reach == _NO_REACH:  # the first one reaches everything that a later one does
        if used == 0:
            pending[first] = end
            progress.used[slot] = 1
        return
    assert used == 0 or pending[first + used - 1] < end, "matches come in order"
    gone = 0  # those that nothing can reach any more
    while gone < used and pending[first + gone] + reach < end:
        gone += 1
    for index in range(gone, used):
        pending[first + index - gone] = pending[first + index]
    used -= gone
    room = reach - search.low[content + 1] - search.octets[content + 1] + 1
    if used >= 2 and end - pending[first + used - 2] <= room:
        used -= 1  # what it reaches, one of its neighbours reaches too
    assert used < search.pending_max[content], "more matches to remember than the rule can need"
    pending[first + used] = end
    progress.used[slot] = used + 1


def _chain_found(search: Search, progress: Progress, d: int, rule: int, chain: int) -> None:
    """One chain of a rule is found; perhaps it was the last."""
    base = d * search.chain_words
    progress.chains[base + chain // WORD_BITS] |= 1 << chain % WORD_BITS
    for other in range(search.chain_start[rule], search.chain_start[rule + 1]):
        if not progress.chains[base + other // WORD_BITS] >> other % WORD_BITS & 1:
            return
    word, bit = d * search.words + rule // WORD_BITS, 1 << rule % WORD_BITS
    progress.wanted[word] &= ~bit
    progress.complete[word] |= bit
