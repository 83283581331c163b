"""What a commit costs on the wire beside the states and frames in it: exactly so many octets."""

import attrs
import pytest

from nfactor.cluster.codec import MESSAGES
from nfactor.cluster.recovery_messages import CommitsStored, StoreCommit
from nfactor.dataplane.changes import CHANGE_OCTETS
from nfactor.packet.cluster_frame import KEY_OCTETS
from tests.cluster.test_replicator import World

PRIMARY, REPLICA = len("primary"), "runtime-1"
MONITOR = 40
"""Octets of the state of the chain's only function."""
HEADER = 24
"""What an engine knows of a flow beside its key."""
COLUMNS = 8 + 8 + 4 + 4
"""Of a packet: its time, its mark, and two lengths."""
COUNT = 8
"""How many packets there are, in front of them."""
FRAME = 16 + 14 + 20 + 8
"""Octets of a packet: what it travels behind, Ethernet, IPv4 and UDP."""


def committed(flows: int, each: int) -> StoreCommit:
    """The commit of one burst of so many flows, with so many packets of each."""
    world = World("strict")
    world.view(["one"])
    world.packets([*range(1, flows + 1)] * each)
    (message,) = world.replicas["one"].under_way
    assert isinstance(message, StoreCommit)
    return attrs.evolve(message, to=bytes(6))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flows", "each", "headers"), [(1, 1, 31), (1, 20, 32), (20, 1, 33), (500, 1, 33), (20, 100, 35)]
)
def test_a_commit_costs_a_name_and_23_octets_and_so_much_for_each_flow_and_packet(
    flows: int, each: int, headers: int
) -> None:
    """A flow costs its key, its header and what has changed in its states, once, however many packets it had; a packet
    its frame and 24 octets; and the packets together 8. What is left is one array of the rest, and its lengths: up to
    four octets more where there is much to say."""
    states = flows * (KEY_OCTETS + HEADER + MONITOR)
    packets = COUNT + flows * each * (COLUMNS + FRAME)
    assert PRIMARY + headers + states + packets == len(MESSAGES.encode(committed(flows, each)))
    assert CHANGE_OCTETS == KEY_OCTETS + HEADER


@pytest.mark.parametrize(("sequence", "octets"), [(1, 12), (128, 13), (256, 14), (65_536, 16)])
def test_a_confirmation_costs_a_name_and_a_number(sequence: int, octets: int) -> None:
    """Twelve octets beside the name, eight of which say for whom it is, and more
    for the number from the 128th commit on; it confirms all before it."""
    assert octets + len(REPLICA) == len(MESSAGES.encode(CommitsStored(REPLICA, sequence, bytes(6))))
