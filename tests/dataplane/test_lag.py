"""How far flows lag behind, in packets since somebody asked about them: both engines count alike."""

from typing import Any

from hypothesis import given, strategies as st

from nfactor.dataplane.engine import Engine
from nfactor.functions.monitor import Monitor
from nfactor.testing.packets import burst_of, udp
from tests.dataplane.test_changes import FRAMES, both, seven
from tests.dataplane.test_engines import A, B

COUNTED = st.lists(st.one_of(FRAMES, st.sampled_from(["move", "end", "ask", "lose"])), max_size=14)


@given(COUNTED, st.integers(1, 6))
def test_both_engines_count_alike_how_far_flows_lag_behind_and_a_next_life_begins_at_nothing(
    steps: list[Any], packets_max: int
) -> None:
    engines = both(*seven())
    expected: dict[bytes, int] = {}
    """By flow, packets since somebody asked."""
    for step in steps:
        told = [_lagging(engine, step, packets_max) for engine in engines]
        assert told[0] == told[1]
        if isinstance(step, str):
            expected = {} if step == "ask" else {key: lag for key, lag in expected.items() if key not in told[0][0]}
            continue
        begin, due, packets = told[0]
        before = dict(expected)
        for key in packets:
            expected[key] = expected.get(key, 0) + 1
        reached = max(expected.values(), default=0) >= packets_max
        assert {key for key in packets if reached and 2 * expected[key] >= packets_max} == set(due)
        assert set(begin) == {key for key in packets if key not in before} - set(due)
        assert len(set(begin)) + len(set(due)) == len(begin) + len(due)
        expected = {key: lag for key, lag in expected.items() if key not in due}


def _lagging(engine: Engine, step: Any, packets_max: int) -> Any:
    """Do the step. What flows begin to lag and are due, and the flows of the packets; or those that begin anew."""
    keys, changes = engine.keys(), engine.changes
    if step == "ask":
        changes.whole(keys)
    elif step == "lose":
        changes.lose(keys[:2])
        return [], None, None
    elif step == "end":
        engine.expire(keys[:2])
        return list(keys[:2]), None, None
    elif step == "move":
        gone, epochs = engine.pick(2)
        records, _ = engine.depart(gone)
        engine.hold(gone, epochs + 1)
        engine.install(gone, epochs + 1, records)
        return list(gone), None, None
    else:
        engine.process(burst_of(step))
        begin, due = changes.count(engine.touched, packets_max)
        changes.of(due)
        return [list(changes.keys_of(rows)) for rows in (begin, due, engine.touched)]
    return [], None, None


def test_more_flows_than_ever_before_are_counted_at_once() -> None:
    for engine in both(Monitor(), flows_max=4000):
        engine.process(burst_of([udp(A, port, B, 2) for port in range(1, 3001)]))
        begin, due = engine.changes.count(engine.touched, 2)
        assert (len(begin), len(due)) == (3000, 0)
        engine.process(burst_of([udp(A, port, B, 2) for port in range(1, 3001)]))
        begin, due = engine.changes.count(engine.touched, 2)
        assert (len(begin), len(due)) == (0, 3000)
