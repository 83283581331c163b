"""Judges of a run: from what went in and came out, and each owner's log, whether every promise was kept.

None of them looks at how the code under test does it. A violation names the promise, the flow or packet, and what was
seen. The letters are those of the promises in ``docs/explanation/protocols.md``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import attrs

from nfactor.testing.lineage import CHOSEN, EMIT_EVERY, Came, Death, History, Processed, is_sent
from nfactor.testing.pasts import Chain, Final, Past, pasts_of
from nfactor.testing.violation import Violation

ON_THE_WAY_US = 5_000
"""What a node had sent before it died is outside by then, if no node is slow or sleeps."""


NAT = "nat_"
"""What a NAT in front drops is dropped by a function, too (``nat_cluster`` judges it)."""
FULL = frozenset({"flow_table_full", "migration_buffer_full", "orphan_buffer_full"})
"""Why packets are dropped where tables and buffers are small."""


@attrs.frozen
class Conditions:
    """What the run was promised, and what was done to it."""

    strict: bool
    """Output commit: nothing is outside that the surviving state does not include."""
    replicated: bool
    lag_packets_max: int | None = 0
    """Under ``every``: the most that a state may lag behind, in packets of the flow, besides those in commits that are
    under way; None: commits were lost, and came late or never."""
    under_way_us: int = 0
    """A commit may be under way for so long."""
    lag_us_max: int | None = None
    """The same in time; None: at any time, or runtimes slept."""
    ports_lose: bool = False
    """Packets on their way may be lost: by the ports, or with the node that had sent them."""
    flows_end: bool = False
    """Flows may end of idleness, and their keys begin anew."""
    idle_marks: int = 0
    """So many packets of others come before a flow ends."""
    limited: bool = False
    """There may be no room: for a flow, which ends then, or for packets, which are dropped."""
    drops_ahead: bool = False
    """A function in front of the one that keeps the lineage drops packets, too."""
    on_the_way_us: int = ON_THE_WAY_US
    holds: bool = False
    """Packets and words wait at the only runtime that is left, as nothing may leave without a replica."""
    overlapping: bool = False
    """A second runtime died before the first was made good for: what both had is lost."""


def check(history: History, finals: Mapping[int, Final], conditions: Conditions, lost_on_ports: Iterable[int]) -> None:
    """All promises about a whole run, when it is over; raises ``Violation``."""
    at_most_once(history)
    if conditions.strict or not history.deaths:
        ends_are_ends(history, finals, conditions)
    only_functions_drop(history, conditions)
    if not conditions.limited:
        ends_were_idle(history, conditions.idle_marks)
    pasts = pasts_of(history, finals)
    for past in pasts.values():
        marks = past.marks
        ways = [(history.flow_of[mark], history.way_of[mark]) if mark in history.way_of else None for mark in marks]
        for way in dict.fromkeys(ways):  # what was for a port's earlier flow came by that one's way
            in_order(past.flow, [mark for mark, other in zip(marks, ways, strict=True) if other == way])
    outside_is_included(history, pasts, conditions)
    protected_survive(history, finals, conditions)
    if not history.deaths and not history.switch_deaths:
        nothing_is_lost(history, set(lost_on_ports))
    if not conditions.ports_lose:
        certain = (conditions.strict and not conditions.overlapping) or not history.deaths
        included_came_out(history, pasts, certain=certain)


def at_most_once(history: History) -> None:
    """(c) No packet comes out twice, no record is told twice, and no packet both comes out and is dropped."""
    out = Counter(came.mark for came in history.out)
    told = Counter(mark for _, mark in history.dropped)
    for what, counts in (("came out", out), ("was dropped", told)):
        twice = [mark for mark, count in counts.items() if count > 1]
        if twice:
            raise Violation(f"(c) at most once: packet {twice[0]} {what} {counts[twice[0]]} times")
    both = sorted(out.keys() & told.keys())
    if both:
        raise Violation(f"(c) at most once: packet {both[0]} came out and was dropped")
    records = Counter((step.mark, step.born) for _, step in history.records)
    repeated = [record for record, count in records.items() if count > 1]
    if repeated:
        raise Violation(
            f"(c) at most once: the record of packet {repeated[0][0]} was told {records[repeated[0]]} times"
        )


def ends_are_ends(history: History, finals: Mapping[int, Final], conditions: Conditions) -> None:
    """(c) The end of a flow is told once, and only of one that is over. (Where states lag behind, a crash takes back an
    end as it does packets; so may a second death what was told before it.)"""
    spared_us = _spared_us(history, conditions)
    told = Counter(end.ended.born for end in history.ends if end.time_us > spared_us)
    for born, count in told.items():
        if count > 1:
            raise Violation(f"(c) at most once: the end of the flow born with packet {born} was told {count} times")
    for flow, final in finals.items():
        if final.born in told:
            raise Violation(f"(c) at most once: the end of flow {flow} was told, and it goes on at {final.node}")


def ends_were_idle(history: History, idle_marks: int) -> None:
    """(f) What ends has had no packet for so many marks, which are the packets' clock."""
    last: dict[tuple[int, int], int] = {}
    for entry in history.processed:
        last[entry.born, entry.count] = entry.mark
    for end in history.ends:
        mark = last.get((end.ended.born, end.ended.count), 0)
        if end.last_mark - mark < idle_marks:
            raise Violation(
                f"(f) transparency: {end.node} ended the flow born with packet {end.ended.born} before packet "
                f"{end.last_mark + 1}, and it had had packet {mark}"
            )


def only_functions_drop(history: History, conditions: Conditions) -> None:
    """(a) No packet is dropped by us where tables and buffers have room: none comes where its flow is no more, if it
    was not for an alias of one that has ended. Where nodes died, there may have been no runtime for it, or the one that
    had it was fenced."""
    reasons = {CHOSEN}
    if history.deaths or history.switch_deaths:
        reasons |= {"no_runtime", "fenced"}
    if conditions.limited:
        reasons |= FULL
    if conditions.flows_end or conditions.limited:  # for want of room, too, flows end
        reasons.add("stale_alias")
    for reason, mark in history.dropped:
        if reason not in reasons and not reason.startswith(NAT):
            raise Violation(f"(a) conservation: packet {mark} was dropped as {reason}")


def in_order(flow: int, marks: list[int]) -> None:
    """(b) Packets that went in by one way were processed in the order in which they were sent."""
    for earlier, later in pairwise(marks):
        if earlier >= later:
            raise Violation(f"(b) order: flow {flow} processed packet {later} after packet {earlier}")


def outside_is_included(history: History, pasts: Mapping[int, Past], conditions: Conditions) -> None:
    """(e) Output commit: every packet and record that came out is in the past of a state that survived, or that was
    told at the flow's end, and says what that packet made of it (f). Under ``every`` a crash may take back what came
    out, within the bound (g); so may a second death what came out before it. The word that a flow has ended may be
    lost, where ``_may_be_untold`` says so; then nothing is left to look at."""
    spared_us = _spared_us(history, conditions)
    untold, by_the_dead = _may_be_untold(history, conditions), _last_with_the_dead(history, conditions)
    for came, what in _seen_outside(history):
        if came.time_us <= spared_us or _may_be_taken_back(came.time_us, history, conditions):
            continue
        flow, past = history.flow_of[came.mark], pasts.get(came.born)
        if past is None:
            if untold or came.born in by_the_dead:
                continue
            raise Violation(
                f"(e) output commit: {what} {came.mark} is of flow {flow} as it began with packet {came.born}, and "
                "nothing is left of that"
            )
        number = came.count - 1
        if not 0 <= number < len(past.marks) or past.marks[number] != came.mark:
            raise Violation(
                f"(e) output commit: {what} {came.mark} is number {came.count} of flow {past.flow}, and the surviving "
                f"state of {len(past.marks)} packets does not include it"
            )
        if past.digests[number] != came.digest:
            raise Violation(
                f"(f) transparency: {what} {came.mark} of flow {past.flow} is not what its packets so far make of it"
            )


def _spared_us(history: History, conditions: Conditions) -> int:
    """What came out until then may be taken back. (Who is cut off, and has no replica, goes on until it is fenced.)"""
    if not conditions.overlapping:
        return -1
    overlapping = (max(death.time_us, death.until_us) for death in history.deaths if death.overlaps)
    return max(overlapping, default=0) + conditions.on_the_way_us


def _may_be_taken_back(time_us: int, history: History, conditions: Conditions) -> bool:
    """Whether what came out then was at most so old when a runtime died as states may lag behind. (Without a bound, it
    was just earlier.)"""
    if conditions.strict:
        return False
    lag_us, way_us = conditions.lag_us_max, conditions.on_the_way_us
    return any(
        time_us <= max(death.time_us, death.until_us) + way_us
        and (lag_us is None or time_us > death.time_us - lag_us - way_us)
        for death in history.deaths
    )


def _may_be_untold(history: History, conditions: Conditions) -> bool:
    """Whether the word that a flow has ended may not have been heard. It may wait for a replica that never comes; it
    may be lost with a second death where states lag behind; or with a switch that had let go of the flow when its
    owner died, for its next life does not know which flows have ended."""
    if not (conditions.flows_end or conditions.limited):
        return False
    two_deaths = not conditions.strict and len(history.deaths) > 1
    let_go = bool(history.deaths) and bool(history.switch_deaths)
    return two_deaths or let_go or conditions.holds


def _last_with_the_dead(history: History, conditions: Conditions) -> set[int]:
    """Births of flows that may have ended at a runtime which died before anybody had heard of it: where states lag
    behind, the word is told by that runtime alone, as all records are."""
    if conditions.strict or not (conditions.flows_end or conditions.limited):
        return set()
    dead, last = {death.node for death in history.deaths}, {entry.born: entry.node for entry in history.processed}
    return {born for born, node in (*last.items(), *history.last_at.items()) if node in dead}


def _seen_outside(history: History) -> Iterator[tuple[Came, str]]:
    """Records as of when their packets were processed: their word may take long."""
    for came in history.out:
        yield came, "packet"
    times = {(entry.mark, entry.digest): entry.time_us for entry in history.processed}
    for _, step in history.records:
        time_us = times.get((step.mark, step.digest), 0)
        yield Came(time_us, step.mark, step.born, step.count, step.digest), "the record of packet"


def protected_survive(history: History, finals: Mapping[int, Final], conditions: Conditions) -> None:
    """(h) What a dead runtime called protected lives on, or has said that it ended; (g) under ``every``, not further
    back than was said. (Not what a second death may take back; and of what is no more, not whether its end was told
    where that may be lost.)"""
    spared_us, untold = _spared_us(history, conditions), _may_be_untold(history, conditions)
    may_end = conditions.limited or conditions.flows_end
    ended = {end.ended.born for end in history.ends} if may_end else set()
    log = Chain(history.processed)
    for death in history.deaths:
        if death.time_us <= spared_us:
            continue
        for flow, (born, count, digest) in death.protected.items():
            final = finals.get(flow)
            least = _least_left(history, death, born, count, conditions)
            anew = death is not history.deaths[0] and _has_begun_anew(history, flow, born)
            if born in ended or (least <= 0 and (conditions.drops_ahead or anew)):
                continue  # its copy may be of before its first packet that was seen
            if final is None or final.born != born:
                if untold or (not conditions.strict and _has_ended_cut_off(history, flow, born)):
                    continue
                where = "nowhere" if final is None else f"on {final.node}, born {final.born}"
                raise Violation(
                    f"(h) protection: {death.node} called flow {flow} (born {born}) protected when it died; it is "
                    f"{where}"
                )
            _loss_within_bound(death, flow, final, count, least)
            if conditions.lag_us_max is not None:
                before_us = death.time_us - conditions.lag_us_max - conditions.on_the_way_us
                _loss_within_time(death, final, log.of(born, count, digest) or [], history, before_us)


def _has_ended_cut_off(history: History, flow: int, born: int) -> bool:
    """Its key has begun anew where it was, at a runtime that had been declared dead, and lived: its end was told by
    that one alone, and nobody believes it."""
    later = (entry for entry in history.processed if entry.born > born and history.flow_of.get(entry.born) == flow)
    return any(_is_cut_off(history, entry) for entry in later)


def _has_begun_anew(history: History, flow: int, born: int) -> bool:
    """With an empty state, which is copied before its first packet: an earlier one was lost with the dead."""
    return any(entry.born < born and history.flow_of.get(entry.born) == flow for entry in history.processed)


def _least_left(history: History, death: Death, born: int, count: int, conditions: Conditions) -> int:
    """The packets that a flow's state has to include when it goes on, of those that it had. Under ``every`` that is all
    but K, and but those of which the commit was under way, as nobody else can have heard of them: what its owner has
    processed within the time that a commit takes. So the bound is exact to one packet, however fast packets come."""
    if conditions.strict:
        return min(death.released.get(born, 0), count)  # else two earlier deaths have taken back the rest
    if conditions.lag_packets_max is None:
        return 0
    since_us = death.time_us - conditions.under_way_us
    late = (entry for entry in history.processed if since_us <= entry.time_us <= death.time_us)
    under_way = sum((entry.node, entry.born) == (death.node, born) for entry in late)
    return count - conditions.lag_packets_max - under_way


def _loss_within_bound(death: Death, flow: int, final: Final, count: int, least: int) -> None:
    if final.count < least:
        released = death.released.get(final.born, 0)
        raise Violation(
            f"(g) loss bound: flow {flow} had {count} packets when {death.node} died, {released} of which had come "
            f"out; it went on from {final.count}"
        )


def _loss_within_time(death: Death, final: Final, marks: list[int], history: History, before_us: int) -> None:
    """Of the packets that had made the state of a flow when its owner died, what had come out by then is not lost.
    (What an earlier death had taken back was not in that state.)"""
    numbers = {mark: number for number, mark in enumerate(marks, 1)}
    least = max((numbers.get(came.mark, 0) for came in history.out if came.time_us <= before_us), default=0)
    if final.count < least:
        raise Violation(
            f"(g) loss bound: {least} packets of flow {history.flow_of[final.born]} had come out "
            f"{(death.time_us - before_us) / 1000:g} ms before {death.node} died; it went on from {final.count}"
        )


def nothing_is_lost(history: History, lost_on_ports: set[int]) -> None:
    """(a) Nobody died: each packet came out, was dropped for a reason that is told, or was lost by a port."""
    seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped} | lost_on_ports
    missing = sorted(history.flow_of.keys() - seen)
    if missing:
        raise Violation(f"(a) conservation: {len(missing)} packets are nowhere, the first is {missing[0]}")


def _is_cut_off(history: History, entry: Processed) -> bool:
    """It was processed by a runtime that had been declared dead, or was to be, and lived."""
    return any(
        death.node == entry.node and death.time_us <= entry.time_us <= death.until_us for death in history.deaths
    )


def included_came_out(history: History, pasts: Mapping[int, Past], *, certain: bool) -> None:
    """(e) The other way round: what a surviving state includes, or one that was told at the flow's end, has come out,
    or was dropped; and what it has told was heard. Not ``certain``: without a replica that has them, too, drops and
    records are told by whoever processed the packet, and may die with it; and what it sends itself is fenced out if it
    was declared dead and lives."""
    seen = {came.mark for came in history.out} | {mark for _, mark in history.dropped}
    if not certain:
        seen |= {entry.mark for entry in history.processed if _is_cut_off(history, entry)}
    told = {step.mark for _, step in history.records}
    for past in pasts.values():
        for number, mark in enumerate(past.marks, 1):
            lost = mark not in seen and (certain or is_sent(mark))
            if lost or (certain and number % EMIT_EVERY == 0 and mark not in told):
                what = "packet" if lost else "the record of packet"
                raise Violation(
                    f"(e) output commit: the state of flow {past.flow} includes {what} {mark} (number {number}), which "
                    "never came out"
                )
