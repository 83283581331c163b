"""Explores the model, or a wrong one: ``python -m tests.protocols.model ["marker on the control path"]``."""

import sys

import attrs

from tests.protocols.model.explore import explore
from tests.protocols.model.variations import THREE, VARIATIONS
from tests.protocols.model.world import World


def main(name: str = "") -> None:
    """Print what there was, and the shortest sequence that breaks a promise."""
    bounds = VARIATIONS[name][0] if name in VARIATIONS else THREE
    explored = explore(World(attrs.evolve(bounds, variation=name)), states_max=10_000_000)
    print(f"{explored.states:,} states, {explored.transitions:,} transitions, {len(explored.ends):,} ends")
    print(explored.refutation or "every promise holds")


main(*sys.argv[1:])
