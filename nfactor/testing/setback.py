"""The judge of how far crashes have set flows back where states follow the packets (``every``): to one packet.

A flow that goes on has more packets than what was left of it, and those are no proof that little was lost. So it is
looked at where its last state parts from the one that it had when its owner died: what both have is what survived.
"""

from collections.abc import Mapping

from nfactor.testing.checkers import Conditions
from nfactor.testing.lineage import Death, History
from nfactor.testing.pasts import Chain, Past
from nfactor.testing.violation import Violation


def set_back_within_bound(history: History, pasts: Mapping[int, Past], conditions: Conditions) -> int:
    """(g) How many flows were looked at. Of each that a dead runtime called protected, and that goes on or has told its
    end, all but K packets have survived, and but those that were processed within the time that a commit is under way:
    of these nobody else can have heard.

    Not where two deaths overlap, which may cost flows whole, nor where there is no bound in packets. One that has begun
    anew is the affair of (h). Where functions in front drop packets, flows count some that they have not seen."""
    bound, seen = conditions.lag_packets_max, 0
    if conditions.strict or bound is None or conditions.overlapping or conditions.drops_ahead:
        return 0
    log = Chain(history.processed)
    for death in history.deaths:
        for flow, (born, count, digest) in death.protected.items():
            marks = log.of(born, count, digest)
            if marks is None or born not in pasts:
                continue
            seen += 1
            left = _in_common(marks, pasts[born].marks)
            least = count - bound - _under_way(history, death, born, conditions.under_way_us)
            if left < least:
                raise Violation(
                    f"(g) loss bound: of {count} packets that flow {flow} had when {death.node} died {left} are in the "
                    f"state that survived, and {least} were to be"
                )
    return seen


def _in_common(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _under_way(history: History, death: Death, born: int, under_way_us: int) -> int:
    """Packets of a flow of which the dead one had told, if at all, in a commit that may not have come."""
    late = (entry for entry in history.processed if death.time_us - under_way_us <= entry.time_us <= death.time_us)
    return sum((entry.node, entry.born) == (death.node, born) for entry in late)
