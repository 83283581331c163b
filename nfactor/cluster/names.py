"""Names of nodes and of the actors on them: what a ref is made of."""

from typing import Final

COORDINATOR: Final = "coordinator"
"""The coordinator's node, and the actor on it."""
OUTSIDE: Final = "outside"
"""The node where packets come from and go to."""

LIAISON: Final = "liaison"
"""On a runtime: takes control calls and drives migrations. On a switch: owns the flow table as well."""
FLOWS: Final = "flows"
"""On a runtime: the table of its flow actors."""
REPLICAS: Final = "replicas"
"""On a runtime: the table of other runtimes' flows, for which it is the replica."""
MEMBERSHIP: Final = "membership"
"""On the coordinator's node: knows who lives, and leads recoveries."""
LEASES: Final = "leases"
"""On the coordinator's node: leases numbers of pools to runtimes."""
POOLS: Final = "pools"
"""On a runtime: looks after the pools of its network functions."""
COLLECTOR: Final = "collector"
"""On the outside: is told fates, records and events."""


def runtime_name(index: int) -> str:
    """``runtime-0``."""
    return f"runtime-{index}"


def switch_name(index: int) -> str:
    """``switch-0``."""
    return f"switch-{index}"


def migration_number(index: int, life: int, count: int) -> int:
    """How the ``count``-th migration of a life of the runtime of that index is called: of two lives that are
    less than 65,536 apart no two are the same."""
    return (index + 1) << 48 | (life & 0xFFFF) << 32 | count & 0xFFFF_FFFF


def source_of(migration: int) -> int:
    """What all migrations of one life of a runtime have in common."""
    return migration >> 32


def count_of(migration: int) -> int:
    """Its place among those of its source's life."""
    return migration & 0xFFFF_FFFF
