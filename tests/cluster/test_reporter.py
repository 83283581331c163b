"""What is told outside, message by message."""

from typing import TYPE_CHECKING, Any

from nfactor.cluster.ledger import Ledger
from nfactor.cluster.messages import Done
from nfactor.cluster.outcome_messages import EmittedRecords
from nfactor.cluster.reporter import PIECES_PER_MESSAGE_MAX, Reporter

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_message_has_an_end_though_a_commit_follows() -> None:
    """No commit is cut. But what a runtime had to tell itself, ahead of one, was taken for a part of it: all that had
    come together while the outside was slow went out as one message, of whatever size."""
    told: list[tuple[Any, Callable[[Any], None]]] = []
    reporter = Reporter(Ledger("runtime-0"), observed=True)
    reporter.begin(lambda node, actor, message, reply, then: told.append((message, then)))
    piece = EmittedRecords("runtime-0", "a record", "1", bytes(16))
    reporter.records([piece])
    reporter.wake()
    for _ in range(5 * PIECES_PER_MESSAGE_MAX):
        reporter.records([piece])
        reporter.wake()
    reporter.complete(bytes(6), 1)
    for _, then in told:
        then(Done())
    assert 1 + 5 * PIECES_PER_MESSAGE_MAX == sum(len(message.records) for message, _ in told)
    assert max(len(message.records) for message, _ in told) <= PIECES_PER_MESSAGE_MAX
