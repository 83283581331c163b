"""Since when a flow may have moved and still be known where it was: what a switch keeps of its runtimes' words."""

from math import inf

import numpy as np

from nfactor.cluster.departures import EVER, Departures
from nfactor.dataplane.dispatch import Dispatcher
from nfactor.dataplane.engine import Status
from nfactor.packet.classifier import FlowClassifier
from nfactor.testing import packets

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
    assert departures.since([ONE, TWO]) == EVER
    departures.turned(TWO, 3, 5.0)
    departures.heard(TWO, 3, 2)
    assert departures.since([ONE, TWO]) == EVER, "it had begun three, and nobody knows when two was turned"
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
    assert departures.since([TWO]) == EVER, "a table that was lost took along what was turned when"


def test_a_flow_that_has_never_moved_waits_for_nobody() -> None:
    table = Dispatcher(FlowClassifier("auto"))
    table.set_runtimes([0])
    frame = packets.udp("10.0.0.1", 1, "10.0.0.2", 2)
    table.assign(packets.burst_of([frame]))
    key, one = [*table._entries], np.array([1], np.uint32)
    assert [Status.OK] == table.forget(key, one, owner=0, now=1.0, moved_before=EVER).tolist()
