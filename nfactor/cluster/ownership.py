"""Which virtual switch owns a flow key: a static hash of the key, as RSS does in a NIC (DESIGN section 8)."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from nfactor.dataplane.buckets import buckets_of
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
