"""The ledger: a sum that is off is an error, at the node and over the cluster."""

import attrs
import pytest

from nfactor.cluster.ledger import AccountingError, Ledger, check_node
from nfactor.testing.packets import burst_of, udp

PACKETS = burst_of([udp("10.0.0.1", 1, "10.0.0.2", 2)] * 5)


def balanced() -> Ledger:
    """Five in: two out, two dropped, one that waits."""
    ledger = Ledger("runtime-0")
    ledger.received = 5
    ledger.sent = 2
    ledger.drop("late", PACKETS.slice(0, 2))
    ledger.buffer(1)
    return ledger


def test_a_ledger_whose_sums_add_up_says_so() -> None:
    counters = balanced().counters()
    assert (5, 2, {"late": 2}, 1, 1) == (
        counters.received, counters.sent, counters.dropped, counters.buffered, counters.buffered_max,
    )  # fmt: skip


@pytest.mark.parametrize("field", ["received", "created", "sent", "absorbed", "buffered"])
def test_one_packet_too_many_anywhere_is_an_error(field: str) -> None:
    counters = balanced().counters()
    with pytest.raises(AccountingError, match="runtime-0: "):
        check_node(attrs.evolve(counters, **{field: getattr(counters, field) + 1}))  # type: ignore[misc]
    ledger = balanced()
    setattr(ledger, field, getattr(ledger, field) + 1)
    with pytest.raises(AccountingError):
        ledger.counters()


def test_fates_are_told_once_by_reason() -> None:
    ledger = balanced()
    assert [("late", 2)] == [(reason, len(marks)) for reason, marks in ledger.take_fates()]
    assert ledger.take_fates() == []
