"""Protocols that are wrong in one thing each, and the smallest bounds in which the exploration refutes them."""

from typing import Final

import attrs

from tests.protocols.model.world import Bounds

TWO: Final = Bounds(runtimes="AB", packets=1)
THREE: Final = Bounds(packets=1)
LIVES_ON: Final = attrs.evolve(TWO, crash=False)
TWICE: Final = attrs.evolve(THREE, packets=0, migrations=2)

VARIATIONS: Final[dict[str, tuple[Bounds, str, int]]] = {
    "marker on the control path": (TWO, "a", 8),
    "target does not hold": (TWO, "d", 6),
    "replica forgets at departure": (TWO, "h", 23),
    "source forgets before the answer": (TWO, "h", 23),
    "answer before it is stored": (THREE, "h", 36),
    "a flow may set out before it has arrived": (TWICE, "i", 41),
    "any copy is forgotten": (THREE, "h", 35),
    "release before store": (TWO, "h", 3),
    "no second replica": (THREE, "h", 9),
    "all that is not confirmed comes again": (TWO, "c", 19),
    "loose packets are forgotten": (TWO, "c", 19),
    "no fence": (TWO, "c", 19),
    "claims do not wait for the fence": (TWO, "c", 16),
    "claim without a higher epoch": (TWO, "i", 19),
    "claim without holding": (TWO, "h", 12),
    "done before it is finished": (TWO, "h", 21),
    "sources take back before replicas claim": (TWO, "e", 23),
    "the dead may cancel": (LIVES_ON, "h", 17),
}
"""By name: where it is refuted, the promise that it breaks first, and after how many steps."""

HARMLESS: Final = "the marker counts before all is stored"
"""Breaks no promise: what the source waits for there is the order in which packets come out, and even that hangs on
wires that are quick enough."""
