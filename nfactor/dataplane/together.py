"""Flows that belong together (``NF.together``) and migrate as one: MPTCP's subflows, FTP's data, shared state.

What binds flows is in their states, so it goes where they go and nobody has to remember it. Bonds add up: if one NF
binds a flow to a second, and another NF the second to a third, all three are one group. A flow that no NF binds is a
group of its own.
"""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from nfactor.dataplane.engine import Engine, Epochs, Status, Statuses, are
from nfactor.packet.flow_key import FlowKeys

GROUP_FLOWS_MAX = 4096
"""Flows of one group that migrate, at most. Of a larger one none does (they are counted: ``Picked.passed_over``)."""

Groups = npt.NDArray[np.intp]
"""Per flow the number of its group: the place of the first flow of it."""


def groups_of(values: npt.NDArray[np.uint64]) -> Groups:
    """The groups of flows of which each column of ``values`` binds those that have the same there, and not 0."""
    groups: Groups = np.arange(len(values))
    columns = [(there, *_numbered(column[there])) for column in values.T if len(there := np.flatnonzero(column))]
    while True:
        before = groups
        for there, numbers, count in columns:
            first = np.full(count, len(values))
            np.minimum.at(first, numbers, groups[there])
            groups = groups.copy()
            groups[there] = np.minimum(groups[there], first[numbers])
        groups = groups[groups]  # who follows somebody follows whom that one follows
        if (groups == before).all():
            return groups


def _numbered(column: npt.NDArray[np.uint64]) -> tuple[Any, int]:
    different, numbers = np.unique(column, return_inverse=True)
    return numbers, len(different)


def choose(groups: Groups, free: npt.NDArray[np.bool_], flows_max: int) -> tuple[npt.NDArray[np.intp], int]:
    """Whole groups, those with the youngest flows first (flows are there oldest first), of ``flows_max`` flows together
    at most, but at least one: the places of their flows, youngest first; and how many flows were passed over as their
    group is larger than ``GROUP_FLOWS_MAX``. A group with a flow that is not free is passed over, too."""
    sizes = np.bincount(groups, minlength=len(groups))
    bound = np.zeros(len(groups), bool)
    bound[groups[~free]] = True
    youngest = np.full(len(groups), -1)
    np.maximum.at(youngest, groups, np.arange(len(groups)))
    those = np.flatnonzero((sizes > 0) & ~bound & (sizes <= GROUP_FLOWS_MAX))
    those = those[np.argsort(-youngest[those], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(sizes[those]), flows_max, side="right"))
    chosen = np.zeros(len(groups), bool)
    chosen[those[: max(1, enough) if flows_max else 0]] = True
    places = np.flatnonzero(chosen[groups])[::-1]
    return places, int(sizes[~bound & (sizes > GROUP_FLOWS_MAX)].sum())


@attrs.frozen(eq=False)
class Picked:
    """Flows that are pinned now."""

    keys: FlowKeys
    epochs: Epochs
    groups: Groups
    passed_over: int
    """How many were not, as their group is too large."""


def pick(engine: Engine, flows_max: int, barred: Callable[[FlowKeys], npt.NDArray[np.bool_]]) -> Picked:
    """``Engine.pick`` for a chain whose flows may belong together; nothing is picked that is ``barred``. It reads every
    flow of the table."""
    keys, values, free = engine.belonging()
    groups = groups_of(values)
    places, passed_over = choose(groups, free & ~barred(keys), flows_max)
    some = keys.at(places)
    epochs, statuses = engine.pin(some)
    assert not statuses.any(), "they were free a moment ago"
    return Picked(some, epochs, groups[places], passed_over)


def as_one(statuses: Statuses, groups: Groups) -> Statuses:
    """If one flow of a group is refused, all are: those that were not are BUSY."""
    refused = np.isin(groups, groups[~are(statuses, Status.OK)])
    return np.where(refused & are(statuses, Status.OK), np.uint8(Status.BUSY), statuses)
