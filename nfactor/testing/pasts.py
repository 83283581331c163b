"""What made each state: the packets of a flow in their order, found backwards in the owners' logs."""

from collections.abc import Iterable, Mapping

import attrs

from nfactor.testing.lineage import Ended, History, Processed, following
from nfactor.testing.violation import Violation


@attrs.frozen
class Final:
    """The state of a flow at the end, where it is served."""

    node: str
    born: int
    count: int
    digest: int


@attrs.frozen
class Past:
    """What made one life of a flow, of which the last state is there or was told at its end."""

    flow: int
    marks: list[int]
    """Its packets, oldest first."""
    digests: list[int]
    """The states that they made."""


class Chain:
    """The packets that made a state, in order: found backwards in the owners' logs."""

    def __init__(self, log: Iterable[Processed]) -> None:
        self._steps: dict[tuple[int, int, int], list[Processed]] = {}
        for entry in log:
            self._steps.setdefault((entry.born, entry.count, entry.digest), []).append(entry)
        self._by_count: dict[tuple[int, int], list[Processed]] = {}
        for entry in log:
            self._by_count.setdefault((entry.born, entry.count), []).append(entry)

    def of(self, born: int, count: int, digest: int) -> list[int] | None:
        """Marks of the packets of that state, oldest first; None: no packets that anybody processed make it."""
        marks: list[int] = []
        for number in range(count, 0, -1):
            entries = self._steps.get((born, number, digest))
            if not entries:
                return None
            mark = entries[-1].mark
            marks.append(mark)
            if number == 1:
                return marks[::-1] if mark == born and following(0, mark) == digest else None
            digest = next(
                (
                    earlier.digest
                    for earlier in self._by_count.get((born, number - 1), [])
                    if following(earlier.digest, mark) == digest
                ),
                -1,
            )
        return None


def pasts_of(history: History, finals: Mapping[int, Final]) -> dict[int, Past]:
    """(f) By birth, what each life of a flow has come to: where it is served, or what it said when it ended (of several
    ends, which only a crash can bring about, the last state)."""
    log = Chain(history.processed)
    pasts: dict[int, Past] = {}
    for end in history.ends:
        born, past = end.ended.born, _past(log, history, end.ended, f"told by {end.node} at its end")
        if born not in pasts or len(past.marks) > len(pasts[born].marks):
            pasts[born] = past
    for final in finals.values():
        pasts[final.born] = _past(log, history, final, f"on {final.node}")
    return pasts


def _past(log: Chain, history: History, state: Final | Ended, where: str) -> Past:
    marks, flow = log.of(state.born, state.count, state.digest), history.flow_of.get(state.born)
    if marks is None or flow is None:
        raise Violation(
            f"(f) transparency: the state of flow {flow} {where} (born {state.born}, {state.count} packets) is "
            "not what any sequence of its packets makes"
        )
    digests = [0]
    for mark in marks:
        digests.append(following(digests[-1], mark))
    return Past(flow, marks, digests[1:])
