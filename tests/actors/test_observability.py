"""What an onlooker sees: every message where it is sent, delivered and handled, across nodes, in traces and in logs."""

from typing import Any

import attrs
import pytest
import structlog
import trio

from nfactor.actors import Actor, Instrument, Messages, Ref, TraceContext, current_trace, handles, message, trace
from nfactor.actors.logs import Logs, MessageLogs
from nfactor.errors import CallerError, RemoteError
from tests.actors.samples import MESSAGES as SAMPLES, Add, Counter, Fail, Nap, Sleeper, Stop, Total, virtual_time
from tests.actors.worlds import many_nodes


@message(tag=40)
class Order:
    number: int
    then: tuple[Ref, ...] = ()


MESSAGES = Messages(*SAMPLES.classes, Order)


class Clerk(Actor):
    """Hands an order on to the next, and answers; the next may be asked or told."""

    @handles(Order)
    async def order(self, message: Order) -> Total:
        context = current_trace()
        if message.then:
            next_one = message.then[0].bound_to(self.context.node)
            await next_one.tell(Order(message.number, message.then[1:]))
        return Total(0 if context is None else 1)


class Stamper(Actor):
    """The same with a plain handler."""

    @handles(Order)
    def order(self, message: Order) -> Total:
        if message.then:
            message.then[0].bound_to(self.context.node).tell_nowait(Order(message.number, message.then[1:]))
        return Total(0 if current_trace() is None else 1)


@attrs.define(eq=False)
class Recorder(Instrument):
    events: list[tuple[Any, ...]] = attrs.Factory(list)
    spans: dict[str, tuple[TraceContext, TraceContext]] = attrs.Factory(dict)

    def sent(self, node: str, to: Ref, message: object, trace: TraceContext | None) -> None:
        self.events.append(("sent", node, f"{to.node_name}/{to.actor_name}", type(message).__name__))

    def delivered(self, node: str, actor: str, message: object, trace: TraceContext | None) -> None:
        self.events.append(("delivered", node, actor, type(message).__name__))

    def handled(self, node, actor, message, seconds, error, parent, span) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
        self.events.append(("handled", node, actor, type(message).__name__, round(seconds, 6), repr(error)))
        if span is not None:
            self.spans[f"{node}/{actor}"] = (parent, span)


@virtual_time
async def test_a_message_is_seen_where_it_is_sent_delivered_and_handled() -> None:
    recorder = Recorder()
    async with many_nodes("ab", MESSAGES, instruments=[recorder]) as nodes:
        await nodes["b"][1].start(Sleeper, name="s")
        far = nodes["a"][0].ref("b", "s")
        await far.ask(Nap(0.5), Total)
        with pytest.raises(RemoteError):
            await far.ask(Fail("x"))
    assert [
        ("sent", "a", "b/s", "Nap"),
        ("delivered", "b", "s", "Nap"),
        ("handled", "b", "s", "Nap", 0.5, "None"),
        ("sent", "a", "b/s", "Fail"),
        ("delivered", "b", "s", "Fail"),
        ("handled", "b", "s", "Fail", 0.0, "ValueError('x')"),
    ] == recorder.events


@virtual_time
async def test_local_messages_are_seen_as_well_and_no_more_after_the_onlooker_has_gone() -> None:
    recorder = Recorder()
    async with many_nodes("a", MESSAGES) as nodes:
        node, supervisor = nodes["a"]
        ref = await supervisor.start(Counter, name="c")
        node.add_instrument(recorder)
        ref.tell_nowait(Add(1))
        await ref.ask(Add(1), Total)
        node.remove_instrument(recorder)
        ref.tell_nowait(Add(1))
        await trio.sleep(1)
    assert 2 == sum(event[0] == "sent" for event in recorder.events)
    assert 2 == sum(event[0] == "delivered" for event in recorder.events)
    assert 2 == sum(event[0] == "handled" for event in recorder.events)


@pytest.mark.parametrize("clerk", [Clerk, Stamper])
@pytest.mark.parametrize("watched", [True, False])
@virtual_time
async def test_a_trace_follows_what_is_sent_because_of_what(clerk: type[Actor], watched: bool) -> None:
    recorder = Recorder()
    async with many_nodes("abc", MESSAGES, instruments=[recorder] if watched else []) as nodes:
        refs = [await nodes[name][1].start(clerk, name="clerk") for name in "abc"]
        again = await nodes["c"][1].start(clerk, name="again")
        first = refs[0]
        assert Total(0) == await first.ask(Order(1), Total)
        with trace() as context:
            assert current_trace() == context
            assert Total(1) == await first.ask(Order(2, (refs[1], refs[2], again)), Total)
        assert current_trace() is None
        assert Total(0) == await first.ask(Order(3), Total), "what is sent outside is in no trace"
        await trio.sleep(1)
    if watched:
        assert ["a/clerk", "b/clerk", "c/clerk", "c/again"] == list(recorder.spans)
        for place, before in (("b/clerk", "a/clerk"), ("c/clerk", "b/clerk"), ("c/again", "c/clerk")):
            assert recorder.spans[place][0] == recorder.spans[before][1], "the parent is who sent it"
        assert 1 == len({span.trace_id for _, span in recorder.spans.values()} | {context.trace_id})
        assert 4 == len({span.span_id for _, span in recorder.spans.values()})


def test_a_trace_context_is_written_as_the_w3c_says() -> None:
    text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    context = TraceContext.parse(text)
    assert (context.trace_id, context.span_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert text == context.traceparent
    for wrong in ("", "00-xx-yy-01", "00-4bf9-00f0-01", text.replace("-", "")):
        with pytest.raises(CallerError, match="no traceparent"):
            TraceContext.parse(wrong)


@virtual_time
async def test_logs_have_node_actor_and_message_class() -> None:
    with structlog.testing.capture_logs() as events:
        async with many_nodes("ab", MESSAGES, instruments=[MessageLogs()]) as nodes:
            await nodes["b"][1].start(Counter, name="c")
            far = nodes["a"][0].ref("b", "c")
            with trace() as context:
                await far.ask(Add(1), Total)
            far.tell_nowait(Fail("broken"))
            nodes["a"][0].ref("b", "nobody").tell_nowait(Stop())
            await trio.sleep(1)
    by_name = {event["event"]: event for event in events}
    assert {"sent", "delivered", "handled", "dead_letter", "actor_failed", "actor_restarted"} == set(by_name)
    (handled, *_) = [event for event in events if event["event"] == "handled"]
    assert ("b", "c", "Add", context.trace_id) == tuple(
        handled[name] for name in ("node", "actor", "message", "trace_id")
    )
    assert context.span_id == handled["parent_id"]
    letter = by_name["dead_letter"]
    assert ("a", "no-remote-actor", "b/nobody", "warning") == tuple(
        letter[name] for name in ("node", "reason", "to", "log_level")
    )
    assert isinstance(by_name["actor_failed"]["exc_info"], ValueError)


@virtual_time
async def test_plain_logs_tell_of_trouble_only() -> None:
    with structlog.testing.capture_logs() as events:
        async with many_nodes("a", MESSAGES, instruments=[Logs()]) as nodes:
            node, supervisor = nodes["a"]
            ref = await supervisor.start(Counter)
            await ref.ask(Add(1), Total)
            assert not node.onlookers.see_messages
    assert [] == events
