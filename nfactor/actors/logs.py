"""What happens on a node, as structured log events: node, actor, message class, and the trace if there is one.

::

    async with open_node("shop", transport, MESSAGES, instruments=[Logs()]) as node: ...

Events have stable names and fields; how they look and where they go is structlog's, which the program configures.
"""

from typing import Any

import structlog

from nfactor.actors.instrument import DeadLetter, Instrument
from nfactor.actors.ref import Ref
from nfactor.actors.tracing import TraceContext


class Logs(Instrument):
    """Failures, restarts, dead letters and lost peers as warnings. ``logger`` is structlog's, bound to whatever the
    program wants to have in each event."""

    def __init__(self, logger: Any = None) -> None:
        self._logger = logger if logger is not None else structlog.get_logger("nfactor.actors")

    def dead_letter(self, node: str, letter: DeadLetter) -> None:
        self._logger.warning(
            "dead_letter",
            node=node,
            reason=letter.reason,
            to=f"{letter.node}/{letter.actor}",
            message=None if letter.message is None else type(letter.message).__name__,
        )

    def peer_down(self, node: str, peer: str, lane: str, reason: str, in_doubt: int) -> None:
        self._logger.warning("peer_down", node=node, peer=peer, lane=lane, reason=reason, in_doubt=in_doubt)

    def actor_failed(self, node: str, actor: str, error: Exception) -> None:
        self._logger.warning("actor_failed", node=node, actor=actor, exc_info=error)

    def actor_restarted(self, node: str, actor: str) -> None:
        self._logger.warning("actor_restarted", node=node, actor=actor)


class MessageLogs(Logs):
    """These, and every message that is sent, delivered and handled, at debug level."""

    def sent(self, node: str, to: Ref, message: object, trace: TraceContext | None) -> None:
        self._logger.debug(
            "sent", node=node, to=f"{to.node_name}/{to.actor_name}", message=type(message).__name__, **_ids(trace)
        )

    def delivered(self, node: str, actor: str, message: object, trace: TraceContext | None) -> None:
        self._logger.debug("delivered", node=node, actor=actor, message=type(message).__name__, **_ids(trace))

    def handled(
        self,
        node: str,
        actor: str,
        message: object,
        seconds: float,
        error: Exception | None,
        parent: TraceContext | None,
        span: TraceContext | None,
    ) -> None:
        self._logger.debug(
            "handled",
            node=node,
            actor=actor,
            message=type(message).__name__,
            seconds=seconds,
            error=None if error is None else repr(error),
            parent_id=None if parent is None else parent.span_id,
            **_ids(span),
        )


def _ids(trace: TraceContext | None) -> dict[str, str]:
    return {} if trace is None else {"trace_id": trace.trace_id, "span_id": trace.span_id}
