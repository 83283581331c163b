"""Which virtual switch owns a flow key: a static hash of the key, as RSS does in a NIC (DESIGN section 8). And packets
by who owns their flows."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nfactor.dataplane.buckets import buckets_of
from nfactor.dataplane.owners import OwnerNumbers
from nfactor.packet.burst import Burst
from nfactor.packet.flow_key import FlowKeys

Places = npt.NDArray[np.intp]


def by_owner(keys: FlowKeys, switches: Sequence[str]) -> Iterator[tuple[str, Places]]:
    """Where in ``keys`` are those of each switch that has any: the same for all who know the same switches in the same
    order."""
    if len(switches) == 1:
        if len(keys):
            yield switches[0], np.arange(len(keys))
        return
    owners = buckets_of(keys.array) % len(switches)
    for number in np.unique(owners).tolist():
        yield switches[number], np.flatnonzero(owners == number)


def split_by_owner(burst: Burst, owners: OwnerNumbers) -> Iterator[tuple[int, Burst]]:
    """The packets of each owner, in the order in which owners come first."""
    if len(owners) and (owners == owners[0]).all():
        yield int(owners[0]), burst
        return
    present, first = np.unique(owners, return_index=True)
    for owner in present[np.argsort(first)].tolist():
        yield owner, burst.select(np.flatnonzero(owners == owner))
