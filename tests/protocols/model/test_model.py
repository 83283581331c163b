"""Every state that migration, strict replication and recovery can reach, within bounds: every promise holds in all of
them, and wrong protocols are refuted.

Three runtimes, a switch, a coordinator and one flow; at any moment a packet may come, the flow may set out for another
runtime, a runtime may die and be missed, and any message or packet may arrive, in order for each way. What was explored
(states, transitions, ends) is in ``EXPLORED`` and, for ``make nightly`` (``NFACTOR_MODEL=large``), in ``LARGE``: exact
numbers, so that whoever changes the model sees what that does to it. The largest of the first kind, with two packets,
one migration and one death, has 459,324 states and 823,225 transitions, which end in 309 ways.
"""

import os

import attrs
import pytest

from tests.protocols.model.explore import Explored, explore
from tests.protocols.model.variations import HARMLESS, THREE, TWO, VARIATIONS
from tests.protocols.model.world import Bounds, State, World

EXPLORED = {
    "nobody dies": (Bounds(packets=3, deaths=0), (8083, 24524, 16)),
    "nothing moves": (Bounds(packets=3, migrations=0), (48052, 75018, 95)),
    "one packet": (THREE, (60525, 98193, 77)),
    "two packets": (Bounds(), (459324, 823225, 309)),
    "the dead live on": (attrs.evolve(THREE, crash=False), (112316, 189993, 145)),
    "two of three die": (Bounds(packets=1, migrations=0, deaths=2), (25800, 50645, 88)),
    "two runtimes": (attrs.evolve(TWO, packets=2), (24464, 45728, 94)),
    "two runtimes, there and back": (attrs.evolve(TWO, migrations=2), (10676, 18272, 55)),
    "two runtimes, and the dead one lives on": (attrs.evolve(TWO, crash=False, packets=2), (74029, 141491, 247)),
}
LARGE = {
    "there and back": (attrs.evolve(THREE, migrations=2), (565126, 1096469, 243)),
    "two packets, and the dead live on": (Bounds(crash=False), (952675, 1778015, 574)),
    "two of three die in a migration": (attrs.evolve(THREE, deaths=2), (681038, 1682045, 406)),
    "three packets": (Bounds(packets=3), (2633925, 5105880, 995)),
    "two runtimes, there and back, and the dead one lives on": (
        attrs.evolve(TWO, packets=2, migrations=2, crash=False),
        (243316, 479651, 594),
    ),
    "two of three are believed to die in a migration": (
        attrs.evolve(THREE, deaths=2, crash=False),
        (3968444, 7401081, 2907),
    ),
}
STATES_MAX = 10_000_000


def explored(bounds: Bounds) -> Explored[State]:
    return explore(World(bounds), states_max=STATES_MAX)


def check(bounds: Bounds, numbers: tuple[int, int, int]) -> None:
    found = explored(bounds)
    assert found.refutation is None, f"\n{found.refutation}"
    assert numbers == (found.states, found.transitions, len(found.ends))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLORED)
def test_every_promise_holds_in_every_state_that_can_be_reached(name: str) -> None:
    check(*EXPLORED[name])


@pytest.mark.slow
@pytest.mark.skipif("large" not in os.environ.get("NFACTOR_MODEL", ""), reason="minutes: NFACTOR_MODEL=large")
@pytest.mark.parametrize("name", LARGE)
def test_every_promise_holds_in_every_state_of_a_larger_world(name: str) -> None:
    check(*LARGE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIATIONS)
def test_a_protocol_that_is_wrong_in_one_thing_is_refuted(name: str) -> None:
    bounds, promise, steps = VARIATIONS[name]
    refutation = explored(attrs.evolve(bounds, variation=name)).refutation
    assert refutation is not None
    assert (f"({promise})", steps) == (refutation.promise[:3], len(refutation.sequence)), f"\n{refutation}"


def test_the_shortest_sequence_that_breaks_a_promise_is_told() -> None:
    name = "marker on the control path"
    refutation = explored(attrs.evolve(VARIATIONS[name][0], variation=name)).refutation
    assert [
        "  1 packet 1 comes to the switch",
        "  2 A sets out with the flow for B",
        "  3 A ─▶ B  Prepare(epoch=2)",
        "  4 B ─▶ A  Prepared(ok=True)",
        "  5 A ─▶ S  Redirect(target='B', epoch=2)",
        "  6 S ─▶ A  Marker(epoch=2)",
        "  7 S ─▶ A  Redirected(ok=True)",
        "  8 S ═▶ A  Packet(number=1)",
        "    (a) conservation: a packet came to A when the flow had left",
    ] == str(refutation).splitlines()


@pytest.mark.slow
def test_waiting_for_storage_before_the_marker_counts_is_no_matter_of_safety() -> None:
    check(attrs.evolve(THREE, variation=HARMLESS), (65578, 108186, 78))


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [TWO, attrs.evolve(TWO, crash=False), attrs.evolve(THREE, migrations=0)])
def test_hurrying_messages_leaves_out_no_end(bounds: Bounds) -> None:
    """It leaves out orders of events that nobody can tell apart, and so most of the states."""
    hurried, all_ = World(bounds), World(attrs.evolve(bounds, hurry=False))
    few, many = (explore(world, states_max=STATES_MAX) for world in (hurried, all_))
    assert many.refutation is None
    assert {*map(all_.values, many.ends)} == {*map(hurried.values, few.ends)}
    assert few.states * 1.5 < many.states


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [Bounds(deaths=0), Bounds(packets=1, migrations=0)])
def test_where_replicas_are_is_a_matter_of_names(bounds: Bounds) -> None:
    """Any runtime may be the target, so that the other placement is the same with B and C exchanged."""
    here, there = (explored(attrs.evolve(bounds, place=place, hurry=False)) for place in (0, 1))
    assert (here.states, here.transitions, len(here.ends)) == (there.states, there.transitions, len(there.ends))


def test_bounds_leave_a_runtime_alive() -> None:
    with pytest.raises(AssertionError, match="somebody has to live"):
        World(attrs.evolve(TWO, deaths=2))
