"""What all roles have in common stays in common."""

import pytest

from nfactor.cluster.coordinator import Coordinator
from nfactor.cluster.flow_table import FlowTable
from nfactor.cluster.liaison import Liaison
from nfactor.cluster.membership import Membership
from nfactor.cluster.outside import Collector
from nfactor.cluster.replica_table import ReplicaTable
from nfactor.cluster.role import Role
from nfactor.cluster.switch import VirtualSwitch


@pytest.mark.parametrize(
    "role",
    [Coordinator, Collector, FlowTable, Liaison, Membership, ReplicaTable, VirtualSwitch],
    ids=lambda cls: cls.__name__,
)
def test_no_role_takes_the_place_of_a_private_method_of_all_roles(role: type[Role]) -> None:
    """A flow table once had a ``_resend`` of its own, for commits, and so never asked a question again
    (``nfactor simulate replication --seeds 18:19``)."""
    common = {name for name in vars(Role) if name.startswith("_") and not name.startswith("__")}
    assert set() == common & vars(role).keys()
