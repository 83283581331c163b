"""Since when a flow may have moved and still be known where it was: what a switch keeps of its runtimes' words."""

from math import inf

from nfactor.cluster.departures import Departures

ONE, TWO = b"one", b"two"


def heard_of(*runtimes: bytes) -> Departures:
    departures = Departures()
    for runtime in runtimes:
        departures.heard(runtime, 0, 1)
    return departures


def test_nothing_is_left_where_nothing_has_moved() -> None:
    assert heard_of(ONE, TWO).since([ONE, TWO]) == inf
    assert Departures().since([]) == inf


def test_a_flow_may_be_known_where_it_was_until_its_source_has_let_go() -> None:
    departures = heard_of(ONE, TWO)
    departures.turned(ONE, 1, 5.0)
    departures.turned(TWO, 1, 6.0)
    departures.turned(ONE, 2, 7.0)
    assert departures.since([ONE, TWO]) == 5.0
    departures.heard(ONE, 2, 1)
    assert departures.since([ONE, TWO]) == 5.0, "the second may be over, the first is not"
    departures.heard(ONE, 2, 2)
    assert departures.since([ONE, TWO]) == 6.0
    departures.heard(TWO, 1, 2)
    assert departures.since([ONE, TWO]) == 7.0
    departures.heard(ONE, 2, 3)
    assert departures.since([ONE, TWO]) == inf


def test_a_runtime_that_was_not_heard_of_may_know_anything() -> None:
    departures = heard_of(ONE)
    assert departures.since([ONE, TWO]) == -inf
    departures.turned(TWO, 3, 5.0)
    departures.heard(TWO, 3, 2)
    assert departures.since([ONE, TWO]) == -inf, "it had begun three, and nobody knows when two was turned"
    departures.heard(TWO, 3, 4)
    assert departures.since([ONE, TWO]) == inf


def test_a_sign_of_life_that_was_sent_before_a_migration_lets_go_of_nothing() -> None:
    """Words of one runtime may come in another order than they were sent in."""
    departures = heard_of(ONE)
    departures.turned(ONE, 1, 5.0)
    departures.heard(ONE, 0, 1)
    assert departures.since([ONE]) == 5.0


def test_what_a_runtime_knew_that_is_there_no_more_does_not_count() -> None:
    departures = heard_of(ONE, TWO)
    departures.turned(ONE, 1, 5.0)
    departures.follow({TWO})
    assert departures.since([TWO]) == inf
    departures.begin_anew()
    assert departures.since([TWO]) == -inf, "a table that was lost took along what was turned when"
