"""Histories of runs, as judges are shown them."""

from nfactor.testing.checkers import Conditions
from nfactor.testing.lineage import Came, Ended, History, Processed, Step, following
from nfactor.testing.pasts import Final

STRICT = Conditions(strict=True, replicated=True)
END = Ended(born=1, count=2, digest=following(following(0, 1), 2))
"""Of a flow that has had packets 1 and 2."""


def run_of(marks: list[int]) -> tuple[History, dict[int, Final]]:
    """A flow 1 that had these packets, in that order, all of which came out."""
    history, digest = History(), 0
    for count, mark in enumerate(marks, 1):
        digest = following(digest, mark)
        history.processed.append(Processed("runtime-0", 1, mark, marks[0], count, digest))
        history.out.append(Came(mark, mark, marks[0], count, digest))
        if count % 3 == 0:
            history.records.append(("runtime-0", Step(mark=mark, born=marks[0], count=count, digest=digest)))
    history.flow_of = dict.fromkeys(marks, 1)
    return history, {1: Final("runtime-0", marks[0], len(marks), digest)}
