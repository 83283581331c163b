"""Judges of whole nodes: each of a run that they let pass, and of one in which a single thing goes wrong on a wire that
no judge knows of."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from nfactor.packet.burst import Burst
from nfactor.testing.lineage import History
from nfactor.testing.node_cluster import HEADER_OCTETS, NodeCluster
from nfactor.testing.node_draws import Mistreated, NodeSchedule
from nfactor.testing.node_schedules import NodeRun, Seen, same
from nfactor.testing.pasts import Final
from nfactor.testing.violation import Violation

FEW = NodeSchedule(1, runtimes=2, flows=2, bursts=4, migrations=0, traffic_us=5_000)
"""A run of a few packets, in which nothing happens."""
LOSSY = attrs.evolve(FEW, mistreated=Mistreated(port_loss=1e-9))
"""Ports may lose packets, and do not."""
TTL = HEADER_OCTETS + 22
"""The place of an octet that no state is made of."""


def wire_to_the_outside(monkeypatch: pytest.MonkeyPatch, carry: Callable[[Burst], Burst]) -> None:
    """What comes out goes through that."""
    packets_out = NodeCluster.packets_out
    monkeypatch.setattr(NodeCluster, "packets_out", lambda self, burst: packets_out(self, carry(burst)))


@pytest.mark.slow
def test_a_packet_that_no_port_has_lost_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """(a) Where ports lose packets, no more may be missing than they have lost."""
    NodeRun(LOSSY).judge()

    def lose_the_first(burst: Burst) -> Burst:
        return burst.select((burst.marks != 1).nonzero()[0])

    wire_to_the_outside(monkeypatch, lose_the_first)
    with pytest.raises(Violation, match=r"^\(a\) conservation: 1 packets are nowhere, and ports lost 0"):
        NodeRun(LOSSY).judge()


@pytest.mark.slow
def test_a_packet_that_comes_out_other_than_one_engine_makes_it_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """(f) By one octet, of which no flow's state tells."""
    NodeRun(FEW).judge()

    def change_the_first(burst: Burst) -> Burst:
        for index in (burst.marks == 1).nonzero()[0].tolist():
            burst.data[burst.offsets[index] + TTL] ^= 1
        return burst

    wire_to_the_outside(monkeypatch, change_the_first)
    with pytest.raises(Violation, match=r"^\(f\) transparency: packet 1 of flow \d leaves one engine as another"):
        NodeRun(FEW).judge()


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Seen)])
def test_two_engines_have_seen_the_same_run_in_everything(field: str) -> None:
    """(f) In what came out and when, in every frame, in what became of each flow, and in the faults that struck it."""
    one = Seen(History(flow_of={1: 1}), {1: b"frame"}, {1: Final("runtime-0", 1, 1, 1)}, Counter(runtime_dies=1))
    others: dict[str, Any] = {
        "history": History(flow_of={1: 2}),
        "came": {1: b"fraud"},
        "finals": {1: Final("runtime-1", 1, 1, 1)},
        "struck": Counter(runtime_dies=2),
    }
    same(one, attrs.evolve(one))
    with pytest.raises(Violation, match=rf"^\(f\) transparency: the {field} of the run is another under the compiled"):
        same(one, attrs.evolve(one, **{field: others[field]}))
